//! Metrics of an app as plain data; names, units and text are in `exposition`.
//!
//! Invariant: a counter of a component counts for all its generations since the app's start, so that it never goes back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::server::{BUCKETS_MICROS, Stats};

/// Metrics of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// One entry for each component of the manifest, whatever its number of generations.
    pub components: Vec<ComponentMetrics>,
    /// Lines of the host's log and of the access log that were not read in time.
    pub log_lines_dropped: u64,
    /// Reloads that took over.
    pub reloads_ok: u64,
    /// Reloads that failed and changed nothing.
    pub reloads_failed: u64,
}

/// Metrics of one component; counters unless they say gauge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentMetrics {
    /// Its name.
    pub name: String,
    /// Its kind; empty until it is loaded.
    pub kind: String,
    /// Work that its generations count one by one, by the word of its unit: `request`, `connection`.
    pub work: BTreeMap<&'static str, WorkMetrics>,
    /// Faults of its clients by their words.
    pub client_faults: BTreeMap<&'static str, u64>,
    /// Gauge: requests or connections in flight; of a service 1 while its `run` is under way.
    pub in_flight: u64,
    /// Gauge: those of them that wait for an instance.
    pub waiting: u64,
    /// Gauge: instances that are alive, of all generations.
    pub instances: u64,
    /// Instances that were started.
    pub instances_started: u64,
    /// Starts after it failed or ended, and of fresh generations that an operator or its health asked for.
    pub restarts: u64,
    /// Instances that trapped, exited with an error, or could not be started.
    pub traps: u64,
    /// Times that it, or a generation of it, was cut off.
    pub cut_offs: u64,
    /// From the notice until nothing was in flight any more.
    pub drain: Times,
    /// Calls of the hook.
    pub hook: Times,
    /// Connections that a stop closed without an answer, although they were fresh or had sent more.
    pub turned_away: u64,
    /// Lines of its output that were not read in time.
    pub dropped_lines: u64,
    /// Gauge: bytes of linear memory of all its instances.
    pub memory_bytes: u64,
}

/// Metrics of work that is counted one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkMetrics {
    /// The number that has ended, by how it ended in the words of its unit.
    pub ended: BTreeMap<&'static str, u64>,
    /// The number that was cut short because its instance failed or was cut off.
    pub aborted: u64,
    /// The number by its duration: one for each bound of [`BUCKETS_MICROS`], and one for all above.
    pub buckets: [u64; BUCKETS_MICROS.len() + 1],
    /// The sum of the durations, in microseconds.
    pub micros: u64,
}

/// A count of events and the sum of their durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The number of events.
    pub count: u64,
    /// The sum of their durations.
    pub total: Duration,
}

impl Times {
    /// Counts one more event.
    pub fn add(&mut self, took: Duration) {
        self.add_counts(Self { count: 1, total: took });
    }

    fn add_counts(&mut self, other: Self) {
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
    }
}

/// Adds counts by their words.
fn add(all: &mut BTreeMap<&'static str, u64>, more: &BTreeMap<&'static str, u64>) {
    for (word, count) in more {
        *all.entry(*word).or_default() += count;
    }
}

impl WorkMetrics {
    fn add_counts(&mut self, other: &Self) {
        add(&mut self.ended, &other.ended);
        self.aborted += other.aborted;
        self.buckets.iter_mut().zip(other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.micros = self.micros.saturating_add(other.micros);
    }
}

impl ComponentMetrics {
    /// Adds what one generation has counted by itself.
    pub(crate) fn add_stats(&mut self, stats: &Stats) {
        let counts = stats.counts();
        self.instances_started += counts.instances;
        self.traps += counts.failed_instances;
        self.turned_away += counts.turned_away;
        add(&mut self.client_faults, &stats.client_faults());
        if let Some(unit) = stats.unit() {
            let (buckets, micros) = stats.latencies();
            let buckets = buckets.try_into().unwrap_or_default();
            let work = WorkMetrics { ended: counts.answered, aborted: counts.aborted, buckets, micros };
            self.work.entry(unit.word).or_default().add_counts(&work);
        }
    }

    /// Adds the counters of another generation of the same component. Gauges stay as they are.
    pub fn add_counts(&mut self, other: &Self) {
        for (unit, work) in &other.work {
            self.work.entry(*unit).or_default().add_counts(work);
        }
        add(&mut self.client_faults, &other.client_faults);
        self.instances_started += other.instances_started;
        self.restarts += other.restarts;
        self.traps += other.traps;
        self.cut_offs += other.cut_offs;
        self.turned_away += other.turned_away;
        self.dropped_lines += other.dropped_lines;
        self.drain.add_counts(other.drain);
        self.hook.add_counts(other.hook);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{CONNECTION, REQUEST};

    #[test]
    fn work_is_read_off_its_stats() {
        let work_of = |stats: &Stats| {
            let mut component = ComponentMetrics::default();
            component.add_stats(stats);
            assert_eq!(component.work.len(), 1, "one unit");
            component.work.into_iter().next().unwrap()
        };
        let stats = Stats::new(&REQUEST, 1);
        stats.began(0);
        stats.ended(0, 404, Duration::from_micros(60), false);
        let (unit, requests) = work_of(&stats);
        let expected = BTreeMap::from([("4xx", 1)]);
        assert_eq!(
            (unit, &requests.ended, requests.buckets[1], requests.micros),
            ("request", &expected, 1, 60)
        );
        let stats = Stats::new(&CONNECTION, 1);
        stats.began(0);
        stats.connection_ended(0, "client-left", Duration::from_micros(60), false);
        let (unit, connections) = work_of(&stats);
        let expected = BTreeMap::from([("client-left", 1)]);
        assert_eq!((unit, &connections.ended, connections.micros), ("connection", &expected, 60));
    }

    #[test]
    fn counters_of_generations_add_up_and_gauges_stay() {
        let mut requests = WorkMetrics { aborted: 1, micros: 70, ..Default::default() };
        requests.buckets[1] = 1;
        let mut connections = requests.clone();
        requests.ended = BTreeMap::from([("2xx", 1)]);
        connections.ended = BTreeMap::from([("complete", 1), ("client-left", 2)]);
        let mut old = ComponentMetrics { traps: 2, instances: 5, ..Default::default() };
        old.hook.add(Duration::from_millis(3));
        old.work = BTreeMap::from([("request", requests), ("connection", connections)]);
        let mut new = ComponentMetrics { traps: 1, instances: 1, ..Default::default() };
        new.add_counts(&old);
        assert_eq!((new.traps, new.instances), (3, 1));
        assert_eq!(new.hook, Times { count: 1, total: Duration::from_millis(3) });
        new.add_counts(&old);
        let sum = &new.work["request"];
        assert_eq!((sum.aborted, sum.micros, sum.ended["2xx"], sum.buckets[1]), (2, 140, 2, 2));
        let sum = &new.work["connection"];
        assert_eq!(sum.ended, BTreeMap::from([("complete", 2), ("client-left", 4)]));
        assert_eq!((sum.micros, sum.buckets[1]), (140, 2));
    }
}
