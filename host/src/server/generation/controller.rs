//! The life of one generation of a component of kind `http` or `tcp`: its first instance, those that follow, the pause after a
//! failure, and how all of them end.
//!
//! Invariant: the supervisor hears that the component has started when its first instance takes requests, and that
//! it has ended, once, when nothing of it is left: no instance, no connection, no thread, as far as those are not for
//! others. The order of a stop is: notice to the guests, listeners closed, idle connections closed, requests answered,
//! hooks, end. A generation that was replaced has no listeners, but perhaps requests on connections. One that is asked alone on
//! a shared address leaves both to the others. Each ends with its own requests; the last one on an address that drains, of
//! whatever generation, sees its connections closed.

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, OptionFuture};
use tokio::time::{Sleep, sleep};

use super::generation::{Generation, Inputs, Liveness};
use crate::plan::{HookTiming, OnEnd};
use crate::runtime::{Failure, InstanceEvent, Link, MakeStdio, Notice, Runtime};
use crate::server::address::{Address, Stage};
use crate::server::instance::{CloseReason, FreshInstances, HandlerIndex, HandlerLoop, InstanceEnd};
use crate::server::instance::{InstanceHandle, InstanceSpec, run_instance};
use crate::server::servers::StartParts;
use crate::server::worker::{FairnessTicker, WorkerEvent, WorkerTask};
use crate::teardown::Outcome;

/// The time that connections have to send their last bytes after their component was cut off.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Generations that stop together are asked one after the other. For so long one waits for the others on its address to be
/// asked, so that the address drains like any other.
const TOGETHER: Duration = Duration::from_millis(10);

/// When one instance more could not be started, no more are tried for so long than there were.
const NO_GROWTH: Duration = Duration::from_secs(5);
/// When none could be started because the machine is short of something, the time until it is tried again.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

/// Progress of a generation. The order is the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Starting,
    Serving,
    /// It has spent its restart budget: it has no instances, and refuses its clients.
    OutOfService,
    Draining,
    Cut,
}

/// Weight of an instance's failure for its component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// A failure of the component.
    Counts,
    /// The instance is replaced, and that is all.
    Nothing,
    /// Others serve in place of one that could not be started.
    Extra,
}

/// Its connections, from the notice on.
enum Connections {
    /// They may bring requests, or wait for answers.
    Served,
    /// It was cut off: they have until then to send what is left to say.
    LastWords(Timer),
    Said,
    /// Its requests are answered, and the connections that no other generation works for are closed.
    Gone,
}

impl Connections {
    fn timer(&mut self) -> Option<&mut Timer> {
        if let Self::LastWords(timer) = self { Some(timer) } else { None }
    }
}

type Timer = Pin<Box<Sleep>>;

/// Controls one generation.
pub(crate) struct Controller {
    generation: Arc<Generation>,
    inputs: Inputs,
    /// The addresses that are, or will be, the component's.
    addresses: Vec<Arc<Address>>,
    link: Arc<Link>,
    make_stdio: MakeStdio,
    grace: Duration,
    handler: HandlerIndex,
    fresh: Arc<FreshInstances>,
    runtime: Runtime,
    ticker: Arc<FairnessTicker>,
    instances: BTreeMap<usize, Arc<InstanceHandle>>,
    serial: u32,
    progress: Progress,
    notice: Option<Notice>,
    pause: RestartPause,
    /// Any failure of an instance stops the app: its manifest says so.
    stops_app: bool,
    /// The number of instances when one more could not be started, and the time.
    full: Option<(usize, Instant)>,
    liveness: Liveness,
    /// The time at which hooks are called next to requests.
    half: Option<Timer>,
    together: Option<Timer>,
    /// It leaves its addresses to others, which serve on.
    is_alone: bool,
    connections: Connections,
    verdict: Outcome,
}

impl Controller {
    /// # Errors
    /// When the component has no handler: loading has found it, so this is a bug.
    pub(crate) fn new(
        generation: Arc<Generation>,
        inputs: Inputs,
        addresses: Vec<Arc<Address>>,
        start: StartParts,
        runtime: Runtime,
        ticker: Arc<FairnessTicker>,
    ) -> wasmtime::Result<Self> {
        let StartParts { link, make_stdio, grace } = start;
        let on_failure = generation.plan.resolve(&generation.loaded.defaults).on_failure;
        let is_used = on_failure == OnEnd::Restart;
        Ok(Self {
            pause: RestartPause { link: link.clone(), is_used, seen: 0, pause: None, slots: Vec::new() },
            stops_app: on_failure == OnEnd::StopApp,
            full: None,
            liveness: generation.liveness(),
            handler: (generation.protocol.handler)(&generation.loaded)?,
            fresh: Arc::default(),
            generation,
            inputs,
            addresses,
            link,
            make_stdio,
            grace,
            runtime,
            ticker,
            instances: BTreeMap::new(),
            serial: 0,
            progress: Progress::Starting,
            notice: None,
            half: None,
            together: None,
            is_alone: false,
            connections: Connections::Served,
            verdict: Outcome::Stopped,
        })
    }

    /// Controls the generation from its start to its end.
    pub(crate) async fn control(mut self) {
        self.generation.pool.want(0);
        let mut winding = false;
        while !self.is_over() {
            let (link, generation) = (self.link.clone(), self.generation.clone());
            let draining = self.progress >= Progress::Draining;
            let serving = self.progress == Progress::Serving && !self.pause.holds();
            tokio::select! {
                biased;
                () = link.orders.must_drop(), if self.progress < Progress::Cut => self.cut(),
                notice = link.orders.asked(), if !draining => self.drain(notice),
                () = link.orders.winding_down(), if !winding && !draining => {
                    winding = true;
                    self.own_addresses().for_each(|address| address.raise(Stage::Delay));
                }
                () = link.orders.out_of_service(), if self.progress < Progress::OutOfService => {
                    self.leave_service();
                }
                Some(event) = self.inputs.events.recv() => self.hear(event),
                Some(slot) = self.inputs.starts.recv() => self.start(slot),
                slots = self.pause.over() => slots.into_iter().for_each(|slot| self.start(slot)),
                Some(()) = OptionFuture::from(self.half.as_mut()) => {
                    self.half = None;
                    self.generation.pool.call_hooks_now();
                }
                Some(()) = OptionFuture::from(self.together.as_mut()) => {
                    self.together = None;
                    self.is_alone = true;
                }
                Some(()) = OptionFuture::from(self.connections.timer()) => {
                    self.connections = Connections::Said;
                    self.set_over();
                }
                what = &mut self.liveness, if serving => link.tell(InstanceEvent::Unhealthy(what)),
                () = generation.changed(), if draining => {}
            }
            self.look();
        }
        self.end().await;
    }

    /// Draws the conclusions from what its addresses and requests say, once it was asked to stop.
    fn look(&mut self) {
        if self.progress < Progress::Draining {
            return;
        }
        let pool = &self.generation.pool;
        if !pool.intake_is_over() && self.intake_is_over() {
            pool.stop();
        }
        let gone = matches!(self.connections, Connections::Gone);
        if !gone && pool.intake_is_over() && self.is_disconnected() {
            self.connections = Connections::Gone;
            // At once: the next one that looks is the last, and waits for the connections.
            self.set_over();
            self.link.tell(InstanceEvent::Drained);
        }
    }

    /// Returns the addresses on which it is at this moment.
    fn own_addresses(&self) -> impl Iterator<Item = &Arc<Address>> {
        let id = self.generation.id;
        self.addresses.iter().filter(move |address| address.routing().has(id))
    }

    /// Returns the addresses whose connections it may work for: also those on which others have taken over.
    fn served_addresses(&self) -> impl Iterator<Item = &Arc<Address>> {
        let id = self.generation.id;
        self.addresses.iter().filter(move |address| address.concerns(id))
    }

    fn set_over(&self) {
        self.generation.state.set_over();
        self.addresses.iter().for_each(|address| address.look());
    }

    /// Returns whether another generation has taken over, wherever this one served.
    fn has_successor(&self) -> bool {
        let (id, name) = (self.generation.id, &self.generation.plan.name);
        let is_named =
            |address: &&Arc<Address>| address.routing().members.iter().any(|m| m.plan.name == *name);
        let mut own = self.addresses.iter().filter(is_named).peekable();
        own.peek().is_some() && own.all(|address| !address.routing().has(id))
    }

    fn intake_is_over(&self) -> bool {
        let is_left = |address: &Address| self.is_alone && address.stage() < Stage::Drain;
        self.own_addresses().all(|address| address.intake_is_over() || is_left(address))
    }

    /// Returns whether its requests are answered, and the connections closed that only it is left to wait for.
    fn is_disconnected(&self) -> bool {
        let closed = |address: &Arc<Address>| {
            let stays = address.stage() < Stage::Drain;
            stays || address.connections() == 0 || !address.all_over(Some(self.generation.id))
        };
        self.generation.stats.in_flight() == 0 && self.served_addresses().all(closed)
    }

    fn is_over(&self) -> bool {
        // Connections that are for others, too, are not closed by force when it was cut off.
        let leaves_some = || {
            let mut served = self.served_addresses().peekable();
            served.peek().is_none() || served.any(|address| address.stage() < Stage::Cut)
        };
        let disconnected = match self.connections {
            Connections::Gone => true,
            Connections::Said => leaves_some(),
            Connections::Served | Connections::LastWords(_) => false,
        };
        self.progress >= Progress::Draining && disconnected && self.instances.is_empty()
    }

    /// Goes on without instances, and refuses its clients, until another generation takes over or it is asked to stop.
    fn leave_service(&mut self) {
        self.progress = Progress::OutOfService;
        self.liveness = Liveness::terminated();
        self.generation.pool.leave_service();
        self.drop_held();
        for instance in self.instances.values() {
            self.generation.pool.close(instance, CloseReason::OutOfService);
        }
        // Also one that has never served lets its addresses open: others may be on them.
        self.generation.state.set_ready();
        self.own_addresses().for_each(|address| address.look());
    }

    /// Ends a component that never served.
    fn end_without_start(&mut self) {
        self.progress = Progress::Draining;
        self.liveness = Liveness::terminated();
        self.generation.drain();
        self.generation.pool.call_hooks_now();
        self.generation.state.set_asked();
        self.is_alone = true;
        self.drop_held();
        self.own_addresses().for_each(|address| address.look());
    }

    fn drain(&mut self, notice: Notice) {
        self.progress = Progress::Draining;
        self.liveness = Liveness::terminated();
        for instance in self.instances.values() {
            instance.link.orders.ask(notice.clone(), Duration::MAX);
        }
        if self.generation.loaded.run.is_async && self.generation.loaded.timing == HookTiming::AfterDrain {
            self.half = Some(Box::pin(sleep(notice.grace / 2)));
        }
        let grace = notice.grace;
        self.notice = Some(notice);
        self.generation.drain();
        if self.has_successor() {
            self.generation.pool.give_back();
        }
        self.own_addresses().for_each(|address| address.note_grace(grace));
        self.generation.state.set_asked();
        self.own_addresses().for_each(|address| address.look());
        if self.own_addresses().any(|address| address.stage() < Stage::Drain) {
            self.together = Some(Box::pin(sleep(TOGETHER)));
        }
        match self.generation.pool.has_waiting() {
            true => self.pause.release().into_iter().for_each(|slot| self.start(slot)),
            false => self.drop_held(),
        }
    }

    fn drop_held(&mut self) {
        for slot in self.pause.release() {
            self.generation.pool.not_started(slot);
        }
    }

    /// Cuts off whatever is left, or gives up what has not started.
    fn cut(&mut self) {
        if self.progress < Progress::Draining {
            self.end_without_start();
        }
        self.progress = Progress::Cut;
        self.is_alone = true;
        if self.generation.stats.in_flight() > 0 {
            self.judge(Outcome::CutOff);
        }
        self.generation.state.set_cut();
        for instance in self.instances.values() {
            instance.link.orders.cut();
        }
        self.half = None;
        if !matches!(self.connections, Connections::Gone) {
            self.connections = Connections::LastWords(Box::pin(sleep(LAST_WORDS)));
        }
    }

    /// Notes a part of its end. A failed start is its end whatever follows; otherwise the worst counts.
    fn judge(&mut self, outcome: Outcome) {
        if self.verdict != Outcome::Failed {
            self.verdict = self.verdict.max(outcome);
        }
    }

    /// Leaves its addresses and threads to others, or waits until nothing is left of them.
    async fn end(self) {
        self.set_over();
        let (workers, link) = (&self.generation.workers, &self.link);
        // Threads that still serve connections for others end with those.
        let last = workers.leave(self.generation.id) && workers.connections() == 0;
        let leaked = last && workers.all_gone().await;
        link.tell(InstanceEvent::Ended(match self.verdict {
            Outcome::Failed => Outcome::Failed,
            _ if link.orders.is_abandoned() => Outcome::NotStarted,
            Outcome::CutOff if leaked => Outcome::Leaked,
            verdict => verdict,
        }));
    }

    /// Starts an instance, or notes that it has to wait.
    fn start(&mut self, slot: usize) {
        let generation = &self.generation;
        let goes = matches!(self.progress, Progress::OutOfService | Progress::Cut);
        if goes || self.is_full(self.instances.len()) {
            return generation.pool.not_started(slot);
        }
        if self.pause.keeps(slot) {
            return;
        }
        self.serial += 1;
        let link = self.link_of_instance(slot);
        let turn = self.ticker.turn();
        let form = [generation.loaded.run.is_async, generation.is_fresh()];
        let instance = InstanceHandle::new(self.serial, slot, link.clone(), turn, form, &generation.pool);
        generation.stats.instance_started();
        self.instances.insert(slot, instance.clone());
        self.count_instances();
        let (runtime, loaded, plan) =
            (self.runtime.clone(), generation.loaded.clone(), generation.plan.clone());
        let spec = InstanceSpec { runtime, loaded, plan, link, run: None };
        let (pool, handler) = (generation.pool.clone(), self.handler.clone());
        let work = HandlerLoop { instance: instance.clone(), pool, handler, fresh: self.fresh.clone() };
        let (grace, make_stdio) = (self.grace, self.make_stdio.clone());
        let (tell, handle) = (self.inputs.tell.clone(), instance.clone());
        let task: WorkerTask = Box::new(move |outbound| {
            Box::pin(async move {
                let failed = |failure| {
                    let _unheard = tell.send(WorkerEvent::Failed(handle.clone(), failure));
                };
                let end = run_instance(spec, work, grace, make_stdio, outbound, &failed).await;
                // A controller that is gone wants to know nothing more.
                let _unheard = tell.send(WorkerEvent::Ended(slot, handle, end));
            })
        });
        if let Err(error) = self.generation.workers.run(slot, task) {
            let failure = Failure::shortage(format!("could not be started: no thread for it: {error}"));
            self.ended(slot, &instance, Err(failure));
        }
    }

    fn link_of_instance(&self, slot: usize) -> Arc<Link> {
        let (number, events, parent) = (self.serial, self.inputs.tell.clone(), self.link.clone());
        let tell = move |event| match event {
            InstanceEvent::Entered => {
                // Without a controller the event has no listener.
                let _unheard = events.send(WorkerEvent::Up(slot));
            }
            event @ (InstanceEvent::HookStarted | InstanceEvent::HookEnded(_)) => {
                parent.tell(InstanceEvent::InPool(number, Box::new(event)));
            }
            InstanceEvent::Ready => parent.set_ready(),
            InstanceEvent::StopRequested => parent.request_stop(),
            event => parent.tell(event),
        };
        let link = Link::child(&self.link, Box::new(tell));
        if let Some(notice) = &self.notice {
            link.orders.ask(notice.clone(), Duration::MAX);
        }
        link
    }

    fn remove(&mut self, slot: usize) {
        self.instances.remove(&slot);
        self.count_instances();
    }

    fn count_instances(&self) {
        self.generation.alive.store(self.instances.len(), Ordering::Relaxed);
    }

    fn hear(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Up(slot) => self.up(slot),
            WorkerEvent::Failed(instance, failure) => {
                self.generation.stats.instance_failed();
                // A client can cause it, and it concerns no other request; but no client can prevent a start.
                let counts = (self.stops_app || failure.is_start) && !failure.is_shortage;
                self.tell_of(instance.number, InstanceEvent::Lost { failure, counts });
            }
            WorkerEvent::Ended(slot, instance, end) => self.ended(slot, &instance, end),
            WorkerEvent::Died(slot) => {
                self.link.tell(InstanceEvent::HostBug);
                self.remove(slot);
                self.generation.pool.ended(slot);
            }
        }
    }

    fn tell_of(&self, number: u32, event: InstanceEvent) {
        self.link.tell(InstanceEvent::InPool(number, Box::new(event)));
    }

    fn up(&mut self, slot: usize) {
        if let Some(instance) = self.instances.get(&slot) {
            self.tell_of(instance.number, InstanceEvent::Entered);
        }
        if self.progress != Progress::Starting {
            return;
        }
        // Before it is told: the switch that follows looks at it. Nobody waits for one that is not entered any more, either.
        self.generation.state.set_ready();
        if self.link.enter() {
            self.progress = Progress::Serving;
            self.own_addresses().for_each(|address| address.look());
        }
    }

    fn ended(&mut self, slot: usize, instance: &Arc<InstanceHandle>, end: InstanceEnd) {
        self.remove(slot);
        let draining = self.progress >= Progress::Draining;
        let outcome = end.unwrap_or_else(|failure| {
            self.failed(instance, failure);
            Outcome::Failed
        });
        if draining && matches!(outcome, Outcome::HookFailed | Outcome::CutOff) {
            self.judge(outcome);
        }
        let why = instance.why().map_or("failed", CloseReason::word);
        self.tell_of(instance.number, InstanceEvent::Down { why, requests: instance.served(), outcome });
        let pool = &self.generation.pool;
        // Requests wait on during a pause: another instance follows, or the app stops.
        match instance.opened.initialized() || self.pause.holds() {
            true => pool.ended(slot),
            false => pool.not_started(slot),
        }
        // The next one is there before its first request. One that fails by itself, without a request, would fail for ever.
        let replace = instance.taken() > 0 && instance.why().is_none_or(|why| why != CloseReason::Idle);
        let first = outcome == Outcome::Failed && self.progress == Progress::Starting;
        if first || (self.progress == Progress::Serving && replace) {
            pool.want(slot);
        }
    }

    /// Returns whether it is not worth while to start an instance beside so many.
    fn is_full(&self, others: usize) -> bool {
        self.full.is_some_and(|(count, at)| others >= count && at.elapsed() < NO_GROWTH)
    }

    /// Returns the weight of a failure. What a client can cause, and what the machine lacks while others serve, is not the
    /// component's.
    fn weight(&self, instance: &InstanceHandle, failure: &Failure) -> Weight {
        let generation = &self.generation;
        let serves = |other: &Arc<InstanceHandle>| other.opened.initialized() && !other.is_dead();
        // A start tells of it, and of its end: an app on a machine that is too small does not start.
        let is_shortage = failure.is_shortage && self.progress > Progress::Starting;
        if self.progress == Progress::OutOfService {
            return Weight::Nothing;
        }
        if !instance.opened.initialized() {
            return match self.instances.values().any(serves) {
                true => Weight::Extra,
                // It was under way when the failure came that the pause is for.
                false if self.pause.holds() || is_shortage => Weight::Nothing,
                false => Weight::Counts,
            };
        }
        let is_by_client = generation.has_answered_well() || instance.was_given_up();
        match is_shortage || (!self.stops_app && (is_by_client || generation.pool.is_single_use())) {
            true => Weight::Nothing,
            false => Weight::Counts,
        }
    }

    fn failed(&mut self, instance: &InstanceHandle, failure: Failure) {
        let (number, weight) = (instance.number, self.weight(instance, &failure));
        self.generation.stats.instance_failed();
        if instance.was_given_up() {
            self.generation.pool.trapped_after_departure();
        }
        if self.progress == Progress::Starting && !self.pause.is_used {
            self.judge(Outcome::Failed);
            self.link.tell(InstanceEvent::Failed(failure));
            self.end_without_start();
            return;
        }
        if weight == Weight::Extra {
            let was_told = self.is_full(usize::MAX);
            self.full = Some((self.instances.len(), Instant::now()));
            if !was_told {
                self.tell_of(number, InstanceEvent::ExtraFailed(failure));
            }
            return;
        }
        let counts = weight == Weight::Counts;
        if counts {
            self.generation.failed();
        }
        if counts && self.progress < Progress::Draining {
            // Before it is told: the answer to it is the one that counts.
            self.pause.begin();
        }
        if !counts && failure.is_shortage && self.progress == Progress::Serving && !self.pause.holds() {
            self.pause.rest();
        }
        self.tell_of(number, InstanceEvent::Lost { failure, counts });
    }
}

/// The pause after an instance has failed, where a failure means a restart. The supervisor says how long it is.
///
/// Invariant: after a failure that counts no instance is started before the supervisor has answered to it, or to a later one, and
/// the pause of its last answer is over. Slots that want one meanwhile are not forgotten.
struct RestartPause {
    link: Arc<Link>,
    /// A failure means a restart.
    is_used: bool,
    seen: u64,
    pause: Option<BoxFuture<'static, u64>>,
    slots: Vec<usize>,
}

impl RestartPause {
    fn holds(&self) -> bool {
        self.pause.is_some()
    }

    fn begin(&mut self) {
        if !self.is_used {
            return;
        }
        while let Some((count, _)) = self.link.restarts.may_restart(self.seen).now_or_never() {
            self.seen = count;
        }
        self.pause = Some(Box::pin(pause(self.link.clone(), self.seen)));
    }

    /// Begins the pause after a shortage, which costs no restart.
    fn rest(&mut self) {
        let seen = self.seen;
        self.pause = Some(Box::pin(sleep(SHORTAGE_PAUSE).map(move |()| seen)));
    }

    /// Notes that an instance is wanted in this slot. False: it may be started now.
    fn keeps(&mut self, slot: usize) -> bool {
        if self.holds() {
            self.slots.push(slot);
        }
        self.holds()
    }

    /// Returns the slots that have waited, once the pause is over. Waits for ever where there is none.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    async fn over(&mut self) -> Vec<usize> {
        let Some(pause) = self.pause.as_mut() else { return pending().await };
        self.seen = pause.await;
        self.release()
    }

    fn release(&mut self) -> Vec<usize> {
        self.pause = None;
        std::mem::take(&mut self.slots)
    }
}

/// Returns when the pause of the last answer is over, and how many answers there have been.
async fn pause(link: Arc<Link>, seen: u64) -> u64 {
    let (mut count, mut pause): (u64, Duration) = link.restarts.may_restart(seen).await;
    loop {
        tokio::select! {
            () = sleep(pause) => return count,
            later = link.restarts.may_restart(count) => (count, pause) = later,
        }
    }
}
