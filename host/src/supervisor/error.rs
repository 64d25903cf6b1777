//! Errors that end an app before it runs, and the one that ends it without a report.

use crate::admin::AdminError;
use crate::runtime::LoadError;
use crate::server::PrepareError;

/// Why an app could not run. Nothing was started then.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A component cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An address cannot be bound, or a certificate cannot be used.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The control socket or the admin listener cannot be opened.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// This machine cannot run compiled components.
    #[error("the engine cannot be made: {0:#}")]
    Engine(wasmtime::Error),
    /// The system refused something.
    #[error("cannot {what}: {cause}")]
    System {
        /// The task.
        what: &'static str,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// The control thread died, which is a bug.
    #[error("the control thread died, which is a bug in curfew")]
    Bug,
}
