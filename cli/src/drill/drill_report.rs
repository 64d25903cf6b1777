//! The result of a drill as data. `--json` prints it (`docs/drill.schema.json` describes it); the table and the JUnit
//! file are made of it.

use std::time::Duration;

use serde::Serialize;

use super::finding::{Finding, Severity};
use super::log_record::LogRecord;
use super::observation::{Observation, ProcessExit};
use super::scenario::Scenario;

/// A drill that is over. All times are whole milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DrillReport {
    pub(crate) app: String,
    /// The version of curfew.
    pub(crate) version: &'static str,
    pub(crate) ok: bool,
    pub(crate) took_ms: u64,
    /// Why no scenario could run.
    pub(crate) error: Option<String>,
    /// The scenarios, in the order in which they ran.
    #[serde(rename = "tries")]
    pub(crate) results: Vec<ScenarioResult>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    Failed,
    Skipped,
}

/// The result of one scenario, idle or under load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ScenarioResult {
    #[serde(rename = "name", serialize_with = "name")]
    pub(super) scenario: Scenario,
    pub(super) load: bool,
    pub(super) verdict: Verdict,
    pub(super) skipped_because: Option<String>,
    /// How often the app ran.
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

fn name<S: serde::Serializer>(scenario: &Scenario, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(scenario.name())
}

/// How much of its grace a component used, from the notice to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct GraceUse {
    pub(super) component: String,
    pub(super) used_ms: u64,
    pub(super) grace_ms: u64,
    pub(super) percent: u64,
}

impl GraceUse {
    /// Returns how much of its grace each component used in its last stop.
    pub(super) fn of_all(records: &[LogRecord]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let is_notice = |record: &LogRecord| record.fields.message == "asked to stop";
        for (at, notice) in records.iter().enumerate().filter(|(_, record)| is_notice(record)) {
            let Some(component) = notice.fields.component.clone() else { continue };
            let later = records.get(at..).unwrap_or_default();
            let ended = later.iter().find(|record| record.is("component ended", &component));
            let (Some(ended), Some(grace_ms)) = (ended, notice.fields.grace_ms) else { continue };
            all.retain(|used| used.component != component);
            let used_ms = millis(ended.at.saturating_duration_since(notice.at));
            let percent = used_ms.saturating_mul(100) / grace_ms.max(1);
            all.push(Self { component, used_ms, grace_ms, percent });
        }
        all
    }
}

/// The requests of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct RequestSummary {
    pub(super) answered: u64,
    /// Requests refused, or closed before the first byte, after the stop had begun.
    pub(super) turned_away: u64,
    pub(super) lost: u64,
}

impl ScenarioResult {
    /// Returns the result of a scenario that was skipped.
    pub(super) fn skipped(scenario: Scenario, load: bool, reason: impl Into<String>) -> Self {
        let (verdict, reason) = (Verdict::Skipped, Some(reason.into()));
        Self { verdict, skipped_because: reason, ..Self::new(scenario, load) }
    }

    /// Returns the result of a scenario that has not run yet.
    pub(super) fn new(scenario: Scenario, load: bool) -> Self {
        Self {
            scenario,
            load,
            verdict: Verdict::Ok,
            skipped_because: None,
            runs: 0,
            exit_code: None,
            exit_ms: None,
            grace: Vec::new(),
            requests: None,
            took_ms: 0,
            findings: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Adds one run with its findings.
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
            GraceUse::of_all(&run.records).into_iter().for_each(|used| self.add_grace(used));
        }
        if self.load && !run.is_forced {
            let requests = self.requests.get_or_insert_default();
            for (_, counts) in &run.loads {
                requests.answered += counts.answered;
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

    fn add_grace(&mut self, used: GraceUse) {
        match self.grace.iter_mut().find(|known| known.component == used.component) {
            Some(known) if known.percent >= used.percent => {}
            Some(known) => *known = used,
            None => self.grace.push(used),
        }
    }

    /// Returns the title of the scenario with its load.
    pub(super) fn title(&self) -> String {
        format!("{}, {}", self.scenario.title(), if self.load { "under load" } else { "idle" })
    }
}

impl DrillReport {
    /// Returns the report as one JSON document.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// Returns a duration in whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
