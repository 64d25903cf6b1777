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

#[cfg(test)]
mod books;
mod cause;
mod change;
mod climb;
#[cfg(test)]
mod contract_app;
#[cfg(test)]
mod contract_change;
#[cfg(test)]
mod contract_members;
#[cfg(test)]
mod contract_order;
#[cfg(test)]
mod contract_restart;
#[cfg(test)]
mod contract_single;
mod event;
mod exit_code;
mod level;
mod life;
mod machine;
mod member;
mod order;
mod policy;
#[cfg(test)]
mod properties;
mod restart;
#[cfg(test)]
mod rules;
mod signals;
#[cfg(test)]
mod table;
#[cfg(test)]
mod watch;
mod waves;
#[cfg(test)]
mod world;

pub use cause::{Cause, Requester, Signal};
pub use change::{Change, Fresh};
pub use event::{Action, Event, Urgency};
pub use exit_code::{ExitCode, exit_code};
pub use level::{Deadlines, HARD_RESERVE, Level};
pub use machine::Machine;
pub use member::{GenerationId, Outcome, Phase};
pub use policy::{MemberPolicy, Policy};
pub use waves::reserves;
