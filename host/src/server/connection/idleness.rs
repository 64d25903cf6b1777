//! Since when a connection is idle, and when its next request would have come: what a stop and a shortage of places decide by.
//!
//! Invariant: a request costs two stores here, and no lock. Only a connection without a request in flight is idle.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::time::Instant;

/// Age up to which a connection that has brought no request yet is fresh: its first one can be on its way.
const FRESH: Duration = Duration::from_secs(5);
/// Bounds of the time that the first bytes of a fresh connection may take when its address drains.
const FIRST_BYTES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Bounds of the time that the next request may take after an answer. nginx calls it `keepalive_min_timeout`.
const NEXT_REQUEST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// In place of a time: a request is in flight.
const BUSY: u64 = u64::MAX;

/// Idle state of one connection.
#[derive(Debug)]
pub(crate) struct Idleness {
    accepted: Instant,
    /// Microseconds between host and client.
    round_trip: AtomicU64,
    /// Microseconds from the acceptance to when it became idle, or [`BUSY`].
    since: AtomicU64,
    has_asked: AtomicBool,
    evicted: AtomicBool,
    task: AtomicWaker,
}

/// The rank of an idle connection: those that are least wanted come first. It only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// It has brought a request before.
    pub(crate) has_asked: bool,
    pub(crate) since: Instant,
}

impl Idleness {
    /// Returns the state of a connection that comes in now.
    pub(crate) fn new(accepted: Instant, round_trip: Duration) -> Self {
        Self {
            accepted,
            round_trip: AtomicU64::new(micros(round_trip)),
            since: AtomicU64::new(0),
            has_asked: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            task: AtomicWaker::new(),
        }
    }

    /// Notes that the client has shaken hands, which takes a round trip at least: also where a relay is between, of which the
    /// system knows nothing.
    pub(crate) fn shook_hands(&self, now: Instant) {
        let took = micros(now.saturating_duration_since(self.accepted));
        self.round_trip.fetch_max(took, Relaxed);
        self.since.store(took, Relaxed);
    }

    /// Notes that a request is in flight where none was.
    pub(crate) fn begin(&self) {
        self.since.store(BUSY, Relaxed);
        self.has_asked.store(true, Relaxed);
    }

    /// Notes that the last request in flight has ended.
    pub(crate) fn end(&self, now: Instant) {
        self.since.store(micros(now.saturating_duration_since(self.accepted)), Relaxed);
    }

    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.load(Relaxed)
    }

    /// Returns its rank; `None` while it is busy.
    pub(crate) fn rank(&self) -> Option<Rank> {
        let since = self.since.load(Relaxed);
        let since = (since != BUSY).then(|| self.accepted + Duration::from_micros(since))?;
        Some(Rank { has_asked: self.has_asked(), since })
    }

    /// Orders it to make room.
    pub(crate) fn evict(&self) {
        self.evicted.store(true, SeqCst);
        self.task.wake();
    }

    /// Returns once it is to make room. It is cancel safe. One task waits for it: each of its turns polls this, so that it takes no lock.
    pub(crate) async fn evicted(&self) {
        poll_fn(|context| {
            self.task.register(context.waker());
            if self.evicted.load(SeqCst) && self.evicted.swap(false, SeqCst) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Returns whether its first request may be on its way.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        let is_fresh = |rank: Rank| !rank.has_asked && now.saturating_duration_since(rank.since) < FRESH;
        self.rank().is_some_and(is_fresh)
    }

    /// Returns when a request that is on its way has arrived, if its address drains at `drained`.
    pub(crate) fn next_bytes_by(&self, drained: Instant) -> Instant {
        let round_trips = 2 * Duration::from_micros(self.round_trip.load(Relaxed));
        let within = |(least, most)| round_trips.clamp(least, most);
        match self.rank() {
            Some(rank) if rank.has_asked => rank.since + within(NEXT_REQUEST),
            Some(rank) if self.is_fresh(drained) => drained.max(rank.since) + within(FIRST_BYTES),
            Some(_) | None => drained,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(BUSY - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_connection_has_the_time_of_its_round_trip() {
        let now = Instant::now();
        let drained = now + Duration::from_secs(4);
        for (round_trip, time) in [(0, 100), (200, 400), (5000, 1000)] {
            let one = Idleness::new(now, Duration::from_millis(round_trip));
            assert_eq!(one.next_bytes_by(drained), drained + Duration::from_millis(time));
        }
    }

    #[test]
    fn an_old_connection_has_none() {
        let now = Instant::now();
        let (silent, asked) = (Idleness::new(now, FRESH), Idleness::new(now, Duration::ZERO));
        asked.begin();
        assert_eq!(asked.rank(), None);
        asked.end(now);
        assert_eq!(asked.next_bytes_by(now), now + NEXT_REQUEST.0, "its answer is only just out");
        let drained = now + FRESH;
        assert!(silent.is_fresh(now) && !silent.is_fresh(drained));
        assert_eq!(silent.next_bytes_by(drained), drained);
        assert!(asked.next_bytes_by(drained) < drained);
    }

    #[test]
    fn a_handshake_counts_as_a_round_trip() {
        let accepted = Instant::now();
        let one = Idleness::new(accepted, Duration::from_millis(1));
        let now = accepted + Duration::from_millis(300);
        one.shook_hands(now);
        assert_eq!(one.next_bytes_by(now), now + Duration::from_millis(600));
    }
}
