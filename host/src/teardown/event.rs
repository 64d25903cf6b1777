//! What the machine hears and what it says. Nothing is decided here.

use std::time::Duration;

use super::{Cause, ExitCode, GenerationId, Level, Outcome, Requester, Signal};

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything is loaded: the components can start.
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
    /// A component does not live up to its health check.
    Unhealthy(GenerationId),
    /// Nothing of a component is left, and this is how it ended.
    Ended(GenerationId, Outcome),
    /// A signal arrived.
    Signal(Signal),
    /// Somebody asked for a graceful stop.
    StopRequested(Requester),
    /// An operator asks for a stop of the app, with `drain-delay` or without; the latter also ends the delay.
    OperatorStop(Urgency),
    /// An operator stops one component, gracefully or at once; the others go on.
    StopOne(GenerationId, Urgency),
    /// An operator asks for a reload.
    ReloadRequested,
    /// The reload that was prepared came to nothing, or changes nothing.
    NothingToChange,
    /// A task of the host died.
    HostBug(&'static str),
    /// Time has passed.
    Clock,
}

/// How an operator wants something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Of the app: with `drain-delay`; of a component: with its grace.
    Graceful,
    /// Without.
    Now,
}

/// Something that has to be done. The order in the list is the order to do it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an action that is dropped leaves the stop stuck"]
pub enum Action {
    /// Start this component.
    Start(GenerationId),
    /// Say that this component has failed: it was not ready in time.
    FailStart(GenerationId),
    /// Drop this component if its `run` has not been entered yet.
    Abandon(GenerationId),
    /// Say that a new level holds.
    Raise(Level),
    /// Tell this component to stop, with the cause and the time of its cut-off.
    Ask {
        /// Which one.
        id: GenerationId,
        /// Why.
        cause: Cause,
        /// When it is cut off.
        deadline: Duration,
    },
    /// Cut this component off, on both prongs.
    Cut(GenerationId),
    /// Say that this component, or an instance of it, is started again after this pause. Of one that has instances of
    /// its own, let it do so; the machine starts any other.
    Restart {
        /// Which one.
        id: GenerationId,
        /// How long from now.
        pause: Duration,
    },
    /// Say that this component has spent its budget: the app stops.
    GiveUp(GenerationId),
    /// Replace this component by a fresh generation of it.
    Renew(GenerationId),
    /// Read the manifest and prepare what is to change.
    Prepare,
    /// Let the fresh components take over from the stale ones.
    Switch,
    /// Take back what was prepared: this component could not be started, or (without one) the app stops.
    RollBack(Option<GenerationId>),
    /// Forget this component: it has been replaced or removed, and has ended.
    Forget(GenerationId),
    /// Say that this component will not start: one that it comes after has ended and was never ready.
    CannotStart(GenerationId),
    /// Say that a signal came which changes nothing.
    NoteSignal(Signal),
    /// Say that a reload is not possible: there is no manifest, or the app stops.
    RefuseReload,
    /// Print one line for each component.
    PrintStatus,
    /// Report, and leave with this code.
    Leave(ExitCode),
}
