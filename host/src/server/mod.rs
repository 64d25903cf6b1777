//! Runs components: instances, their threads, and the addresses and connections that the host owns for them. Knows
//! nothing of the app around it: orders come in and events go out through a `Link`.

mod address;
mod connection;
mod generation;
mod http;
mod ingress;
mod instance;
mod pool;
mod service;
mod tcp;
mod worker;

pub use connection::access_log::AccessLog;
pub use connection::tls::TlsError;
pub use generation::controller::MakeStdio;
pub use generation::stats::{BUCKETS_MICROS, CLASSES, Counts, ENDS, Stats};
pub use ingress::ingress::{IncomingGeneration, Ingress, IngressError};
pub use service::thread::{Spawned, spawn};
