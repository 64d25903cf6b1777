//! Errors of the commands, and their exit codes: the one table. That of an app that ran is in `curfew_host::teardown`.

use std::io;
use std::path::PathBuf;

use crate::new::NewError;
use curfew_host::admin::client::ControlClientError;
use curfew_host::plan::{Diagnostic, ManifestPlace, PlanError};
use curfew_host::runtime::{LoadError, LoadErrors, LoadFault};
use curfew_host::server::PrepareError;
use curfew_host::supervisor::AppError;
use curfew_host::teardown::ExitCode;
use curfew_host::text::sanitize;

/// An error of a command. Its text is complete: what, where, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The manifest or the files are invalid, or cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    App(#[from] AppError),
    /// A manifest and the files that it names are invalid: everything that is wrong, in the order of the manifest.
    #[error("{}", texts(.0).join("\n"))]
    Faults(Vec<Fault>),
    /// A running app could not be reached, or refused.
    #[error(transparent)]
    Control(#[from] ControlClientError),
    /// There is no such project, or it cannot be written.
    #[error(transparent)]
    New(#[from] NewError),
    #[error("{0}")]
    Usage(&'static str),
    #[error("{0}\nhint: name another folder with --cache, or compile each time with --no-cache")]
    Cache(String),
    /// A result cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write { path: PathBuf, cause: io::Error },
    #[error("curfew has no command {0:?}\nhint: `curfew --help` lists them")]
    NoCommand(String),
    /// The system refused something.
    #[error("cannot {action}: {cause}")]
    System { action: &'static str, cause: io::Error },
    /// The app of a drill does not even start.
    #[error(
        "the drill cannot start the app; `curfew run` left with {code} and printed:\n{}",
        sanitize::lines(output).trim_end()
    )]
    CannotStart { code: u8, output: String },
    /// The app of a drill takes sockets that only a service manager has.
    #[error(
        "{component} listens on fd:{name}, a socket that systemd passes: a drill has none\nhint: drill a manifest that \
         differs in `listen`, for instance `listen = [\"127.0.0.1:0\"]`"
    )]
    ActivatedSocket { component: String, name: String },
    #[error("--load {url:?}: {reason}")]
    LoadUrl { url: String, reason: &'static str },
    #[error("interrupted: the app was killed, the drill is not over")]
    Interrupted,
}

/// One thing that is wrong in a manifest, or in a component that it names.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Manifest(#[from] Diagnostic),
    #[error(transparent)]
    Component(#[from] LoadError),
}

impl Fault {
    /// Joins errors of both sorts in the order of the manifest.
    pub(crate) fn join(manifest: Vec<Diagnostic>, components: Vec<LoadError>) -> Vec<Self> {
        let mut all: Vec<Self> = manifest.into_iter().map(Self::from).collect();
        all.extend(components.into_iter().map(Self::from));
        all.sort_by_key(|fault| fault.place().map(|place| (place.line, place.column)));
        all
    }

    fn place(&self) -> Option<&ManifestPlace> {
        match self {
            Self::Manifest(found) => Some(&found.place),
            Self::Component(error) => error.place(),
        }
    }

    fn is_invalid(&self) -> bool {
        match self {
            Self::Manifest(_) => true,
            Self::Component(error) => is_invalid(error),
        }
    }
}

fn texts<T: ToString>(errors: &[T]) -> Vec<String> {
    errors.iter().map(T::to_string).collect()
}

fn is_invalid(error: &LoadError) -> bool {
    matches!(error.fault, LoadFault::Invalid { .. })
}

/// Returns the code of errors of which one is about what a manifest or a component says, not about the machine.
fn code_of(one_is_invalid: bool) -> ExitCode {
    if one_is_invalid { ExitCode::INVALID } else { ExitCode::UNAVAILABLE }
}

impl CliError {
    /// Returns the error as it is printed: one text, or one for each thing that is wrong.
    pub(crate) fn texts(&self) -> Vec<String> {
        match self {
            Self::Plan(PlanError::Invalid(found)) => texts(found),
            Self::App(AppError::Load(LoadErrors(errors))) => texts(errors),
            Self::Faults(faults) => texts(faults),
            other => vec![other.to_string()],
        }
    }

    /// Returns how to make an error of an error of the system.
    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::System { action, cause }
    }

    /// Returns the code that the process leaves with for this error.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Plan(error) => match error {
                PlanError::Invalid(_) => ExitCode::INVALID,
                PlanError::Unreadable { .. } => ExitCode::UNAVAILABLE,
                PlanError::Usage { .. } => ExitCode::USAGE,
            },
            Self::App(error) => match error {
                AppError::Load(LoadErrors(errors)) => code_of(errors.iter().any(is_invalid)),
                AppError::Prepare(PrepareError::Tls { cause, .. }) if !cause.unreadable => ExitCode::INVALID,
                AppError::Prepare(_) | AppError::Admin(_) | AppError::Engine(_) | AppError::System { .. } => {
                    ExitCode::UNAVAILABLE
                }
                AppError::Bug => ExitCode::HOST_BUG,
            },
            Self::Faults(faults) => code_of(faults.iter().any(Fault::is_invalid)),
            Self::Control(error) => match error {
                ControlClientError::NotRunning { .. }
                | ControlClientError::Unreachable { .. }
                | ControlClientError::System(_) => ExitCode::UNAVAILABLE,
                ControlClientError::NoSocketNamed(_) => ExitCode::USAGE,
                ControlClientError::Refused(_)
                | ControlClientError::Timeout
                | ControlClientError::Disconnected => ExitCode::FAILED,
            },
            // The drill leaves as `curfew run` does, unless the code is about how an app ended.
            Self::CannotStart { code, .. } => match ExitCode(*code) {
                code @ (ExitCode::USAGE | ExitCode::UNAVAILABLE | ExitCode::HOST_BUG | ExitCode::INVALID) => {
                    code
                }
                _ => ExitCode::FAILED,
            },
            Self::Usage(_)
            | Self::NoCommand(_)
            | Self::LoadUrl { .. }
            | Self::New(NewError::Unavailable { .. } | NewError::Exists(_)) => ExitCode::USAGE,
            Self::New(NewError::Unwritable { .. })
            | Self::Cache(_)
            | Self::Write { .. }
            | Self::ActivatedSocket { .. }
            | Self::System { .. } => ExitCode::UNAVAILABLE,
            Self::Interrupted => ExitCode(130),
        }
    }
}
