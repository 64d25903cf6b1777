//! What the child says in its log: one record a line, as `--log-format json` writes them.
//!
//! Invariant: a line that is no record is somebody's output, and never an error.

use std::time::Instant;

use serde::Deserialize;

/// One record, and when it came.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it was read.
    pub at: Instant,
    /// What it says.
    pub said: Said,
}

/// The fields of records that a drill looks at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Said {
    /// When it was written; guests' lines do not have it.
    timestamp: Option<String>,
    /// `INFO`, `ERROR` and others.
    pub level: String,
    /// What happened.
    pub message: String,
    /// To which component.
    pub component: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Its longest time to stop.
    pub grace_ms: Option<u64>,
}

impl Record {
    /// Reads a line; `None` if it is anybody's output.
    pub fn read(line: &str, at: Instant) -> Option<Self> {
        let said: Said = serde_json::from_str(line.strip_prefix('{').map(|_| line)?).ok()?;
        (said.timestamp.is_some() && !said.level.is_empty()).then_some(Self { at, said })
    }

    /// Whether it says something that a drill looks for.
    pub fn is_looked_for(&self) -> bool {
        LOOKED_FOR.contains(&self.said.message.as_str())
    }

    /// Whether it says this of a component, or of none for an empty name.
    pub fn is(&self, message: &str, component: &str) -> bool {
        self.said.message == message && self.said.component.as_deref().unwrap_or_default() == component
    }
}

/// What is looked for in a log.
const LOOKED_FOR: [&str; 11] = [
    "app started",
    "asked to stop",
    "component ended",
    "component restarts",
    "component started",
    "cut off",
    "failed",
    "hook started",
    "instance failed",
    "instance started",
    "stopping",
];

/// Returns how often something was said of a component.
pub fn count(records: &[Record], message: &str, component: &str) -> usize {
    records.iter().filter(|record| record.is(message, component)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_output() {
        let line = r#"{"timestamp":"2026-11-21T18:05:17.536Z","level":"INFO","message":"asked to stop","component":"web","grace_ms":25000,"more":{}}"#;
        let record = Record::read(line, Instant::now()).unwrap();
        assert!(record.is("asked to stop", "web") && !record.is("asked to stop", ""));
        assert_eq!(record.said.grace_ms, Some(25000));
        assert_eq!(count(&[record], "asked to stop", "web"), 1);
        for output in ["", "web | {}", "{", "{\"message\":\"app started\"}", "[1]", "7"] {
            assert!(Record::read(output, Instant::now()).is_none(), "{output}");
        }
    }
}
