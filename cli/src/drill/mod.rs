//! The fire drill: runs an app in processes of its own, stops it in every way, and evaluates how it stopped.
//!
//! Duty: `session` chooses the scenarios, `runner` carries each out on an `app_process` with its load, `evaluation` turns
//! an `observation` into findings, and `drill_report`, `table` and `junit` present them.
//!
//! Invariant: the drill is a client of our own binary. It knows the app only by its exit status, its log, its report, its
//! control socket and its answers, as any operator does. No process that it starts outlives it. A signal ends every wait
//! with `DrillError::Interrupted`.
//!
//! How an app runs does not belong here, nor do the arguments of `curfew drill`.

mod app_process;
mod drill_report;
mod error;
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

pub(crate) use app_process::Interrupt;
pub(crate) use drill_report::DrillReport;
pub(crate) use error::DrillError;
pub(crate) use junit::junit_xml;
pub(crate) use runner::{DrillConfig, Runner};
pub(crate) use scenario::Scenario;
pub(crate) use session::run_drill;
pub(crate) use table::report_text;
pub(crate) use target::Target;
