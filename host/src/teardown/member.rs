//! One component as the machine sees it: how far it got, and how it ended.

/// Which component, as its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(pub usize);

/// How far a component got. The order is the rule: phases only move forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing of it exists.
    Pending,
    /// It is being instantiated.
    Starting,
    /// Its `run` has been entered.
    Running,
    /// It was asked to stop.
    Asked,
    /// It was told that its time is over.
    Cut,
    /// It has ended.
    Ended,
}

/// How a component ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Its `run` returned before anyone asked, and its hook was content.
    Finished,
    /// It was asked to stop, and did.
    Stopped,
    /// It stopped in time, but its hook returned an error or trapped.
    HookFailed,
    /// It trapped, returned an error, exited with an error, or could not be started.
    Failed,
    /// It overran its grace.
    CutOff,
    /// It overran its grace, and a thread that works for it could not be ended either.
    Leaked,
    /// Its restart budget was spent.
    GaveUp,
    /// The app stopped before its `run` was entered.
    NotStarted,
}

impl Outcome {
    /// Returns the outcome of a component that had failed before it ended this way.
    pub(super) fn or_failed(self) -> Self {
        match self {
            Self::GaveUp => Self::GaveUp,
            Self::Finished
            | Self::Stopped
            | Self::HookFailed
            | Self::Failed
            | Self::CutOff
            | Self::Leaked
            | Self::NotStarted => Self::Failed,
        }
    }

    /// Returns the word that the table, the report and the logs use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::HookFailed => "hook-failed",
            Self::Failed => "failed",
            Self::CutOff => "cut-off",
            Self::Leaked => "leaked",
            Self::GaveUp => "gave-up",
            Self::NotStarted => "not-started",
        }
    }
}
