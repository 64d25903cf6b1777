//! Which instance serves which request: the slots of one component, the requests that wait for one, and whether their clients
//! wait for them.
//!
//! Invariant: no more instances exist than there are slots; a request waits in one queue at most, and queues are bounded; an
//! instance that can serve is woken whenever a request waits. An instance counts a request as in flight until its call has
//! returned and its client has the whole answer, or has left and the rest is read on no more; and as live until its client has the
//! answer or has left. Nothing in here waits or knows of sockets. A connection that has several requests at a time holds no more
//! than its share of the places.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::claim::{Claim, Job, Work};
use super::share::Shares;
use crate::server::instance::{CloseReason, InstanceHandle};

#[derive(Clone, Debug)]
pub(crate) struct PoolLimits {
    /// Most requests at a time in each slot.
    pub(crate) rooms: Vec<usize>,
    /// Requests after which an instance is replaced; 0 is never.
    pub(crate) requests: u64,
    /// Most requests that wait when all instances are busy.
    pub(crate) queue: usize,
}

/// Reason to refuse a request: too many wait already, or the component takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubmitError {
    QueueFull,
    Stopped,
    /// It has spent its restart budget.
    OutOfService,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Vacant,
    Starting,
    Open,
    /// The instance computes and does not come back to its loop: it takes no requests until it does.
    Spinning,
    /// It takes no more requests, and ends.
    Closing,
}

#[derive(Debug)]
struct Slot {
    /// Most requests in it at a time.
    room: usize,
    phase: Phase,
    instance: Option<Arc<InstanceHandle>>,
    /// Requests that came in on the slot's own thread: they go to its own instance as long as that can.
    local: VecDeque<Job>,
}

impl Slot {
    fn has(&self, instance: &InstanceHandle) -> bool {
        self.instance.as_ref().is_some_and(|own| std::ptr::eq(Arc::as_ptr(own), instance))
    }

    fn can_take(&self) -> bool {
        self.phase == Phase::Open
            && self.instance.as_ref().is_some_and(|instance| instance.busy() < self.room)
    }
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    global: VecDeque<Job>,
    /// Set once no request is taken any more.
    refusal: Option<SubmitError>,
}

#[derive(Debug)]
pub(crate) struct Pool {
    limits: PoolLimits,
    pub(super) shares: Shares,
    state: Mutex<State>,
    waiting: AtomicUsize,
    intake_over: AtomicBool,
    hooks_due: AtomicBool,
    departure_traps: AtomicBool,
    starts: UnboundedSender<usize>,
}

impl Pool {
    /// Returns a pool without instances; `starts` receives the slots in which one shall be started.
    pub(crate) fn new(limits: PoolLimits, starts: UnboundedSender<usize>) -> Arc<Self> {
        let vacant =
            |room: &usize| Slot { room: *room, phase: Phase::Vacant, instance: None, local: VecDeque::new() };
        let slots = limits.rooms.iter().map(vacant).collect();
        let shares = Shares::new(limits.rooms.iter().sum());
        Arc::new(Self {
            limits,
            shares,
            state: Mutex::new(State { slots, global: VecDeque::new(), refusal: None }),
            waiting: AtomicUsize::new(0),
            intake_over: AtomicBool::new(false),
            hooks_due: AtomicBool::new(false),
            departure_traps: AtomicBool::new(false),
            starts,
        })
    }

    fn lock(&self) -> Locked<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { pool: self, state, after: Aftermath::default() }
    }

    /// Hands in a request that came in on the thread of slot `home`, if that is one of this component's.
    ///
    /// # Errors
    /// When it is not taken: it comes back, for another pool or to be answered by the caller.
    pub(crate) fn submit(&self, home: Option<usize>, job: Job) -> Result<(), (SubmitError, Box<Job>)> {
        let mut locked = self.lock();
        if let Some(refusal) = locked.state.refusal {
            return Err((refusal, Box::new(job)));
        }
        let waiting = self.waiting.load(SeqCst);
        // One that would not get a free place has no use for it.
        let free = || if self.shares.may_take(&job.claim.holder) { locked.free() } else { 0 };
        let full = || waiting >= self.limits.queue && waiting >= self.limits.queue + free();
        if !job.has_waited && full() {
            return Err((SubmitError::QueueFull, Box::new(job)));
        }
        // First this, then the look at who can take: `finished` does it the other way round.
        self.waiting.fetch_add(1, SeqCst);
        match home.and_then(|home| locked.state.slots.get_mut(home)) {
            Some(slot) if slot.can_take() && self.shares.may_take(&job.claim.holder) => {
                slot.local.push_back(job);
                locked.after.wake = slot.instance.clone();
            }
            _ => {
                locked.state.global.push_back(job);
                locked.find_taker(home);
            }
        }
        Ok(())
    }

    /// Has an instance started in this slot, unless there is one.
    pub(crate) fn want(&self, at: usize) {
        let mut locked = self.lock();
        let is_vacant = locked.state.slots.get(at).is_some_and(|slot| slot.phase == Phase::Vacant);
        if is_vacant && locked.state.refusal.is_none() {
            locked.start(at);
        }
    }

    pub(crate) fn opened(&self, instance: &Arc<InstanceHandle>) {
        if let Some(slot) = self.lock().state.slots.get_mut(instance.slot) {
            slot.phase = Phase::Open;
            slot.instance = Some(instance.clone());
        }
        let _again = instance.opened.set(());
    }

    /// Returns the next request for this instance, if it can take one. Requests whose clients have left are dropped.
    pub(crate) fn take(&self, instance: &Arc<InstanceHandle>) -> Option<Job> {
        if !self.has_waiting() {
            return None;
        }
        let mut locked = self.lock();
        if !locked.can_take(instance.slot) {
            return None;
        }
        let job = loop {
            let State { slots, global, .. } = &mut *locked.state;
            let local = &mut slots.get_mut(instance.slot)?.local;
            // Those that have come to hold their share meanwhile are for any instance in which a place of theirs ends.
            let job = self.next(local).or_else(|| {
                global.append(local);
                self.next(global)
            })?;
            locked.no_longer_wait(1);
            if job.claim.take(instance) {
                break job;
            }
            locked.after.drop.push(job);
        };
        let taken = instance.count_taken();
        if self.limits.requests > 0 && taken >= self.limits.requests {
            locked.close(instance, CloseReason::Requests);
        }
        Some(job)
    }

    /// Returns the next job of a queue: the first of those whose connections hold less than their share.
    fn next(&self, queue: &mut VecDeque<Job>) -> Option<Job> {
        match queue.iter().position(|job| self.shares.holds_less(&job.claim.holder)) {
            Some(at) => queue.remove(at),
            None if queue.front().is_some_and(|job| self.shares.may_take(&job.claim.holder)) => {
                queue.pop_front()
            }
            None => None,
        }
    }

    /// Drops requests whose clients have left while they waited.
    pub(crate) fn drop_left(&self) {
        // Dropped without the lock.
        let _left = self.remove(|job| job.claim.was_left());
    }

    fn remove(&self, goes: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut removed = Vec::new();
        let mut locked = self.lock();
        let State { slots, global, .. } = &mut *locked.state;
        for queue in slots.iter_mut().map(|slot| &mut slot.local).chain([global]) {
            let (go, stay) = queue.drain(..).partition::<Vec<_>, _>(&goes);
            queue.extend(stay);
            removed.extend(go);
        }
        locked.no_longer_wait(removed.len());
        removed
    }

    /// Notes that an instance has room for a request more.
    pub(crate) fn finished(&self, instance: &InstanceHandle) {
        if self.has_waiting() || instance.is_closing() || self.intake_is_over() || self.hooks_are_due() {
            instance.wake();
        }
        if instance.is_dead() && self.has_waiting() {
            // A place of a connection that holds its share can have ended: another instance may take what waits.
            self.lock().find_taker(None);
        }
    }

    /// Notes whether the instance comes back to its loop; one that computes for long gives its requests away.
    pub(crate) fn set_spinning(&self, instance: &InstanceHandle, spinning: bool) {
        let mut locked = self.lock();
        let Some(slot) = locked.state.slots.get_mut(instance.slot) else { return };
        match (slot.phase, spinning) {
            (Phase::Open, true) => {
                slot.phase = Phase::Spinning;
                locked.pass_on(instance.slot);
            }
            (Phase::Spinning, false) => slot.phase = Phase::Open,
            _ => {}
        }
    }

    /// Finds others for what waits if the instance is parked with all it can take.
    pub(crate) fn settle(&self, instance: &InstanceHandle) {
        if !self.has_waiting() {
            return;
        }
        let mut locked = self.lock();
        if !locked.can_take(instance.slot) {
            locked.pass_on(instance.slot);
        }
    }

    /// Lets an instance take no more requests, and end. The first reason counts.
    pub(crate) fn close(&self, instance: &InstanceHandle, why: CloseReason) {
        self.lock().close(instance, why);
        instance.wake();
    }

    /// Ends the call of a request that has overrun its time: by itself if it has an instance of its own, with its instance otherwise.
    pub(crate) fn time_out(&self, claim: &Claim) {
        match claim.taker() {
            Some(instance) if instance.is_fresh => claim.cut(),
            Some(instance) => self.close(instance, CloseReason::Timeout),
            None => {}
        }
    }

    /// Closes an idle instance, unless no other takes requests.
    pub(crate) fn close_surplus(&self, instance: &InstanceHandle) -> bool {
        let mut locked = self.lock();
        let mut slots = locked.state.slots.iter();
        let other = slots.any(|slot| slot.phase == Phase::Open && !slot.has(instance));
        let surplus = other && !self.has_waiting();
        if surplus {
            locked.close(instance, CloseReason::Idle);
        }
        drop(locked);
        instance.wake();
        surplus
    }

    /// Notes that the instance of a slot is no more. If requests wait, the next one is asked for.
    pub(crate) fn ended(&self, at: usize) {
        self.vacate(at).pass_on(at);
    }

    /// Notes that an instance could not be started: requests that wait get no answer if no other is there, or each of them
    /// would have it tried again.
    pub(crate) fn not_started(&self, at: usize) {
        let mut locked = self.vacate(at);
        // One that takes no more requests makes room for another when it ends.
        if locked.state.slots.iter().all(|slot| slot.phase == Phase::Vacant) {
            locked.drop_waiting();
        }
    }

    fn vacate(&self, at: usize) -> Locked<'_> {
        let mut locked = self.lock();
        if let Some(slot) = locked.state.slots.get_mut(at) {
            slot.phase = Phase::Vacant;
            slot.instance = None;
        }
        locked
    }

    /// Takes no more requests; those that wait are still served.
    pub(crate) fn stop(&self) {
        self.refuse(&self.intake_over);
    }

    /// Tells async instances that their hooks are due, whatever is in flight. They take no more requests, and no
    /// others are started.
    pub(crate) fn call_hooks_now(&self) {
        self.refuse(&self.hooks_due);
    }

    fn refuse(&self, why: &AtomicBool) {
        let mut locked = self.lock();
        locked.state.refusal.get_or_insert(SubmitError::Stopped);
        why.store(true, SeqCst);
        locked.wake_all();
    }

    /// Takes no more requests, because its component is out of service. Those that wait are given back, and refused like the
    /// others. Connections that wait are dropped.
    pub(crate) fn leave_service(&self) {
        self.lock().state.refusal.get_or_insert(SubmitError::OutOfService);
        self.remove(|_| true).into_iter().for_each(Job::give_back);
    }

    /// Gives the requests that wait back, for the generation that has taken over. Connections are still served.
    pub(crate) fn give_back(&self) {
        let requests = self.remove(|job| matches!(job.work, Work::Request(..)));
        requests.into_iter().for_each(Job::give_back);
    }

    /// Returns whether each request gets an instance of its own.
    pub(crate) fn is_single_use(&self) -> bool {
        self.limits.requests == 1
    }

    /// Returns whether no request can come any more.
    pub(crate) fn intake_is_over(&self) -> bool {
        self.intake_over.load(SeqCst)
    }

    pub(crate) fn takes_none(&self) -> bool {
        self.lock().state.refusal.is_some()
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting() > 0
    }

    /// Returns once requests have waited for this long (or up to twice as long), and no instance takes any or could be started: all of
    /// them are about to end.
    pub(crate) async fn starved(&self, time: Duration) {
        let is_starved =
            || self.has_waiting() && self.lock().state.slots.iter().all(|slot| slot.phase == Phase::Closing);
        let mut was_starved = false;
        while !(was_starved && is_starved()) {
            was_starved = is_starved();
            tokio::time::sleep(time).await;
        }
    }

    /// Returns whether this request may have a free place.
    #[cfg(test)]
    pub(super) fn may_take(&self, claim: &Claim) -> bool {
        self.shares.may_take(&claim.holder)
    }

    /// Returns the number of calls that go on although their clients have left.
    pub(crate) fn orphans(&self) -> usize {
        self.shares.orphans()
    }

    /// Returns the number of requests that wait for an instance.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Notes that an instance has trapped after the departure of a client.
    pub(crate) fn trapped_after_departure(&self) {
        self.departure_traps.store(true, SeqCst);
    }

    /// Returns whether a guest that hears of a departure may trap: one of its component did.
    pub(crate) fn traps_after_departures(&self) -> bool {
        self.departure_traps.load(SeqCst)
    }

    /// Returns whether hooks are called next to requests.
    pub(crate) fn hooks_are_due(&self) -> bool {
        self.hooks_due.load(SeqCst)
    }
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

/// A pool under its lock. The order of the fields is the order in which they are dropped.
struct Locked<'a> {
    pool: &'a Pool,
    state: MutexGuard<'a, State>,
    after: Aftermath,
}

impl Locked<'_> {
    fn can_take(&self, at: usize) -> bool {
        self.state.slots.get(at).is_some_and(Slot::can_take)
    }

    /// Returns how many more requests could be taken at once, with all instances that may exist.
    fn free(&self) -> usize {
        let room = |slot: &Slot| match (slot.phase, &slot.instance) {
            (Phase::Open, Some(instance)) => slot.room.saturating_sub(instance.busy()),
            (Phase::Vacant | Phase::Starting, _) => slot.room,
            (Phase::Open | Phase::Spinning | Phase::Closing, _) => 0,
        };
        self.state.slots.iter().map(room).sum()
    }

    /// Wakes an instance for the requests in the global queue, or has one started: in the slot they came in on, so
    /// that they stay on one thread, unless another has nothing to do; or else in any.
    fn find_taker(&mut self, home: Option<usize>) {
        if self.pool.hooks_are_due() {
            return self.drop_waiting_if_none_serves();
        }
        let slots = &self.state.slots;
        let own = home.filter(|home| slots.get(*home).is_some_and(|slot| slot.phase == Phase::Vacant));
        let able = slots.iter().find(|slot| slot.can_take());
        let wake = able.and_then(|slot| slot.instance.clone());
        let starting = slots.iter().filter(|slot| slot.phase == Phase::Starting).map(|slot| slot.room).sum();
        let covered = wake.is_some() || self.state.global.len() <= starting;
        let vacant = || slots.iter().position(|slot| slot.phase == Phase::Vacant);
        let own = own.filter(|_| wake.as_ref().is_none_or(|instance| instance.busy() > 0));
        let start = if covered { own } else { own.or_else(vacant) };
        self.after.wake = wake;
        if let Some(at) = start {
            self.start(at);
        }
    }

    fn start(&mut self, at: usize) {
        if let Some(slot) = self.state.slots.get_mut(at) {
            slot.phase = Phase::Starting;
            // Without a controller the component has ended.
            let _ended = self.pool.starts.send(at);
        }
    }

    /// Notes that so many requests have left the queues. If they were the last, and no more come, all instances end.
    fn no_longer_wait(&self, count: usize) {
        let pool = self.pool;
        let is_last = count > 0 && pool.waiting.fetch_sub(count, SeqCst) == count;
        if is_last && (pool.intake_is_over() || pool.hooks_are_due()) {
            self.wake_all();
        }
    }

    /// Finds others for all that waits: the instance of this slot cannot take it.
    fn pass_on(&mut self, at: usize) {
        let State { slots, global, .. } = &mut *self.state;
        if let Some(slot) = slots.get_mut(at) {
            global.append(&mut slot.local);
        }
        if !global.is_empty() {
            self.find_taker(None);
        }
    }

    fn close(&mut self, instance: &InstanceHandle, why: CloseReason) {
        instance.close(why);
        if let Some(slot) = self.state.slots.get_mut(instance.slot).filter(|slot| slot.has(instance)) {
            slot.phase = Phase::Closing;
            self.pass_on(instance.slot);
        }
    }

    fn drop_waiting_if_none_serves(&mut self) {
        let serves = |slot: &Slot| matches!(slot.phase, Phase::Open | Phase::Spinning | Phase::Starting);
        if !self.state.slots.iter().any(serves) {
            self.drop_waiting();
        }
    }

    fn drop_waiting(&mut self) {
        let dropped = self.state.global.len();
        self.after.drop.extend(self.state.global.drain(..));
        self.no_longer_wait(dropped);
    }

    fn wake_all(&self) {
        self.state
            .slots
            .iter()
            .filter_map(|slot| slot.instance.as_ref())
            .for_each(|instance| instance.wake());
    }
}
