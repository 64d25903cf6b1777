//! Errors that keep a drill from being held, which are no findings about how the app stops.

use std::io;
use std::path::PathBuf;

use curfew_host::text::sanitize;

/// An error of a drill.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DrillError {
    /// The app does not even start.
    #[error(
        "the app does not run, so there is nothing to drill; `curfew run` left with {code} and printed:\n{}",
        sanitize::lines(output).trim_end()
    )]
    CannotStart { code: u8, output: String },
    /// The app takes sockets that only a service manager has.
    #[error(
        "{component} listens on fd:{name}, a socket that systemd passes: a drill has none\nhint: drill a manifest that \
         differs in `listen`, for instance `listen = [\"127.0.0.1:0\"]`"
    )]
    ActivatedSocket { component: String, name: String },
    /// A URL of `--load` is invalid.
    #[error("--load {url:?}: {reason}")]
    LoadUrl { url: String, reason: &'static str },
    /// A file cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write { path: PathBuf, cause: io::Error },
    /// The system refused something.
    #[error("cannot {action}: {cause}")]
    System { action: &'static str, cause: io::Error },
    /// A signal ended the drill.
    #[error("interrupted: the app was killed, the drill is not over")]
    Interrupted,
}

impl DrillError {
    /// Returns how to make an error of an error of the system.
    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::System { action, cause }
    }
}
