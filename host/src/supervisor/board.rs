//! What is known of each component while it runs: for status lines, the report and the table. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use super::report::ComponentReport;
use crate::output::{GuestStream, Source};
use crate::runtime::{Failure, HookResult, Link, Loaded};
use crate::teardown::{Outcome, Phase};

/// One component's record.
#[derive(Debug, Default)]
pub struct Record {
    /// The conversation with its instance.
    pub link: Option<Arc<Link>>,
    /// What was loaded.
    pub loaded: Option<Arc<Loaded>>,
    /// Its output, for the count of dropped lines.
    pub sources: Vec<Source>,
    /// When it was asked to stop.
    pub asked: Option<Duration>,
    /// Whether its `run` was under way then.
    pub in_flight_asked: Option<u64>,
    /// When its `run` returned.
    pub returned: Option<Duration>,
    /// When its hook was called.
    pub hook_started: Option<Duration>,
    /// How its hook ended, and when.
    pub hook_ended: Option<(HookResult, Duration)>,
    /// What it failed with.
    pub failure: Option<Failure>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// How much more time it was granted.
    pub extended: Duration,
}

impl Record {
    /// Returns what the component is doing, for status lines and for "waiting for".
    pub fn doing(&self, phase: Phase) -> &'static str {
        let has_hook = self.loaded.as_ref().is_some_and(|loaded| loaded.hook.is_some());
        match (phase, &self.hook_ended, self.hook_started, self.returned) {
            (Phase::Pending, ..) => "loading",
            (Phase::Starting, ..) => "starting",
            (Phase::Running, ..) => "running",
            (Phase::Ended, ..) => "ended",
            (Phase::Asked | Phase::Cut, None, Some(_), _) => "hook",
            (Phase::Asked | Phase::Cut, None, None, _) if has_hook => "hook queued",
            (Phase::Asked | Phase::Cut, _, _, None) => "run",
            (Phase::Asked | Phase::Cut, _, _, Some(_)) => "work behind run",
        }
    }

    /// Returns how long the hook took, or has taken until now.
    pub fn hook_time(&self, now: Duration) -> Option<Duration> {
        let started = self.hook_started?;
        let ended = self.hook_ended.as_ref().map_or(self.ended.unwrap_or(now), |(_, at)| *at);
        Some(ended.saturating_sub(started))
    }

    /// Returns the component's part of the report.
    pub fn report(&self, name: &str, outcome: Outcome, now: Duration) -> ComponentReport {
        ComponentReport {
            name: name.to_owned(),
            outcome: outcome.word(),
            detail: self.detail(outcome),
            hook: self.hook_word(outcome),
            drain_ms: self.asked.map(|asked| {
                let end = self.returned.or(self.ended).unwrap_or(now);
                millis(end.saturating_sub(asked))
            }),
            hook_ms: self.hook_time(now).map(millis),
            in_flight_asked: self.in_flight_asked,
            in_flight_ended: u64::from(
                matches!(outcome, Outcome::CutOff | Outcome::Leaked) && self.returned.is_none(),
            ),
            extended_ms: millis(self.extended),
            dropped_lines: self.sources.iter().map(Source::dropped).sum(),
        }
    }

    fn hook_word(&self, outcome: Outcome) -> &'static str {
        let has_hook = self.loaded.as_ref().is_some_and(|loaded| loaded.hook.is_some());
        match (&self.hook_ended, self.hook_started) {
            (Some((HookResult::Ok, _)), _) => "ok",
            (Some((HookResult::Error(_), _)), _) => "error",
            (Some((HookResult::Trapped(_), _)), _) => "trapped",
            (None, Some(_)) => match outcome {
                Outcome::CutOff | Outcome::Leaked => "cut-off",
                _ => "not-returned",
            },
            (None, None) if has_hook => "not-called",
            (None, None) => "none",
        }
    }

    fn detail(&self, outcome: Outcome) -> Option<String> {
        let hook = match &self.hook_ended {
            Some((HookResult::Error(Some(text)), _)) => Some(format!("hook: {text}")),
            Some((HookResult::Error(None), _)) => Some("hook: returned an error".to_owned()),
            Some((HookResult::Trapped(failure), _)) => Some(format!("hook: {}", failure.summary)),
            Some((HookResult::Ok, _)) | None => None,
        };
        let forced = match (outcome, self.hook_started, &self.hook_ended, self.returned) {
            (Outcome::Leaked, ..) => Some("a blocking call could not be ended".to_owned()),
            (Outcome::CutOff, Some(_), None, _) => Some("its hook overran the grace".to_owned()),
            (Outcome::CutOff, _, _, None) => Some("its `run` overran the grace".to_owned()),
            (Outcome::CutOff, ..) => Some("work behind its `run` overran the grace".to_owned()),
            _ => None,
        };
        self.failure.as_ref().map(|failure| failure.summary.clone()).or(hook).or(forced)
    }
}

/// Whole milliseconds, rounded down.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns what has to be done with a component's streams when its instance has ended.
pub fn finisher(stdout: &GuestStream, stderr: &GuestStream) -> Box<dyn FnOnce() + Send> {
    let (stdout, stderr) = (stdout.clone(), stderr.clone());
    Box::new(move || {
        stdout.finish();
        stderr.finish();
    })
}
