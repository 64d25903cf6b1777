//! Restart budget of a component, and the pause before each restart.
//!
//! Invariant: at most `max` restarts lie within `within`; without `max` there is no limit. The pause doubles from the first up to the longest, and is shortened at
//! random by up to a quarter: with 1 s and 3 s, the pauses are at most 1, 2, 3, 3 s. A run as long as the longest resets it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::plan::RestartPlan;

/// Largest share by which a pause is shortened, so that components that fail together do not all come back together.
const JITTER: f64 = 0.25;

#[derive(Clone, Debug, Default)]
pub(super) struct RestartBudget {
    recent: VecDeque<Duration>,
    streak: u32,
    since: Option<Duration>,
    /// The first of its last failures, if no normal end and no run as long as the longest pause came between them.
    failing: Option<Duration>,
    /// All restarts, for reports.
    pub(super) count: u64,
}

impl RestartBudget {
    pub(super) fn runs(&mut self, now: Duration) {
        self.since = Some(now);
    }

    /// Notes how the run ended that a restart was spent for.
    pub(super) fn ended(&mut self, now: Duration, failed: bool) {
        self.failing = failed.then(|| self.failing.unwrap_or(now));
    }

    /// Returns the time since its first failure, unless it has run for `longest` since.
    pub(super) fn failing_for(&self, now: Duration, longest: Duration) -> Option<Duration> {
        let is_stable = self.since.is_some_and(|since| now.saturating_sub(since) >= longest);
        self.failing.filter(|_| !is_stable).map(|first| now.saturating_sub(first))
    }

    /// Takes one restart out of the budget and returns the pause before it, or `None` if the budget is spent.
    pub(super) fn spend(&mut self, now: Duration, plan: &RestartPlan, chance: f64) -> Option<Duration> {
        while self.recent.front().is_some_and(|at| now.saturating_sub(*at) >= plan.within) {
            self.recent.pop_front();
        }
        let max = plan.max.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        if max.is_some_and(|max| self.recent.len() >= max) {
            return None;
        }
        let [first, longest] = plan.backoff;
        if self.since.take().is_some_and(|since| now.saturating_sub(since) >= longest) {
            self.streak = 0;
            self.failing = None;
        }
        let factor = 1_u32.checked_shl(self.streak).unwrap_or(u32::MAX);
        let full = first.saturating_mul(factor).min(longest);
        self.streak = self.streak.saturating_add(1);
        self.recent.extend(max.map(|_| now));
        self.count += 1;
        Some(full.saturating_sub(full.mul_f64(JITTER * chance.clamp(0.0, 1.0))))
    }
}

/// Random numbers from 0 to 1 from a seed (splitmix64): the machine stays a function of its events.
#[derive(Clone, Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(bits) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn plan() -> RestartPlan {
        RestartPlan { max: Some(4), within: s(100), backoff: [s(1), s(3)] }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_stable_time() {
        // R12: back-off doubles with jitter up to its cap, resets after stable time.
        let mut restarts = RestartBudget::default();
        let spent: Vec<_> = (0..4).map(|at| restarts.spend(s(at), &plan(), 0.0)).collect();
        assert_eq!(spent, [Some(s(1)), Some(s(2)), Some(s(3)), Some(s(3))]);
        assert_eq!(restarts.spend(s(99), &plan(), 0.0), None, "the budget is spent");
        restarts.runs(s(100));
        assert_eq!(restarts.spend(s(103), &plan(), 0.0), Some(s(1)), "stable, and the first is forgotten");
        assert_eq!(restarts.spend(s(103), &plan(), 1.0), Some(Duration::from_millis(1500)), "less a quarter");
        assert_eq!(restarts.count, 6);
    }

    #[test]
    fn without_a_number_there_is_no_end_and_the_time_of_failing_is_known() {
        let (endless, longest) = (RestartPlan { max: None, ..plan() }, s(3));
        let mut restarts = RestartBudget::default();
        for at in 0..1000 {
            assert!(restarts.spend(s(at), &endless, 0.5).is_some());
            restarts.ended(s(at), true);
            restarts.runs(s(at));
            assert_eq!(restarts.failing_for(s(at + 1), longest), Some(s(at + 1)));
        }
        assert!(restarts.recent.is_empty(), "nothing grows");
        assert_eq!(
            restarts.failing_for(s(1002), longest),
            None,
            "it has run for as long as the longest pause"
        );
        assert_eq!(restarts.spend(s(1003), &endless, 0.0), Some(s(1)));
        restarts.ended(s(1003), true);
        assert_eq!(restarts.failing_for(s(1004), longest), Some(s(1)));
        restarts.ended(s(1004), false);
        assert_eq!(restarts.failing_for(s(1004), longest), None, "a normal end is no failure");
    }

    #[test]
    fn no_restart_is_allowed_where_none_is() {
        let none = RestartPlan { max: Some(0), ..plan() };
        assert_eq!(RestartBudget::default().spend(s(0), &none, 0.5), None);
    }

    #[test]
    fn chance_is_spread_over_all_of_its_range() {
        let mut chance = Chance(7);
        let drawn: Vec<_> = (0..1000).map(|_| chance.next()).collect();
        assert!(drawn.iter().all(|number| (0.0..=1.0).contains(number)));
        let low = drawn.iter().filter(|number| **number < 0.5).count();
        assert!((400..600).contains(&low), "{low}");
    }
}
