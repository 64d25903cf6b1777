//! The command line of curfew. `dispatch` leads from the process's arguments to one of the `commands`; `drill` and `new`
//! do the work of the two largest. How an app runs and stops is in the library `curfew_host`.

mod args;
mod commands;
mod dispatch;
mod drill;
mod error;
mod exit_code;
mod help;
mod kinds;
pub mod new;
mod print;
mod single_file;
mod status_table;

pub use dispatch::{main, main_with};
