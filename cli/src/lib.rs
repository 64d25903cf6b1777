//! The command line of curfew: its arguments, and one module for each command. `drill` and `new` are folders of their own.
//! What an app is and how it stops is in the library `curfew_host`.

mod args;
mod check;
mod describe;
mod drill;
mod entry;
mod error;
mod exit_code;
mod help;
mod manual;
pub mod new;
mod operate;
mod print;
mod run;
mod single_file;
mod status_table;
mod supervision;
mod times;
mod waves;

pub use entry::main;
