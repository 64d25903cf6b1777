//! Runs an app: feeds the teardown machine with events, carries out its actions, and reports them.
//!
//! One thread, `curfew-control`, owns the machine and the timers and never runs guest code; a second one, the
//! guardian, ends the process if the first does not. Servers and stores live on threads of their own.

mod actions;
mod app;
mod event_loop;
mod events;
mod generation_record;
mod guardian;
mod inbox;
mod operator_requests;
mod probes;
mod registry;
mod reload;
mod report;
mod service_manager;
mod signals;
mod snapshot;
mod startup;
mod waiting_operators;

pub use app::{App, AppError, Ended, Options, Stopper};
pub use guardian::{Guardian, hard_exit};
pub use report::{CauseReport, ComponentReport, Report, table};
pub use signals::{SignalSource, block_signals, release_signals};
