//! Kind `service`: the host calls `run` and the hook next to it or behind it.

pub(super) mod kind;
pub(super) mod run_loop;
