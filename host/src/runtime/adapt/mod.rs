//! Core modules become components while they are loaded. Bytes in, bytes out: nothing else of the host needs it.

mod adaptation;
mod adapter_memory;
pub(super) mod exit_code;
mod go_memory;
mod hidden_memory;
mod indices;

pub use adaptation::{Adaptation, MADE_BY, adapt, exported_by_world, plan};
