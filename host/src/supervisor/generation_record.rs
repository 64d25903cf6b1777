//! What is known of each generation of a component while it runs: for status lines, the report and the table. Decides
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::report::ComponentReport;
use crate::output::{GuestStream, Source};
use crate::plan::ComponentPlan;
use crate::runtime::{Failure, HookResult, Link, Loaded};
use crate::server::http::Stats;
use crate::teardown::{Outcome, Phase};

/// One generation's record. What is about its instance begins anew when it is started again.
#[derive(Debug)]
pub struct GenerationRecord {
    /// What it was made from.
    pub plan: Arc<ComponentPlan>,
    /// Which version of its name it is; the first is 1.
    pub generation: u64,
    /// When it was started the last time.
    pub started: Option<Duration>,
    /// When it became ready the last time.
    pub ready: Option<Duration>,
    /// Whether its guest has said that it is ready.
    pub said_ready: bool,
    /// Whether it was found not to be alive.
    pub unhealthy: bool,
    /// The conversation with its instance.
    pub link: Option<Arc<Link>>,
    /// What was loaded.
    pub loaded: Option<Arc<Loaded>>,
    /// Its output, for the count of dropped lines.
    pub sources: Option<[Source; 2]>,
    /// When it was asked to stop.
    pub asked: Option<Duration>,
    /// What was in flight then: its `run`, or its requests.
    pub in_flight_asked: Option<u64>,
    /// The counts of its requests or connections, where the host listens for it.
    pub stats: Option<Arc<Stats>>,
    /// When its `run` returned.
    pub returned: Option<Duration>,
    /// When its hook was called; of several instances, the first.
    pub hook_started: Option<Duration>,
    /// How its hook ended, and when; of several instances, the worst and the last.
    pub hook_ended: Option<(HookResult, Duration)>,
    /// When each hook that has not ended was called, by the number of its instance.
    hooks_open: BTreeMap<Option<u32>, Duration>,
    /// What it failed with.
    pub failure: Option<Failure>,
    /// What went wrong without ending it: an instance failed alone, or it was not alive.
    pub lost: Option<Failure>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// How much more time it was granted.
    pub extended: Duration,
}

impl GenerationRecord {
    /// Returns the record of a generation that has not been started.
    pub fn new(plan: Arc<ComponentPlan>, loaded: Option<Arc<Loaded>>, generation: u64) -> Self {
        Self {
            plan,
            generation,
            started: None,
            ready: None,
            said_ready: false,
            unhealthy: false,
            link: None,
            loaded,
            sources: None,
            asked: None,
            in_flight_asked: None,
            stats: None,
            returned: None,
            hook_started: None,
            hook_ended: None,
            hooks_open: BTreeMap::new(),
            failure: None,
            lost: None,
            ended: None,
            extended: Duration::ZERO,
        }
    }

    /// Forgets what was about the instance before, if there was one.
    pub fn begins(&mut self, now: Duration, link: Arc<Link>) {
        let fresh = Self::new(self.plan.clone(), self.loaded.clone(), self.generation);
        let sources = self.sources.take();
        let stats = self.stats.take();
        *self = Self { started: Some(now), link: Some(link), sources, stats, ..fresh };
    }

    /// Returns the word for its kind; empty until it is loaded.
    pub fn kind(&self) -> &'static str {
        self.loaded.as_ref().map_or("", |loaded| loaded.kind.word())
    }

    /// Returns the lines of its output that nobody read.
    pub fn dropped_lines(&self) -> u64 {
        self.sources.iter().flatten().map(Source::dropped).sum()
    }

    /// Returns whether its `run` has been entered, or it has taken requests.
    pub fn has_entered(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.has_entered())
    }

    /// Returns whether something of it exists.
    pub fn lives(&self) -> bool {
        self.started.is_some() && self.ended.is_none()
    }

    /// Returns what is in flight; nothing where nothing of it exists.
    pub fn in_flight_now(&self) -> u64 {
        if self.lives() { self.in_flight() } else { 0 }
    }

    /// Returns the bytes of linear memory of all its instances.
    pub fn memory(&self) -> u64 {
        self.link.as_ref().map_or(0, |link| link.memory())
    }

    /// Notes that a hook was called. Those of instances that end before their component are not in its report.
    pub fn hook_starts(&mut self, now: Duration, instance: Option<u32>) {
        self.hooks_open.insert(instance, now);
        if self.counts_hook(instance) {
            self.hook_started.get_or_insert(now);
        }
    }

    /// Notes that a hook ended, and returns how long it took.
    pub fn hook_ends(
        &mut self,
        now: Duration,
        instance: Option<u32>,
        result: &HookResult,
    ) -> Option<Duration> {
        let took = self.hooks_open.remove(&instance).map(|started| now.saturating_sub(started));
        if !self.counts_hook(instance) {
            return took;
        }
        if let HookResult::Trapped(_) = result {
            self.returned = self.returned.or(Some(now));
        }
        let worst = match self.hook_ended.take() {
            Some((earlier, _)) if rank(&earlier) >= rank(result) => earlier,
            _ => result.clone(),
        };
        self.hook_ended = Some((worst, now));
        took
    }

    fn counts_hook(&self, instance: Option<u32>) -> bool {
        instance.is_none() || self.asked.is_some()
    }

    /// Returns what is in flight: requests, or its `run`.
    pub fn in_flight(&self) -> u64 {
        match &self.stats {
            Some(stats) => stats.in_flight(),
            None => u64::from(self.returned.is_none()),
        }
    }

    fn in_flight_ended(&self, outcome: Outcome) -> u64 {
        let forced = matches!(outcome, Outcome::CutOff | Outcome::Leaked);
        match &self.stats {
            Some(stats) => stats.at_cut(),
            None => u64::from(forced && self.returned.is_none()),
        }
    }

    /// Returns what the component is doing, for status lines and for "waiting for".
    pub fn doing(&self, phase: Phase) -> &'static str {
        let has_hook = self.loaded.as_ref().is_some_and(|loaded| loaded.hook.is_some());
        match (phase, &self.hook_ended, self.hook_started, self.returned) {
            (Phase::Pending, ..) if self.loaded.is_some() => "waiting to start",
            (Phase::Pending, ..) => "loading",
            (Phase::Backoff, ..) => "waiting to restart",
            (Phase::Starting, ..) => "starting",
            (Phase::Running, ..) => "running",
            (Phase::Ended, ..) => "ended",
            (Phase::Asked | Phase::Cut, ..) if self.stats.is_some() && self.returned.is_none() => "requests",
            (Phase::Asked | Phase::Cut, None, Some(_), _) => "hook",
            (Phase::Asked | Phase::Cut, None, None, _) if has_hook => "hook queued",
            (Phase::Asked | Phase::Cut, _, _, None) => "run",
            (Phase::Asked | Phase::Cut, ..) if self.stats.is_some() => "instances",
            (Phase::Asked | Phase::Cut, _, _, Some(_)) => "work behind run",
        }
    }

    /// Returns whether a hook has been called and has not ended.
    pub fn hook_is_open(&self) -> bool {
        !self.hooks_open.is_empty()
    }

    /// Returns how long the hook took, or has taken until now.
    pub fn hook_time(&self, now: Duration) -> Option<Duration> {
        let started = self.hook_started?;
        let last = self.hook_ended.as_ref().filter(|_| self.hooks_open.is_empty()).map(|(_, at)| *at);
        let ended = last.unwrap_or(self.ended.unwrap_or(now));
        Some(ended.saturating_sub(started))
    }

    /// Returns the component's part of the report.
    pub fn report(&self, outcome: Outcome, now: Duration) -> ComponentReport {
        ComponentReport {
            name: self.plan.name.clone(),
            kind: self.kind(),
            generation: self.generation,
            replaced: false,
            restarts: 0,
            outcome: outcome.word(),
            detail: self.detail(outcome),
            hook: self.hook_word(outcome),
            drain_ms: self.asked.map(|asked| {
                let end = self.returned.or(self.ended).unwrap_or(now);
                millis(end.saturating_sub(asked))
            }),
            hook_ms: self.hook_time(now).map(millis),
            in_flight_asked: self.in_flight_asked,
            in_flight_ended: self.in_flight_ended(outcome),
            extended_ms: millis(self.extended),
            dropped_lines: self.dropped_lines(),
            http: self.stats.as_ref().map(|stats| stats.counts()),
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
            (Outcome::CutOff, ..) if self.in_flight_ended(outcome) > 0 && self.stats.is_some() => {
                Some("requests overran the grace".to_owned())
            }
            (Outcome::CutOff, None, _, _) if self.stats.is_some() => {
                Some("an instance overran the grace".to_owned())
            }
            (Outcome::CutOff, Some(_), None, _) => Some("its hook overran the grace".to_owned()),
            (Outcome::CutOff, _, _, None) => Some("its `run` overran the grace".to_owned()),
            (Outcome::CutOff, ..) => Some("work behind its `run` overran the grace".to_owned()),
            _ => None,
        };
        let lost = self.lost.as_ref().map(|failure| failure.summary.clone());
        self.failure.as_ref().map(|failure| failure.summary.clone()).or(hook).or(forced).or(lost)
    }
}

/// The order of hook results from good to bad.
fn rank(result: &HookResult) -> u8 {
    match result {
        HookResult::Ok => 0,
        HookResult::Error(_) => 1,
        HookResult::Trapped(_) => 2,
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
