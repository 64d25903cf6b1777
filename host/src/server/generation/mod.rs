//! One generation of a component that the host listens for: its state and counts, and the controller that starts and stops
//! its instances.

mod client_fault;
pub(super) mod controller;
mod fault_log;
pub(super) mod generation;
pub(super) mod stats;

pub use client_fault::ClientFault;
pub(super) use controller::Controller;
pub(super) use generation::{
    Call, Generation, GenerationState, Inputs, Liveness, Protocol, all_asked, all_ready, raise,
};
pub(super) use stats::RunInFlight;
pub use stats::{BUCKETS_MICROS, CLASSES, CONNECTION, Counts, ENDS, REQUEST, Stats, Unit};
