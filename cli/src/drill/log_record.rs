//! The log of the app: one record a line, as `--log-format json` writes them.
//!
//! Invariant: a line that is no record is output of a guest, and never an error.

use std::time::Instant;

use serde::Deserialize;

/// One record, and when it was read.
#[derive(Clone, Debug)]
pub(super) struct LogRecord {
    pub(super) at: Instant,
    pub(super) fields: LogFields,
}

/// Fields of a record that a drill uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogFields {
    /// Lines of guests do not have it.
    timestamp: Option<String>,
    /// `INFO`, `ERROR` and others.
    pub(super) level: String,
    pub(super) message: String,
    pub(super) component: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) grace_ms: Option<u64>,
}

impl LogRecord {
    /// Reads a line; `None` if it is output of a guest.
    pub(super) fn read(line: &str, at: Instant) -> Option<Self> {
        let fields: LogFields = serde_json::from_str(line.strip_prefix('{').map(|_| line)?).ok()?;
        (fields.timestamp.is_some() && !fields.level.is_empty()).then_some(Self { at, fields })
    }

    /// Returns whether the evaluation uses records with this message.
    pub(super) fn is_relevant(&self) -> bool {
        RELEVANT.contains(&self.fields.message.as_str())
    }

    /// Returns whether the record has this message about this component; an empty name is the app.
    pub(super) fn is(&self, message: &str, component: &str) -> bool {
        self.fields.message == message && self.fields.component.as_deref().unwrap_or_default() == component
    }
}

/// Messages that the evaluation uses.
const RELEVANT: [&str; 11] = [
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

/// Returns the number of records with this message about this component.
pub(super) fn count(records: &[LogRecord], message: &str, component: &str) -> usize {
    records.iter().filter(|record| record.is(message, component)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_output() {
        let line = r#"{"timestamp":"2026-11-21T18:05:17.536Z","level":"INFO","message":"asked to stop","component":"web","grace_ms":25000,"more":{}}"#;
        let record = LogRecord::read(line, Instant::now()).unwrap();
        assert!(record.is("asked to stop", "web") && !record.is("asked to stop", ""));
        assert_eq!(record.fields.grace_ms, Some(25000));
        assert_eq!(count(&[record], "asked to stop", "web"), 1);
        for output in ["", "web | {}", "{", "{\"message\":\"app started\"}", "[1]", "7"] {
            assert!(LogRecord::read(output, Instant::now()).is_none(), "{output}");
        }
    }
}
