//! When the requests of an open loop are due, and what their times come to. Sends nothing.
//!
//! Invariant: a request is due at its time, whether or not those before it were answered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::figure::in_millis;

/// How long the last answers may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// When requests are due, counted from the start.
pub struct Schedule {
    /// When the first one is due.
    pub start: Instant,
    interval: Duration,
    next: Duration,
    /// When no more come due.
    pub end: Duration,
    /// Those that are due, by when they were.
    pub waiting: VecDeque<Duration>,
    /// How late each of them was queued: what the client itself adds.
    pub late: Vec<Duration>,
}

impl Schedule {
    /// A schedule of so many requests a second, for so long.
    pub fn new(rate: f64, turn: Duration) -> Self {
        let interval = Duration::from_secs_f64(1.0 / rate);
        let (waiting, late) = (VecDeque::new(), Vec::new());
        Self { start: Instant::now(), interval, next: Duration::ZERO, end: turn, waiting, late }
    }

    /// Queues what has come due, and returns how late it is.
    pub fn advance(&mut self) -> Duration {
        let now = self.start.elapsed();
        while self.next <= now && self.next < self.end {
            self.waiting.push_back(self.next);
            self.late.push(now - self.next);
            self.next += self.interval;
        }
        now
    }

    /// How long nothing comes due.
    pub fn pause(&self, now: Duration) -> Duration {
        let next = if self.next < self.end { self.next } else { self.end + PATIENCE };
        next.saturating_sub(now)
    }
}

/// Without the first tenth, in which the caches are cold.
pub fn warm(times: &[Duration]) -> &[Duration] {
    times.get(times.len() / 10..).unwrap_or_default()
}

/// The time that `share` of all do not exceed, in milliseconds.
pub fn quantile(times: &[Duration], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).map_or(f64::NAN, |time| in_millis(*time))
}
