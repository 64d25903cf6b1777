//! Everything the process writes: its log, its report, and the output of its components. Each standard stream has a bounded
//! queue and a writer thread (`curfew-stdout`, `curfew-stderr`).
//!
//! Invariant: the host waits for no reader; a component waits for one that reads, and a second at most for one that stands
//! still, which costs lines from then on. They are counted. One exception: the streams of a single component pass through,
//! so that `curfew run a.wasm | slow` loses nothing.
//!
//! Nothing here uses std's stdout or stderr: a full pipe under std's lock hangs the exit of the whole process.

mod fd;
mod guest;
mod log;
mod queue;
#[cfg(test)]
mod tests;
mod writer;

pub use fd::Channel;
pub(crate) use guest::GuestStream;
pub use log::{LogFormat, init_logging, install_panic_hook};
pub(crate) use log::{Progress, timestamp};
pub(crate) use queue::GUEST_QUOTA;
pub use queue::Source;
pub use writer::Output;
