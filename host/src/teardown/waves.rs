//! How the time of a stop is divided among the waves.

use std::time::Duration;

/// Returns for each wave, in the order of a stop, how long before the end its slice ends.
///
/// Each wave behind another one keeps a reserve: what its members' own graces ask for (`wishes`; `None` where a member has
/// none of its own), but an equal share at the most. What a wave does not use goes to those behind it.
pub fn reserves(grace: Duration, wishes: &[Option<Duration>]) -> Vec<Duration> {
    let waves = u32::try_from(wishes.len()).unwrap_or(u32::MAX).max(1);
    let share = grace / waves;
    let mut behind = Duration::ZERO;
    let mut ends: Vec<_> = wishes
        .iter()
        .rev()
        .map(|wish| {
            let end = behind;
            behind = behind.saturating_add(wish.unwrap_or(share).min(share));
            end
        })
        .collect();
    ends.reverse();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_last_waves_keep_a_reserve() {
        assert_eq!(reserves(s(30), &[None, None, None]), [s(20), s(10), s(0)]);
        assert_eq!(reserves(s(30), &[None, Some(s(2)), Some(s(99))]), [s(12), s(10), s(0)]);
        assert_eq!(reserves(s(30), &[None]), [s(0)]);
        assert!(reserves(s(30), &[]).is_empty());
    }
}
