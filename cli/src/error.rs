//! What can go wrong in a command. `exit_code` says with which code the process leaves for it.

use std::path::PathBuf;

use crate::drill::DrillError;
use crate::new::{NewError, Unavailable};
use curfew_host::admin::client::ControlClientError;
use curfew_host::plan::PlanError;
use curfew_host::supervisor::AppError;

/// An error of a command. Its text is complete: what, where, what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The manifest or the files cannot be meant so.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The app could not run.
    #[error(transparent)]
    App(#[from] AppError),
    /// A running app could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ControlClientError),
    /// There is no such project.
    #[error(transparent)]
    NoProject(#[from] Unavailable),
    /// A project cannot be written.
    #[error(transparent)]
    New(#[from] NewError),
    /// A drill could not be held.
    #[error(transparent)]
    Drill(#[from] DrillError),
    /// The command line cannot be meant so.
    #[error("{0}")]
    Usage(&'static str),
    /// The cache cannot be used.
    #[error("{0}\nhint: name another folder with --cache, or compile each time with --no-cache")]
    Cache(String),
    /// The report cannot be written.
    #[error("cannot write the report {}: {cause}", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A page of the manual cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Page {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// There is no such command.
    #[error("curfew has no command {0:?}\nhint: `curfew --help` lists them")]
    NoCommand(String),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The process's signals cannot be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
}
