//! Errors of the commands. `exit_code` says with which code the process leaves for each.

use std::path::PathBuf;

use crate::drill::DrillError;
use crate::new::{NewError, Unavailable};
use curfew_host::admin::client::ControlClientError;
use curfew_host::plan::PlanError;
use curfew_host::supervisor::AppError;

/// An error of a command. Its text is complete: what, where, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The manifest or the files are invalid, or cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The app could not run.
    #[error(transparent)]
    App(#[from] AppError),
    /// A running app could not be reached, or refused.
    #[error(transparent)]
    Control(#[from] ControlClientError),
    /// There is no template for such a project.
    #[error(transparent)]
    NoTemplate(#[from] Unavailable),
    /// A project cannot be written.
    #[error(transparent)]
    New(#[from] NewError),
    /// A drill could not be held.
    #[error(transparent)]
    Drill(#[from] DrillError),
    /// The arguments contradict each other.
    #[error("{0}")]
    Usage(&'static str),
    /// The cache cannot be used.
    #[error("{0}\nhint: name another folder with --cache, or compile each time with --no-cache")]
    Cache(String),
    /// A report or a page of the manual cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write { path: PathBuf, cause: std::io::Error },
    /// There is no such command.
    #[error("curfew has no command {0:?}\nhint: `curfew --help` lists them")]
    NoCommand(String),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The process cannot listen to its signals.
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
}
