//! An observation: everything that the drill saw in one run of the app, its log and its report included.
//!
//! Invariant: a line that is no record of the log is output of a guest, and never an error.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Finding, RequestCounts, Scenario, Target};

/// Exit code after a second INT.
const FORCED_BY_INT: i32 = 130;

#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    pub(super) scenario: Scenario,
    pub(super) peer: Option<String>,
    /// The moment of a stop during the start.
    pub(super) moment: Option<Duration>,
    /// From the start of the process until all components had started; `None` if the drill did not wait for that.
    pub(super) startup: Option<Duration>,
    pub(super) stop_at: Option<Instant>,
    pub(super) exit: ProcessExit,
    /// From the cause of the stop to the exit.
    pub(super) stop_time: Option<Duration>,
    pub(super) is_forced: bool,
    pub(super) records: Vec<LogRecord>,
    /// The components in the report of the app; empty without a report.
    pub(super) components: Vec<ReportedComponent>,
    /// Requests of the load; empty without a load.
    pub(super) loads: Vec<(Target, RequestCounts)>,
    pub(super) targets: Vec<Target>,
    /// True if the status of the app has no component that handles HTTP.
    pub(super) has_no_http: bool,
    pub(super) findings: Vec<Finding>,
    /// Processes and sockets that were still there after the exit.
    pub(super) leftovers: Vec<String>,
    pub(super) last_lines: Vec<String>,
}

impl Observation {
    pub(super) fn count(&self, message: &str, component: &str) -> usize {
        self.records.iter().filter(|record| record.is(message, component)).count()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ProcessExit {
    /// Left with this code after the drill stopped it.
    Code(i32),
    /// Left with this code before the drill stopped it.
    Early(i32),
    /// Killed by this signal.
    Signal(i32),
    /// Still running, and killed by the drill.
    #[default]
    Never,
}

impl ProcessExit {
    /// Classifies the end of a process. The drill stopped it if the report names a signal or the failure of this peer.
    pub(super) fn of(status: Option<ExitStatus>, peer: Option<&str>, report: Option<&AppReport>) -> Self {
        let Some(status) = status else { return Self::Never };
        let Some(code) = status.code() else { return Self::Signal(status.signal().unwrap_or_default()) };
        let Some(report) = report else { return Self::Code(code) };
        if report.is_finished() && (code == FORCED_BY_INT || peer.is_some()) {
            // The app was ending by itself: later signals changed only the code, and the peer never started.
            return Self::Early(0);
        }
        let is_stopped = report.cause.as_ref().is_some_and(|cause| match peer {
            Some(peer) => cause.kind == "failure" && cause.name == peer,
            None => cause.kind == "signal",
        });
        if is_stopped { Self::Code(code) } else { Self::Early(code) }
    }
}

/// One record of the log, as `--log-format json` writes it; the fields that a drill uses.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LogRecord {
    #[serde(skip, default = "Instant::now")]
    pub(super) at: Instant,
    #[serde(rename = "timestamp")]
    _timestamp: String,
    /// `INFO`, `ERROR` and others.
    pub(super) level: String,
    #[serde(default)]
    pub(super) message: String,
    pub(super) component: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) grace_ms: Option<u64>,
    /// The stream of a guest that it is a line of.
    stream: Option<String>,
    /// The error of a record of one.
    error: Option<serde_json::Value>,
}

impl LogRecord {
    /// Reads a line; `None` if it is output of a guest.
    pub(super) fn read(line: &str, at: Instant) -> Option<Self> {
        let record: Self = serde_json::from_str(line.strip_prefix('{').map(|_| line)?).ok()?;
        (!record.level.is_empty() && record.stream.is_none()).then_some(Self { at, ..record })
    }

    /// Returns a line for people, if it is a record of a guest's line or of the error that ended the app.
    pub(super) fn plain(line: &str) -> Option<String> {
        let record: Self = serde_json::from_str(line).ok()?;
        match (record.stream, record.component) {
            (Some(_), Some(component)) => Some(format!("{component} | {}", record.message)),
            _ => {
                let error = record.error.filter(|_| record.message == "fatal error")?;
                Some(format!("error: {}", error.as_str()?))
            }
        }
    }

    pub(super) fn is_relevant(&self) -> bool {
        matches!(
            self.message.as_str(),
            "app started"
                | "asked to stop"
                | "component ended"
                | "component restarts"
                | "component started"
                | "cut off"
                | "failed"
                | "hook started"
                | "instance failed"
                | "instance started"
                | "stopping"
        )
    }

    /// Returns whether the record has this message about this component; an empty name is the app.
    pub(super) fn is(&self, message: &str, component: &str) -> bool {
        self.message == message && self.component.as_deref().unwrap_or_default() == component
    }
}

/// The report that `curfew run --report` writes, as far as a drill reads it; `docs/report.schema.json` describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AppReport {
    cause: Option<ReportedCause>,
    pub(super) components: Vec<ReportedComponent>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ReportedCause {
    /// `signal`, `failure`, `finished` and others.
    kind: String,
    /// The signal, or the component.
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportedComponent {
    pub(super) name: String,
    pub(super) outcome: String,
    pub(super) detail: Option<String>,
    /// `none`, `not-called`, `ok`, `error`, `trapped`, `cut-off` or `not-returned`.
    pub(super) hook: String,
    pub(super) hook_ms: Option<u64>,
    /// Requests that were cut off.
    pub(super) in_flight_ended: u64,
    /// Present if the host listens for the component.
    pub(super) http: Option<ReportedCounts>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReportedCounts {
    /// Connections that the stop closed without an answer.
    pub(super) turned_away: u64,
}

impl AppReport {
    /// Reads it; `None` if there is none, or it is not complete.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.cause.as_ref().is_some_and(|cause| cause.kind == "finished")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_output() {
        let line = r#"{"timestamp":"2026-11-21T18:05:17.536Z","level":"INFO","message":"asked to stop","component":"web","grace_ms":25000,"more":{}}"#;
        let record = LogRecord::read(line, Instant::now()).unwrap();
        assert!(record.is("asked to stop", "web") && !record.is("asked to stop", ""));
        assert_eq!(record.grace_ms, Some(25000));
        let run = Observation { records: vec![record], ..Observation::default() };
        assert_eq!((run.count("asked to stop", "web"), run.count("asked to stop", "")), (1, 0));
        let guest = r#"{"timestamp":"2026-11-21T18:05:17.536Z","level":"INFO","message":"app started","component":"web","stream":"stderr"}"#;
        assert_eq!(LogRecord::plain(guest).as_deref(), Some("web | app started"));
        let error = r#"{"timestamp":"2026-11-21T18:05:17.536Z","level":"ERROR","message":"fatal error","error":"bad\nhint: good","exit_code":78}"#;
        assert_eq!(LogRecord::plain(error).as_deref(), Some("error: bad\nhint: good"));
        assert_eq!(LogRecord::plain(line), None);
        for output in [guest, "", "web | {}", "{", "{\"message\":\"app started\"}", "[1]", "7"] {
            assert!(LogRecord::read(output, Instant::now()).is_none(), "{output}");
        }
    }
}
