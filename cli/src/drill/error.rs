//! Why a drill could not be held, which is not a finding about how the app stops.

use std::io;
use std::path::PathBuf;

use curfew_host::text::sanitize;

/// Why nothing could be tried.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The app does not even start.
    #[error(
        "the app does not run, so there is nothing to drill; `curfew run` left with {code} and said:\n{}",
        sanitize::lines(said).trim_end()
    )]
    CannotStart {
        /// What `curfew run` left with.
        code: u8,
        /// Its last words.
        said: String,
    },
    /// It takes sockets that only a service manager has.
    #[error(
        "{component} listens on fd:{name}, a socket that systemd passes: a drill has none\nhint: drill a manifest that \
         differs in `listen`, for instance `listen = [\"127.0.0.1:0\"]`"
    )]
    Activated {
        /// The component.
        component: String,
        /// The name of the socket.
        name: String,
    },
    /// The load has no target that can be understood.
    #[error("--load {url:?}: {reason}")]
    Load {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file of the drill's own cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The system refused something.
    #[error("cannot {what}: {cause}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// The one who runs the drill ended it.
    #[error("interrupted: the app was killed, the drill is not over")]
    Interrupted,
}

impl DrillError {
    /// Returns how to make an error of the system's.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::System { what, cause }
    }
}
