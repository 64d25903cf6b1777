//! Messages to systemd (readiness, reloads, stops, life signs), and listening sockets from it.
//!
//! Invariant: without systemd nothing here happens, and with it nothing here ever waits. Guests see none of it: their
//! environment comes from the manifest alone.

pub mod activation;
mod notify;

pub(crate) use activation::{ActivationError, take};
pub(crate) use notify::Notifier;
