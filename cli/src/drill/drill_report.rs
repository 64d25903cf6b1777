//! The result of a drill as data, with its findings, as `--json` prints it (`docs/drill.schema.json`).

use std::time::Duration;

use serde::Serialize;

use super::{LogRecord, Observation, ProcessExit, Scenario};

/// A drill that is over. All times are whole milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DrillReport {
    pub(crate) app: String,
    pub(crate) version: &'static str,
    pub(crate) ok: bool,
    pub(crate) took_ms: u64,
    /// The error that kept all scenarios from running.
    pub(crate) error: Option<String>,
    #[serde(rename = "tries")]
    pub(crate) results: Vec<ScenarioResult>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    #[default]
    Ok,
    Failed,
    Skipped,
}

/// The result of one scenario, idle or under load.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ScenarioResult {
    #[serde(rename = "name")]
    pub(super) scenario: Scenario,
    pub(super) load: bool,
    pub(super) verdict: Verdict,
    pub(super) skipped_because: Option<String>,
    /// Number of runs of the app.
    pub(super) runs: usize,
    /// The exit code of the app; of several runs the first one that is not 0.
    pub(super) exit_code: Option<i32>,
    /// The longest time from the signal, or the failure, to the exit.
    pub(super) exit_ms: Option<u64>,
    /// The largest share of its grace that each component used.
    pub(super) grace: Vec<GraceUse>,
    pub(super) requests: Option<RequestSummary>,
    pub(super) took_ms: u64,
    pub(super) findings: Vec<Finding>,
    /// The last lines of log and output, if the scenario failed.
    pub(super) output: Vec<String>,
}

/// The part of its grace that a component used, from the notice to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct GraceUse {
    pub(super) component: String,
    pub(super) used_ms: u64,
    pub(super) grace_ms: u64,
    pub(super) percent: u64,
}

impl GraceUse {
    pub(super) fn of_all(records: &[LogRecord]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let is_notice = |record: &LogRecord| record.message == "asked to stop";
        for (at, notice) in records.iter().enumerate().filter(|(_, record)| is_notice(record)) {
            let Some(component) = notice.component.clone() else { continue };
            let later = records.get(at..).unwrap_or_default();
            let ended = later.iter().find(|record| record.is("component ended", &component));
            let (Some(ended), Some(grace_ms)) = (ended, notice.grace_ms) else { continue };
            all.retain(|used| used.component != component);
            let used_ms = millis(ended.at.saturating_duration_since(notice.at));
            let percent = used_ms.saturating_mul(100) / grace_ms.max(1);
            all.push(Self { component, used_ms, grace_ms, percent });
        }
        all
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct RequestSummary {
    pub(super) answered: u64,
    /// Answers with a status of 5xx that occurred before the stop, too.
    pub(super) errors: u64,
    /// Requests refused, or closed before the first byte, after the stop had begun.
    pub(super) turned_away: u64,
    pub(super) lost: u64,
}

impl RequestSummary {
    /// Returns the counts as a cell of the table.
    pub(super) fn text(self) -> String {
        let errors = match self.errors {
            0 => String::new(),
            errors => format!(" ({} 5xx)", share(errors, self.answered)),
        };
        format!("{} answered{errors}, {} lost", self.answered, self.lost)
    }
}

/// Returns a share in percent. Only none at all is 0 %, and only all is 100 %.
pub(super) fn share(part: u64, whole: u64) -> String {
    match part.saturating_mul(1000) / whole.max(1) {
        0 if part > 0 => "< 0.1 %".to_owned(),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

impl ScenarioResult {
    pub(super) fn new(scenario: Scenario, load: bool) -> Self {
        Self { scenario, load, ..Self::default() }
    }

    #[must_use]
    pub(super) fn skipped(self, reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, skipped_because: Some(reason.into()), ..self }
    }

    pub(super) fn add(&mut self, run: &Observation, findings: Vec<Finding>) {
        self.runs += 1;
        let code = match run.exit {
            ProcessExit::Code(code) | ProcessExit::Early(code) => Some(code),
            ProcessExit::Signal(signal) => Some(128 + signal),
            ProcessExit::Never => None,
        };
        self.exit_code = self.exit_code.filter(|known| *known != 0).or(code);
        self.exit_ms = self.exit_ms.max(run.stop_time.map(millis));
        if !run.is_forced {
            for used in GraceUse::of_all(&run.records) {
                match self.grace.iter_mut().find(|known| known.component == used.component) {
                    Some(known) if known.percent >= used.percent => {}
                    Some(known) => *known = used,
                    None => self.grace.push(used),
                }
            }
        }
        if self.load && !run.is_forced {
            let requests = self.requests.get_or_insert_default();
            for (_, counts) in &run.loads {
                requests.answered += counts.answered;
                requests.errors += counts.errors;
                requests.turned_away += counts.turned_away;
                requests.lost += counts.lost();
            }
        }
        for mut finding in findings {
            if finding.severity == Severity::Failure {
                self.verdict = Verdict::Failed;
            }
            if let Some(moment) = run.moment.filter(|_| finding.severity == Severity::Failure) {
                finding.text = format!("{} (TERM {} ms after the start)", finding.text, moment.as_millis());
            }
            if !self.findings.iter().any(|known| known.is_same(&finding)) {
                self.findings.push(finding);
                if self.verdict == Verdict::Failed {
                    self.output.clone_from(&run.last_lines);
                }
            }
        }
    }

    /// Adds a finding that fails the scenario without a run.
    pub(super) fn fail(&mut self, finding: Finding) {
        self.verdict = Verdict::Failed;
        self.findings.push(finding);
    }

    pub(super) fn title(&self) -> String {
        format!("{}, {}", self.scenario.title(), if self.load { "under load" } else { "idle" })
    }
}

/// The advice for a fault of curfew's own.
pub(crate) const REPORT_BUG: &str = "This is a bug in curfew, not in the app. Please report it.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Note,
    /// The stop went well, but only just.
    Warning,
    /// The drill has failed.
    Failure,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    #[serde(rename = "weight")]
    pub(super) severity: Severity,
    /// A name of the fault that stays the same.
    pub(super) code: &'static str,
    /// The component; `None` is the app.
    pub(super) component: Option<String>,
    pub(super) text: String,
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn failure(code: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Failure, code, component: None, text: text.into(), advice: None }
    }

    /// A finding that does not fail the drill, but deserves a look.
    pub(super) fn warning(code: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::failure(code, text) }
    }

    pub(super) fn note(code: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::failure(code, text) }
    }

    #[must_use]
    pub(super) fn of(self, component: &str) -> Self {
        Self { component: Some(component.to_owned()), ..self }
    }

    #[must_use]
    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// Returns whether both are about the same fault.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.code, &self.component, self.severity) == (other.code, &other.component, other.severity)
    }
}

/// Returns a duration in whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
