//! The command line: what can be said on it, and what each command does with the library below.

mod args;
mod check;
mod client;
mod describe;
mod entry;
mod error;
mod manual;
mod operate;
mod run;
mod say;
mod status_table;
mod supervision;
mod waves;

pub use entry::main;
