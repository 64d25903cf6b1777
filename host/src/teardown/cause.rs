//! Why the app stops. A cause is set once and never changes; names are put to it where it is shown.

use super::GenerationId;

/// The signals that mean something to the app. All others are ignored before they come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// `SIGTERM`
    Term,
    /// `SIGINT`
    Int,
    /// `SIGQUIT`
    Quit,
    /// `SIGHUP` with a manifest and a terminal, if there ever was one: a reload.
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

/// Who asked for a stop without a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// Whoever runs the app: an embedder, or an operator.
    Operator,
    /// A component, through `request-stop`.
    Component(GenerationId),
}

/// Why the app stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The process got a signal.
    Signal(Signal),
    /// A component failed.
    Failure(GenerationId),
    /// A component ended normally.
    Finished(GenerationId),
    /// Somebody asked for it.
    Request(Requester),
    /// A new generation takes over, or the component is not in the manifest any more. Never why the app stops.
    Reload,
    /// A task of the host died, which is a bug.
    HostBug(&'static str),
}
