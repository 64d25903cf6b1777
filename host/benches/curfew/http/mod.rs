//! HTTP, side by side in one run: curfew, `wasmtime serve` and plain hyper take turns under the same load.
//!
//! Invariant: a server that answers with an error, or drops a connection, fails the bench: only answers count.

mod answer;
mod hello;
mod hyper_server;
mod open_loop;
mod p99;
mod server;
mod settings;
mod stream;
mod turns;
mod twenty;
mod wrk;

pub use hello::{classic as hello_classic, hello};
pub use p99::{classic as p99_classic, p99};
pub use settings::started_as_helper;
pub use stream::stream;
pub use twenty::twenty;
