//! What a drill reads of the report that `curfew run --report` writes; `docs/report.schema.json` describes it.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// How the app ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Why it stopped.
    pub cause: Option<Cause>,
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
    /// Its outcome, as the guide names it.
    pub outcome: String,
    /// What there is to say about it.
    pub detail: Option<String>,
    /// `none`, `not-called`, `ok`, `error`, `trapped`, `cut-off` or `not-returned`.
    pub hook: String,
    /// How long its hook took.
    pub hook_ms: Option<u64>,
    /// Requests that were cut off.
    pub in_flight_ended: u64,
    /// There where the host listens for it.
    pub http: Option<IgnoredAny>,
}

impl Report {
    /// Reads it; `None` if there is none, or not a whole one.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}
