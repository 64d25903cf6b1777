//! Components of the kinds `http` and `tcp`: the host owns their listeners and connections, and hands each request, or
//! each connection, to one of their instances. What is said of requests holds for connections of kind `tcp`, too.
//!
//! | module | decides |
//! | --- | --- |
//! | `front` | which addresses there are, and who is on them; how others take over; the one thread that accepts |
//! | `conductor` | how one generation of a component starts and stops |
//! | `component`, `standing` | how far it is, for those it shares addresses with |
//! | `lanes`, `lane` | which thread serves a connection, and runs an instance |
//! | `pool` | which instance serves a request, and which requests wait |
//! | `driver`, `instance` | how far one instance is |
//! | `group`, `routing` | who serves what on an address; how that drains |
//! | `door`, `listener` | how a socket is bound, accepted from and closed |
//! | `connection`, `pace`, `linger`, `peer`, `wire`, `tls` | how a connection begins and ends |
//! | `request`, `admit`, `answer`, `body`, `call` | what becomes of one request |
//! | `entry`, `stats`, `access` | what is counted and logged of it |
//! | `tcp` | what becomes of one connection of kind `tcp` |
//! | `ticker`, `bell` | how guests that compute let others on their thread run; whether one waits |

mod access;
mod admit;
mod answer;
mod bell;
mod body;
mod call;
mod component;
mod conductor;
mod connection;
mod door;
mod driver;
mod entry;
mod front;
mod group;
mod instance;
mod lane;
mod lanes;
mod linger;
mod listener;
mod pace;
mod peer;
mod pool;
#[cfg(test)]
mod pool_tests;
mod request;
mod routing;
mod standing;
mod stats;
mod tcp;
mod ticker;
mod tls;
mod wire;

pub use access::AccessLog;
pub use conductor::MakeStdio;
pub use front::{FreshComponent, Front, FrontError};
pub use stats::{BUCKETS_MICROS, CLASSES, Counts, ENDS, Stats};
pub use tls::TlsError;
