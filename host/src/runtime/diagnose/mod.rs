//! Why a file cannot be run: what was found in it, and what its author can do.

pub(super) mod component;
#[cfg(feature = "adapt")]
pub(super) mod module;
