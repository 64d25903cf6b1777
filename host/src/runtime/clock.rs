//! The clock of all deadlines. It stands still while the process is stopped (SIGSTOP, then SIGCONT), so that no component
//! loses grace that it could not use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time since the start of the app, without the time during which the process was stopped.
#[derive(Debug)]
pub struct RunClock {
    start: Instant,
    stopped_nanos: AtomicU64,
}

impl RunClock {
    /// Returns a clock that reads zero now.
    pub fn start() -> Self {
        Self { start: Instant::now(), stopped_nanos: AtomicU64::new(0) }
    }

    /// Returns the time since the start.
    pub fn now(&self) -> Duration {
        let stopped = Duration::from_nanos(self.stopped_nanos.load(Ordering::Acquire));
        self.start.elapsed().saturating_sub(stopped)
    }

    /// Takes `gap` out of the time that has passed.
    pub fn take_out(&self, gap: Duration) {
        let nanos = u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX);
        self.stopped_nanos.fetch_add(nanos, Ordering::AcqRel);
    }
}
