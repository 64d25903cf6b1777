//! Makes guest code that computes for long let others on its thread run, a few times a second; and tells whether an instance
//! waits for something, or has more to do and waits for its turn.
//!
//! Connections live on the threads of instances. Code that neither waits nor returns would hold them up, so it is
//! interrupted, and goes on when the others have had their turn. Invariant: epochs are bumped only while such code
//! runs, an idle app has no tick, and no wake is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use crate::runtime::Runtime;

/// Interval of the looks at which code has been running since the last one.
const LOOK: Duration = Duration::from_millis(10);
/// Looks without any turn after which the ticker rests until the next turn.
const REST_AFTER: u32 = 100;

/// The turns of one instance's code on its thread.
#[derive(Debug)]
pub(crate) struct TimeSlice {
    /// Odd while the code runs; grows by one each time it begins or ends.
    count: AtomicU64,
    overdue: AtomicBool,
    spins: AtomicBool,
    /// The code waits for something, and not just for its turn.
    waits: AtomicBool,
    ticker: Arc<FairnessTicker>,
}

impl TimeSlice {
    /// Lets the code run once.
    pub(crate) fn run<T>(&self, code: impl FnOnce() -> T) -> T {
        self.count.fetch_add(1, SeqCst);
        if self.ticker.rests.load(SeqCst) && self.ticker.rests.swap(false, SeqCst) {
            self.ticker.wakened.notify_one();
        }
        let result = code();
        self.count.fetch_add(1, SeqCst);
        result
    }

    /// Notes whether the code waits for something but its next turn.
    pub(crate) fn set_waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Release);
    }

    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// Returns whether the running code has to let others run now. Asking takes the answer back.
    pub(crate) fn must_yield(&self) -> bool {
        let overdue = self.overdue.swap(false, SeqCst);
        self.spins.fetch_or(overdue, SeqCst);
        overdue
    }

    /// Returns whether the code was interrupted, and has not come back since.
    pub(crate) fn spins(&self) -> bool {
        self.spins.load(SeqCst)
    }

    /// Notes that the code is back in its loop. Returns whether it was interrupted before.
    pub(crate) fn came_back(&self) -> bool {
        self.spins() && self.spins.swap(false, SeqCst)
    }
}

#[derive(Debug, Default)]
pub(crate) struct FairnessTicker {
    /// Each with its count at the last look.
    turns: Mutex<Vec<(Weak<TimeSlice>, Option<u64>)>>,
    rests: AtomicBool,
    wakened: Notify,
}

impl FairnessTicker {
    /// Returns a turn that is watched until it is dropped.
    pub(crate) fn turn(self: &Arc<Self>) -> Arc<TimeSlice> {
        let turn = Arc::new(TimeSlice {
            count: AtomicU64::new(0),
            overdue: AtomicBool::new(false),
            spins: AtomicBool::new(false),
            waits: AtomicBool::new(true),
            ticker: self.clone(),
        });
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::downgrade(&turn), None));
        turn
    }

    pub(crate) async fn watch(&self, runtime: &Runtime) {
        let mut quiet = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            quiet = if self.look(runtime) { 0 } else { quiet + 1 };
            if quiet >= REST_AFTER {
                self.rests.store(true, SeqCst);
                // A turn that began before it could see that is found by another look.
                if self.look(runtime) {
                    self.rests.store(false, SeqCst);
                } else {
                    self.wakened.notified().await;
                }
                quiet = 0;
            }
        }
    }

    /// Has code interrupted that has been running since the last look. Returns whether any has run since then.
    fn look(&self, runtime: &Runtime) -> bool {
        let (mut bump, mut moved) = (false, false);
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|(turn, seen)| {
            let Some(turn) = turn.upgrade() else { return false };
            let count = turn.count.load(SeqCst);
            let (runs, is_same) = (count % 2 == 1, seen.replace(count) == Some(count));
            moved |= runs || !is_same;
            if runs && is_same {
                turn.overdue.store(true, SeqCst);
                bump = true;
            }
            true
        });
        if bump {
            runtime.bump();
        }
        moved
    }
}

/// A waker around the one of a task.
#[derive(Debug)]
struct TaskWaker {
    task: Waker,
    woken: AtomicBool,
    polling: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, SeqCst);
        // During a poll the wake is passed on after it.
        if !self.polling.load(SeqCst) {
            self.task.wake_by_ref();
        }
    }
}

/// Times that an instance is polled in one turn while it has more to do. wasmtime takes up one of a store's yielding
/// tasks for each poll, and each answer of an async guest has one: with a single poll a turn, an answer's body came up
/// to sixteen turns of the whole thread after its head, and went out in a write of its own.
const AGAIN: usize = 32;

/// The waker between an instance and its task.
#[derive(Debug, Default)]
pub(crate) struct InstanceWaker(Option<Arc<TaskWaker>>);

impl InstanceWaker {
    /// Polls something, again while it has more to do. Returns also whether it waits for anything but its turn then.
    /// `spins` says whether its next turn comes only after the thread has looked at all its sockets.
    pub(crate) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
        spins: impl Fn() -> bool,
    ) -> (Poll<T>, bool) {
        let known = self.0.take().filter(|known| known.task.will_wake(context.waker()));
        let wire = self.0.insert(known.unwrap_or_else(|| {
            let (woken, polling) = (AtomicBool::new(false), AtomicBool::new(false));
            Arc::new(TaskWaker { task: context.waker().clone(), woken, polling })
        }));
        let waker = Waker::from(wire.clone());
        wire.polling.store(true, SeqCst);
        let mut result = poll(&mut Context::from_waker(&waker));
        for _ in 1..AGAIN {
            if result.is_ready() || spins() || !wire.woken.swap(false, SeqCst) {
                break;
            }
            result = poll(&mut Context::from_waker(&waker));
        }
        wire.polling.store(false, SeqCst);
        let woken = wire.woken.swap(false, SeqCst);
        if woken && result.is_pending() {
            if spins() {
                // After the thread has looked at its sockets: that is what tokio does for tasks that yield.
                let _pending = std::pin::pin!(tokio::task::yield_now()).poll(context);
            } else {
                context.waker().wake_by_ref();
            }
        }
        (result, !woken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn who_rings_while_it_is_polled_has_more_to_do_and_is_woken_once() {
        let (mut waker, count) = (InstanceWaker::default(), Arc::new(Count::default()));
        let task = Waker::from(count.clone());
        let mut context = Context::from_waker(&task);
        let mut polls = 0;
        let rings = |context: &mut Context<'_>| {
            polls += 1;
            (0..3).for_each(|_| context.waker().wake_by_ref());
            Poll::<()>::Pending
        };
        let (_, waits) = waker.poll(&mut context, rings, || false);
        assert!(!waits);
        assert_eq!((count.0.load(SeqCst), polls), (1, AGAIN));
        let mut kept = None;
        let keeps = |context: &mut Context<'_>| {
            kept = Some(context.waker().clone());
            Poll::<()>::Pending
        };
        let (_, waits) = waker.poll(&mut context, keeps, || false);
        assert!(waits, "what was woken before is forgotten");
        kept.unwrap().wake();
        assert_eq!(count.0.load(SeqCst), 2, "a wake between two polls passes on at once");
    }
}
