//! The client against real servers on loopback.

mod bodies;
mod harness;
mod refusals;
mod secure;
mod sending;
mod stopping;
mod waits;
