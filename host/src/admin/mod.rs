//! What an operator and the app's surroundings see of it while it runs, and what they can ask it to do: the control
//! socket and the admin listener.
//!
//! Duty: one thread (`curfew-operate`) that serves HTTP on both, and the plain data that is told there. Whoever owns
//! the app answers as an [`Operator`]. `docs/control.md` describes the protocol, `docs/metrics.md` the metrics.
//!
//! Invariant: nobody who asks here can hold the app up: questions are handed over without waiting, connections are
//! few and bounded in time and memory, and this thread lives until the app has ended, however it ends.
//!
//! What does not belong here: what the answers are, and the commands that ask (`curfew status` and its siblings).

pub mod client;
mod connection;
mod error;
mod exposition;
mod metrics;
mod quiet_stream;
mod request;
mod router;
mod server;
mod socket;
mod status;

pub use error::{AdminError, ControlProblem};
pub use metrics::{ComponentMetrics, ConnectionMetrics, Durations, Metrics, RequestMetrics, Times};
pub use request::{Operator, OperatorAnswer, OperatorRequest, Refusal, RefusalKind, Snapshot};
pub use server::{Admin, AdminParts};
pub use status::{ComponentStatus, LastReload, Status};
