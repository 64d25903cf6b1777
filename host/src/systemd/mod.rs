//! What curfew and systemd tell each other: readiness, reloads, stops and life signs out, listening sockets in.
//!
//! Invariant: without systemd nothing of it happens, and with it nothing here ever waits. Guests see none of it: they
//! have no environment but what the manifest grants. What does not belong here: when something is told, which the
//! supervisor decides.

pub mod activation;
mod notify;

pub use activation::{ActivationError, take};
pub use notify::Notifier;
