//! Everything the process writes: its log, its report, and what its components print.
//!
//! Duty: one writer thread per standard stream (`curfew-stdout`, `curfew-stderr`), each with a bounded queue, and on
//! top of them the log, the panic hook, the progress line and the components' own streams.
//!
//! Invariant: nobody who writes ever waits for whoever reads. A reader that is gone, or that does not read, costs
//! lines, which are counted, and never the host or a component. The one exception is a single component whose streams
//! pass through: there the guest (and only the guest) waits, so that `curfew run a.wasm | slow` loses nothing.
//!
//! Nothing here uses std's stdout or stderr: a full pipe under std's lock hangs the exit of the whole process.
//! What does not belong here: what is said, and when.

mod fd;
mod guest;
mod lines;
mod log;
mod panic;
mod progress;
mod queue;
mod source;
#[cfg(test)]
mod testing;
mod writer;

pub use guest::GuestStream;
pub use lines::MAX_LINE_BYTES;
pub use log::{LogFormat, LogInstalled, init_logging};
pub use panic::install_panic_hook;
pub use progress::Progress;
pub use queue::{Channel, HOST_QUOTA, TOTAL_BYTES};
pub use source::{GUEST_QUOTA, Source};
pub use writer::{OnDeath, Output};
