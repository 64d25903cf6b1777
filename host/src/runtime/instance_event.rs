//! Events that an instance reports to the supervisor.

use std::fmt;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::teardown::Outcome;

/// Why a component failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// One line: what happened.
    pub summary: String,
    /// The guest's backtrace, when there is one.
    pub backtrace: Option<String>,
    /// The code it left with, when it sent one.
    pub exit_code: Option<u8>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)?;
        match &self.backtrace {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}

/// The end of a hook.
#[derive(Clone, Debug)]
pub enum HookResult {
    /// It returned, without an error.
    Ok,
    /// It returned an error, with its text when it has one.
    Error(Option<String>),
    /// It trapped or exited.
    Trapped(Failure),
}

/// Progress of an instance.
#[derive(Debug)]
pub enum InstanceEvent {
    /// Its `run` has been entered.
    Entered,
    /// It called `ready`.
    Ready,
    /// Its `run` returned without an error.
    Returned,
    /// It failed; its end follows.
    Failed(Failure),
    /// Its hook has been called.
    HookStarted,
    /// Its hook has ended.
    HookEnded(HookResult),
    /// Nothing of it is left.
    Ended(Outcome),
    /// It asks for this much more time; the answer goes into the channel.
    Extend(Duration, oneshot::Sender<Duration>),
    /// It does not live up to its `health`; the text says how.
    Unhealthy(String),
    /// It asks for a stop of the app.
    StopRequested,
    /// The thread it ran on died, which is a bug of the host.
    HostBug,
    /// An event of the instance with this number, of a component with several.
    InPool(u32, Box<InstanceEvent>),
    /// Nothing of one instance of a pool is left.
    Down {
        /// Why it took no more requests.
        why: &'static str,
        /// How many requests it took.
        requests: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// All requests are answered, and no more can come.
    Drained,
}
