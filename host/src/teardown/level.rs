//! Levels of the app, and the bounds of its stop.

use std::time::Duration;

/// Time between the end of the grace and the moment when the process leaves unconditionally.
pub const HARD_RESERVE: Duration = Duration::from_secs(1);

/// Level of the app: the progress of its stop. Levels only rise (I5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Components start and run.
    Running,
    /// The app is not ready, and still serves.
    Delay,
    /// Every component is asked to stop.
    Drain,
    /// Every component that is left is cut off.
    Cut,
    /// The process leaves.
    Exit,
}

impl Level {
    /// Returns the word that logs and status use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Delay => "delay",
            Self::Drain => "drain",
            Self::Cut => "cut",
            Self::Exit => "exit",
        }
    }
}

/// Bounds of a stop, as times since the start of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// When the delay ends.
    pub drain: Duration,
    /// When every component that is left is cut off.
    pub end: Duration,
    /// When the process leaves unconditionally.
    pub hard: Duration,
}

impl Deadlines {
    /// Returns the bounds of a stop that begins `now`. Sums saturate.
    pub(super) fn new(now: Duration, delay: Duration, grace: Duration) -> Self {
        let drain = now.saturating_add(delay);
        let end = drain.saturating_add(grace);
        Self { drain, end, hard: end.saturating_add(HARD_RESERVE) }
    }
}
