//! Runs components: their instances and threads, and the addresses and connections that the host owns for them. Kinds live
//! here only. Knows nothing of the app around it: orders come in through [`servers::Servers`], events go out through a `Link`.
//!
//! | folder | holds |
//! | --- | --- |
//! | `service/`, `http/`, `tcp/` | the kinds: each as data in `kind.rs`, and what it does |
//! | `instance/` | one instance from its store to its end |
//! | `pool/`, `worker/`, `generation/` | many instances: which serves what, on which thread, and how all of them start and stop |
//! | `address/`, `connection/`, `ingress/` | what the host listens on, and who serves there |

mod address;
mod connection;
mod generation;
mod http;
mod ingress;
mod instance;
mod kinds;
mod pool;
pub(crate) mod servers;
mod service;
mod tcp;
mod worker;

pub(crate) use connection::access_log::AccessLog;
/// The words in which a kind speaks with its guest.
pub mod guest {
    pub use wasmtime::component::{Accessor, Func, Instance};
    pub use wasmtime::{Result, Store};
}

pub use connection::tls::TlsError;
pub use generation::{BUCKETS_MICROS, CLASSES, CONNECTION, ClientFault, Counts, ENDS, REQUEST, Stats, Unit};
pub use instance::{KindWork, Lifecycle, SingleWork};
pub use kinds::built_in;
pub(crate) use servers::{IncomingGeneration, ServerParts, Servers, StartParts};
pub use servers::{KindSet, PrepareError};
