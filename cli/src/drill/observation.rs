//! An observation: everything that the drill saw in one run of the app. `evaluation` makes findings of it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::app_report::AppReport;
use super::finding::Finding;
use super::log_record::LogRecord;
use super::requests::RequestCounts;
use super::scenario::Scenario;
use super::target::Target;

/// Exit code after a second INT.
const FORCED_BY_INT: i32 = 130;
/// The cause of a stop of an app whose components all finished.
pub(super) const FINISHED: &str = "finished";

#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub(super) scenario: Scenario,
    /// The name of the component that was added to fail.
    pub(super) peer: Option<String>,
    /// The moment of a stop during the start.
    pub(super) moment: Option<Duration>,
    /// From the start of the process until all components had started; `None` if the drill did not wait for that.
    pub(super) startup: Option<Duration>,
    /// The moment of the cause of the stop.
    pub(super) stop_at: Option<Instant>,
    pub(super) exit: ProcessExit,
    /// From the cause of the stop to the exit.
    pub(super) stop_time: Option<Duration>,
    /// Whether a second INT was needed.
    pub(super) is_forced: bool,
    pub(super) records: Vec<LogRecord>,
    pub(super) report: Option<AppReport>,
    /// Requests of the load, by the name of the target; empty without a load.
    pub(super) loads: Vec<(String, RequestCounts)>,
    pub(super) targets: Vec<Target>,
    /// Whether the status of the app has no http component.
    pub(super) has_no_http: bool,
    /// Findings during the run.
    pub(super) findings: Vec<Finding>,
    /// Processes and sockets that were still there after the exit.
    pub(super) leftovers: Vec<String>,
    /// The last lines of log and output.
    pub(super) last_lines: Vec<String>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessExit {
    /// Left with this code after the drill stopped it.
    Code(i32),
    /// Left with this code before the drill stopped it.
    Early(i32),
    /// Killed by this signal.
    Signal(i32),
    /// Still running, and killed by the drill.
    Never,
}

impl ProcessExit {
    /// Classifies the end of a process. The cause in the report, a signal or the failure of this peer, says whether the
    /// drill stopped it.
    pub(super) fn of(status: Option<ExitStatus>, peer: Option<&str>, report: Option<&AppReport>) -> Self {
        let Some(status) = status else { return Self::Never };
        let Some(code) = status.code() else { return Self::Signal(status.signal().unwrap_or_default()) };
        let cause = report.and_then(|report| report.cause.as_ref());
        if cause.is_some_and(|cause| cause.kind == FINISHED) && (code == FORCED_BY_INT || peer.is_some()) {
            // The app was ending by itself: later signals changed only the code, and the peer never started.
            return Self::Early(0);
        }
        let is_stopped = report.is_none()
            || cause.is_some_and(|cause| match peer {
                Some(peer) => cause.kind == "failure" && cause.name == peer,
                None => cause.kind == "signal",
            });
        if is_stopped { Self::Code(code) } else { Self::Early(code) }
    }
}
