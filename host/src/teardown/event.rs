//! Events that the machine takes, the causes of a stop among them, and the actions that it returns.

use std::time::Duration;

use super::{ExitCode, GenerationId, Level, Outcome};

/// Signals that the app handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// `SIGTERM`
    Term,
    /// `SIGINT`
    Int,
    /// `SIGQUIT`
    Quit,
    /// `SIGHUP` with a manifest, while the terminal is there or if there never was one: a reload.
    Hup,
    /// `SIGHUP` with no manifest, or when the terminal is gone: a stop.
    Hangup,
    /// `SIGUSR1`
    Usr1,
}

impl Signal {
    const fn number_and_name(self) -> (u8, &'static str) {
        match self {
            Self::Hup | Self::Hangup => (1, "SIGHUP"),
            Self::Int => (2, "SIGINT"),
            Self::Quit => (3, "SIGQUIT"),
            Self::Usr1 => (10, "SIGUSR1"),
            Self::Term => (15, "SIGTERM"),
        }
    }

    /// Returns the signal's number on Linux.
    pub fn number(self) -> u8 {
        self.number_and_name().0
    }

    /// Returns the signal's name, for instance `SIGTERM`.
    pub fn name(self) -> &'static str {
        self.number_and_name().1
    }
}

/// Source of a stop request that is no signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// An operator, or an embedder.
    Operator,
    /// A component, through `request-stop`.
    Component(GenerationId),
}

/// Cause of a stop of the app or of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The process got a signal.
    Signal(Signal),
    /// A component failed.
    Failure(GenerationId),
    /// A component ended normally.
    Finished(GenerationId),
    /// An operator or a component asked for it.
    Request(Requester),
    /// A new generation takes over, or the manifest does not name the component any more. The app itself never stops for this.
    Reload,
    /// A task of the host died, which is a bug.
    HostBug(&'static str),
}

/// An event, as the supervisor reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Loaded,
    /// The `run` of a component has been entered.
    Entered(GenerationId),
    Ready(GenerationId),
    /// The `run` of a component has returned without an error.
    Returned(GenerationId),
    /// A component has failed; its end follows.
    Failed(GenerationId),
    /// One of a component's instances has failed, and that counts; others take its place.
    Lost(GenerationId),
    Unhealthy(GenerationId),
    /// Nothing of a component is left.
    Ended(GenerationId, Outcome),
    Signal(Signal),
    StopRequested(Requester),
    /// An operator stops the app, with `drain-delay` or without it. A stop without it also ends a delay under way.
    OperatorStop(Urgency),
    /// An operator stops one component, gracefully or at once; the others go on.
    StopOne(GenerationId, Urgency),
    ReloadRequested,
    /// The rollout that was prepared failed, or changes nothing.
    NothingToChange,
    HostBug(&'static str),
    Clock,
}

/// Urgency of an operator's stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// The app stops with `drain-delay`, a component with its grace.
    Graceful,
    /// The app stops without `drain-delay`, a component without grace.
    Now,
}

/// An action for the supervisor. The order of the list is the order of execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an action that is dropped leaves the stop stuck"]
pub(crate) enum Action {
    Start(GenerationId),
    /// Report that this component failed, because it was not ready in time.
    FailStart(GenerationId),
    /// Drop this component if its `run` has not been entered yet.
    Abandon(GenerationId),
    Raise(Level),
    /// Tell this component to stop, with the cause and the time of its cut-off.
    Ask {
        id: GenerationId,
        cause: Cause,
        deadline: Duration,
    },
    /// Cut this component off, on both prongs.
    Cut(GenerationId),
    /// Report a restart after this pause. A pool restarts its instance itself; the machine starts any other component again.
    Restart {
        id: GenerationId,
        pause: Duration,
    },
    /// Report that this component has spent its restart budget. The app stops.
    GiveUp(GenerationId),
    /// Report the same of a pool. It goes on without instances, refuses its clients, and the app lives.
    PutOutOfService(GenerationId),
    /// Prepare a rollout that replaces this component by a new generation of it.
    Renew(GenerationId),
    /// Read the manifest and prepare a rollout.
    Prepare,
    /// Let the incoming generations take over from the stale ones.
    Switch,
    /// Take the rollout back, because this component could not be started, or (`None`) because the app stops.
    RollBack(Option<GenerationId>),
    /// Forget this generation: it was replaced or removed, and has ended.
    Forget(GenerationId),
    /// Report that this component will not start: one that it comes after has ended and was never ready.
    CannotStart(GenerationId),
    /// Log a signal that changes nothing.
    NoteSignal(Signal),
    /// Refuse a reload, because the app stops.
    RefuseReload,
    PrintStatus,
    /// Write the report and leave with this code.
    Leave(ExitCode),
}
