//! Generations: policy, state, role, readiness and verdict of one, and the collection of all.
//!
//! Invariant: a state changes only in [`Generations::set`], so the list of deadlines agrees with the states.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Cause;
use super::restart_budget::RestartBudget;
use crate::plan::{OnEnd, RestartPlan};

/// Number of a generation, unique in the app. Later generations have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(pub usize);

/// Policy of one generation.
#[derive(Clone, Debug)]
pub(crate) struct GenerationPolicy {
    /// Longest time between its notice and its cut-off, within the slice of its wave. `None`: the whole slice.
    pub(crate) grace: Option<Duration>,
    pub(crate) start_timeout: Duration,
    /// Time that it has to run on trial once it is ready, before it takes over.
    pub(crate) trial: Duration,
    pub(crate) on_exit: OnEnd,
    pub(crate) on_failure: OnEnd,
    /// Effect of the failure of one of its instances, if it is a pool.
    pub(crate) on_lost: OnEnd,
    /// Restart budget, if one of these effects is a restart.
    pub(crate) restart: RestartPlan,
    /// Generations that it depends on: it starts once they are ready, and stops before them.
    pub(crate) after: Vec<GenerationId>,
    /// True for a pool, whose instances are replaced one by one: a failed instance is a `Lost`, not a `Failed`.
    pub(crate) pooled: bool,
}

/// Phase of a generation, see [`State`]. Phases only move forward, until a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Backoff,
    Pending,
    Starting,
    Running,
    Asked,
    Cut,
    Ended,
}

/// Outcome of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Its `run` returned before it was asked to stop, and its hook succeeded.
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

/// State of a generation: its phase, with the time limit and the outcome that belong to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not been started, or its pause is over; `last` is the outcome of its last run.
    Pending {
        last: Outcome,
    },
    Backoff {
        until: Duration,
        last: Outcome,
    },
    /// Instantiation has to end by `bound`.
    Starting {
        bound: Option<Duration>,
    },
    /// It has to be ready by `bound`. One on trial that is ready passes its trial then.
    Running {
        bound: Option<Duration>,
    },
    /// It was asked to stop, or failed; it is cut off at `deadline`.
    Asked {
        deadline: Duration,
    },
    /// It was cut off, and is stuck if it has not ended by `gone_by`.
    Cut {
        gone_by: Option<Duration>,
    },
    /// It could not be ended. No other generation waits for it.
    Stuck,
    Ended {
        outcome: Outcome,
    },
}

impl State {
    pub(super) fn phase(self) -> Phase {
        match self {
            Self::Pending { .. } => Phase::Pending,
            Self::Backoff { .. } => Phase::Backoff,
            Self::Starting { .. } => Phase::Starting,
            Self::Running { .. } => Phase::Running,
            Self::Asked { .. } => Phase::Asked,
            Self::Cut { .. } | Self::Stuck => Phase::Cut,
            Self::Ended { .. } => Phase::Ended,
        }
    }

    pub(super) fn deadline(self) -> Option<Duration> {
        match self {
            Self::Backoff { until: deadline, .. } | Self::Asked { deadline } => Some(deadline),
            Self::Starting { bound: deadline }
            | Self::Running { bound: deadline }
            | Self::Cut { gone_by: deadline } => deadline,
            Self::Pending { .. } | Self::Stuck | Self::Ended { .. } => None,
        }
    }
}

/// Role of a generation in the app. The end of a generation affects the app up to `Serving`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// It serves once all generations of its rollout are ready.
    OnTrial,
    Serving,
    /// It makes room for its successor on trial, and is put back if that is taken back. Its end means nothing for the app.
    Yielding,
    /// An operator stopped it: its end means nothing for the app.
    StoppedByOperator,
    /// It was replaced or removed: it is forgotten once it has ended, unless the app stops meanwhile.
    Retired,
    /// Its rollout was taken back, so it never served: it is forgotten once it has ended.
    TakenBack,
}

/// Readiness, as the generations that come after this one see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    NotReady,
    /// It said that it is ready before its `run` was entered. It is ready from that moment on.
    Announced,
    /// It stays ready after its end: a job that is done was ready.
    Ready,
}

/// Verdict on a run. It only gets worse, so a later end does not mask a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Sound,
    /// One of its instances failed, which stops the app.
    InstanceLost,
    Failed,
    GaveUp,
}

impl Verdict {
    pub(super) fn over(self, outcome: Outcome) -> Outcome {
        match (self, outcome) {
            (Self::Sound, outcome) => outcome,
            (Self::GaveUp, _) | (Self::InstanceLost | Self::Failed, Outcome::GaveUp) => Outcome::GaveUp,
            (Self::InstanceLost | Self::Failed, _) => Outcome::Failed,
        }
    }
}

/// Time slice in which a generation has to stop. Until its end the waves behind wait for the generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) cause: Cause,
    pub(super) end: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) policy: GenerationPolicy,
    state: State,
    pub(super) role: Role,
    pub(super) readiness: Readiness,
    /// True once its trial is over: it has run for its time, or has done its work.
    pub(super) passed: bool,
    pub(super) verdict: Verdict,
    /// Set once it has to stop. It is asked as soon as no living generation needs it.
    pub(super) slice: Option<Slice>,
    pub(super) budget: RestartBudget,
    /// Older generations of its component, the youngest first. Some may have ended.
    pub(super) predecessors: Vec<GenerationId>,
    /// True if it starts only after its predecessors have ended, because both need something exclusive.
    pub(super) waits: bool,
}

impl Generation {
    pub(super) fn new(policy: GenerationPolicy, role: Role, waits: bool) -> Self {
        Self {
            policy,
            state: State::Pending { last: Outcome::NotStarted },
            role,
            readiness: Readiness::NotReady,
            passed: false,
            verdict: Verdict::Sound,
            slice: None,
            budget: RestartBudget::default(),
            predecessors: Vec::new(),
            waits,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Returns whether something of it exists.
    pub(super) fn lives(&self) -> bool {
        (Phase::Starting..=Phase::Cut).contains(&self.phase())
    }

    /// Returns whether no other generation has to wait for its end.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.state, State::Stuck | State::Ended { .. })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.readiness == Readiness::Ready
    }

    /// Returns whether it can take over: it is there, or has ended, and has passed its trial.
    pub(super) fn is_up(&self) -> bool {
        self.is_ready() && self.passed && (self.lives() || self.phase() == Phase::Ended)
    }

    /// Returns whether it has spent its budget and goes on without instances, until a fresh generation takes over.
    pub(super) fn is_out_of_service(&self) -> bool {
        self.policy.pooled && self.verdict == Verdict::GaveUp && self.phase() == Phase::Running
    }

    pub(super) fn counts(&self) -> bool {
        self.role <= Role::Serving
    }

    pub(super) fn on_trial(&self) -> bool {
        self.role == Role::OnTrial
    }

    /// Returns its outcome, or the outcome if the process left now.
    pub(super) fn outcome(&self) -> Outcome {
        match self.state {
            State::Pending { last: outcome }
            | State::Backoff { last: outcome, .. }
            | State::Ended { outcome } => outcome,
            State::Starting { .. } | State::Running { .. } | State::Asked { .. } => {
                self.verdict.over(Outcome::CutOff)
            }
            State::Cut { .. } | State::Stuck => self.verdict.over(Outcome::Leaked),
        }
    }
}

/// All generations but the forgotten ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Generations {
    all: BTreeMap<GenerationId, Generation>,
    /// All deadlines, so that an event need not look at each of a thousand generations.
    deadlines: BTreeSet<(Duration, GenerationId)>,
}

impl Generations {
    pub(super) fn insert(&mut self, id: GenerationId, generation: Generation) {
        self.all.insert(id, generation);
    }

    /// Forgets a generation that has ended, and so has no deadline.
    pub(super) fn remove(&mut self, id: GenerationId) {
        self.all.remove(&id);
    }

    pub(super) fn get(&self, id: GenerationId) -> Option<&Generation> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: GenerationId) -> Option<&mut Generation> {
        self.all.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (GenerationId, &Generation)> {
        self.all.iter().map(|(id, generation)| (*id, generation))
    }

    pub(super) fn ids<C: FromIterator<GenerationId>>(&self, holds: impl Fn(&Generation) -> bool) -> C {
        self.iter().filter(|(_, generation)| holds(generation)).map(|(id, _)| id).collect()
    }

    pub(super) fn set(&mut self, id: GenerationId, state: State) {
        let Some(generation) = self.all.get_mut(&id) else { return };
        if let Some(deadline) = generation.state.deadline() {
            self.deadlines.remove(&(deadline, id));
        }
        generation.state = state;
        self.deadlines.extend(state.deadline().map(|deadline| (deadline, id)));
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn overdue(&self, now: Duration) -> BTreeSet<GenerationId> {
        self.deadlines.iter().take_while(|(deadline, _)| now >= *deadline).map(|(_, id)| *id).collect()
    }
}
