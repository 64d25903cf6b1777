//! Events that the machine takes, and actions that it returns.

use std::time::Duration;

use super::{Cause, ExitCode, GenerationId, Level, Outcome, Requester, Signal};

/// An event, as the supervisor reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// All components are loaded, and can start.
    Loaded,
    /// The `run` of a component has been entered.
    Entered(GenerationId),
    /// A component is ready: those that come after it can start.
    Ready(GenerationId),
    /// The `run` of a component has returned without an error.
    Returned(GenerationId),
    /// A component has failed; its end follows.
    Failed(GenerationId),
    /// One of a component's instances has failed; others take its place.
    Lost(GenerationId),
    /// A component failed its health check.
    Unhealthy(GenerationId),
    /// Nothing of a component is left.
    Ended(GenerationId, Outcome),
    /// A signal arrived.
    Signal(Signal),
    /// A component or an embedder asks for a graceful stop.
    StopRequested(Requester),
    /// An operator stops the app, with `drain-delay` or without it. A stop without it also ends a delay under way.
    OperatorStop(Urgency),
    /// An operator stops one component, gracefully or at once; the others go on.
    StopOne(GenerationId, Urgency),
    /// An operator asks for a reload.
    ReloadRequested,
    /// The rollout that was prepared failed, or changes nothing.
    NothingToChange,
    /// A task of the host died.
    HostBug(&'static str),
    /// Time has passed.
    Clock,
}

/// Urgency of an operator's stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// The app stops with `drain-delay`, a component with its grace.
    Graceful,
    /// The app stops without `drain-delay`, a component without grace.
    Now,
}

/// An action for the supervisor. The order of the list is the order of execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an action that is dropped leaves the stop stuck"]
pub enum Action {
    /// Start this component.
    Start(GenerationId),
    /// Report that this component failed, because it was not ready in time.
    FailStart(GenerationId),
    /// Drop this component if its `run` has not been entered yet.
    Abandon(GenerationId),
    /// Report the new level.
    Raise(Level),
    /// Tell this component to stop, with the cause and the time of its cut-off.
    Ask {
        /// Its id.
        id: GenerationId,
        /// Cause that it is told.
        cause: Cause,
        /// When it is cut off.
        deadline: Duration,
    },
    /// Cut this component off, on both prongs.
    Cut(GenerationId),
    /// Report a restart after this pause. A pool restarts its instance itself; the machine starts any other component again.
    Restart {
        /// Its id.
        id: GenerationId,
        /// Time until the start.
        pause: Duration,
    },
    /// Report that this component has spent its restart budget. The app stops.
    GiveUp(GenerationId),
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
    /// Print one line for each component.
    PrintStatus,
    /// Write the report and leave with this code.
    Leave(ExitCode),
}
