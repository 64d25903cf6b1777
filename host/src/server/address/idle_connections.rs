//! The connections of an address in the order in which they make room when places are short.
//!
//! Invariant: a connection is filed under a rank that is not above its rank now, so the first one whose rank is still the same
//! goes first. Requests change ranks without a lock; whoever evicts files them anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::server::connection::idleness::{Idleness, Rank};

/// A connection that has been idle for less is not evicted: a request of it may be on its way.
const SETTLED: Duration = Duration::from_secs(1);
/// Fewest entries at which those of connections that have ended are dropped.
const FEWEST: usize = 64;

/// The connections of one address.
#[derive(Debug)]
pub(crate) struct IdleConnections {
    epoch: Instant,
    filed: Mutex<Filed>,
}

#[derive(Debug)]
struct Filed {
    /// By their rank, and a number that tells those of the same rank apart.
    connections: BTreeMap<(Rank, u64), Weak<Idleness>>,
    next: u64,
    /// The number of entries at which those of connections that have ended are dropped.
    full: usize,
}

impl IdleConnections {
    pub(crate) fn new() -> Self {
        let filed = Filed { connections: BTreeMap::new(), next: 0, full: FEWEST };
        Self { epoch: Instant::now(), filed: Mutex::new(filed) }
    }

    /// Adds a connection. It leaves by itself when it ends.
    pub(crate) fn add(&self, connection: &Arc<Idleness>) {
        let mut filed = self.filed.lock().unwrap_or_else(PoisonError::into_inner);
        filed.file(connection, Instant::now());
        if filed.connections.len() >= filed.full {
            filed.connections.retain(|_, connection| connection.strong_count() > 0);
            filed.full = FEWEST.max(2 * filed.connections.len());
        }
    }

    /// Evicts the connection that has been idle for longest, if it has been for long enough: first those that have never brought
    /// a request.
    pub(crate) fn evict(&self, now: Instant) -> bool {
        let mut filed = self.filed.lock().unwrap_or_else(PoisonError::into_inner);
        let [silent, asked] = [false, true].map(|has_asked| Rank { has_asked, since: self.epoch });
        // One that has asked does not pay for those that have not, and that can be evicted soon.
        filed.evict(silent, now) || (!filed.has_silent() && filed.evict(asked, now))
    }
}

impl Filed {
    fn file(&mut self, connection: &Arc<Idleness>, now: Instant) {
        // A busy one is idle later, and has asked then.
        let rank = connection.rank().unwrap_or(Rank { has_asked: true, since: now });
        self.connections.insert((rank, self.next), Arc::downgrade(connection));
        self.next += 1;
    }

    /// Evicts the first idle connection with a rank like this one, or above.
    fn evict(&mut self, from: Rank, now: Instant) -> bool {
        while let Some((rank, connection)) = self.next_settled(from, now) {
            if connection.rank() == Some(rank) {
                connection.evict();
                return true;
            }
            self.file(&connection, now);
        }
        false
    }

    /// Returns whether a connection may never have brought a request.
    fn has_silent(&self) -> bool {
        self.connections.first_key_value().is_some_and(|((rank, _), _)| !rank.has_asked)
    }

    /// Takes out the first connection with a rank like this one, or above, that is filed as idle for long enough.
    fn next_settled(&mut self, from: Rank, now: Instant) -> Option<(Rank, Arc<Idleness>)> {
        loop {
            let (key, _) = self.connections.range((from, 0)..).next()?;
            let key = *key;
            if key.0.has_asked != from.has_asked || now.saturating_duration_since(key.0.since) < SETTLED {
                return None;
            }
            if let Some(connection) = self.connections.remove(&key)?.upgrade() {
                return Some((key.0, connection));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn connections(all: &IdleConnections, ages: [u64; 3]) -> [Arc<Idleness>; 3] {
        let now = all.epoch + Duration::from_secs(10);
        ages.map(|age| {
            let one = Arc::new(Idleness::new(now - Duration::from_secs(age), Duration::ZERO));
            all.add(&one);
            one
        })
    }

    fn evicted(all: &[Arc<Idleness>]) -> Vec<bool> {
        all.iter().map(|one| one.evicted().now_or_never().is_some()).collect()
    }

    #[test]
    fn the_oldest_goes_first_and_silent_ones_before_others() {
        let all = IdleConnections::new();
        let now = all.epoch + Duration::from_secs(10);
        let three = connections(&all, [9, 4, 5]);
        three[0].begin();
        three[0].end(now - Duration::from_secs(8));
        assert!(all.evict(now));
        assert_eq!(evicted(&three), [false, false, true]);
        assert!(all.evict(now));
        assert_eq!(evicted(&three), [false, true, false]);
        assert!(all.evict(now));
        assert_eq!(evicted(&three), [true, false, false]);
        assert!(!all.evict(now), "none is left");
    }

    #[test]
    fn one_that_has_asked_waits_for_silent_ones() {
        let all = IdleConnections::new();
        let now = all.epoch + Duration::from_secs(10);
        let three = connections(&all, [9, 0, 0]);
        three[0].begin();
        three[0].end(now - Duration::from_secs(8));
        assert!(!all.evict(now), "the silent ones are fresh");
        let later = now + SETTLED;
        assert!(all.evict(later) && all.evict(later));
        assert_eq!(evicted(&three), [false, true, true]);
    }

    #[test]
    fn busy_and_fresh_ones_stay() {
        let all = IdleConnections::new();
        let now = all.epoch + Duration::from_secs(10);
        let three = connections(&all, [9, 0, 3]);
        three[0].begin();
        three[2].begin();
        three[2].end(now);
        assert!(!all.evict(now));
        assert_eq!(evicted(&three), [false; 3]);
        three[0].end(now);
        let later = now + SETTLED;
        assert!(all.evict(later));
        assert_eq!(evicted(&three), [false, true, false], "the silent one");
        assert!(all.evict(later) && all.evict(later) && !all.evict(later));
    }

    #[test]
    fn connections_that_have_ended_take_no_room() {
        let all = IdleConnections::new();
        let one = Arc::new(Idleness::new(Instant::now(), Duration::ZERO));
        (0..10 * FEWEST).for_each(|_| all.add(&Arc::new(Idleness::new(Instant::now(), Duration::ZERO))));
        all.add(&one);
        assert!(all.filed.lock().unwrap().connections.len() <= FEWEST);
        assert!(all.evict(Instant::now() + SETTLED));
        assert_eq!(evicted(&[one]), [true]);
    }
}
