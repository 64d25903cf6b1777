//! The report of an app that has ended, as JSON for `--report` (`docs/report.schema.json`), and as a table.

use serde::Serialize;

use crate::server::Counts;
use crate::teardown::ExitCode;
use crate::text::table::aligned;

/// The end of an app and of each of its components.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The app's name.
    pub app: String,
    /// The cause of its stop; `null` when all components ended by themselves and none of them was to stop the app.
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

/// The cause of an app's stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CauseReport {
    /// `signal`, `failure`, `finished`, `request` or `host-bug`.
    pub kind: &'static str,
    /// The name of the signal, the component, the requester, or the part that died.
    pub name: String,
}

/// The end of one component.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentReport {
    /// Its name.
    pub name: String,
    /// The word for one piece of the work that is counted; empty where none is.
    #[serde(skip)]
    pub unit: &'static str,
    /// Its version: 1 at the app's start, more with each reload, or restart by an operator.
    pub generation: u64,
    /// True if another generation had taken over from it before the stop.
    pub replaced: bool,
    /// The number of its starts after it had failed or ended.
    pub restarts: u64,
    /// The number of times that it, or an instance of it, trapped, exited with an error, or could not be started.
    pub failures: u64,
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
    /// None that can happen.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// Returns the table at the end: a row for each component, below a line that names the cause and the exit code.
pub fn table(report: &Report) -> String {
    let plural = |count| if count == 1 { "" } else { "s" };
    let head = ["component", "outcome", "drain", "hook", "in flight", "detail"];
    let mut rows = vec![head.map(str::to_owned)];
    for component in &report.components {
        let hook = match (component.hook_ms, component.hook) {
            (Some(ms), "ok") => format!("{ms} ms"),
            (Some(ms), other) => format!("{other}, {ms} ms"),
            (None, "none" | "not-called") => "-".to_owned(),
            (None, other) => other.to_owned(),
        };
        let asked = component.in_flight_asked.map_or("-".to_owned(), |asked| asked.to_string());
        let mut detail: Vec<String> = component.detail.iter().cloned().collect();
        if component.restarts > 0 {
            detail.push(format!("{} restart{}", component.restarts, plural(component.restarts)));
        }
        if component.failures > 1 {
            detail.push(format!("{} failures", component.failures));
        }
        if let Some(http) = &component.http {
            detail.push(format!("{} {}{}", http.requests, component.unit, plural(http.requests)));
        }
        let turned_away = component.http.as_ref().map_or(0, |http| http.turned_away);
        if turned_away > 0 {
            detail.push(format!("{turned_away} connection{} turned away", plural(turned_away)));
        }
        if component.dropped_lines > 0 {
            detail.push(format!("{} lines dropped", component.dropped_lines));
        }
        rows.push([
            match component.replaced {
                true => format!("{} (generation {})", component.name, component.generation),
                false => component.name.clone(),
            },
            component.outcome.to_owned(),
            component.drain_ms.map_or("-".to_owned(), |ms| format!("{ms} ms")),
            hook,
            format!("{asked} > {}", component.in_flight_ended),
            detail.join("; "),
        ]);
    }
    let cause = report.cause.as_ref().map_or("everything ended".to_owned(), ToString::to_string);
    let table = aligned(&rows, 2, [false; 6]);
    format!("{}: {cause}; exit code {}\n{table}", report.app, report.exit_code)
}
