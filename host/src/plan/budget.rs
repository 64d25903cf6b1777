//! The arithmetic whether a budget of restarts can be spent at all. The default period is long enough to spend it twice.

use std::time::Duration;

use super::{ComponentPlan, Plan, RestartPlan};

/// The shortest period that a budget has where the manifest names none.
const DEFAULT_PERIOD: Duration = Duration::from_secs(60);

impl RestartPlan {
    /// Most restarts where the manifest and the kind of the component name no other number.
    pub const DEFAULT_MAX: u32 = 5;

    fn most(&self) -> u32 {
        self.max.unwrap_or(Self::DEFAULT_MAX)
    }

    /// Returns the least time that the pauses before `max` restarts take: chance shortens each by a quarter at most.
    pub fn least_pauses(&self) -> Duration {
        let ([mut pause, longest], mut sum, mut left) = (self.backoff, Duration::ZERO, self.most());
        // Ends soon: a pause that doubles reaches the longest one, or is 0.
        while left > 0 && pause < longest && !pause.is_zero() {
            sum = sum.saturating_add(pause);
            pause = pause.saturating_mul(2).min(longest);
            left -= 1;
        }
        let all = sum.saturating_add(pause.saturating_mul(left));
        all.saturating_sub(all / 4)
    }

    /// Returns the time that `max` restarts can take, if each failed instance may take `going` to end. A budget with a shorter
    /// period might never be spent.
    pub fn time_to_spend(&self, going: Duration) -> Duration {
        self.least_pauses().saturating_add(going.saturating_mul(self.most()))
    }

    /// Returns the same budget with the default period.
    pub fn with_default_period(self, going: Duration) -> Self {
        let within = self.time_to_spend(going).saturating_mul(2).max(DEFAULT_PERIOD);
        Self { within, ..self }
    }
}

impl Plan {
    /// Gives a default period to each budget without one, and to each that could not be spent with the app's graces.
    pub(crate) fn keep_budgets_possible(&mut self) {
        for ComponentPlan { restart, grace, .. } in &mut self.components {
            let going = time_to_go(self.app.fail_grace, *grace);
            if restart.time_to_spend(going) >= restart.within {
                *restart = restart.with_default_period(going);
            }
        }
    }
}

/// Returns how long an instance that has failed may take to end.
pub(super) fn time_to_go(fail_grace: Duration, grace: Option<Duration>) -> Duration {
    grace.map_or(fail_grace, |grace| grace.min(fail_grace))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const fn budget(max: u32, first: u64, longest: u64) -> RestartPlan {
        RestartPlan { max: Some(max), within: ms(1000), backoff: [ms(first), ms(longest)] }
    }

    #[test]
    fn the_least_pauses_double_up_to_the_longest() {
        assert_eq!(budget(5, 200, 30_000).least_pauses(), ms((200 + 400 + 800 + 1600 + 3200) * 3 / 4));
        assert_eq!(budget(4, 100, 300).least_pauses(), ms((100 + 200 + 300 + 300) * 3 / 4));
        assert_eq!(budget(3, 100, 100).least_pauses(), ms(225));
        assert_eq!(budget(u32::MAX, 0, 300).least_pauses(), ms(0));
        assert_eq!(budget(0, 100, 300).least_pauses(), ms(0));
    }

    #[test]
    fn the_default_period_grows_with_what_restarts_take() {
        let restart = RestartPlan::default();
        let spent = |going| restart.time_to_spend(ms(going));
        assert_eq!((spent(0), spent(5000)), (ms(4650), ms(29_650)));
        assert_eq!(restart.with_default_period(ms(5000)).within, ms(60_000));
        assert_eq!(restart.with_default_period(ms(25_000)).within, ms(2 * 129_650));
    }

    #[test]
    fn a_failed_instance_goes_within_the_shorter_grace() {
        assert_eq!(time_to_go(ms(5), None), ms(5));
        assert_eq!((time_to_go(ms(5), Some(ms(3))), time_to_go(ms(5), Some(ms(9)))), (ms(3), ms(5)));
    }

    proptest! {
        #[test]
        fn the_default_period_is_never_too_short(
            max in any::<u32>(), first in 0..1u64 << 36, more in 0..1u64 << 36, going in 0..1u64 << 36,
        ) {
            let restart = budget(max, first, first + more).with_default_period(ms(going));
            prop_assert!(restart.time_to_spend(ms(going)) < restart.within);
        }
    }
}
