//! Why the control socket or the admin listener cannot be had. Each text is complete: what, where, what to do.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::teardown::ExitCode;
use crate::text::sanitize::one_line;

/// An error at the start. Nothing is left bound then.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The control socket.
    #[error("cannot listen on the control socket {}: {why}", one_line(&path.display().to_string()))]
    Control {
        /// Its path.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: ControlProblem,
    },
    /// The admin listener.
    #[error("cannot listen on the admin address {address}: {cause}")]
    Admin {
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The thread behind both.
    #[error("cannot start the thread of the control socket and the admin listener: {0}")]
    Thread(std::io::Error),
}

/// What is wrong with a control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlProblem {
    /// A process listens there, or is about to.
    #[error(
        "another process listens there; does this app run already? (`curfew status --control PATH` tells)"
    )]
    Taken,
    /// There is something else under that name.
    #[error("there is a file of that name which is no socket; remove it, or choose another path")]
    NoSocket,
    /// The folder is not there.
    #[error("its folder does not exist")]
    NoFolder,
    /// What the system said.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl AdminError {
    /// Returns the code that a process leaves with for this error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::UNAVAILABLE
    }
}
