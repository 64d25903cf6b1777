//! Kind `tcp`: a connection is one job for the pool, and two bounded pipes between its socket and its guest.

pub(super) mod connection;
pub(super) mod handler;
pub(super) mod kind;
pub(super) mod pipe;
pub(super) mod relay;
