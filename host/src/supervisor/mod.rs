//! Runs an app: feeds the teardown machine with what happens, does what it says, and tells what was done.
//!
//! One thread, `curfew-control`, owns the machine and the timers and never runs guest code; a second one, the
//! guardian, ends the process if the first does not. Servers and stores live on threads of their own.

mod actions;
mod app;
mod counters;
mod event_loop;
mod events;
mod generation_record;
mod guardian;
mod health;
mod inbox;
mod log_events;
mod operator_requests;
mod policies;
mod registry;
mod reload;
mod replace;
mod report;
mod service_manager;
mod signals;
mod snapshot;
mod suspension;
mod table;

pub use app::{App, AppError, Options, Stopper};
pub use event_loop::Ended;
pub use guardian::{Guardian, hard_exit};
pub use report::{CauseReport, ComponentReport, Report};
pub use signals::{Arrived, SignalSource, block_signals, release_signals};
pub use table::table;
