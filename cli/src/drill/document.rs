//! The outcome of a drill as data: what `--json` prints (`docs/drill.schema.json` describes it), and what the table and
//! the JUnit file are made of.

use serde::Serialize;

use super::finding::{Finding, Weight};
use super::observation::{Exit, Observation};
use super::outcomes::{Used, used};
use super::scenario::Scenario;

/// A drill that is over. All times are whole milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Drill {
    /// The app's name.
    pub app: String,
    /// The version of curfew.
    pub version: &'static str,
    /// Whether nothing failed.
    pub ok: bool,
    /// How long it took.
    pub took_ms: u64,
    /// Why nothing could be tried.
    pub error: Option<String>,
    /// What was tried, in this order.
    pub tries: Vec<Tried>,
}

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing failed.
    Ok,
    /// Something did.
    Failed,
    /// It was not tried.
    Skipped,
}

/// One try.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// `term`, `int`, `quit`, `start`, `peer` or `reload`.
    pub name: &'static str,
    /// Whether it was under load.
    pub load: bool,
    /// How it went.
    pub verdict: Verdict,
    /// Why it was not tried.
    pub skipped_because: Option<String>,
    /// How often the app was run for it.
    pub runs: usize,
    /// What the app left with; of several runs the first code that is not 0.
    pub exit_code: Option<i32>,
    /// The longest time from the signal, or the failure, to the exit.
    pub exit_ms: Option<u64>,
    /// How much of its grace each component used, at most.
    pub grace: Vec<Grace>,
    /// What became of the requests of the load.
    pub requests: Option<Requests>,
    /// How long the try took.
    pub took_ms: u64,
    /// What was found.
    pub findings: Vec<Finding>,
    /// The last lines of log and output, where it failed.
    pub output: Vec<String>,
}

/// How much of its grace a component used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grace {
    /// Its name.
    pub component: String,
    /// From the notice to its end.
    pub used_ms: u64,
    /// What it had.
    pub grace_ms: u64,
    /// The share that was used.
    pub percent: u64,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// Whole answers.
    pub answered: u64,
    /// Refused, or closed before the first byte, after the stop had begun.
    pub turned_away: u64,
    /// Lost.
    pub lost: u64,
}

impl Tried {
    /// One that was not tried.
    pub fn skipped(what: Scenario, load: bool, because: impl Into<String>) -> Self {
        let (verdict, because) = (Verdict::Skipped, Some(because.into()));
        Self { verdict, skipped_because: because, ..Self::empty(what, load) }
    }

    /// One of which nothing has been seen.
    pub fn empty(what: Scenario, load: bool) -> Self {
        Self {
            name: what.word(),
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

    /// Adds one run, and what was found in it.
    pub fn add(&mut self, seen: &Observation, found: Vec<Finding>) {
        self.runs += 1;
        let code = match seen.exit {
            Exit::Code(code) | Exit::Early(code) => Some(code),
            Exit::Signal(signal) => Some(128 + signal),
            Exit::Never => None,
        };
        // Of several runs the first that was bad is the one to be told.
        self.exit_code = self.exit_code.filter(|known| *known != 0).or(code);
        let took = seen.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.exit_ms = self.exit_ms.max(took);
        if !seen.forced {
            used(&seen.records).iter().for_each(|used| self.add_grace(used));
        }
        if self.load && !seen.forced {
            let requests = self.requests.get_or_insert_default();
            for (_, counts) in &seen.loads {
                requests.answered += counts.answered;
                requests.turned_away += counts.turned_away;
                requests.lost += counts.lost();
            }
        }
        for mut finding in found {
            if finding.weight == Weight::Failure {
                self.verdict = Verdict::Failed;
            }
            if let Some(moment) = seen.moment.filter(|_| finding.weight == Weight::Failure) {
                finding.text = format!("{} (TERM {} ms after the start)", finding.text, moment.as_millis());
            }
            if !self.findings.iter().any(|known| known.is_same(&finding)) {
                self.findings.push(finding);
                if self.verdict == Verdict::Failed {
                    self.output.clone_from(&seen.tail);
                }
            }
        }
    }

    /// Adds a finding that fails it, where there was nothing to see.
    pub fn fail(&mut self, finding: Finding) {
        self.verdict = Verdict::Failed;
        self.findings.push(finding);
    }

    fn add_grace(&mut self, used: &Used) {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let grace = Grace {
            component: used.component.clone(),
            used_ms: millis(used.took),
            grace_ms: millis(used.grace),
            percent: used.percent(),
        };
        match self.grace.iter_mut().find(|known| known.component == used.component) {
            Some(known) if known.percent >= grace.percent => {}
            Some(known) => *known = grace,
            None => self.grace.push(grace),
        }
    }

    /// Returns what it is called, with its load.
    pub fn title(&self) -> String {
        let title = Scenario::ALL
            .into_iter()
            .find(|what| what.word() == self.name)
            .map_or(self.name, Scenario::title);
        format!("{title}, {}", if self.load { "under load" } else { "idle" })
    }
}

impl Drill {
    /// Returns the drill as one JSON document.
    ///
    /// # Errors
    /// None that can happen: everything in it is plain data.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}
