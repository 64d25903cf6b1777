//! Core modules become components while they are loaded. Bytes in, bytes out: nothing else of the host needs it. A build
//! without the feature `adapt` has `absent.rs` in place of this file.

mod adaptation;
mod adapter_memory;
mod core_module;
mod diagnosis;
mod exit_code;
mod go_memory;
mod hidden_memory;
mod sections;

pub use adaptation::Adaptation;
pub(crate) use adaptation::{MADE_BY, adapt, plan, world_exports};
