//! One listen address: its sockets, the generations that serve on it, and how it drains.

pub(super) mod acceptor;
pub(super) mod address;

pub(super) use address::{Address, Routing, Stage};
