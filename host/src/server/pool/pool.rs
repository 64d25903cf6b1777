//! Which instance serves which request: the slots of one component, and the requests that wait for one.
//!
//! Invariant: no more instances exist than there are slots; a request waits in one queue at most, and queues are
//! bounded; whoever can serve is woken whenever somebody waits. Nothing in here waits or knows of sockets.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::job::{Job, Work};
use crate::server::instance::handle::{CloseReason, InstanceHandle};

/// Limits of the instances of one generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolLimits {
    /// Most instances at a time.
    pub(crate) max: usize,
    /// Most requests in one of them at a time.
    pub(crate) concurrency: usize,
    /// Requests after which an instance is replaced; 0 is never.
    pub(crate) requests: u64,
    /// Most requests that wait when all instances are busy.
    pub(crate) queue: usize,
}

/// Why a request was not taken: too many wait already, or the component takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubmitError {
    QueueFull,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no instance.
    Vacant,
    /// An instance is on its way.
    Starting,
    /// The instance takes requests.
    Open,
    /// It computes and does not come back to its loop: it takes no requests until it does.
    Spinning,
    /// It takes no more requests, and ends.
    Closing,
}

#[derive(Debug)]
struct Slot {
    phase: Phase,
    instance: Option<Arc<InstanceHandle>>,
    /// Requests that came in on the slot's own thread: they go to its own instance as long as that can.
    local: VecDeque<Job>,
}

impl Slot {
    fn has(&self, instance: &InstanceHandle) -> bool {
        self.instance.as_ref().is_some_and(|own| std::ptr::eq(Arc::as_ptr(own), instance))
    }

    fn can_take(&self, concurrency: usize) -> bool {
        self.phase == Phase::Open
            && self.instance.as_ref().is_some_and(|instance| instance.busy() < concurrency)
    }
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    global: VecDeque<Job>,
    stopped: bool,
}

/// The instances of one component.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: PoolLimits,
    state: Mutex<State>,
    waiting: AtomicUsize,
    intake_over: AtomicBool,
    hooks_due: AtomicBool,
    starts: mpsc::UnboundedSender<usize>,
}

/// Work to do after the lock is released: waking and dropping run foreign code.
#[derive(Default)]
struct Aftermath {
    wake: Option<Arc<InstanceHandle>>,
    drop: Vec<Job>,
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        if let Some(instance) = &self.wake {
            instance.wake();
        }
    }
}

impl Pool {
    /// Returns a pool without instances; `starts` receives the slots in which one shall be started.
    pub(crate) fn new(limits: PoolLimits, starts: mpsc::UnboundedSender<usize>) -> Arc<Self> {
        let vacant = |_| Slot { phase: Phase::Vacant, instance: None, local: VecDeque::new() };
        let slots = (0..limits.max).map(vacant).collect();
        Arc::new(Self {
            limits,
            state: Mutex::new(State { slots, global: VecDeque::new(), stopped: false }),
            waiting: AtomicUsize::new(0),
            intake_over: AtomicBool::new(false),
            hooks_due: AtomicBool::new(false),
            starts,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands in a request that came in on the thread of slot `home`, if that is one of this component's.
    ///
    /// # Errors
    /// When it is not taken: it comes back, for somebody else or to be answered by whoever asked.
    pub(crate) fn submit(&self, home: Option<usize>, job: Job) -> Result<(), (SubmitError, Box<Job>)> {
        let mut after = Aftermath::default();
        let mut state = self.lock();
        if state.stopped {
            return Err((SubmitError::Stopped, Box::new(job)));
        }
        let waiting = self.waiting.load(Ordering::SeqCst);
        let full = || waiting >= self.limits.queue && waiting >= self.limits.queue + self.free(&state);
        if !job.has_waited && full() {
            return Err((SubmitError::QueueFull, Box::new(job)));
        }
        // First this, then the look at who can take: `finished` does it the other way round.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        match home.and_then(|home| state.slots.get_mut(home)) {
            Some(slot) if slot.can_take(self.limits.concurrency) => {
                slot.local.push_back(job);
                after.wake = slot.instance.clone();
            }
            _ => {
                state.global.push_back(job);
                self.find_taker(&mut state, home, &mut after);
            }
        }
        Ok(())
    }

    /// Returns how many more requests could be taken at once, with all instances that may exist.
    fn free(&self, state: &State) -> usize {
        let room = |slot: &Slot| match (slot.phase, &slot.instance) {
            (Phase::Open, Some(instance)) => self.limits.concurrency.saturating_sub(instance.busy()),
            (Phase::Vacant | Phase::Starting, _) => self.limits.concurrency,
            (Phase::Open | Phase::Spinning | Phase::Closing, _) => 0,
        };
        state.slots.iter().map(room).sum()
    }

    /// Wakes somebody for the requests in the global queue, or has an instance started: in the slot they came in on, so
    /// that they stay on one thread, unless somebody has nothing to do; or else in any.
    fn find_taker(&self, state: &mut State, home: Option<usize>, after: &mut Aftermath) {
        if self.hooks_are_due() {
            return self.drop_waiting_if_nobody_is_left(state, after);
        }
        let own = home.filter(|home| state.slots.get(*home).is_some_and(|slot| slot.phase == Phase::Vacant));
        let able = state.slots.iter().find(|slot| slot.can_take(self.limits.concurrency));
        after.wake = able.and_then(|slot| slot.instance.clone());
        let starting = state.slots.iter().filter(|slot| slot.phase == Phase::Starting).count();
        let covered = after.wake.is_some() || state.global.len() <= starting * self.limits.concurrency;
        let vacant = || state.slots.iter().position(|slot| slot.phase == Phase::Vacant);
        let own = own.filter(|_| after.wake.as_ref().is_none_or(|instance| instance.busy() > 0));
        let start = if covered { own } else { own.or_else(vacant) };
        if let Some(at) = start {
            self.start(state, at);
        }
    }

    fn start(&self, state: &mut State, at: usize) {
        if let Some(slot) = state.slots.get_mut(at) {
            slot.phase = Phase::Starting;
            // Without a controller the component has ended.
            let _ended = self.starts.send(at);
        }
    }

    /// Has an instance started in this slot, unless there is one.
    pub(crate) fn want(&self, at: usize) {
        let mut state = self.lock();
        let is_vacant = state.slots.get(at).is_some_and(|slot| slot.phase == Phase::Vacant);
        if is_vacant && !state.stopped {
            self.start(&mut state, at);
        }
    }

    /// Lets an instance take requests.
    pub(crate) fn opened(&self, instance: &Arc<InstanceHandle>) {
        if let Some(slot) = self.lock().slots.get_mut(instance.slot) {
            slot.phase = Phase::Open;
            slot.instance = Some(instance.clone());
        }
        instance.open();
    }

    /// Returns the next request for this instance, if it can take one. Its clients may have left meanwhile: such
    /// requests are dropped.
    pub(crate) fn take(&self, instance: &Arc<InstanceHandle>) -> Option<Job> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut after = Aftermath::default();
        let mut state = self.lock();
        if !state.slots.get(instance.slot)?.can_take(self.limits.concurrency) {
            return None;
        }
        let job = loop {
            let State { slots, global, .. } = &mut *state;
            let job = slots.get_mut(instance.slot)?.local.pop_front().or_else(|| global.pop_front())?;
            self.no_longer_wait(&state, 1);
            if job.claim.take(instance) {
                break job;
            }
            after.drop.push(job);
        };
        let taken = instance.count_taken();
        if self.limits.requests > 0 && taken >= self.limits.requests {
            instance.close(CloseReason::Requests);
            if let Some(slot) = state.slots.get_mut(instance.slot) {
                slot.phase = Phase::Closing;
            }
            self.pass_on(&mut state, instance.slot, &mut after);
        }
        Some(job)
    }

    /// Drops requests whose clients have left while they waited.
    pub(crate) fn drop_left(&self) {
        // Dropped without the lock.
        let _left = self.remove(|job| job.claim.was_left());
    }

    /// Takes some of what waits out of the queues.
    fn remove(&self, goes: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut removed = Vec::new();
        let mut state = self.lock();
        let State { slots, global, .. } = &mut *state;
        for queue in slots.iter_mut().map(|slot| &mut slot.local).chain([global]) {
            let (go, stay) = queue.drain(..).partition::<Vec<_>, _>(&goes);
            queue.extend(stay);
            removed.extend(go);
        }
        self.no_longer_wait(&state, removed.len());
        removed
    }

    /// Notes that so many requests have left the queues. If they were the last, and no more come, everybody ends.
    fn no_longer_wait(&self, state: &State, count: usize) {
        if count > 0 && self.waiting.fetch_sub(count, Ordering::SeqCst) == count && self.is_stopping() {
            self.wake_all(state);
        }
    }

    /// Notes that an instance has room for a request more.
    pub(crate) fn finished(&self, instance: &InstanceHandle) {
        if self.waiting.load(Ordering::SeqCst) > 0 || instance.is_closing() || self.is_stopping() {
            instance.wake();
        }
    }

    /// Notes whether the instance comes back to its loop; one that computes for long gives its requests away.
    pub(crate) fn set_spinning(&self, instance: &InstanceHandle, spinning: bool) {
        let mut after = Aftermath::default();
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(instance.slot) else { return };
        match (slot.phase, spinning) {
            (Phase::Open, true) => {
                slot.phase = Phase::Spinning;
                self.pass_on(&mut state, instance.slot, &mut after);
            }
            (Phase::Spinning, false) => slot.phase = Phase::Open,
            _ => {}
        }
    }

    /// Finds others for what waits if the instance is parked with all it can take.
    pub(crate) fn settle(&self, instance: &InstanceHandle) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut after = Aftermath::default();
        let mut state = self.lock();
        if state.slots.get(instance.slot).is_some_and(|slot| !slot.can_take(self.limits.concurrency)) {
            self.pass_on(&mut state, instance.slot, &mut after);
        }
    }

    /// Finds others for all that waits: the instance of this slot cannot take it.
    fn pass_on(&self, state: &mut State, at: usize, after: &mut Aftermath) {
        if let Some(slot) = state.slots.get_mut(at) {
            state.global.append(&mut slot.local);
        }
        if !state.global.is_empty() {
            self.find_taker(state, None, after);
        }
    }

    /// Lets an instance take no more requests, and end. The first reason counts.
    pub(crate) fn close(&self, instance: &InstanceHandle, why: CloseReason) {
        let mut after = Aftermath::default();
        self.close_in(&mut self.lock(), instance, why, &mut after);
        instance.wake();
    }

    fn close_in(
        &self,
        state: &mut State,
        instance: &InstanceHandle,
        why: CloseReason,
        after: &mut Aftermath,
    ) {
        instance.close(why);
        if let Some(slot) = state.slots.get_mut(instance.slot).filter(|slot| slot.has(instance)) {
            slot.phase = Phase::Closing;
            self.pass_on(state, instance.slot, after);
        }
    }

    /// The same, unless nobody else takes requests.
    pub(crate) fn close_surplus(&self, instance: &InstanceHandle) -> bool {
        let mut after = Aftermath::default();
        let mut state = self.lock();
        let other = state.slots.iter().any(|slot| slot.phase == Phase::Open && !slot.has(instance));
        let surplus = other && self.waiting.load(Ordering::SeqCst) == 0;
        if surplus {
            self.close_in(&mut state, instance, CloseReason::Idle, &mut after);
        }
        drop(state);
        instance.wake();
        surplus
    }

    /// Notes that the instance of a slot is no more. If requests wait, the next one is asked for.
    pub(crate) fn ended(&self, at: usize) {
        let mut after = Aftermath::default();
        let mut state = self.lock();
        if let Some(slot) = state.slots.get_mut(at) {
            slot.phase = Phase::Vacant;
            slot.instance = None;
        }
        self.pass_on(&mut state, at, &mut after);
    }

    /// The same for an instance that could not be started: whoever waits gets no answer if nobody else is there,
    /// or each of them would try again.
    pub(crate) fn not_started(&self, at: usize) {
        let mut after = Aftermath::default();
        let mut state = self.lock();
        if let Some(slot) = state.slots.get_mut(at) {
            slot.phase = Phase::Vacant;
        }
        self.drop_waiting_if_nobody_is_left(&mut state, &mut after);
    }

    fn drop_waiting_if_nobody_is_left(&self, state: &mut State, after: &mut Aftermath) {
        let serves = |slot: &Slot| matches!(slot.phase, Phase::Open | Phase::Spinning | Phase::Starting);
        if !state.slots.iter().any(serves) {
            let dropped = state.global.len();
            after.drop.extend(state.global.drain(..));
            self.no_longer_wait(state, dropped);
        }
    }

    /// Takes no more requests; those that wait are still served.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        self.intake_over.store(true, Ordering::SeqCst);
        self.wake_all(&state);
    }

    /// Gives the requests that wait back, for whoever has taken over. Connections are still served.
    pub(crate) fn give_back(&self) {
        let requests = self.remove(|job| matches!(job.work, Work::Request(..)));
        requests.into_iter().for_each(Job::give_back);
    }

    /// Tells async instances that their hooks are due, whatever is in flight. They take no more requests, and no
    /// others are started.
    pub(crate) fn call_hooks_now(&self) {
        let mut state = self.lock();
        state.stopped = true;
        self.hooks_due.store(true, Ordering::SeqCst);
        self.wake_all(&state);
    }

    fn wake_all(&self, state: &State) {
        state.slots.iter().filter_map(|slot| slot.instance.as_ref()).for_each(|instance| instance.wake());
    }

    fn is_stopping(&self) -> bool {
        self.intake_over.load(Ordering::SeqCst) || self.hooks_are_due()
    }

    /// Returns whether no request can come any more.
    pub(crate) fn intake_is_over(&self) -> bool {
        self.intake_over.load(Ordering::SeqCst)
    }

    /// Returns whether requests are refused.
    pub(crate) fn takes_none(&self) -> bool {
        self.lock().stopped
    }

    /// Returns whether a request waits.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Returns whether no request can come any more, and none waits.
    pub(crate) fn is_drained(&self) -> bool {
        self.intake_over.load(Ordering::SeqCst) && self.waiting.load(Ordering::SeqCst) == 0
    }

    /// Returns whether hooks are called next to requests.
    pub(crate) fn hooks_are_due(&self) -> bool {
        self.hooks_due.load(Ordering::SeqCst)
    }
}
