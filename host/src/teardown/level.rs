//! Where the app stands, and the absolute times that bound its stop.

use std::time::Duration;

/// Time between the end of the grace and the moment when the process leaves whatever happens.
pub const HARD_RESERVE: Duration = Duration::from_secs(1);

/// Where the app stands. The order is the rule: levels only rise (I5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Components start and run.
    Running,
    /// Not ready, still serving.
    Delay,
    /// Everyone is asked to stop.
    Drain,
    /// Everyone who is left is cut off.
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

/// The bounds of a stop, since the start of the app. Set once, then only ever moved earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// When the delay ends.
    pub drain: Duration,
    /// When everyone who is left is cut off.
    pub end: Duration,
    /// When the process leaves whatever happens.
    pub hard: Duration,
}

impl Deadlines {
    /// Returns the bounds of a stop that begins `now`. Durations too long to add up saturate.
    pub fn new(now: Duration, delay: Duration, grace: Duration) -> Self {
        let drain = now.saturating_add(delay);
        let end = drain.saturating_add(grace);
        Self { drain, end, hard: end.saturating_add(HARD_RESERVE) }
    }
}
