//! Core modules with an embedded world become components while they are loaded. A build without the feature `adapt` has
//! `absent.rs` instead.

mod adaptation;
mod adapter_memory;
mod exit_code;
mod hidden_memory;
mod sections;

pub use adaptation::Adaptation;
pub(crate) use adaptation::{MADE_BY, adapt, plan, world_exports};
