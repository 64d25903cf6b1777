//! Counts of a generation's requests, or of its connections: how many, how they ended, how long they took.
//!
//! Invariant: counting takes no lock and shares no cache line between threads; the reader makes the sums.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use serde::Serialize;

use super::client_fault::ClientFault;

/// Upper bounds of the latency buckets in microseconds, each about 1.6 times the last; above them is one bucket more.
pub const BUCKETS_MICROS: [u64; 30] = [
    50, 80, 125, 200, 320, 500, 800, 1_250, 2_000, 3_200, 5_000, 8_000, 12_500, 20_000, 32_000, 50_000,
    80_000, 125_000, 200_000, 320_000, 500_000, 800_000, 1_250_000, 2_000_000, 3_200_000, 5_000_000,
    8_000_000, 12_500_000, 20_000_000, 32_000_000,
];

/// Classes of answers: none at all, then 1xx to 5xx.
pub const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The ends of connections.
pub const ENDS: [&str; 4] = ["complete", "cut-short", "client-left", "timed-out"];

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
    unit: Option<&'static Unit>,
    shards: Box<[Shard]>,
    instances: AtomicU64,
    failed_instances: AtomicU64,
    turned_away: AtomicU64,
    client_faults: [AtomicU64; ClientFault::ALL.len()],
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
    pub answered: BTreeMap<&'static str, u64>,
    /// Answers that broke off because their instance failed or was cut off.
    pub aborted: u64,
    /// Instances that were started.
    pub instances: u64,
    /// Instances that trapped, exited, or could not be started.
    pub failed_instances: u64,
    /// Connections that the stop closed without an answer, although they were fresh or had sent more.
    pub turned_away: u64,
    /// Half of the requests took at most this long, in milliseconds: the bound of the bucket it falls in.
    pub p50_ms: f64,
    /// The same for 99 of 100.
    pub p99_ms: f64,
}

impl Stats {
    /// Returns counts of zero, on so many threads. Without a unit, as for a kind that runs by itself, a run is in flight until
    /// it returns, and no more is counted.
    pub fn new(unit: impl Into<Option<&'static Unit>>, threads: usize) -> Self {
        let shards = (0..threads.max(1)).map(|_| Shard::default()).collect();
        Self {
            unit: unit.into(),
            shards,
            instances: AtomicU64::new(0),
            failed_instances: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            client_faults: Default::default(),
        }
    }

    /// Returns the work that is counted one by one, if any is.
    pub fn unit(&self) -> Option<&'static Unit> {
        self.unit
    }

    fn shard(&self, thread: usize) -> Option<&Shard> {
        self.shards.get(thread % self.shards.len())
    }

    fn sum<T: Sum>(&self, count: impl Fn(&Shard) -> T) -> T {
        self.shards.iter().map(count).sum()
    }

    /// Counts a request in.
    pub fn began(&self, thread: usize) {
        self.shard(thread).map(|shard| shard.in_flight.fetch_add(1, SeqCst));
    }

    /// Takes back that it was counted in: another component serves it.
    pub fn moved_on(&self, thread: usize) {
        self.shard(thread).map(|shard| shard.in_flight.fetch_sub(1, SeqCst));
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

    /// Counts a connection that a stop has turned away.
    pub fn turned_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    /// Counts an instance that failed.
    pub fn instance_failed(&self) {
        self.failed_instances.fetch_add(1, Relaxed);
    }

    /// Counts a fault of a client.
    pub fn client_fault(&self, fault: ClientFault) {
        if let Some(count) = self.client_faults.get(fault as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Returns the faults of clients by their words, without those that none made.
    pub fn client_faults(&self) -> BTreeMap<&'static str, u64> {
        let counts = ClientFault::ALL.iter().zip(&self.client_faults);
        let counts = counts.map(|(fault, count)| (fault.word(), count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Returns the requests that have begun and not ended. A caller that asked before to hear of the last one's end
    /// misses it in no order.
    pub fn in_flight(&self) -> u64 {
        u64::try_from(self.sum(|shard| shard.in_flight.load(SeqCst))).unwrap_or(0)
    }

    /// Returns the requests in each latency bucket, and the sum of their times in microseconds.
    pub fn latencies(&self) -> (Vec<u64>, u64) {
        let count = |at| self.sum(|shard| load(&shard.buckets, at));
        let micros = self.sum(|shard| shard.micros.load(Relaxed));
        ((0..=BUCKETS_MICROS.len()).map(count).collect(), micros)
    }

    /// Returns all counts.
    pub fn counts(&self) -> Counts {
        let words = self.unit.map_or(&[][..], |unit| unit.classes);
        let class = |at| self.sum(|shard| load(&shard.classes, at));
        let answered = words.iter().enumerate().map(|(at, word)| (*word, class(at)));
        let (buckets, _) = self.latencies();
        Counts {
            requests: buckets.iter().sum(),
            answered: answered.filter(|(_, count)| *count > 0).collect(),
            aborted: self.sum(|shard| shard.cut_short.load(Relaxed)),
            instances: self.instances.load(Relaxed),
            failed_instances: self.failed_instances.load(Relaxed),
            turned_away: self.turned_away.load(Relaxed),
            p50_ms: quantile(&buckets, 50),
            p99_ms: quantile(&buckets, 99),
        }
    }
}

fn load(counts: &[AtomicU64], at: usize) -> u64 {
    counts.get(at).map_or(0, |count| count.load(Relaxed))
}

/// Returns the bound in milliseconds of the bucket in which this percentage of all is reached.
fn quantile(buckets: &[u64], percent: u64) -> f64 {
    let wanted = (buckets.iter().sum::<u64>() * percent).div_ceil(100);
    let mut reached = 0;
    let at = buckets.iter().position(|count| {
        reached += count;
        wanted > 0 && reached >= wanted
    });
    let bound = at.and_then(|at| BUCKETS_MICROS.get(at).or(BUCKETS_MICROS.last()));
    bound.map_or(0.0, |bound| Duration::from_micros(*bound).as_secs_f64() * 1000.0)
}

/// One run in flight, until it returns or is dropped.
#[derive(Debug)]
pub(crate) struct RunInFlight {
    pub(crate) stats: Arc<Stats>,
    is_open: AtomicBool,
}

impl RunInFlight {
    pub(crate) fn begin(stats: Arc<Stats>) -> Self {
        stats.began(0);
        Self { stats, is_open: AtomicBool::new(true) }
    }

    pub(crate) fn end(&self) {
        if self.is_open.swap(false, SeqCst) {
            self.stats.moved_on(0);
        }
    }
}

impl Drop for RunInFlight {
    fn drop(&mut self) {
        self.end();
    }
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
