//! The fire drill: runs an app in processes of its own, stops it in every way, and evaluates how it stopped.
//!
//! Duty: `session` chooses the scenarios, `runner` carries each out on an `app_process` with its load, `evaluation` turns
//! an `observation` into findings, and `drill_report`, `table` and `junit` present them.
//!
//! Invariant: the drill is a client of our own binary. It knows the app only as any operator does. No process that it
//! starts outlives it. A signal ends every wait with `CliError::Interrupted`.

mod app_process;
mod drill_report;
mod evaluation;
mod failing_peer;
mod junit;
mod load_generator;
mod observation;
mod reload_cycle;
mod requests;
mod runner;
mod scenario;
mod session;
mod table;
mod target;

pub(crate) use app_process::{AppProcess, Interrupt, ProcessState, event_loop, spawn};
pub(crate) use drill_report::{
    DrillReport, Finding, GraceUse, REPORT_BUG, ScenarioResult, Severity, Verdict, millis,
};
pub(crate) use evaluation::{NO_ANSWER, SERVER_ERRORS, SLOW_START, evaluate};
pub(crate) use junit::junit_xml;
pub(crate) use load_generator::LoadGenerator;
pub(crate) use observation::{AppReport, LogRecord, Observation, ProcessExit, ReportedComponent};
pub(crate) use requests::{RejectionWindow, RequestCounts, RequestLog, RequestOutcome, SentRequest};
pub(crate) use runner::{DrillConfig, Runner, RunningApp, StopMoment};
pub(crate) use scenario::{NOISE, Scenario};
pub(crate) use session::run_drill;
pub(crate) use table::{failure_lines, log_line, report_text};
pub(crate) use target::{Endpoint, Target};
