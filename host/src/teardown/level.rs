//! Levels of the app, the bounds of its stop, and the part of its plan that the machine needs.

use std::time::Duration;

use crate::plan::SignalProfile;

/// Time between the end of the grace and the moment when the process leaves unconditionally.
pub const HARD_RESERVE: Duration = Duration::from_secs(1);

/// Level of the app: the progress of its stop. Levels only rise (I5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Running,
    /// The app is not ready, and still serves.
    Delay,
    /// Every component is asked to stop.
    Drain,
    /// Every component that is left is cut off.
    Cut,
    Exit,
}

impl Level {
    /// Returns the word that logs and status use.
    pub(crate) fn word(self) -> &'static str {
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
pub(crate) struct Deadlines {
    pub(crate) drain: Duration,
    /// The time when every component that is left is cut off.
    pub(crate) end: Duration,
    /// The time when the process leaves unconditionally.
    pub(crate) hard: Duration,
}

/// Policy of the app.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Longest graceful stop.
    pub(crate) grace: Duration,
    /// Longest stop after a failure.
    pub(crate) fail_grace: Duration,
    /// Time in which the app is not ready and still serves, before a graceful stop.
    pub(crate) drain_delay: Duration,
    pub(crate) signals: SignalProfile,
}
