//! One generation of a component that the host listens for: its state and counts, and the controller that starts and stops
//! its instances.

pub(super) mod controller;
pub(super) mod generation;
pub(super) mod protocol;
pub(super) mod restart_pause;
pub(super) mod state;
pub(super) mod stats;
