//! Division of the time of a stop among its waves. The slice of the last one ends with the stop.

use std::time::Duration;

/// Returns for each wave the time between the end of its slice and the end of the stop: the reserve for the waves behind it.
/// `grace` is the time of the whole stop. `wishes` has for each wave, the first to stop first, the longest grace that one of its
/// generations has, or `None` if one has no grace of its own.
///
/// Each wave but the first reserves its wish, and at most an even share. Example: with 30 s and the wishes none, 1 s and 60 s, the
/// share is 10 s. The last wave reserves 10 s and the second 1 s, so the reserves are 11, 10 and 0 s.
pub fn reserves(grace: Duration, wishes: &[Option<Duration>]) -> Vec<Duration> {
    let waves = u32::try_from(wishes.len()).unwrap_or(u32::MAX);
    let share = grace.checked_div(waves).unwrap_or_default();
    let mut reserves: Vec<Duration> = wishes
        .iter()
        .rev()
        .scan(Duration::ZERO, |behind, wish| {
            let reserve = *behind;
            *behind = behind.saturating_add(wish.map_or(share, |wish| wish.min(share)));
            Some(reserve)
        })
        .collect();
    reserves.reverse();
    reserves
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn one_wave_has_it_all() {
        assert_eq!(reserves(secs(25), &[None]), [secs(0)]);
        assert_eq!(reserves(secs(25), &[Some(secs(3))]), [secs(0)]);
        assert!(reserves(secs(25), &[]).is_empty());
    }

    #[test]
    fn waves_without_a_wish_share_evenly() {
        assert_eq!(reserves(secs(30), &[None, None, None]), [secs(20), secs(10), secs(0)]);
        assert_eq!(reserves(secs(0), &[None, None]), [secs(0), secs(0)]);
    }

    #[test]
    fn a_small_wish_leaves_more_to_those_before_it() {
        let wishes = [None, Some(secs(1)), Some(secs(60))];
        assert_eq!(reserves(secs(30), &wishes), [secs(11), secs(10), secs(0)]);
        // The first wave's own wish is nobody's reserve.
        assert_eq!(reserves(secs(30), &[Some(secs(1)), None]), [secs(15), secs(0)]);
        assert_eq!(reserves(secs(30), &[None, Some(secs(0))]), [secs(0), secs(0)]);
    }

    proptest! {
        #[test]
        fn every_wave_has_a_slice(
            grace in 1..100_000u64,
            wishes in prop::collection::vec(prop::option::of(0..200_000u64), 1..40),
        ) {
            let grace = Duration::from_millis(grace);
            let wishes: Vec<_> = wishes.into_iter().map(|wish| wish.map(Duration::from_millis)).collect();
            let reserves = reserves(grace, &wishes);
            let share = grace / u32::try_from(wishes.len()).unwrap();
            prop_assert_eq!(reserves.len(), wishes.len());
            prop_assert_eq!(reserves.last(), Some(&Duration::ZERO));
            prop_assert!(grace - reserves[0] >= share);
            for (pair, wish) in reserves.windows(2).zip(&wishes[1..]) {
                prop_assert_eq!(pair[0] - pair[1], wish.map_or(share, |wish| wish.min(share)));
            }
        }
    }
}
