//! HTTP, side by side in one run: curfew, `wasmtime serve` and plain hyper take turns under the same load.
//!
//! Invariant: a server that answers with an error, or drops a connection, fails the bench: only answers count.

mod answer;
mod connections;
mod crowd;
mod get;
mod hello;
mod hyper_server;
mod messages;
mod metrics_cost;
mod open_loop;
mod p99;
mod reload_load;
mod reload_one;
mod schedule;
mod server;
mod settings;
mod status_load;
mod stream;
mod turns;
mod twenty;
mod wrk;

pub use connections::connections;
pub use hello::{classic as hello_classic, fresh, hello};
pub use messages::messages;
pub use metrics_cost::metrics_cost;
pub use p99::{classic as p99_classic, p99};
pub use reload_load::reload_load;
pub use reload_one::reload_one;
pub use settings::started_as_helper;
pub use status_load::status_load;
pub use stream::stream;
pub use twenty::twenty;
