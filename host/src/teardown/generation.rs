//! One component as the machine sees it: how far it got, and how it ended.

use std::time::Duration;

use super::restart_budget::Restarts;
use super::{Cause, GenerationPolicy};

/// Which generation of which component. Each has a number of its own, given in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(pub usize);

/// How far a component got. The order is the rule: phases only move forward, until it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It has ended, and is started again after a pause.
    Backoff,
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

/// That a component is to go, and until when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// Why.
    pub(super) cause: Cause,
    /// When the slice of its wave ends: those behind it wait no longer.
    pub(super) until: Duration,
}

/// What the machine knows of one component.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) policy: GenerationPolicy,
    pub(super) phase: Phase,
    /// Those that come after it can start.
    pub(super) ready: bool,
    /// It has said so before its `run` was entered.
    pub(super) said_ready: bool,
    pub(super) failed: bool,
    /// One of its instances has failed, and that counts as its own failure.
    pub(super) lost: bool,
    /// Its budget is spent.
    pub(super) gave_up: bool,
    /// An operator stopped it: its end means nothing for the app.
    pub(super) halted: bool,
    /// Another generation has taken over, or it was removed: it is forgotten when it has ended.
    pub(super) retired: bool,
    /// It takes over once all that come with it are ready.
    pub(super) trial: bool,
    /// It starts when the generations before it have ended: it needs something that only one can have.
    pub(super) waits: bool,
    /// It was found dead, and is replaced from then on, as soon as nothing else is being replaced.
    pub(super) renew: Option<Duration>,
    /// It was cut off, and still there when it should have been gone: nobody waits for it any more.
    pub(super) stuck: bool,
    pub(super) leaving: Option<Leaving>,
    pub(super) deadline: Option<Duration>,
    pub(super) outcome: Option<Outcome>,
    pub(super) restarts: Restarts,
    /// The generations before it that have not ended, the youngest first.
    pub(super) line: Vec<GenerationId>,
}

impl Generation {
    pub(super) fn new(policy: GenerationPolicy) -> Self {
        Self {
            policy,
            phase: Phase::Pending,
            ready: false,
            said_ready: false,
            failed: false,
            lost: false,
            gave_up: false,
            halted: false,
            retired: false,
            trial: false,
            waits: false,
            renew: None,
            stuck: false,
            leaving: None,
            deadline: None,
            outcome: None,
            restarts: Restarts::default(),
            line: Vec::new(),
        }
    }

    /// Returns whether something of it exists.
    pub(super) fn lives(&self) -> bool {
        self.phase > Phase::Pending && self.phase < Phase::Ended
    }

    /// Returns whether it is there and those that come after it can start; a job that is done stays ready.
    pub(super) fn is_up(&self) -> bool {
        self.ready && !matches!(self.phase, Phase::Backoff | Phase::Pending | Phase::Starting)
    }

    /// Returns whether whatever it is given time for is over.
    pub(super) fn is_overdue(&self, now: Duration) -> bool {
        self.deadline.is_some_and(|end| now >= end)
    }

    /// Returns whether it was found dead, takes part, and can still be replaced.
    pub(super) fn needs_renewal(&self) -> Option<Duration> {
        self.renew.filter(|_| self.counts() && self.phase == Phase::Running)
    }

    /// Returns whether its end can mean something for the app.
    pub(super) fn counts(&self) -> bool {
        !self.retired && !self.halted
    }
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
