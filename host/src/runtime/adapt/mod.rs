//! Core modules become components while they are loaded. Bytes in, bytes out: nothing else of the host needs it. Without
//! the feature `adapt` core modules are refused.

#[cfg(not(feature = "adapt"))]
mod absent;
#[cfg(feature = "adapt")]
mod adaptation;
#[cfg(feature = "adapt")]
mod adapter_memory;
#[cfg(feature = "adapt")]
mod exit_code;
#[cfg(feature = "adapt")]
mod go_memory;
#[cfg(feature = "adapt")]
mod hidden_memory;
#[cfg(feature = "adapt")]
mod indices;

#[cfg(not(feature = "adapt"))]
use absent as adaptation;
pub use adaptation::Adaptation;
pub(crate) use adaptation::{MADE_BY, adapt, exported_by_world, plan};
