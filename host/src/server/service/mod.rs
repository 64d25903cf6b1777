//! Kind `service`: the host calls `run` on a thread of its own, and the hook next to it or behind it.

pub(super) mod run_loop;
pub(super) mod thread;
