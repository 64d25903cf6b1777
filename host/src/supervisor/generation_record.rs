//! The record of each generation while it runs, for status lines, the report and the table. Decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::report::ComponentReport;
use crate::output::Source;
use crate::plan::{ComponentPlan, ReadyWhen};
use crate::runtime::{Failure, HookResult, Kind, Link, Loaded};
use crate::server::Stats;
use crate::teardown::{Outcome, Phase};

/// The record of one generation.
#[derive(Debug)]
pub(super) struct GenerationRecord {
    pub plan: Arc<ComponentPlan>,
    /// The version of its name; the first is 1.
    pub generation: u64,
    pub loaded: Option<Arc<Loaded>>,
    /// Its output, for the count of dropped lines.
    pub sources: Option<[Source; 2]>,
    /// Its counts, once its server knows it.
    pub stats: Option<Arc<Stats>>,
    pub told_failures: ToldFailures,
    pub run: RunRecord,
}

/// Failures of instances that the log tells of in a second: clients can cause any number.
const TOLD_IN_A_SECOND: u32 = 10;

/// The failures of instances of which the log has told within a second.
#[derive(Debug, Default)]
pub(super) struct ToldFailures {
    since: Duration,
    told: u32,
    more: u64,
}

impl ToldFailures {
    /// Counts a failure. Returns the number of those before it that were not told, if this one is to be told.
    pub(super) fn next(&mut self, now: Duration) -> Option<u64> {
        if now.saturating_sub(self.since) >= Duration::from_secs(1) {
            (self.since, self.told) = (now, 0);
        }
        if self.told == TOLD_IN_A_SECOND {
            self.more += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.more))
    }
}

/// The facts of a generation that begin anew with each start. Times are on the app's clock.
#[derive(Debug, Default)]
pub(super) struct RunRecord {
    pub started: Option<Duration>,
    pub ready: Option<Duration>,
    pub said_ready: bool,
    /// Its health check has failed.
    pub unhealthy: bool,
    /// The conversation with its instance.
    pub link: Option<Arc<Link>>,
    pub asked: Option<Duration>,
    /// The count in flight when it was asked: its `run`, or its requests.
    pub in_flight_asked: Option<u64>,
    /// The count in flight when it was cut off.
    pub in_flight_cut: Option<u64>,
    /// The time at which its `run` returned, or its last work ended.
    pub returned: Option<Duration>,
    pub hooks: HookRecord,
    pub failure: Option<Failure>,
    /// A failure that did not end it: of one instance, or of its health check.
    pub lost: Option<Failure>,
    pub ended: Option<Duration>,
    /// The time that it was granted on top of its grace.
    pub extended: Duration,
}

impl GenerationRecord {
    pub(super) fn new(plan: Arc<ComponentPlan>, loaded: Option<Arc<Loaded>>, generation: u64) -> Self {
        let (sources, stats, told_failures, run) =
            (None, None, ToldFailures::default(), RunRecord::default());
        Self { plan, generation, loaded, sources, stats, told_failures, run }
    }

    /// Returns its kind once it is loaded.
    pub(super) fn kind(&self) -> Option<&'static Kind> {
        self.loaded.as_ref().map(|loaded| loaded.kind)
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.kind().is_some_and(|kind| kind.is_pooled)
    }

    /// Returns whether its guest has to call `ready`.
    pub(super) fn waits_for_word(&self) -> bool {
        let ready = self.loaded.as_ref().map(|loaded| self.plan.resolve(&loaded.defaults).ready);
        ready == Some(ReadyWhen::Said)
    }

    pub(super) fn dropped_lines(&self) -> u64 {
        self.sources.iter().flatten().map(Source::dropped).sum()
    }

    /// Returns whether it has started and not ended.
    pub(super) fn lives(&self) -> bool {
        self.run.started.is_some() && self.run.ended.is_none()
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.stats.as_ref().map_or(0, |stats| stats.in_flight())
    }

    /// Returns the count in flight; 0 before its start and after its end.
    pub(super) fn in_flight_now(&self) -> u64 {
        if self.lives() { self.in_flight() } else { 0 }
    }

    pub(super) fn memory(&self) -> u64 {
        self.run.link.as_ref().map_or(0, |link| link.vitals.memory())
    }

    /// Returns its failure, or else one that did not end it.
    pub(super) fn any_failure(&self) -> Option<&Failure> {
        self.run.failure.as_ref().or(self.run.lost.as_ref())
    }

    pub(super) fn hook_starts(&mut self, now: Duration, instance: Option<u32>) {
        self.run.hooks.open.insert(instance, now);
        if self.reports_hook(instance) {
            self.run.hooks.started.get_or_insert(now);
        }
    }

    /// Notes the end of a hook. Returns how long it took.
    pub(super) fn hook_ends(
        &mut self,
        now: Duration,
        instance: Option<u32>,
        result: &HookResult,
    ) -> Option<Duration> {
        if self.reports_hook(instance) {
            if matches!(result, HookResult::Trapped(_)) {
                self.run.returned = self.run.returned.or(Some(now));
            }
            self.run.hooks.note_result(now, result);
        }
        self.run.hooks.open.remove(&instance).map(|started| now.saturating_sub(started))
    }

    fn reports_hook(&self, instance: Option<u32>) -> bool {
        instance.is_none() || self.run.asked.is_some()
    }

    fn has_hook(&self) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.hook.is_some())
    }

    /// Returns the time from the first call of a hook to the last end, or until now.
    pub(super) fn hook_time(&self, now: Duration) -> Option<Duration> {
        let hooks = &self.run.hooks;
        let last = hooks.ended.as_ref().filter(|_| hooks.open.is_empty()).map(|(_, at)| *at);
        Some(last.or(self.run.ended).unwrap_or(now).saturating_sub(hooks.started?))
    }

    /// Returns the time from the notice until nothing was in flight any more, or until now.
    pub(super) fn drain_time(&self, now: Duration) -> Option<Duration> {
        let end = self.run.returned.or(self.run.ended).unwrap_or(now);
        self.run.asked.map(|asked| end.saturating_sub(asked))
    }

    /// Returns the activity of the component, for status lines and for "waiting for".
    pub(super) fn doing(&self, phase: Phase) -> &'static str {
        let Some(loaded) = self.loaded.as_ref().filter(|_| phase != Phase::Ended) else {
            return if phase == Phase::Ended { "ended" } else { "loading" };
        };
        let (words, hooks) = (&loaded.kind.words, &self.run.hooks);
        let drained = self.run.returned.is_some();
        match phase {
            Phase::Pending => "waiting to start",
            Phase::Backoff => "waiting to restart",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Ended => "ended",
            // A pool's hooks come behind its work.
            Phase::Asked | Phase::Cut if loaded.kind.is_pooled && !drained => words.in_flight,
            Phase::Asked | Phase::Cut => match (hooks.result(), hooks.started) {
                (None, Some(_)) => "hook",
                (None, None) if self.has_hook() => "hook queued",
                _ if drained => words.behind,
                _ => words.in_flight,
            },
        }
    }

    pub(super) fn report(
        &self,
        outcome: Outcome,
        now: Duration,
        replaced: bool,
        restarts: u64,
        failures: u64,
    ) -> ComponentReport {
        let counted = self.stats.as_ref().and_then(|stats| Some((stats.unit()?.word, stats.counts())));
        let (unit, http) = counted.unzip();
        ComponentReport {
            name: self.plan.name.clone(),
            generation: self.generation,
            replaced,
            restarts,
            failures,
            outcome: outcome.word(),
            detail: self.detail(outcome),
            hook: self.run.hooks.word(self.has_hook(), outcome),
            drain_ms: self.drain_time(now).map(millis),
            hook_ms: self.hook_time(now).map(millis),
            in_flight_asked: self.run.in_flight_asked,
            in_flight_ended: self.in_flight_ended(outcome),
            extended_ms: millis(self.run.extended),
            dropped_lines: self.dropped_lines(),
            unit: unit.unwrap_or_default(),
            http,
        }
    }

    fn in_flight_ended(&self, outcome: Outcome) -> u64 {
        let forced = matches!(outcome, Outcome::CutOff | Outcome::Leaked);
        self.run.in_flight_cut.unwrap_or(if forced { self.in_flight() } else { 0 })
    }

    /// Returns the subject of a sentence about the work that was cut off.
    fn overran(&self, outcome: Outcome) -> &'static str {
        let Some(Kind { words, is_pooled, .. }) = self.kind() else { return "it" };
        let hooks = &self.run.hooks;
        if *is_pooled && self.in_flight_ended(outcome) > 0 {
            words.in_flight_subject
        } else if *is_pooled && hooks.started.is_none() {
            words.behind_subject
        } else if hooks.started.is_some() && hooks.result().is_none() {
            "its hook"
        } else if self.run.returned.is_none() {
            words.in_flight_subject
        } else {
            words.behind_subject
        }
    }

    /// Returns the error, or the reason for the outcome, in one line.
    pub(super) fn detail(&self, outcome: Outcome) -> Option<String> {
        let summary = |failure: &Option<Failure>| failure.as_ref().map(|failure| failure.summary.clone());
        let forced = || match outcome {
            Outcome::Leaked => Some("a blocking call could not be ended".to_owned()),
            Outcome::CutOff => Some(format!("{} overran the grace", self.overran(outcome))),
            _ => None,
        };
        let hook = || self.run.hooks.error();
        summary(&self.run.failure).or_else(hook).or_else(forced).or_else(|| summary(&self.run.lost))
    }
}

/// The hooks of one generation. Invariant: the report has the worst result of all its instances' hooks. Hooks of instances
/// that ended before their generation was asked are counted, and are not in its report.
#[derive(Debug, Default)]
pub(super) struct HookRecord {
    /// The call of each hook that has not ended, by the number of its instance.
    pub open: BTreeMap<Option<u32>, Duration>,
    /// The first call that the report counts.
    started: Option<Duration>,
    /// The worst result that the report counts, and the time of the last one.
    ended: Option<(HookResult, Duration)>,
}

impl HookRecord {
    fn note_result(&mut self, now: Duration, result: &HookResult) {
        let rank = |result: &HookResult| match result {
            HookResult::Ok => 0,
            HookResult::Error(_) => 1,
            HookResult::Trapped(_) => 2,
        };
        let worst = match self.ended.take() {
            Some((earlier, _)) if rank(&earlier) >= rank(result) => earlier,
            _ => result.clone(),
        };
        self.ended = Some((worst, now));
    }

    fn result(&self) -> Option<&HookResult> {
        self.ended.as_ref().map(|(result, _)| result)
    }

    /// Returns the word of the report; `has_hook` says whether the component exports a hook.
    fn word(&self, has_hook: bool, outcome: Outcome) -> &'static str {
        match (self.result(), self.started) {
            (Some(HookResult::Ok), _) => "ok",
            (Some(HookResult::Error(_)), _) => "error",
            (Some(HookResult::Trapped(_)), _) => "trapped",
            (None, Some(_)) => match outcome {
                Outcome::CutOff | Outcome::Leaked => "cut-off",
                _ => "not-returned",
            },
            (None, None) if has_hook => "not-called",
            (None, None) => "none",
        }
    }

    fn error(&self) -> Option<String> {
        match self.result()? {
            HookResult::Ok => None,
            HookResult::Error(text) => {
                Some(format!("hook: {}", text.as_deref().unwrap_or("returned an error")))
            }
            HookResult::Trapped(failure) => Some(format!("hook: {}", failure.summary)),
        }
    }
}

/// Whole milliseconds, rounded down.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
