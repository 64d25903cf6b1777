//! Runs an app: feeds the teardown machine with what happens, does what it says, and tells what was done.
//!
//! One thread, `curfew-control`, owns the machine and the timers and never runs guest code; a second one, the
//! guardian, ends the process if the first does not. Servers and stores live on threads of their own.

mod app;
mod board;
mod control;
mod guardian;
mod health;
mod hear;
mod inbox;
mod ledger;
mod manager;
mod narrate;
mod orders;
mod pause;
mod perform;
mod policies;
mod reload;
mod report;
mod restarts;
mod roster;
mod signals;
mod snapshot;
mod table;

pub use app::{App, AppError, Options, Stopper};
pub use control::Ended;
pub use guardian::{Guardian, hard_exit};
pub use report::{CauseReport, ComponentReport, Report};
pub use signals::{Arrived, SignalSource, block_signals, release_signals};
pub use table::table;
