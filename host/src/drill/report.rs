//! What a drill reads of the report that `curfew run --report` writes; `docs/report.schema.json` describes it.

use std::path::Path;

use serde::Deserialize;

/// How the app ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Why it stopped.
    pub cause: Option<Cause>,
    /// From the cause to the end.
    pub stop_ms: Option<u64>,
    /// How each of its components ended.
    pub components: Vec<Component>,
}

/// Why it stopped.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// `signal`, `failure` and others.
    pub kind: String,
    /// Which.
    pub name: String,
}

/// How one generation of a component ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its outcome, as the README's table names it.
    pub outcome: String,
    /// What there is to say about it.
    pub detail: Option<String>,
    /// `none`, `not-called`, `ok`, `error`, `trapped`, `cut-off` or `not-returned`.
    pub hook: String,
    /// How long its hook took.
    pub hook_ms: Option<u64>,
    /// Requests that were cut off.
    pub in_flight_ended: u64,
    /// Its requests, where the host listens for it.
    pub http: Option<Http>,
}

/// The counts of its requests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Http {
    /// Instances that failed.
    pub failed_instances: u64,
}

impl Report {
    /// Reads it; `None` if there is none, or not a whole one.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}
