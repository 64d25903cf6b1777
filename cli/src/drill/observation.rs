//! Everything that was seen in one run of the app; what to think of it is in `judge`.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::finding::Finding;
use super::record::Record;
use super::report::Report;
use super::scenario::Scenario;
use super::tally::Counts;
use super::target::Target;

/// What the app leaves with after a second INT.
const FORCED_BY_INT: i32 = 130;
/// Why an app stops that has nothing more to do.
pub const FINISHED: &str = "finished";

/// One run.
#[derive(Clone, Debug)]
pub struct Observation {
    /// What was tried.
    pub what: Scenario,
    /// The name of the component that was added to fail.
    pub peer: Option<String>,
    /// When during the start, where that was tried.
    pub moment: Option<Duration>,
    /// From the start of the process until everything had started; `None` if that was not waited for.
    pub ready: Option<Duration>,
    /// When the app was asked to stop, or had to.
    pub asked: Option<Instant>,
    /// What it left with.
    pub exit: Exit,
    /// From then to the exit.
    pub took: Option<Duration>,
    /// A second INT was needed.
    pub forced: bool,
    /// Its log.
    pub records: Vec<Record>,
    /// Its report.
    pub report: Option<Report>,
    /// What became of the load, by aim; empty without a load.
    pub loads: Vec<(String, Counts)>,
    /// Where the load went.
    pub aims: Vec<Target>,
    /// It said itself that nobody of it answers HTTP.
    pub cannot_be_asked: bool,
    /// What was found while it ran.
    pub found: Vec<Finding>,
    /// What was still there after it had gone.
    pub left: Vec<String>,
    /// The last lines that it said.
    pub tail: Vec<String>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code, when it was asked or had to.
    Code(i32),
    /// With this code, before anybody asked.
    Early(i32),
    /// By this signal.
    Signal(i32),
    /// It had to be killed.
    Never,
}

impl Exit {
    /// Returns how it ended; what it stopped for, a signal or the failure of this peer, says whether it was asked to.
    pub fn of(status: Option<ExitStatus>, peer: Option<&str>, report: Option<&Report>) -> Self {
        let Some(status) = status else { return Self::Never };
        let Some(code) = status.code() else { return Self::Signal(status.signal().unwrap_or_default()) };
        let cause = report.and_then(|report| report.cause.as_ref()).map(|cause| cause.kind.as_str());
        if cause == Some(FINISHED) && (code == FORCED_BY_INT || peer.is_some()) {
            // Its end was under way; the signals that came on top of it say nothing, and the peer never started.
            return Self::Early(0);
        }
        let asked = report.is_none_or(|report| {
            report.cause.as_ref().is_some_and(|cause| match peer {
                Some(peer) => cause.kind == "failure" && cause.name == peer,
                None => cause.kind == "signal",
            })
        });
        if asked { Self::Code(code) } else { Self::Early(code) }
    }
}
