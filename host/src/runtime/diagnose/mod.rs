//! Words for files that cannot be run: what was found, and what their author can do.

pub(super) mod component;
pub(super) mod module;
