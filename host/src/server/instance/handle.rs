//! State of one pooled instance outside its store: whether it lives, its requests in flight, and why it takes no more.
//!
//! Invariant: nothing in here waits, and every count comes back to zero when all clients and calls are gone.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::sync::SetOnce;

use super::answer::{BodyError, OpenAnswers};
use crate::runtime::Link;
use crate::server::pool::Pool;
use crate::server::worker::TimeSlice;

/// Reason to take no more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    Stop,
    /// It has served its number of requests.
    Requests,
    /// A request in it took too long, and cannot be cancelled.
    Timeout,
    /// It has had nothing to do for a while, and is not the only one.
    Idle,
    /// Its component has spent its restart budget.
    OutOfService,
    /// It gave a request no answer or no whole one, or an internal error.
    BadAnswer,
    /// It has nearly reached a limit of the host.
    Full,
}

impl CloseReason {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Requests => "requests",
            Self::Timeout => "request-timeout",
            Self::Idle => "idle",
            Self::OutOfService => "out-of-service",
            Self::BadAnswer => "bad-answer",
            Self::Full => "full",
        }
    }
}

/// One pooled instance.
#[derive(Debug)]
pub(crate) struct InstanceHandle {
    /// Its number in its component, from 1.
    pub(crate) number: u32,
    pub(crate) slot: usize,
    pub(crate) link: Arc<Link>,
    pub(crate) turn: Arc<TimeSlice>,
    /// True if it can have several requests at a time, all in one store.
    pub(crate) is_async: bool,
    pub(crate) answers: Arc<OpenAnswers>,
    /// True if each request has a store of its own, which ends with it.
    pub(crate) is_fresh: bool,
    pool: Weak<Pool>,
    dead: AtomicBool,
    given_up: AtomicBool,
    /// Part of one total order with the counts, which `closing` is not: a request's end or the loop of the instance sees both.
    ends: AtomicBool,
    closing: SetOnce<CloseReason>,
    live: AtomicUsize,
    in_flight: AtomicUsize,
    calls: AtomicUsize,
    taken: AtomicU64,
    moves: AtomicU64,
    checks: AtomicU64,
    waker: AtomicWaker,
    /// It takes requests, or has taken some.
    pub(crate) opened: SetOnce<()>,
}

/// Looks at an idle instance before its time is over.
const IDLE_LOOKS: u32 = 4;

impl InstanceHandle {
    pub(crate) fn new(
        number: u32,
        slot: usize,
        link: Arc<Link>,
        turn: Arc<TimeSlice>,
        [is_async, is_fresh]: [bool; 2],
        pool: &Arc<Pool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            slot,
            link,
            turn,
            is_async,
            answers: Arc::default(),
            is_fresh,
            pool: Arc::downgrade(pool),
            dead: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            closing: SetOnce::new(),
            live: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            opened: SetOnce::new(),
        })
    }

    /// Returns the requests in it whose call or client is not done.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Returns the requests that it is busy with: a sync guest is free when its call has returned, while an async one
    /// still writes its answer then.
    pub(crate) fn busy(&self) -> usize {
        if self.is_async { self.in_flight() } else { self.calls.load(SeqCst) }
    }

    /// Returns the requests in it whose client waits for more of the answer.
    pub(crate) fn live(&self) -> usize {
        self.live.load(SeqCst)
    }

    /// Returns whether nothing is left that its guest works on. The rest of a sync guest's answer needs the guest no more
    /// when its call has returned.
    pub(crate) fn is_quiet(&self) -> bool {
        if self.is_async { self.live() == 0 } else { self.busy() == 0 }
    }

    pub(crate) fn enter(&self) {
        self.live.fetch_add(1, SeqCst);
        self.in_flight.fetch_add(1, SeqCst);
        self.calls.fetch_add(1, SeqCst);
    }

    pub(crate) fn call_ended(&self) {
        self.calls.fetch_sub(1, SeqCst);
    }

    pub(crate) fn leave_live(&self) {
        self.live.fetch_sub(1, SeqCst);
        self.told();
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
        self.told();
    }

    fn told(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.finished(self);
        }
    }

    /// Notes that bytes of a request in it have moved, to its guest or to its client.
    pub(crate) fn moved(&self) {
        self.moves.fetch_add(1, Relaxed);
    }

    /// Returns once none of its requests has moved for this long (or up to twice as long): no byte, and no end. `again` is called
    /// before each wait.
    pub(crate) async fn still(&self, time: Duration, again: impl Fn()) {
        let state = || (self.moves.load(Relaxed), self.in_flight());
        let mut seen = None;
        while seen != Some(state()) {
            seen = Some(state());
            again();
            tokio::time::sleep(time).await;
        }
    }

    /// Counts a request that it takes, and returns the number of those.
    pub(crate) fn count_taken(&self) -> u64 {
        self.taken.fetch_add(1, SeqCst) + 1
    }

    /// Returns the number of requests that it took, with health checks.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(SeqCst)
    }

    /// Counts one of them as a health check.
    pub(crate) fn count_check(&self) {
        self.checks.fetch_add(1, SeqCst);
    }

    /// Returns the number of its clients' requests, or connections.
    pub(crate) fn served(&self) -> u64 {
        self.taken().saturating_sub(self.checks.load(SeqCst))
    }

    /// Notes that its store is about to be dropped: answers without an end are cut short.
    pub(crate) fn die(&self) {
        self.answers.seal(|| BodyError::CutShort);
        self.dead.store(true, SeqCst);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(SeqCst)
    }

    /// Notes that the client of a request in it did not wait for the whole answer, or was not let wait. A guest that cannot stand
    /// that may trap from here on.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, SeqCst);
    }

    pub(crate) fn was_given_up(&self) -> bool {
        self.given_up.load(SeqCst)
    }

    /// Sets why it ends. For the pool alone, which takes it off its list.
    pub(crate) fn close(&self, why: CloseReason) {
        self.ends.store(true, SeqCst);
        // The first reason counts.
        let _later = self.closing.set(why);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.ends.load(SeqCst)
    }

    /// Returns why it takes no more requests.
    pub(crate) fn why(&self) -> Option<CloseReason> {
        self.closing.get().copied()
    }

    pub(crate) async fn closed(&self) -> CloseReason {
        *self.closing.wait().await
    }

    /// Returns once it has had nothing to do for this long (or up to a quarter more) and was closed for it. The only
    /// instance is not closed.
    pub(crate) async fn idle(&self, after: Duration) {
        let (mut seen, mut looks) = (self.taken(), 0);
        loop {
            tokio::time::sleep(after / IDLE_LOOKS).await;
            let busy = self.taken() != seen || self.in_flight() > 0;
            looks = if busy { 0 } else { looks + 1 };
            seen = self.taken();
            let Some(pool) = self.pool.upgrade() else { return };
            if looks >= IDLE_LOOKS && pool.close_surplus(self) {
                return;
            }
        }
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Has this waker woken by the next [`InstanceHandle::wake`].
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}
