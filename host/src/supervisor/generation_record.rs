//! The record of each generation while it runs, for status lines, the report and the table. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use super::hook_record::HookRecord;
use super::report::ComponentReport;
use crate::output::{GuestStream, Source};
use crate::plan::ComponentPlan;
use crate::runtime::{Failure, HookResult, Kind, Link, Loaded};
use crate::server::{Stats, Unit};
use crate::teardown::{Outcome, Phase};

/// The record of one generation. The facts of its instance begin anew with each start.
#[derive(Debug)]
pub(super) struct GenerationRecord {
    /// Its plan.
    pub plan: Arc<ComponentPlan>,
    /// Which version of its name it is; the first is 1.
    pub generation: u64,
    /// When it was started the last time.
    pub started: Option<Duration>,
    /// When it became ready the last time.
    pub ready: Option<Duration>,
    /// Its guest has called `ready`.
    pub said_ready: bool,
    /// Its health check has failed.
    pub unhealthy: bool,
    /// The conversation with its instance.
    pub link: Option<Arc<Link>>,
    /// The loaded component.
    pub loaded: Option<Arc<Loaded>>,
    /// Its output, for the count of dropped lines.
    pub sources: Option<[Source; 2]>,
    /// When it was asked to stop.
    pub asked: Option<Duration>,
    /// The count in flight at that time: its `run`, or its requests.
    pub in_flight_asked: Option<u64>,
    /// The count in flight when it was cut off.
    pub in_flight_cut: Option<u64>,
    /// Its counts, once its server knows it.
    pub stats: Option<Arc<Stats>>,
    /// When its `run` returned.
    pub returned: Option<Duration>,
    /// Its hooks.
    pub hooks: HookRecord,
    /// Its failure.
    pub failure: Option<Failure>,
    /// A failure that did not end it: of one instance, or of its health check.
    pub lost: Option<Failure>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// How much more time it was granted.
    pub extended: Duration,
}

impl GenerationRecord {
    /// Returns the record of a generation that has not been started.
    pub(super) fn new(plan: Arc<ComponentPlan>, loaded: Option<Arc<Loaded>>, generation: u64) -> Self {
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
            in_flight_cut: None,
            stats: None,
            returned: None,
            hooks: HookRecord::default(),
            failure: None,
            lost: None,
            ended: None,
            extended: Duration::ZERO,
        }
    }

    /// Begins a start: the facts of the instance before are forgotten.
    pub(super) fn begins(&mut self, now: Duration, link: Arc<Link>) {
        let fresh = Self::new(self.plan.clone(), self.loaded.clone(), self.generation);
        let sources = self.sources.take();
        let stats = self.stats.take();
        *self = Self { started: Some(now), link: Some(link), sources, stats, ..fresh };
    }

    /// Returns the word for its kind; empty until it is loaded.
    pub(super) fn kind(&self) -> &'static str {
        self.loaded.as_ref().map_or("", |loaded| loaded.kind.name)
    }

    /// Returns whether its kind has this property; false until it is loaded.
    pub(super) fn is(&self, property: impl FnOnce(&Kind) -> bool) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| property(loaded.kind))
    }

    /// Returns the work that is counted one by one, if any is.
    pub(super) fn unit(&self) -> Option<&'static Unit> {
        self.stats.as_ref().and_then(|stats| stats.unit())
    }

    /// Returns the number of output lines that were dropped.
    pub(super) fn dropped_lines(&self) -> u64 {
        self.sources.iter().flatten().map(Source::dropped).sum()
    }

    /// Returns whether its `run` has been entered, or it has taken requests.
    pub(super) fn has_entered(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.orders.has_entered())
    }

    /// Returns whether it has started and not ended.
    pub(super) fn lives(&self) -> bool {
        self.started.is_some() && self.ended.is_none()
    }

    /// Returns the count in flight; 0 before its start and after its end.
    pub(super) fn in_flight_now(&self) -> u64 {
        if self.lives() { self.in_flight() } else { 0 }
    }

    /// Returns the bytes of linear memory of all its instances.
    pub(super) fn memory(&self) -> u64 {
        self.link.as_ref().map_or(0, |link| link.vitals.memory())
    }

    /// Notes that a hook was called.
    pub(super) fn hook_starts(&mut self, now: Duration, instance: Option<u32>) {
        let is_reported = self.reports_hook(instance);
        self.hooks.starts(now, instance, is_reported);
    }

    /// Notes that a hook ended. Returns how long it took.
    pub(super) fn hook_ends(
        &mut self,
        now: Duration,
        instance: Option<u32>,
        result: &HookResult,
    ) -> Option<Duration> {
        let is_reported = self.reports_hook(instance);
        if is_reported && matches!(result, HookResult::Trapped(_)) {
            self.returned = self.returned.or(Some(now));
        }
        self.hooks.ends(now, instance, result, is_reported)
    }

    fn reports_hook(&self, instance: Option<u32>) -> bool {
        instance.is_none() || self.asked.is_some()
    }

    /// Returns the work in flight.
    pub(super) fn in_flight(&self) -> u64 {
        self.stats.as_ref().map_or(0, |stats| stats.in_flight())
    }

    fn in_flight_ended(&self, outcome: Outcome) -> u64 {
        let forced = matches!(outcome, Outcome::CutOff | Outcome::Leaked);
        self.in_flight_cut.unwrap_or(if forced { self.in_flight() } else { 0 })
    }

    /// Returns the activity of the component, for status lines and for "waiting for".
    pub(super) fn doing(&self, phase: Phase) -> &'static str {
        let Some(loaded) = self.loaded.as_ref().filter(|_| phase != Phase::Ended) else {
            return if phase == Phase::Ended { "ended" } else { "loading" };
        };
        let (words, drained) = (&loaded.kind.words, self.returned.is_some());
        match phase {
            Phase::Pending => "waiting to start",
            Phase::Backoff => "waiting to restart",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Ended => "ended",
            // A pool's hooks come behind its work.
            Phase::Asked | Phase::Cut if loaded.kind.is_pooled && !drained => words.in_flight,
            Phase::Asked | Phase::Cut => match (self.hooks.result(), self.hooks.has_started()) {
                (None, true) => "hook",
                (None, false) if self.has_hook() => "hook queued",
                _ if drained => words.behind,
                _ => words.in_flight,
            },
        }
    }

    fn has_hook(&self) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.hook.is_some())
    }

    /// Returns how long the hook took, or has taken until now.
    pub(super) fn hook_time(&self, now: Duration) -> Option<Duration> {
        self.hooks.time(now, self.ended)
    }

    /// Returns the component's part of the report.
    pub(super) fn report(&self, outcome: Outcome, now: Duration) -> ComponentReport {
        ComponentReport {
            name: self.plan.name.clone(),
            generation: self.generation,
            replaced: false,
            restarts: 0,
            outcome: outcome.word(),
            detail: self.detail(outcome),
            hook: self.hooks.word(self.has_hook(), outcome),
            drain_ms: self.asked.map(|asked| {
                let end = self.returned.or(self.ended).unwrap_or(now);
                millis(end.saturating_sub(asked))
            }),
            hook_ms: self.hook_time(now).map(millis),
            in_flight_asked: self.in_flight_asked,
            in_flight_ended: self.in_flight_ended(outcome),
            extended_ms: millis(self.extended),
            dropped_lines: self.dropped_lines(),
            unit: self.unit().map_or("", |unit| unit.word),
            http: self.stats.as_ref().filter(|stats| stats.unit().is_some()).map(|stats| stats.counts()),
        }
    }

    /// Returns the subject of a sentence about the work that was cut off.
    fn overran(&self, outcome: Outcome) -> &'static str {
        let Some(loaded) = &self.loaded else { return "it" };
        let words = &loaded.kind.words;
        let (is_pooled, has_started) = (loaded.kind.is_pooled, self.hooks.has_started());
        if is_pooled && self.in_flight_ended(outcome) > 0 {
            words.in_flight_subject
        } else if is_pooled && !has_started {
            words.behind_subject
        } else if has_started && self.hooks.result().is_none() {
            "its hook"
        } else if self.returned.is_none() {
            words.in_flight_subject
        } else {
            words.behind_subject
        }
    }

    fn detail(&self, outcome: Outcome) -> Option<String> {
        let forced = match outcome {
            Outcome::Leaked => Some("a blocking call could not be ended".to_owned()),
            Outcome::CutOff => Some(format!("{} overran the grace", self.overran(outcome))),
            _ => None,
        };
        let lost = self.lost.as_ref().map(|failure| failure.summary.clone());
        self.failure
            .as_ref()
            .map(|failure| failure.summary.clone())
            .or_else(|| self.hooks.error())
            .or(forced)
            .or(lost)
    }
}

/// Whole milliseconds, rounded down.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the function that ends a component's streams after its instance.
pub(super) fn finisher(stdout: &GuestStream, stderr: &GuestStream) -> Box<dyn FnOnce() + Send> {
    let (stdout, stderr) = (stdout.clone(), stderr.clone());
    Box::new(move || {
        stdout.finish();
        stderr.finish();
    })
}
