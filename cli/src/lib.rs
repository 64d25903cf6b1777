//! The command line of curfew. `dispatch` leads from the process's arguments to one of the `commands`; `drill` and `new`
//! do the work of the two largest. How an app runs and stops is in the library `curfew_host`.

// Dead code shows where nothing is public without need. Helpers of tests are exempt.
#![cfg_attr(not(test), deny(unreachable_pub))]

mod args;
mod commands;
mod dispatch;
mod drill;
mod error;
mod habits;
mod help;
mod kinds;
pub mod new;
mod print;
mod status_table;

pub use dispatch::{main, main_with};
