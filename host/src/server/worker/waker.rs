//! Stands between an instance and the waker of its task. It tells whether the instance waits for something, or has more
//! to do and waits for its turn only; and who computes for long gets that turn behind everybody else's input.
//!
//! Invariant: no wake is lost, wherever it comes from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

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

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct InstanceWaker {
    wire: Option<(Arc<TaskWaker>, Waker)>,
}

impl InstanceWaker {
    /// Polls something, again while it has more to do. Returns also whether it waits for anything but its turn then.
    /// `spins` says whether its next turn comes only after the thread has looked at all its sockets.
    pub(crate) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
        spins: impl Fn() -> bool,
    ) -> (Poll<T>, bool) {
        let (wire, waker) = self.wire(context.waker());
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
                behind_input(context);
            } else {
                context.waker().wake_by_ref();
            }
        }
        (result, !woken)
    }

    fn wire(&mut self, task: &Waker) -> (Arc<TaskWaker>, Waker) {
        let known = self.wire.as_ref().filter(|(wire, _)| wire.task.will_wake(task));
        if let Some((wire, waker)) = known {
            return (wire.clone(), waker.clone());
        }
        let wire =
            TaskWaker { task: task.clone(), woken: AtomicBool::new(false), polling: AtomicBool::new(false) };
        let wire = Arc::new(wire);
        let waker = Waker::from(wire.clone());
        self.wire = Some((wire.clone(), waker.clone()));
        (wire, waker)
    }
}

/// Has the task polled again when its thread has looked at its sockets: that is what tokio does for those who yield.
fn behind_input(context: &mut Context<'_>) {
    let _pending = std::pin::pin!(tokio::task::yield_now()).poll(context);
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
