//! How far a reload is, how the last one ended, and the rollout that waits for its switch.
//!
//! Invariant: at most one rollout waits; a reload ends once, well or not.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::Plan;
use crate::runtime::Loading;
use crate::teardown::GenerationId;

/// The change that takes place at the switch.
pub(super) struct PendingRollout {
    /// The plan that holds from then on; `None` for a restart, which keeps the plan.
    pub(super) plan: Option<Box<Plan>>,
    /// The generation of each name from then on.
    pub(super) ids: BTreeMap<String, GenerationId>,
    /// The generations that are new.
    pub(super) incoming: Vec<GenerationId>,
    /// The change in words.
    pub(super) what: String,
}

/// How far a reload is.
#[derive(Default)]
enum Step {
    #[default]
    Idle,
    /// A thread reads the manifest.
    Reading,
    /// The components of this plan are loaded. Dropping `Loading` gives them up.
    Loading(Box<Plan>, #[expect(dead_code, reason = "held for its drop")] Loading),
    /// A rollout with the new plan waits for its switch.
    RollingOut,
}

/// How the last reload ended.
pub(super) struct ReloadResult {
    /// Whether the new manifest holds.
    pub(super) ok: bool,
    /// The change, or the error.
    pub(super) text: String,
    /// The time of its end on the app's clock.
    pub(super) at: Duration,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct ReloadState {
    ok: u64,
    failed: u64,
    last: Option<ReloadResult>,
    began: Duration,
    step: Step,
    rollout: Option<PendingRollout>,
}

impl ReloadState {
    /// Returns how many reloads took over.
    pub(super) fn ok(&self) -> u64 {
        self.ok
    }

    /// Returns how many reloads failed.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// Returns how the last reload ended.
    pub(super) fn last(&self) -> Option<&ReloadResult> {
        self.last.as_ref()
    }

    /// Returns whether a reload has begun and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self.step, Step::Idle)
    }

    /// Returns whether this generation waits for the switch.
    pub(super) fn is_on_trial(&self, id: GenerationId) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.incoming.contains(&id))
    }

    /// Returns whether a reload is under way that has not begun its rollout.
    pub(super) fn is_preparing(&self) -> bool {
        matches!(self.step, Step::Reading | Step::Loading(..))
    }

    /// Notes that the manifest is being read.
    pub(super) fn begins(&mut self, now: Duration) {
        (self.began, self.step) = (now, Step::Reading);
    }

    /// Notes that the components of a new plan are being loaded.
    pub(super) fn loads(&mut self, plan: Plan, loading: Loading) {
        self.step = Step::Loading(Box::new(plan), loading);
    }

    /// Takes the plan whose components have been loaded.
    pub(super) fn take_loaded(&mut self) -> Option<Box<Plan>> {
        match std::mem::replace(&mut self.step, Step::RollingOut) {
            Step::Loading(plan, _) => Some(plan),
            other => {
                self.step = other;
                None
            }
        }
    }

    /// Notes the rollout that waits for its switch.
    pub(super) fn set_rollout(&mut self, rollout: PendingRollout) {
        self.rollout = Some(rollout);
    }

    /// Takes the rollout: it switches, or is taken back.
    pub(super) fn take_rollout(&mut self) -> Option<PendingRollout> {
        self.rollout.take()
    }

    /// Notes how the reload ended. Returns how long it took.
    pub(super) fn ends(&mut self, now: Duration, result: &Result<String, String>) -> Duration {
        let (ok, text) = match result {
            Ok(what) => (true, what.clone()),
            Err(why) => (false, why.clone()),
        };
        self.ok += u64::from(ok);
        self.failed += u64::from(!ok);
        self.step = Step::Idle;
        self.last = Some(ReloadResult { ok, text, at: now });
        now.saturating_sub(self.began)
    }
}
