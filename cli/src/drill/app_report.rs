//! The report that `curfew run --report` writes, as far as a drill reads it; `docs/report.schema.json` describes it.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The end of the app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AppReport {
    pub(super) cause: Option<ReportedCause>,
    pub(super) components: Vec<ReportedComponent>,
}

/// The cause of the stop.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ReportedCause {
    /// `signal`, `failure` and others.
    pub(super) kind: String,
    /// The signal, or the component.
    pub(super) name: String,
}

/// The end of one generation of a component.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ReportedComponent {
    pub(super) name: String,
    pub(super) outcome: String,
    pub(super) detail: Option<String>,
    /// `none`, `not-called`, `ok`, `error`, `trapped`, `cut-off` or `not-returned`.
    pub(super) hook: String,
    pub(super) hook_ms: Option<u64>,
    /// Requests that were cut off.
    pub(super) in_flight_ended: u64,
    /// Present if the host listens for the component.
    pub(super) http: Option<IgnoredAny>,
}

impl AppReport {
    /// Reads it; `None` if there is none, or it is not complete.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}
