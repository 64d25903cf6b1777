//! Runs an app: feeds the teardown machine with events, carries out its actions, and reports them.
//!
//! One thread, `curfew-control`, owns the machine and the timers and never runs guest code; a second one, the
//! guardian, ends the process if the first does not. Servers and stores live on threads of their own.

mod actions;
mod app;
mod counters;
mod error;
mod event_loop;
mod events;
mod final_report;
mod generation_record;
mod guardian;
mod hook_record;
mod inbox;
mod log_events;
mod operator_requests;
mod options;
mod policies;
mod probes;
mod readiness;
mod registry;
mod reload;
mod reload_state;
mod replace;
mod report;
mod service_manager;
mod signals;
mod snapshot;
mod startup;
mod startup_progress;
mod stop_progress;
mod suspension;
mod table;
mod waiting_operators;

pub use app::{App, Stopper};
pub use error::AppError;
pub use event_loop::Ended;
pub use guardian::{Guardian, hard_exit};
pub use options::Options;
pub use report::{CauseReport, ComponentReport, Report};
pub use signals::{Arrived, SignalSource, block_signals, release_signals};
pub use table::table;
