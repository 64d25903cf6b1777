//! The life of one generation of a component of kind `http`: its first instance, those that follow, and how all of them
//! end. What becomes of single instances is in `instances`, the pause after a failure in `restart_pause`.
//!
//! Invariant: the supervisor hears that the component has started when its first instance takes requests, and that
//! it has ended, once, when nothing of it is left: no instance, no connection, no thread, as far as those are not for
//! others. The order of a stop is: notice to the guests, listeners closed, idle connections closed, requests answered,
//! hooks, end. Who was replaced has no listeners, but requests on connections perhaps; who is asked alone on a shared
//! address leaves both to the others. Each ends with its own requests: whoever is the last on an address that drains, of
//! whatever generation, sees its connections closed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::OptionFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Sleep, sleep};

use super::generation::{Generation, Inputs};
use super::restart_pause::RestartPause;
use crate::plan::HookTiming;
use crate::runtime::{Failure, InstanceEvent, Link, Notice};
use crate::server::address::address::{Address, Stage};
use crate::server::http::health::Health;
use crate::server::instance::handle::{CloseReason, InstanceHandle};
use crate::server::instance::lifecycle::InstanceEnd;
use crate::server::servers::MakeStdio;
use crate::server::worker::fairness::FairnessTicker;
use crate::server::worker::worker::{InstanceStart, WorkerOrder};
use crate::server::worker::worker::{SharedParts, WorkerEvent};
use crate::teardown::Outcome;

/// The time that connections have to send their last bytes after their component was cut off.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long one who was asked to stop waits for the others on its address to be asked, too: those who stop together are
/// asked one after the other, and the address drains like any other then.
const TOGETHER: Duration = Duration::from_millis(10);

/// Progress of a generation. The order is the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Starting,
    Serving,
    Draining,
    Cut,
}

/// Its connections, from the notice on.
enum Connections {
    /// They may bring requests, or wait for answers.
    Served,
    /// It was cut off: they have until then to send what is left to say.
    LastWords(Pin<Box<Sleep>>),
    /// That time is over.
    Said,
    /// Its requests are answered, and the connections that nobody else works for are closed.
    Gone,
}

/// Whether it leaves its addresses to others who serve on.
enum Leaving {
    No,
    /// The others on them may be asked, too, until then.
    Waits(Pin<Box<Sleep>>),
    Alone,
}

/// The worst of its end. The order is the rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Stopped,
    HookFailed,
    CutOff,
    FailedToStart,
}

/// The parts of a controller.
pub(crate) struct ControllerParts {
    /// The generation.
    pub(crate) generation: Arc<Generation>,
    /// The addresses that are, or will be, the component's.
    pub(crate) addresses: Vec<Arc<Address>>,
    /// The conversation with the supervisor.
    pub(crate) link: Arc<Link>,
    /// The streams of its instances.
    pub(crate) make_stdio: MakeStdio,
    /// The watch on guests that compute for long.
    pub(crate) ticker: Arc<FairnessTicker>,
    /// The common parts of its instances.
    pub(crate) parts: Arc<SharedParts>,
}

/// See the module's documentation.
pub(crate) struct Controller {
    generation: Arc<Generation>,
    addresses: Vec<Arc<Address>>,
    link: Arc<Link>,
    make_stdio: MakeStdio,
    ticker: Arc<FairnessTicker>,
    parts: Arc<SharedParts>,
    tell: UnboundedSender<WorkerEvent>,
    instances: BTreeMap<usize, Arc<InstanceHandle>>,
    serial: u32,
    progress: Progress,
    notice: Option<Notice>,
    hold: RestartPause,
    health: Health,
    /// The time at which hooks are called next to requests.
    half: Option<Pin<Box<Sleep>>>,
    leaving: Leaving,
    connections: Connections,
    verdict: Verdict,
}

impl Connections {
    fn timer(&mut self) -> Option<&mut Pin<Box<Sleep>>> {
        if let Self::LastWords(timer) = self { Some(timer) } else { None }
    }
}

impl Leaving {
    fn timer(&mut self) -> Option<&mut Pin<Box<Sleep>>> {
        if let Self::Waits(timer) = self { Some(timer) } else { None }
    }
}

impl Controller {
    /// Controls the generation from its start to its end.
    pub(crate) async fn control(parts: ControllerParts, inputs: Inputs) {
        let Inputs { starts, events, tell } = inputs;
        let mut controller = Self::new(parts, tell);
        controller.run(starts, events).await;
        controller.end().await;
    }

    fn new(from: ControllerParts, tell: UnboundedSender<WorkerEvent>) -> Self {
        let ControllerParts { generation, addresses, link, make_stdio, ticker, parts } = from;
        let on_failure = generation.plan.resolve(&generation.loaded.defaults).on_failure;
        Self {
            hold: RestartPause::new(link.clone(), on_failure),
            health: Health::new(generation.plan.health.as_ref(), generation.pool.clone()),
            generation,
            addresses,
            link,
            make_stdio,
            ticker,
            parts,
            tell,
            instances: BTreeMap::new(),
            serial: 0,
            progress: Progress::Starting,
            notice: None,
            half: None,
            leaving: Leaving::No,
            connections: Connections::Served,
            verdict: Verdict::Stopped,
        }
    }

    async fn run(
        &mut self,
        mut starts: UnboundedReceiver<usize>,
        mut events: UnboundedReceiver<WorkerEvent>,
    ) {
        self.generation.pool.want(0);
        let mut winding = false;
        while !self.is_over() {
            let (link, generation) = (self.link.clone(), self.generation.clone());
            let draining = self.progress >= Progress::Draining;
            let serving = self.progress == Progress::Serving && !self.hold.holds();
            tokio::select! {
                biased;
                () = link.orders.must_drop(), if self.progress < Progress::Cut => self.cut(),
                notice = link.orders.asked(), if !draining => self.drain(notice),
                () = link.orders.winding_down(), if !winding && !draining => {
                    winding = true;
                    self.own_addresses().for_each(|address| address.raise(Stage::Delay));
                }
                Some(event) = events.recv() => self.hear(event),
                Some(slot) = starts.recv() => self.start(slot),
                slots = self.hold.over() => slots.into_iter().for_each(|slot| self.start(slot)),
                Some(()) = OptionFuture::from(self.half.as_mut()) => {
                    self.half = None;
                    self.generation.pool.call_hooks_now();
                }
                Some(()) = OptionFuture::from(self.leaving.timer()) => self.leaving = Leaving::Alone,
                Some(()) = OptionFuture::from(self.connections.timer()) => {
                    self.connections = Connections::Said;
                    self.set_over();
                }
                what = self.health.failed(), if serving => self.link.tell(InstanceEvent::Unhealthy(what)),
                () = generation.changed(), if draining => {}
            }
            self.look();
        }
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

    /// Has no more use for connections.
    fn set_over(&self) {
        self.generation.state.set_over();
        self.addresses.iter().for_each(|address| address.look());
    }

    /// Returns whether another generation has taken over, wherever this one served.
    fn has_successor(&self) -> bool {
        let (id, name) = (self.generation.id, &self.generation.plan.name);
        let mut own = self.addresses.iter().filter(|address| address.routing().names_one(name)).peekable();
        own.peek().is_some() && own.all(|address| !address.routing().has(id))
    }

    fn is_alone(&self) -> bool {
        matches!(self.leaving, Leaving::Alone)
    }

    fn intake_is_over(&self) -> bool {
        let over = |address: &Arc<Address>| {
            address.intake_is_over() || (self.is_alone() && address.stage() < Stage::Drain)
        };
        self.own_addresses().all(over)
    }

    /// Returns whether its requests are answered; and whether the connections on its addresses are closed, where
    /// those close and nobody else is left to see to that.
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

    /// Ends a component that never served.
    fn end_without_start(&mut self) {
        self.progress = Progress::Draining;
        self.health = Health::none();
        self.generation.drain();
        self.generation.pool.call_hooks_now();
        // The others on the address do not wait for it.
        self.generation.state.set_ready();
        self.generation.state.set_asked();
        self.leaving = Leaving::Alone;
        self.drop_held();
        self.own_addresses().for_each(|address| address.look());
    }

    fn drain(&mut self, notice: Notice) {
        self.progress = Progress::Draining;
        self.health = Health::none();
        for instance in self.instances.values() {
            instance.link.orders.ask(notice.clone(), Duration::MAX);
        }
        if self.generation.loaded.run.is_async && self.generation.loaded.timing == HookTiming::AfterDrain {
            self.half = Some(Box::pin(sleep(notice.grace / 2)));
        }
        self.notice = Some(notice);
        self.generation.drain();
        if self.has_successor() {
            self.generation.pool.give_back();
        }
        self.generation.state.set_ready();
        self.generation.state.set_asked();
        self.own_addresses().for_each(|address| address.look());
        if self.own_addresses().any(|address| address.stage() < Stage::Drain) {
            self.leaving = Leaving::Waits(Box::pin(sleep(TOGETHER)));
        }
        match self.generation.pool.has_waiting() {
            true => self.hold.release().into_iter().for_each(|slot| self.start(slot)),
            false => self.drop_held(),
        }
    }

    fn drop_held(&mut self) {
        for slot in self.hold.release() {
            self.generation.pool.not_started(slot);
        }
    }

    /// Cuts off whatever is left, or gives up what has not started.
    fn cut(&mut self) {
        if self.progress < Progress::Draining {
            self.end_without_start();
        }
        self.progress = Progress::Cut;
        self.leaving = Leaving::Alone;
        if self.generation.stats.in_flight() > 0 {
            self.judge(Verdict::CutOff);
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

    fn judge(&mut self, verdict: Verdict) {
        self.verdict = self.verdict.max(verdict);
    }

    /// Leaves its addresses and threads to others, or waits until nothing is left of them.
    async fn end(self) {
        self.set_over();
        let workers = self.generation.workers.clone();
        // Threads that still serve connections for others end with those.
        let last = workers.leave(self.generation.id) && workers.connections() == 0;
        let leaked = last && workers.all_gone().await;
        self.link.tell(InstanceEvent::Ended(match self.verdict {
            Verdict::FailedToStart => Outcome::Failed,
            _ if self.link.orders.is_abandoned() => Outcome::NotStarted,
            Verdict::CutOff if leaked => Outcome::Leaked,
            Verdict::CutOff => Outcome::CutOff,
            Verdict::HookFailed => Outcome::HookFailed,
            Verdict::Stopped => Outcome::Stopped,
        }));
    }

    /// Starts an instance, or notes that it has to wait.
    fn start(&mut self, slot: usize) {
        if self.progress == Progress::Cut {
            self.generation.pool.not_started(slot);
            return;
        }
        if self.hold.keeps(slot) {
            return;
        }
        self.serial += 1;
        let (number, events, parent) = (self.serial, self.tell.clone(), self.link.clone());
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
        let (turn, is_async) = (self.ticker.turn(), self.generation.loaded.run.is_async);
        let instance = InstanceHandle::new(number, slot, link, turn, is_async, &self.generation.pool);
        self.generation.stats.instance_started();
        self.instances.insert(slot, instance.clone());
        self.count_instances();
        let (stdio, finish) = (self.make_stdio)();
        let (parts, tell) = (self.parts.clone(), self.tell.clone());
        let start = InstanceStart { parts, instance: instance.clone(), stdio, finish, tell };
        if let Err(error) = self.generation.workers.order(slot, WorkerOrder::InstanceStart(Box::new(start))) {
            let summary = format!("no thread for it: {error}");
            let failure = Some(Failure { summary, backtrace: None, exit_code: None });
            self.ended(slot, &instance, InstanceEnd { outcome: Outcome::Failed, failure });
        }
    }

    fn count_instances(&self) {
        self.generation.alive.store(self.instances.len(), Ordering::Relaxed);
    }

    fn hear(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Up(slot) => self.up(slot),
            WorkerEvent::Ended(slot, instance, end) => self.ended(slot, &instance, end),
            WorkerEvent::Died(slot) => {
                self.link.tell(InstanceEvent::HostBug);
                self.instances.remove(&slot);
                self.count_instances();
                self.generation.pool.ended(slot);
            }
        }
    }

    fn up(&mut self, slot: usize) {
        if let Some(instance) = self.instances.get(&slot) {
            let event = InstanceEvent::InPool(instance.number, Box::new(InstanceEvent::Entered));
            self.link.tell(event);
        }
        if self.progress == Progress::Starting && self.link.enter() {
            self.progress = Progress::Serving;
            self.generation.state.set_ready();
            self.own_addresses().for_each(|address| address.look());
        }
    }

    fn ended(&mut self, slot: usize, instance: &Arc<InstanceHandle>, end: InstanceEnd) {
        self.instances.remove(&slot);
        self.count_instances();
        let number = instance.number;
        let draining = self.progress >= Progress::Draining;
        let failed = end.outcome == Outcome::Failed;
        match end.outcome {
            Outcome::Failed => self.failed(number, end.failure.unwrap_or_else(unknown)),
            Outcome::HookFailed if draining => self.judge(Verdict::HookFailed),
            Outcome::CutOff | Outcome::Leaked if draining => self.judge(Verdict::CutOff),
            _ => {}
        }
        let why = instance.why().map_or("failed", CloseReason::word);
        let event = InstanceEvent::Down { why, requests: instance.taken(), outcome: end.outcome };
        self.link.tell(InstanceEvent::InPool(number, Box::new(event)));
        let pool = &self.generation.pool;
        // Requests wait on during a pause: another instance follows, or the app stops.
        match instance.is_open() || self.hold.holds() {
            true => pool.ended(slot),
            false => pool.not_started(slot),
        }
        // The next one is there before its first request, unless nobody needs it: one that fails by itself, without
        // a request, would fail for ever.
        let replace = instance.taken() > 0 && instance.why().is_none_or(|why| why != CloseReason::Idle);
        let first = failed && self.progress == Progress::Starting;
        if first || (self.progress == Progress::Serving && replace) {
            pool.want(slot);
        }
    }

    fn failed(&mut self, number: u32, failure: Failure) {
        self.generation.stats.instance_failed();
        if self.progress == Progress::Starting && !self.hold.is_used() {
            self.judge(Verdict::FailedToStart);
            self.link.tell(InstanceEvent::Failed(failure));
            self.end_without_start();
            return;
        }
        if self.progress < Progress::Draining {
            // Before it is told: the answer to it is the one that counts.
            self.hold.begin();
        }
        self.link.tell(InstanceEvent::InPool(number, Box::new(InstanceEvent::Failed(failure))));
    }
}

fn unknown() -> Failure {
    Failure { summary: "failed".to_owned(), backtrace: None, exit_code: None }
}
