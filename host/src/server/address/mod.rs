//! One listen address: its sockets, the generations that serve on it, and how it drains.

pub(super) mod acceptor;
pub(super) mod address;
pub(super) mod client_connections;
pub(super) mod descriptors;
mod idle_connections;

pub(super) use address::{Address, Routing, Stage};
