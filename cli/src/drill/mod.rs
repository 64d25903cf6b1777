//! The fire drill: runs an app in processes of its own, stops it in every way there is, and judges how it went.
//!
//! Duty: `session` says what is tried, `perform` (with `reload_cycle` and `control`) carries it out on a `child` and its `load`, `judge` (with
//! `outcomes`) says what to think of it, and `document`, `table` and `junit` say it to others.
//!
//! Invariant: a client of our own binary: it knows the app only by its exit status, its log, its report, its control
//! socket and its answers, as any operator does. Nothing that it starts outlives it.
//!
//! What does not belong here: how the app is run, and what is said on the command line.

mod child;
mod control;
mod document;
mod error;
mod failing_peer;
mod figures;
mod finding;
mod interrupt;
mod judge;
mod junit;
mod load;
mod observation;
mod outcomes;
mod perform;
mod record;
mod reload_cycle;
mod report;
mod scenario;
mod session;
mod stream;
mod table;
mod tally;
mod target;

pub use document::Drill;
pub use error::DrillError;
pub use interrupt::Interrupt;
pub use junit::xml;
pub use perform::{Stage, Subject};
pub use scenario::Scenario;
pub use session::hold;
pub use table::text;
pub use target::Target;
