//! The fire drill: runs an app in processes of its own, stops it in every way there is, and judges how it went.
//!
//! Duty: `session` says what is tried, `perform` (with `steady` and `talk`) carries it out on a `child` and its `load`, `judge` (with
//! `outcomes`) says what to think of it, and `document`, `table` and `junit` say it to others.
//!
//! Invariant: a client of our own binary: it knows the app only by its exit status, its log, its report, its control
//! socket and its answers, as any operator does. Nothing that it starts outlives it.
//!
//! What does not belong here: how the app is run, and what is said on the command line.

mod aim;
mod child;
mod document;
mod error;
mod figures;
mod finding;
mod interrupt;
mod judge;
mod junit;
mod load;
mod outcomes;
mod peer;
mod perform;
mod record;
mod report;
mod seen;
mod session;
mod steady;
mod stream;
mod table;
mod talk;
mod tally;
mod tries;

pub use aim::{Aim, At};
pub use document::{Drill, Grace, Requests, Tried, Verdict};
pub use error::DrillError;
pub use finding::{Finding, Weight};
pub use interrupt::Interrupt;
pub use junit::xml;
pub use perform::{Stage, Subject};
pub use session::hold;
pub use table::text;
pub use tries::Try;
