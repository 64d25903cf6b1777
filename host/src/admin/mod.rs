//! The control socket and the admin listener: how operators, probes and scrapers see a running app, and give it orders.
//!
//! One thread (`curfew-admin`) serves HTTP on both, until the app has ended. The app answers as an [`Operator`].
//! `docs/control.md` describes the protocol, `docs/metrics.md` the metrics.
//!
//! Invariant: no client can hold the app up. Connections are few, and bounded in time and memory.

pub mod client;
mod connection;
mod exposition;
mod metrics;
mod process_metrics;
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
