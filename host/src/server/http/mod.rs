//! Kind `http`: connections that bring requests, and the way of one request to an instance and back.

pub(super) mod admission;
pub(super) mod body;
pub(super) mod call;
pub(super) mod connection;
pub(super) mod framing;
pub(super) mod head;
pub(super) mod health;
pub(super) mod http1;
pub(super) mod kind;
pub(super) mod request;
pub(super) mod serve;
