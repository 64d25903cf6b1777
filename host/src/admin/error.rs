//! Errors of the control socket and the admin listener at the start. Each text is complete: what, where, what to do.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::text::sanitize::one_line;

/// An error at the start. Nothing is left bound then.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The control socket.
    #[error("cannot listen on the control socket {}: {problem}", one_line(&path.display().to_string()))]
    Control {
        /// Its path.
        path: PathBuf,
        /// The problem, and what to do.
        problem: ControlSocketProblem,
    },
    /// The admin listener.
    #[error("cannot listen on the admin address {address}: {cause}")]
    Admin {
        /// Its address.
        address: SocketAddr,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// The thread behind both.
    #[error("cannot start the thread of the control socket and the admin listener: {0}")]
    Thread(std::io::Error),
}

/// Reasons why a control socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum ControlSocketProblem {
    /// A process listens there, or is about to.
    #[error(
        "another process listens there; does this app run already? (`curfew status --control PATH` tells)"
    )]
    Taken,
    /// The path names something else.
    #[error("there is a file of that name which is no socket; remove it, or choose another path")]
    NoSocket,
    /// The folder does not exist.
    #[error("its folder does not exist")]
    NoFolder,
    /// The error of the system.
    #[error("{0}")]
    System(#[from] std::io::Error),
}
