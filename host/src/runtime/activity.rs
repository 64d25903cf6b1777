//! Activity of an instance that has its thread to itself: the moment at which its code has to let the thread look at timers and
//! sockets.
//!
//! Only the thread finds out what has become ready. Code that asks "is it ready?" in a loop never gives the thread back, so it
//! would ask for ever: it is interrupted, at an epoch, some time after its turn began. Invariant: only a call of the host leads
//! to an interruption. Code that waits, and code that only computes, pays nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::orders::nanos;

/// Length of a turn after which a call of the host interrupts it. Letting the thread look takes some microseconds.
const LOOK_AFTER: Duration = Duration::from_micros(250);
/// The value of a time that is not set.
const NEVER: u64 = 0;

/// Times are nanoseconds on the app's clock. Only its thread uses it.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// The beginning of the turn.
    turn: AtomicU64,
    /// The turn is to end at the next epoch.
    overdue: AtomicBool,
}

impl Activity {
    pub(super) fn begin(&self, now: Duration) {
        self.turn.store(nanos(now).max(NEVER + 1), Relaxed);
    }

    pub(super) fn end(&self) {
        self.turn.store(NEVER, Relaxed);
        self.overdue.store(false, Relaxed);
    }

    /// Notes a call of the host. Returns true, once in a turn, if the turn has lasted long enough.
    pub(super) fn called(&self, now: impl FnOnce() -> Duration) -> bool {
        let turn = self.turn.load(Relaxed);
        // An instance that shares its thread has no turns here.
        let due = turn != NEVER
            && !self.overdue.load(Relaxed)
            && nanos(now()).saturating_sub(turn) >= nanos(LOOK_AFTER);
        if due {
            self.overdue.store(true, Relaxed);
        }
        due
    }

    /// Returns whether the code has to give its turn up, at an epoch.
    pub(super) fn must_yield(&self) -> bool {
        self.overdue.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn code_that_calls_for_long_gives_its_turn_up_once() {
        let activity = Activity::default();
        assert!(!activity.called(|| MS), "outside of a turn, as with a shared thread");
        for turn in 1..2000 {
            let now = MS * turn;
            activity.begin(now);
            assert!(!activity.called(|| now + LOOK_AFTER / 2));
            assert!(!activity.must_yield());
            assert!(activity.called(|| now + LOOK_AFTER));
            assert!(!activity.called(|| now + MS), "one epoch is enough");
            assert!(activity.must_yield());
            activity.end();
        }
    }

    #[test]
    fn the_next_turn_of_code_that_waits_begins_anew() {
        let activity = Activity::default();
        activity.begin(MS);
        assert!(activity.called(|| MS * 2));
        // The call itself waits, before any epoch.
        activity.end();
        activity.begin(MS * 9000);
        assert!(!activity.must_yield() && !activity.called(|| MS * 9000));
    }
}
