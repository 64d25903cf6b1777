//! The hooks of one generation: which have been called, how they ended, how long they took.
//!
//! Invariant: the report has the worst result of all its instances' hooks. Hooks of instances that ended before their
//! generation was asked are counted, and are not in its report.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::runtime::HookResult;
use crate::teardown::Outcome;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct HookRecord {
    /// The call of each hook that has not ended, by the number of its instance.
    open: BTreeMap<Option<u32>, Duration>,
    /// The first call that the report counts.
    started: Option<Duration>,
    /// The worst result that the report counts, and the time of the last one.
    ended: Option<(HookResult, Duration)>,
}

impl HookRecord {
    /// Notes the call of an instance's hook.
    pub(super) fn starts(&mut self, now: Duration, instance: Option<u32>, is_reported: bool) {
        self.open.insert(instance, now);
        if is_reported {
            self.started.get_or_insert(now);
        }
    }

    /// Notes the end of an instance's hook. Returns how long it took.
    pub(super) fn ends(
        &mut self,
        now: Duration,
        instance: Option<u32>,
        result: &HookResult,
        is_reported: bool,
    ) -> Option<Duration> {
        let took = self.open.remove(&instance).map(|started| now.saturating_sub(started));
        if is_reported {
            let worst = match self.ended.take() {
                Some((earlier, _)) if rank(&earlier) >= rank(result) => earlier,
                _ => result.clone(),
            };
            self.ended = Some((worst, now));
        }
        took
    }

    /// Returns whether a hook that the report counts has been called.
    pub(super) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// Returns the worst result so far.
    pub(super) fn result(&self) -> Option<&HookResult> {
        self.ended.as_ref().map(|(result, _)| result)
    }

    /// Returns whether a hook has been called and has not ended.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Returns the time from the first call to the last end, or until now; `ended` is the end of the generation.
    pub(super) fn time(&self, now: Duration, ended: Option<Duration>) -> Option<Duration> {
        let started = self.started?;
        let last = self.ended.as_ref().filter(|_| self.open.is_empty()).map(|(_, at)| *at);
        Some(last.unwrap_or(ended.unwrap_or(now)).saturating_sub(started))
    }

    /// Returns the word of the report; `has_hook` says whether the component exports a hook.
    pub(super) fn word(&self, has_hook: bool, outcome: Outcome) -> &'static str {
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

    /// Returns the error of the hook in words.
    pub(super) fn error(&self) -> Option<String> {
        match self.result()? {
            HookResult::Ok => None,
            HookResult::Error(Some(text)) => Some(format!("hook: {text}")),
            HookResult::Error(None) => Some("hook: returned an error".to_owned()),
            HookResult::Trapped(failure) => Some(format!("hook: {}", failure.summary)),
        }
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
