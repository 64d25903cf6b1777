//! How the app stops, as a pure machine: `(state, event) → actions`.
//!
//! Invariant: nothing in here waits, reads a clock, or knows what a store or a socket is; time comes in with
//! each event, and everything that acts is outside, in `supervisor`.
//!
//! | level | what holds | what raises it |
//! | --- | --- | --- |
//! | running | components start and run | a cause |
//! | delay | not ready, still serving, for `drain-delay` | the delay's end, INT, QUIT, a failure |
//! | drain | everyone is asked, and has until its deadline | the app's deadline, a second INT |
//! | cut | everyone left is cut off | everyone has ended, the hard deadline, a third INT |
//! | exit | the process leaves | |
//!
//! From running a cause leads to delay or drain; from every level "all have ended" leads to exit.

mod cause;
mod escalation;
mod event;
mod exit_code;
mod generation;
mod level;
mod lifecycle;
mod machine;
mod order;
mod policy;
mod restart_budget;
mod rollout;
mod signals;
#[cfg(test)]
mod tests;
mod waves;

pub use cause::{Cause, Requester, Signal};
pub use event::{Action, Event, Urgency};
pub use exit_code::{ExitCode, exit_code};
pub use generation::{GenerationId, Outcome, Phase};
pub use level::{Deadlines, HARD_RESERVE, Level};
pub use machine::Machine;
pub use policy::{GenerationPolicy, Policy};
pub use rollout::{Incoming, Rollout};
pub use waves::reserves;
