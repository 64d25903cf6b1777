//! The least pace of a client: the bytes that it has to send, or to take, while the host waits for it.
//!
//! Invariant: only the time counts in which the host waits. Kestrel calls it `MinRequestBodyDataRate` and
//! `MinResponseDataRate`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

use crate::plan::LimitsPlan;

/// The longest window while the address drains: a stop does not wait for a client that stands still.
pub(crate) const DRAIN_WINDOW: Duration = Duration::from_secs(5);
/// The same for a client whose other requests have stood still for as long.
pub(crate) const FOUND_OUT_WINDOW: Duration = Duration::from_millis(500);
/// The longest window while other requests wait for a place.
const CONTENDED_WINDOW: Duration = Duration::from_secs(10);

/// Windows for which a client may stand still that has moved the bytes of as many more. Clients of HTTP/2 open their windows in steps
/// of up to 8 MiB.
const CREDIT: u64 = 3;

/// The reason for which a place has to be free soon.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pressure {
    None,
    /// Requests that wait.
    Queue,
    /// A stop, which waits for so long at most.
    Stop(Duration),
}

/// The rate that a client has to hold on average over a window of the time in which the host waits for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MinRate {
    bytes_per_second: u64,
    window: Duration,
    /// Windows whose bytes count for later ones, if more have moved: some clients take much at once, and then nothing for long.
    credit: u64,
}

impl MinRate {
    /// Returns the rate of these limits.
    pub(crate) fn new(limits: &LimitsPlan, pressure: Pressure) -> Self {
        let (longest, credit) = match pressure {
            Pressure::None => (Duration::MAX, CREDIT),
            Pressure::Queue => (CONTENDED_WINDOW, 0),
            Pressure::Stop(longest) => (longest, 0),
        };
        Self { bytes_per_second: limits.min_rate, window: limits.rate_window.min(longest), credit }
    }

    /// Returns the bytes of a window; one at least: a client that stands still never holds a rate.
    fn bytes(self) -> u64 {
        let millis = u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX);
        (self.bytes_per_second.saturating_mul(millis) / 1000).max(1)
    }
}

/// The pace of one transfer in one direction.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Since when the host waits for the client, if it does.
    since: Option<Instant>,
    /// The time before that for which it has waited in this window.
    waited: Duration,
    /// Bytes that have moved in this window.
    moved: u64,
    /// Bytes that the client had taken of its connection at the last look while the host waited.
    taken: Option<u64>,
}

impl Pace {
    /// Notes that the host waits for the client from now on.
    pub(crate) fn wait(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Notes that the host does not wait any more.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.taken = None;
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// Notes that bytes have moved.
    pub(crate) fn moved(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
    }

    /// Notes what the client has taken of its connection up to now, while the host waits for that.
    pub(crate) fn taken(&mut self, taken: Option<u64>) {
        if let (Some(before), Some(now)) = (self.taken, taken) {
            self.moved(now.saturating_sub(before));
        }
        self.taken = taken;
    }

    /// Begins another window.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Returns the time until the window is over, or `None` if the client has not held the rate. Without credit the next window begins
    /// as soon as the bytes of this one have moved: a client that stands still from then on has no more than a window.
    pub(crate) fn left(&mut self, now: Instant, rate: MinRate) -> Option<Duration> {
        let left = |waited| rate.window.saturating_sub(waited);
        let is_over = left(self.waited(now)).is_zero();
        if self.moved >= rate.bytes() && (is_over || rate.credit == 0) {
            self.moved = (self.moved - rate.bytes()).min(rate.bytes().saturating_mul(rate.credit));
            self.waited = Duration::ZERO;
            self.since = self.since.map(|_| now);
        }
        Some(left(self.waited(now))).filter(|left| !left.is_zero())
    }

    fn waited(&self, now: Instant) -> Duration {
        self.waited + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// A pace with its timer, for code that is polled while it waits for the client.
#[derive(Debug, Default)]
pub(crate) struct PaceTimer {
    pace: Pace,
    /// The last look, and the timer of the next one, while the host waits.
    look: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// Longest time between two looks at a client: a drain makes its window shorter.
const LOOK: Duration = Duration::from_secs(2);

impl PaceTimer {
    /// Returns one whose host waits already: the client can send before the bytes are asked for.
    pub(crate) fn waiting() -> Self {
        Self { pace: Pace { since: Some(Instant::now()), ..Pace::default() }, look: None }
    }

    /// Notes that bytes have moved, and that the host does not wait any more.
    pub(crate) fn moved(&mut self, bytes: u64) {
        if self.pace.since.is_some() {
            // A reader that does not come when its timer calls has stopped waiting.
            let latest = self.look.take().map(|(last, _)| last + LOOK);
            let now = Instant::now();
            self.pace.pause(latest.map_or(now, |latest| latest.min(now)));
        }
        self.pace.moved(bytes);
    }

    /// Is ready when the client has not held the rate while the host waited for it. Without a rate the client has time.
    /// `taken`: bytes that the client has taken of its connection, if the host waits for that.
    pub(crate) fn poll_overdue(
        &mut self,
        context: &mut Context<'_>,
        rate: impl Fn() -> Option<MinRate>,
        taken: impl Fn() -> Option<u64>,
    ) -> Poll<()> {
        loop {
            let now = Instant::now();
            if let Some((last, _)) = self.look.take_if(|(last, _)| *last + 2 * LOOK < now) {
                self.pace.pause(last + LOOK);
            }
            self.pace.wait(now);
            self.pace.taken(taken());
            let left = match rate() {
                Some(rate) => self.pace.left(now, rate),
                None => {
                    self.pace.reset();
                    Some(LOOK)
                }
            };
            let Some(left) = left else { return Poll::Ready(()) };
            let (last, timer) = self.look.get_or_insert_with(|| (now, Box::pin(sleep(left.min(LOOK)))));
            *last = now;
            std::task::ready!(timer.as_mut().poll(context));
            self.look = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: MinRate = MinRate { bytes_per_second: 100, window: Duration::from_secs(10), credit: 0 };

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_that_stands_still_or_drips_is_found_out_after_the_window() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.wait(start);
        for second in 1..10 {
            pace.moved(50);
            assert_eq!(pace.left(at(start, second), RATE), Some(Duration::from_secs(10 - second)));
        }
        assert_eq!(pace.left(at(start, 10), RATE), None);
    }

    #[test]
    fn one_that_holds_the_rate_is_never_found_out() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.wait(start);
        for second in 1..100 {
            pace.moved(100);
            assert!(pace.left(at(start, second), RATE).is_some(), "{second}");
        }
    }

    #[test]
    fn only_the_time_counts_in_which_the_host_waits() {
        let start = Instant::now();
        let mut pace = Pace::default();
        for second in (0..1000).step_by(100) {
            pace.wait(at(start, second));
            pace.pause(at(start, second + 1));
            assert_eq!(pace.left(at(start, second + 99), RATE).is_some(), second < 900, "{second}");
        }
    }

    #[test]
    fn one_that_takes_much_at_once_may_stand_still_for_some_windows() {
        let start = Instant::now();
        let rate = MinRate { credit: 3, ..RATE };
        let mut pace = Pace::default();
        pace.wait(start);
        pace.moved(1 << 20);
        for second in 1..50 {
            assert!(pace.left(at(start, second), rate).is_some(), "{second}");
        }
        assert_eq!(pace.left(at(start, 50), rate), None);
    }

    #[test]
    fn what_was_taken_before_the_host_waited_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.wait(start);
        pace.taken(Some(1 << 20));
        pace.taken(Some((1 << 20) + 999));
        assert_eq!(pace.left(at(start, 10), RATE), None);
        pace.taken(Some((1 << 20) + 1000));
        assert!(pace.left(at(start, 10), RATE).is_some());
    }

    #[test]
    fn the_smallest_rate_asks_for_a_byte() {
        let start = Instant::now();
        let rate = MinRate { bytes_per_second: 1, window: Duration::from_millis(10), credit: 0 };
        let (mut still, mut moves) = (Pace::default(), Pace::default());
        for pace in [&mut still, &mut moves] {
            pace.wait(start);
        }
        moves.moved(1);
        assert_eq!(still.left(at(start, 1), rate), None);
        assert!(moves.left(at(start, 1), rate).is_some());
    }
}
