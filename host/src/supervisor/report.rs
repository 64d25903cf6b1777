//! The report of an app that has ended. `--report` writes it as JSON (`docs/report.schema.json`), and the table shows it.

use serde::Serialize;

use crate::server::Counts;
use crate::teardown::{Cause, ExitCode, GenerationId, Requester};

/// How an app ended, and each of its components.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The app's name.
    pub app: String,
    /// Why it stopped; `null` when all components ended by themselves and none of them was to stop the app.
    pub cause: Option<CauseReport>,
    /// The code that the process leaves with.
    pub exit_code: u8,
    /// Milliseconds from the start of the app to its end.
    pub duration_ms: u64,
    /// Milliseconds from the cause to the end; `null` without a cause.
    pub stop_ms: Option<u64>,
    /// One entry for each component, in the order of the manifest.
    pub components: Vec<ComponentReport>,
}

/// Why an app stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CauseReport {
    /// `signal`, `failure`, `finished`, `request` or `host-bug`.
    pub kind: &'static str,
    /// The name of the signal, the component, the requester, or the part that died.
    pub name: String,
}

/// How one component ended.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentReport {
    /// Its name.
    pub name: String,
    /// The word for one piece of the work that is counted; empty where none is.
    #[serde(skip)]
    pub unit: &'static str,
    /// Which version of it: 1 at the app's start, more with each reload, or restart by an operator.
    pub generation: u64,
    /// Whether another generation had taken over from it before the stop.
    pub replaced: bool,
    /// How often it was started again after it had failed or ended.
    pub restarts: u64,
    /// Its outcome, as docs/guide/exit-codes.md names it.
    pub outcome: &'static str,
    /// A detail, for instance its error.
    pub detail: Option<String>,
    /// `none` (it has no hook), `not-called`, `ok`, `error`, `trapped` or `cut-off`.
    pub hook: &'static str,
    /// Milliseconds from the notice to the return of its `run`, or to the answer of its last request.
    pub drain_ms: Option<u64>,
    /// Milliseconds that its hook took.
    pub hook_ms: Option<u64>,
    /// Requests in flight when it was asked. For a service: whether its `run` was under way.
    pub in_flight_asked: Option<u64>,
    /// The part of these that was still in flight when it was cut off.
    pub in_flight_ended: u64,
    /// Milliseconds granted on top of its grace.
    pub extended_ms: u64,
    /// Lines of its output that were dropped because no reader took them.
    pub dropped_lines: u64,
    /// The counts of its requests, or of its connections, where the host listens for it.
    pub http: Option<Counts>,
}

impl CauseReport {
    /// Puts names to a cause.
    pub fn new(cause: Cause, name_of: impl Fn(GenerationId) -> String) -> Self {
        let (kind, name) = match cause {
            Cause::Signal(signal) => ("signal", signal.name().to_owned()),
            Cause::Failure(id) => ("failure", name_of(id)),
            Cause::Finished(id) => ("finished", name_of(id)),
            Cause::Request(Requester::Operator) => ("request", "operator".to_owned()),
            Cause::Request(Requester::Component(id)) => ("request", name_of(id)),
            Cause::Reload => ("reload", String::new()),
            Cause::HostBug(what) => ("host-bug", what.to_owned()),
        };
        Self { kind, name }
    }
}

impl std::fmt::Display for CauseReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            "signal" => f.write_str(&self.name),
            "failure" => write!(f, "{} failed", self.name),
            "finished" => write!(f, "{} finished", self.name),
            "request" => write!(f, "{} asked for it", self.name),
            _ => write!(f, "{}: {}", self.kind, self.name),
        }
    }
}

impl Report {
    /// Returns the code that the process leaves with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode(self.exit_code)
    }

    /// Returns the report as one JSON document.
    ///
    /// # Errors
    /// None that can happen: everything in it is plain data.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}
