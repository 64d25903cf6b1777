//! Metrics of an app as plain data; names, units and text are in `exposition`.
//!
//! Invariant: a counter of a component counts for all its generations since the app's start, so that it never goes back.
//! The supervisor adds the counts of retired generations ([`ComponentMetrics::add_counts`]).

use std::time::Duration;

use crate::server::{BUCKETS_MICROS, CLASSES, CONNECTION, ENDS, REQUEST, Stats};

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

/// Metrics of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentMetrics {
    /// Its name.
    pub name: String,
    /// Its kind, `service`, `http` or `tcp`; empty until it is loaded.
    pub kind: String,
    /// Counters of its requests; `None` for a kind that has none.
    pub requests: Option<RequestMetrics>,
    /// Counters of its connections; `None` for every kind but `tcp`.
    pub connections: Option<ConnectionMetrics>,
    /// Gauge: requests or connections in flight; of a service 1 while its `run` is under way.
    pub in_flight: u64,
    /// Gauge: instances that are alive, of all generations.
    pub instances: u64,
    /// Counter: instances that were started.
    pub instances_started: u64,
    /// Counter: starts after it failed or ended, and of fresh generations that an operator or its health asked for.
    pub restarts: u64,
    /// Counter: instances that trapped, exited with an error, or could not be started.
    pub traps: u64,
    /// Counter: times that it, or a generation of it, was cut off.
    pub cut_offs: u64,
    /// Counter: from the notice until nothing was in flight any more.
    pub drain: Times,
    /// Counter: calls of the hook, and how long they took.
    pub hook: Times,
    /// Counter: lines of its output that were not read in time.
    pub dropped_lines: u64,
    /// Gauge: bytes of linear memory of all its instances.
    pub memory_bytes: u64,
}

/// Metrics of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMetrics {
    /// Requests that have ended, by the class of their answer, as in [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    /// Answers that were cut short because their instance failed or was cut off.
    pub aborted: u64,
    /// How long they took.
    pub durations: Durations,
}

/// Metrics of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionMetrics {
    /// Connections by how they ended, as in [`ENDS`].
    pub ends: [u64; ENDS.len()],
    /// How long they were open.
    pub durations: Durations,
}

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// One count for each bound of [`BUCKETS_MICROS`], and one for all above.
    pub buckets: [u64; BUCKETS_MICROS.len() + 1],
    /// The sum of all durations, in microseconds.
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
        self.count += 1;
        self.total = self.total.saturating_add(took);
    }
}

impl ComponentMetrics {
    /// Adds what one generation has counted by itself.
    pub(crate) fn add_stats(&mut self, stats: &Stats) {
        let counts = stats.counts();
        let requests = stats.unit().filter(|unit| unit.word == REQUEST.word).map(|_| stats.into());
        let connections = stats.unit().filter(|unit| unit.word == CONNECTION.word).map(|_| stats.into());
        let (instances_started, traps) = (counts.instances, counts.failed_instances);
        self.add_counts(&Self { requests, connections, instances_started, traps, ..Self::default() });
    }

    /// Adds the counters of another generation of the same component. Gauges stay as they are.
    pub fn add_counts(&mut self, other: &Self) {
        if let Some(other) = &other.requests {
            let mine = self.requests.get_or_insert_default();
            add(&mut mine.classes, &other.classes);
            mine.aborted += other.aborted;
            mine.durations.add_counts(&other.durations);
        }
        if let Some(other) = &other.connections {
            let mine = self.connections.get_or_insert_default();
            add(&mut mine.ends, &other.ends);
            mine.durations.add_counts(&other.durations);
        }
        for (mine, theirs) in [
            (&mut self.instances_started, other.instances_started),
            (&mut self.restarts, other.restarts),
            (&mut self.traps, other.traps),
            (&mut self.cut_offs, other.cut_offs),
            (&mut self.dropped_lines, other.dropped_lines),
            (&mut self.drain.count, other.drain.count),
            (&mut self.hook.count, other.hook.count),
        ] {
            *mine += theirs;
        }
        self.drain.total = self.drain.total.saturating_add(other.drain.total);
        self.hook.total = self.hook.total.saturating_add(other.hook.total);
    }
}

fn add(mine: &mut [u64], theirs: &[u64]) {
    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
}

fn count_of<const N: usize>(stats: &Stats, words: [&str; N]) -> [u64; N] {
    let answered = stats.counts().answered;
    words.map(|word| answered.get(word).copied().unwrap_or_default())
}

impl From<&Stats> for RequestMetrics {
    fn from(stats: &Stats) -> Self {
        let (classes, aborted) = (count_of(stats, CLASSES), stats.counts().aborted);
        Self { classes, aborted, durations: stats.into() }
    }
}

impl From<&Stats> for ConnectionMetrics {
    fn from(stats: &Stats) -> Self {
        Self { ends: count_of(stats, ENDS), durations: stats.into() }
    }
}

impl From<&Stats> for Durations {
    fn from(stats: &Stats) -> Self {
        let (buckets, micros) = stats.latencies();
        let mut buckets = buckets.into_iter();
        Self { buckets: std::array::from_fn(|_| buckets.next().unwrap_or_default()), micros }
    }
}

impl Durations {
    fn add_counts(&mut self, other: &Self) {
        add(&mut self.buckets, &other.buckets);
        self.micros = self.micros.saturating_add(other.micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_off_their_stats() {
        let stats = Stats::new(&REQUEST, 1);
        stats.began(0);
        stats.ended(0, 404, Duration::from_micros(60), false);
        let requests = RequestMetrics::from(&stats);
        let durations = &requests.durations;
        assert_eq!((requests.classes, durations.buckets[1], durations.micros), ([0, 0, 0, 0, 1, 0], 1, 60));
        let stats = Stats::new(&CONNECTION, 1);
        stats.began(0);
        stats.connection_ended(0, "client-left", Duration::from_micros(60), false);
        let connections = ConnectionMetrics::from(&stats);
        assert_eq!((connections.ends, connections.durations.micros), ([0, 0, 1], 60));
    }

    #[test]
    fn counters_of_generations_add_up_and_gauges_stay() {
        let mut requests = RequestMetrics { aborted: 1, ..Default::default() };
        requests.durations.micros = 70;
        (requests.classes[2], requests.durations.buckets[1]) = (1, 1);
        let connections = ConnectionMetrics { ends: [1, 0, 2], durations: requests.durations.clone() };
        let mut old = ComponentMetrics { traps: 2, instances: 5, ..Default::default() };
        old.hook.add(Duration::from_millis(3));
        (old.requests, old.connections) = (Some(requests), Some(connections));
        let mut new = ComponentMetrics { traps: 1, instances: 1, ..Default::default() };
        new.add_counts(&old);
        assert_eq!((new.traps, new.instances), (3, 1));
        assert_eq!(new.hook, Times { count: 1, total: Duration::from_millis(3) });
        new.add_counts(&old);
        let sum = new.requests.unwrap();
        let durations = &sum.durations;
        assert_eq!((sum.aborted, durations.micros, sum.classes[2], durations.buckets[1]), (2, 140, 2, 2));
        let sum = new.connections.unwrap();
        assert_eq!((sum.ends, sum.durations.micros, sum.durations.buckets[1]), ([2, 0, 4], 140, 2));
    }
}
