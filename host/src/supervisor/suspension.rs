//! Notices that the process was stopped (SIGSTOP) and goes on, and takes that time out of the app's clock.
//!
//! Invariant: the time of a turn contains no pause that was not taken out: signals are read after the clock, and a
//! pause that comes between the two is seen by its SIGCONT, which is pending from the first moment on.

use std::time::{Duration, Instant};

use super::log_events;
use super::signals::{Arrived, SignalSource};
use crate::runtime::RunClock;
use crate::teardown::Signal;

/// A shorter gap cannot be told from a machine that is busy.
const SHORTEST: Duration = Duration::from_millis(200);

/// The moment when the clock was looked at last.
#[derive(Debug)]
pub(super) struct SuspensionWatch {
    last_look: Instant,
}

impl SuspensionWatch {
    /// Begins to watch.
    pub(super) fn start() -> Self {
        Self { last_look: Instant::now() }
    }

    /// Returns the time of a turn, and the signals that have come. `timed` says whether the turn was waited for
    /// with a deadline in mind: without one a long gap means nothing, and there is nothing to move.
    pub(super) fn begin_turn(
        &mut self,
        clock: &RunClock,
        source: Option<&SignalSource>,
        timed: bool,
    ) -> (Duration, Vec<Signal>) {
        let mut signals = Vec::new();
        loop {
            let (now, looked) = (clock.now(), Instant::now());
            let mut continued = false;
            while let Some(arrived) = source.and_then(SignalSource::next) {
                match arrived {
                    Arrived::Signal(signal) => signals.push(signal),
                    Arrived::Continued => continued = true,
                    Arrived::Ignored => {}
                }
            }
            if !continued {
                self.last_look = looked;
                return (now, signals);
            }
            let gap = self.last_look.elapsed();
            self.last_look = Instant::now();
            if timed && gap >= SHORTEST {
                clock.take_out(gap);
                log_events::continued(gap);
            }
        }
    }
}
