//! What is left of a host that has ended, and the questions tests ask about it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::capture::Record;

/// A host that has ended.
#[must_use = "the end is what tests are about"]
pub struct Output {
    pub status: ExitStatus,
    pub started: Instant,
    pub ended: Instant,
    /// The JSON report; null when none was written.
    pub report: Value,
    pub records: Vec<Record>,
    pub lines: Vec<String>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<String>,
    /// Standard error as it was written: in a log of JSON guests' lines and errors are records in it, too.
    pub stderr_lines: Vec<String>,
    pub dir: TempDir,
}

/// One component in the report.
#[derive(Clone, Debug)]
pub struct Row(Value);

impl Row {
    pub fn outcome(&self) -> &str {
        self.0["outcome"].as_str().unwrap_or("no outcome")
    }

    pub fn hook(&self) -> &str {
        self.0["hook"].as_str().unwrap_or("no hook")
    }

    pub fn detail(&self) -> &str {
        self.0["detail"].as_str().unwrap_or_default()
    }

    /// The counts of its requests.
    pub fn counts(&self) -> Value {
        self.0["http"].clone()
    }

    pub fn number(&self, key: &str) -> f64 {
        self.0[key].as_f64().unwrap_or_else(|| panic!("{key} is not a number in {}", self.0))
    }
}

impl Output {
    /// The exit status; a death by a signal fails the test.
    #[track_caller]
    pub fn code(&self) -> i32 {
        let signal = self.status.signal();
        self.status.code().unwrap_or_else(|| panic!("killed by signal {signal:?}\n{}", self.said()))
    }

    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Output {
        assert_eq!(self.code(), code, "exit status; the host said:\n{}", self.said());
        if !self.report.is_null() && self.report["exit_code"].is_i64() {
            assert_eq!(self.report["exit_code"], code, "the report tells another exit status");
        }
        self
    }

    #[track_caller]
    pub fn expect_cause(&self, kind: &str, name: &str) -> &Output {
        let cause = &self.report["cause"];
        assert_eq!(cause["kind"], kind, "kind of the cause in {cause}; the host said:\n{}", self.said());
        if !name.is_empty() {
            assert_eq!(cause["name"], name, "name of the cause in {cause}; the host said:\n{}", self.said());
        }
        self
    }

    #[track_caller]
    pub fn expect_outcome(&self, component: &str, outcome: &str) -> &Output {
        let row = self.row(component);
        assert_eq!(
            row.outcome(),
            outcome,
            "outcome of {component}: {row:?}; the host said:\n{}",
            self.said()
        );
        self
    }

    #[track_caller]
    pub fn expect_hook(&self, component: &str, hook: &str) -> &Output {
        let row = self.row(component);
        assert_eq!(row.hook(), hook, "hook of {component}: {row:?}; the host said:\n{}", self.said());
        self
    }

    #[track_caller]
    pub fn row(&self, component: &str) -> Row {
        let rows = self.report["components"].as_array().cloned().unwrap_or_default();
        let row = rows.into_iter().find(|row| row["name"] == component);
        Row(row
            .unwrap_or_else(|| panic!("{component} is not in the report; the host said:\n{}", self.said())))
    }

    /// The time from then to the exit.
    pub fn after(&self, then: Instant) -> Duration {
        self.ended.saturating_duration_since(then)
    }

    /// The records with this message; an empty component stands for any.
    pub fn records(&self, message: &str, component: &str) -> Vec<&Record> {
        self.records.iter().filter(|record| record.is(message, component)).collect()
    }

    /// Whether a line of output, guests' or the host's own, contains the text.
    pub fn has_line(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    #[track_caller]
    pub fn expect_line(&self, text: &str) -> &Output {
        assert!(self.has_line(text), "no line with {text:?}; the host said:\n{}", self.said());
        self
    }

    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr_text(&self) -> String {
        self.stderr.join("\n")
    }

    /// Everything, for messages.
    pub fn said(&self) -> String {
        let stdout: String = self.stdout_text().chars().take(4000).collect();
        format!("{}\n--- standard output\n{stdout}", self.stderr_text())
    }

    /// Fails unless nothing was started: what must hold after every refusal.
    #[track_caller]
    pub fn expect_refused(&self, code: i32, texts: &[&str]) -> &Output {
        assert_eq!(self.code(), code, "exit status of a refusal; the host said:\n{}", self.said());
        assert!(self.records("component started", "").is_empty(), "something was started:\n{}", self.said());
        let all = self.stderr_text();
        for text in texts {
            assert!(all.contains(text), "{text:?} is missing in the message:\n{all}");
        }
        self
    }
}
