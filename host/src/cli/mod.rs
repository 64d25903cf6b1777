//! The command line: what can be said on it, and what each command does with the library below.

mod alone;
mod args;
mod check;
mod describe;
mod drill;
mod entry;
mod error;
mod help;
mod manual;
mod new;
mod operate;
mod run;
mod say;
mod status_table;
mod supervision;
mod times;
mod waves;

pub use entry::main;
