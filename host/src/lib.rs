//! curfew's host as a library.

pub mod cli;
mod fail_point;
pub mod output;
pub mod plan;
pub mod runtime;
pub mod server;
pub mod supervisor;
pub mod teardown;
