//! The control socket and the admin listener: how operators, probes and scrapers see a running app, and give it orders.
//!
//! Duty: one thread (`curfew-admin`) that serves HTTP on both, and the plain data that it serves. The app answers as
//! an [`Operator`]. `docs/control.md` describes the protocol, `docs/metrics.md` the metrics.
//!
//! Invariant: no client can hold the app up. Requests are handed over without waiting, connections are few and bounded
//! in time and memory, and this thread lives until the app has ended, however it ends.
//!
//! The content of the answers does not belong here, nor do the commands that ask (`curfew status` and its siblings).

pub mod client;
mod connection;
mod exposition;
mod metrics;
mod request;
mod router;
mod server;
mod socket;
mod status;

pub use metrics::{ComponentMetrics, Metrics, Times, WorkMetrics};
pub use request::{
    Operator, OperatorAnswer, OperatorOrder, OperatorRefusal, OperatorRequest, RefusalKind, Snapshot,
};
pub use server::{Admin, AdminError};
pub use socket::ControlSocketProblem;
pub use status::{ComponentStatus, LastReload, Status};
