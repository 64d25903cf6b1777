//! Counts of a generation's requests, or of its connections: how many, how they ended, how long they took.
//!
//! Invariant: counting takes no lock and shares no cache line between threads; the reader makes the sums.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use serde::Serialize;

/// Upper bounds of the latency buckets in microseconds; above the last is one more. Each about 1.6 times the one
/// before it.
pub const BUCKETS_MICROS: [u64; 30] = [
    50, 80, 125, 200, 320, 500, 800, 1_250, 2_000, 3_200, 5_000, 8_000, 12_500, 20_000, 32_000, 50_000,
    80_000, 125_000, 200_000, 320_000, 500_000, 800_000, 1_250_000, 2_000_000, 3_200_000, 5_000_000,
    8_000_000, 12_500_000, 20_000_000, 32_000_000,
];

/// Classes of answers: none at all, then 1xx to 5xx.
pub const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// How connections end.
pub const ENDS: [&str; 3] = ["complete", "cut-short", "client-left"];

/// The work that is counted one by one.
#[derive(Debug)]
pub struct Unit {
    /// The word for one.
    pub word: &'static str,
    /// The words for how one ends.
    classes: &'static [&'static str],
}

/// Requests.
pub static REQUEST: Unit = Unit { word: "request", classes: &CLASSES };
/// Connections.
pub static CONNECTION: Unit = Unit { word: "connection", classes: &ENDS };

/// The counts of one generation.
#[derive(Debug)]
pub struct Stats {
    /// The work, if it is counted one by one.
    unit: Option<&'static Unit>,
    shards: Box<[Shard]>,
    instances: AtomicU64,
    failed_instances: AtomicU64,
}

/// One thread's part.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    in_flight: AtomicI64,
    classes: [AtomicU64; CLASSES.len()],
    cut_short: AtomicU64,
    buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
    micros: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counts {
    /// Requests that have ended, or connections.
    pub requests: u64,
    /// The same by the class of their status (`none` got no answer), or by how they ended.
    pub answered: std::collections::BTreeMap<&'static str, u64>,
    /// Answers that broke off because their instance failed or was cut off.
    pub aborted: u64,
    /// Instances that were started.
    pub instances: u64,
    /// Instances that trapped, exited, or could not be started.
    pub failed_instances: u64,
    /// Half of the requests took at most this long, in milliseconds: the bound of the bucket it falls in.
    pub p50_ms: f64,
    /// The same for 99 of 100.
    pub p99_ms: f64,
}

impl Stats {
    /// Returns counts of zero of such work, on so many threads.
    pub fn new(unit: &'static Unit, threads: usize) -> Self {
        Self::with(Some(unit), threads)
    }

    /// Returns counts of zero of a kind that runs by itself: a run is in flight until it returns, and no more is counted.
    pub(crate) fn of_runs() -> Self {
        Self::with(None, 1)
    }

    fn with(unit: Option<&'static Unit>, threads: usize) -> Self {
        let shards = (0..threads.max(1)).map(|_| Shard::default()).collect();
        Self { unit, shards, instances: AtomicU64::new(0), failed_instances: AtomicU64::new(0) }
    }

    /// Returns the work that is counted one by one, if any is.
    pub fn unit(&self) -> Option<&'static Unit> {
        self.unit
    }

    fn shard(&self, thread: usize) -> Option<&Shard> {
        self.shards.get(thread % self.shards.len())
    }

    /// Counts a request in.
    pub fn began(&self, thread: usize) {
        if let Some(shard) = self.shard(thread) {
            shard.in_flight.fetch_add(1, SeqCst);
        }
    }

    /// Takes back that it was counted in: another component serves it.
    pub fn moved_on(&self, thread: usize) {
        if let Some(shard) = self.shard(thread) {
            shard.in_flight.fetch_sub(1, SeqCst);
        }
    }

    /// Counts it out. `status` is 0 when it got no answer.
    pub fn ended(&self, thread: usize, status: u16, took: Duration, cut_short: bool) {
        self.count_out(thread, usize::from(status / 100).min(CLASSES.len() - 1), took, cut_short);
    }

    /// Counts a connection out, by its end as in [`ENDS`].
    pub fn connection_ended(&self, thread: usize, end: &'static str, took: Duration, cut_short: bool) {
        let class = ENDS.iter().position(|word| *word == end).unwrap_or_default();
        self.count_out(thread, class, took, cut_short);
    }

    fn count_out(&self, thread: usize, class: usize, took: Duration, cut_short: bool) {
        let Some(shard) = self.shard(thread) else { return };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        for (counts, at) in [(&shard.classes[..], class), (&shard.buckets[..], bucket)] {
            if let Some(count) = counts.get(at) {
                count.fetch_add(1, Relaxed);
            }
        }
        shard.micros.fetch_add(micros, Relaxed);
        if cut_short {
            shard.cut_short.fetch_add(1, Relaxed);
        }
        shard.in_flight.fetch_sub(1, SeqCst);
    }

    /// Counts an instance.
    pub fn instance_started(&self) {
        self.instances.fetch_add(1, Relaxed);
    }

    /// Counts an instance that failed.
    pub fn instance_failed(&self) {
        self.failed_instances.fetch_add(1, Relaxed);
    }

    /// Returns the requests that have begun and not ended. Who said before that it wants to hear of the last one's end
    /// misses it in no order.
    pub fn in_flight(&self) -> u64 {
        let sum: i64 = self.shards.iter().map(|shard| shard.in_flight.load(SeqCst)).sum();
        u64::try_from(sum).unwrap_or(0)
    }

    /// Returns how many requests fell in each latency bucket, and the sum of their times in microseconds.
    pub fn latencies(&self) -> (Vec<u64>, u64) {
        let count = |at: usize| {
            self.shards
                .iter()
                .filter_map(|shard| shard.buckets.get(at))
                .map(|count| count.load(Relaxed))
                .sum()
        };
        let micros = self.shards.iter().map(|shard| shard.micros.load(Relaxed)).sum();
        ((0..=BUCKETS_MICROS.len()).map(count).collect(), micros)
    }

    /// Returns all counts.
    pub fn counts(&self) -> Counts {
        let sum = |count: &dyn Fn(&Shard) -> u64| self.shards.iter().map(count).sum::<u64>();
        let class = |at: usize| sum(&|shard| shard.classes.get(at).map_or(0, |count| count.load(Relaxed)));
        let words = self.unit.map_or(&[][..], |unit| unit.classes);
        let answered = words.iter().enumerate().map(|(at, word)| (*word, class(at)));
        let (buckets, _) = self.latencies();
        Counts {
            requests: buckets.iter().sum(),
            answered: answered.filter(|(_, count)| *count > 0).collect(),
            aborted: sum(&|shard| shard.cut_short.load(Relaxed)),
            instances: self.instances.load(Relaxed),
            failed_instances: self.failed_instances.load(Relaxed),
            p50_ms: quantile(&buckets, 50),
            p99_ms: quantile(&buckets, 99),
        }
    }
}

/// One run in flight, until it returns or is dropped.
#[derive(Debug)]
pub(crate) struct RunInFlight {
    stats: std::sync::Arc<Stats>,
    is_open: std::sync::atomic::AtomicBool,
}

impl RunInFlight {
    /// Counts a run in.
    pub(crate) fn begin(stats: std::sync::Arc<Stats>) -> Self {
        stats.began(0);
        Self { stats, is_open: std::sync::atomic::AtomicBool::new(true) }
    }

    /// Counts it out.
    pub(crate) fn end(&self) {
        if self.is_open.swap(false, SeqCst) {
            self.stats.moved_on(0);
        }
    }

    /// Notes that its instance has failed.
    pub(crate) fn failed(&self) {
        self.stats.instance_failed();
    }
}

impl Drop for RunInFlight {
    fn drop(&mut self) {
        self.end();
    }
}

/// Returns the bound in milliseconds of the bucket in which this percentage of all is reached.
fn quantile(buckets: &[u64], percent: u64) -> f64 {
    let total: u64 = buckets.iter().sum();
    let mut left = (total * percent).div_ceil(100);
    for (count, bound) in buckets.iter().zip(BUCKETS_MICROS.iter().chain([&u64::MAX])) {
        if *count >= left && left > 0 {
            let last = BUCKETS_MICROS.last().copied().unwrap_or_default();
            return Duration::from_micros(*bound.min(&last)).as_secs_f64() * 1000.0;
        }
        left -= (*count).min(left);
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_by_several_threads_adds_up() {
        let stats = Stats::new(&REQUEST, 2);
        (0..4).for_each(|thread| stats.began(thread));
        assert_eq!(stats.in_flight(), 4);
        stats.ended(1, 200, Duration::from_micros(60), false);
        stats.ended(0, 204, Duration::from_micros(10), false);
        stats.ended(0, 502, Duration::from_secs(90), true);
        let counts = stats.counts();
        assert_eq!((stats.in_flight(), counts.requests, counts.aborted), (1, 3, 1));
        assert_eq!(counts.answered.into_iter().collect::<Vec<_>>(), [("2xx", 2), ("5xx", 1)]);
        assert_eq!((counts.p50_ms, counts.p99_ms), (0.08, 32_000.0));
    }

    #[test]
    fn connections_are_counted_by_their_ends() {
        let stats = Stats::new(&CONNECTION, 1);
        (0..3).for_each(|_| stats.began(0));
        ["complete", "cut-short", "complete"].iter().enumerate().for_each(|(at, end)| {
            stats.connection_ended(0, end, Duration::from_micros(10), at == 1);
        });
        let counts = stats.counts();
        assert_eq!((stats.in_flight(), counts.requests, counts.aborted), (0, 3, 1));
        assert_eq!(counts.answered.into_iter().collect::<Vec<_>>(), [("complete", 2), ("cut-short", 1)]);
        assert_eq!(stats.unit().map(|unit| unit.word), Some("connection"));
    }

    #[test]
    fn nothing_has_no_quantiles() {
        let counts = Stats::new(&REQUEST, 1).counts();
        assert_eq!((counts.requests, counts.p50_ms, counts.p99_ms), (0, 0.0, 0.0));
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let stats = Stats::new(&REQUEST, 1);
        stats.began(0);
        stats.ended(0, 200, Duration::from_micros(BUCKETS_MICROS[3]), false);
        assert_eq!(stats.latencies().0.iter().position(|count| *count == 1), Some(3));
    }
}
