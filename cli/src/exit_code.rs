//! The exit code of each error: the one table. The exit code of an app that ran is in `curfew_host::teardown`
//! (`exit_code`), which also says what each code means.

use crate::drill::DrillError;
use crate::error::CliError;
use crate::new::NewError;
use curfew_host::admin::client::ControlClientError;
use curfew_host::plan::PlanError;
use curfew_host::runtime::LoadError;
use curfew_host::server::PrepareError;
use curfew_host::supervisor::AppError;
use curfew_host::teardown::ExitCode;

impl CliError {
    /// Returns the code that the process leaves with for this error.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Plan(error) => match error {
                PlanError::Invalid(_) => ExitCode::INVALID,
                PlanError::Unreadable { .. } => ExitCode::UNAVAILABLE,
                PlanError::Usage { .. } => ExitCode::USAGE,
            },
            Self::App(error) => match error {
                AppError::Load(LoadError::Invalid { .. }) => ExitCode::INVALID,
                AppError::Prepare(PrepareError::Tls { cause, .. }) if !cause.unreadable => ExitCode::INVALID,
                AppError::Load(LoadError::Unreadable { .. } | LoadError::Name { .. })
                | AppError::Prepare(_)
                | AppError::Admin(_)
                | AppError::System { .. } => ExitCode::UNAVAILABLE,
                AppError::Engine(_) | AppError::Bug => ExitCode::HOST_BUG,
            },
            Self::Control(error) => match error {
                ControlClientError::NotRunning { .. }
                | ControlClientError::Unreachable { .. }
                | ControlClientError::System(_) => ExitCode::UNAVAILABLE,
                ControlClientError::NoSocketNamed(_) => ExitCode::USAGE,
                ControlClientError::Refused(_)
                | ControlClientError::Timeout
                | ControlClientError::Disconnected => ExitCode::FAILED,
            },
            Self::Drill(error) => match error {
                // The drill leaves as `curfew run` does, unless the code is about how an app ended.
                DrillError::CannotStart { code, .. } => match ExitCode(*code) {
                    code @ (ExitCode::USAGE
                    | ExitCode::UNAVAILABLE
                    | ExitCode::HOST_BUG
                    | ExitCode::INVALID) => code,
                    _ => ExitCode::FAILED,
                },
                DrillError::ActivatedSocket { .. } | DrillError::Write { .. } | DrillError::System { .. } => {
                    ExitCode::UNAVAILABLE
                }
                DrillError::LoadUrl { .. } => ExitCode::USAGE,
                DrillError::Interrupted => ExitCode(130),
            },
            Self::Usage(_) | Self::NoCommand(_) | Self::NoTemplate(_) | Self::New(NewError::Exists(_)) => {
                ExitCode::USAGE
            }
            Self::New(NewError::Unwritable { .. })
            | Self::Cache(_)
            | Self::Write { .. }
            | Self::Thread(_)
            | Self::Signals(_) => ExitCode::UNAVAILABLE,
        }
    }
}
