//! Kind `http`: connections that bring requests, and the way of one request to an instance and back.

pub(super) mod admission;
pub(super) mod body;
pub(super) mod call;
pub(super) mod client_body;
mod connection;
mod departure;
mod framing;
mod head;
pub(super) mod health;
mod http1;
mod http2;
pub(super) mod kind;
mod outgoing;
pub(super) mod request;
pub(super) mod serve;
mod timeouts;
