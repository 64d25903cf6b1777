//! What every test needs: the host as a child process, its output as events, and clients for its guests.
//!
//! Tests wait for a line, a log record, a socket or the exit. Where the system tells nobody of an event (a process
//! is reaped, a port is bound), the harness looks again every few milliseconds, with a bound.

mod app;
mod capture;
mod host;
mod manifest;
mod output;
mod patience;
mod pty;
mod redis;
mod tcp;
mod wat;

pub use app::App;
pub use host::Host;
pub use manifest::{app, component, keys};
pub use output::Output;
pub use patience::{assert_within, patience};
pub use pty::Terminal;
pub use redis::{Redis, Reply};
pub use tcp::LineClient;
pub use wat::{Hook, HookResult, Run};
