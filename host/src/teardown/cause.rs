//! Causes of a stop, and the signals and requests that lead to one.

use super::GenerationId;

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
    /// Returns the signal's number on Linux.
    pub fn number(self) -> u8 {
        match self {
            Self::Hup | Self::Hangup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Usr1 => 10,
            Self::Term => 15,
        }
    }

    /// Returns the signal's name, for instance `SIGTERM`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hup | Self::Hangup => "SIGHUP",
            Self::Int => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Usr1 => "SIGUSR1",
            Self::Term => "SIGTERM",
        }
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
