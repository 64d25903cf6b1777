//! The stop of the app as a pure state machine: `(state, event) → actions`.
//!
//! Invariant: the machine does not wait, reads no clock, and knows neither stores nor sockets. Time comes in with each event;
//! `supervisor` carries out the actions.
//!
//! | level | what holds | what raises it |
//! | --- | --- | --- |
//! | running | components start and run | a cause |
//! | delay | not ready, still serving, for `drain-delay` | the delay's end, INT, QUIT, a failure |
//! | drain | each generation is asked, and has until its deadline | the app's deadline, a second INT |
//! | cut | each generation that is left is cut off | the hard deadline, a third INT |
//! | exit | the process leaves | |
//!
//! A cause leads from running to delay or drain. From every level the end of the last generation leads to exit.

// A new event, level or phase needs a decision in each match.
#![deny(clippy::wildcard_enum_match_arm)]

mod event;
mod exit_code;
mod generation;
mod level;
mod machine;
mod restart_budget;
#[cfg(test)]
mod tests;
mod waves;

pub(crate) use event::{Action, Event, Urgency};
pub use event::{Cause, Requester, Signal};
pub use exit_code::{ExitCode, exit_code};
pub use generation::{GenerationId, Outcome};
pub(crate) use generation::{GenerationPolicy, Phase};
pub use level::HARD_RESERVE;
pub(crate) use level::{Deadlines, Level, Policy};
pub(crate) use machine::{Incoming, MOST_GENERATIONS, Machine, Rollout};
pub use waves::reserves;
