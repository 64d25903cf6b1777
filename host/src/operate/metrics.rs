//! The figures of an app that Prometheus gets, as plain data.
//!
//! Invariant: every counter of a component counts for all its generations since the app's start, so that none ever
//! goes back; whoever fills them adds what retired generations had counted ([`ComponentMetrics::add_counts`]).
//! What does not belong here: names, units and text, which are in `exposition`.

use std::time::Duration;

use crate::server::http::{BUCKETS_MICROS, CLASSES, Stats};

/// The figures of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// One entry for each component of the manifest, whatever its number of generations.
    pub components: Vec<ComponentMetrics>,
    /// Lines of the host's own log, and of the access log, that nobody read in time.
    pub log_lines_dropped: u64,
    /// Reloads that took over.
    pub reloads_ok: u64,
    /// Reloads that failed and changed nothing.
    pub reloads_failed: u64,
}

/// The figures of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentMetrics {
    /// Its name.
    pub name: String,
    /// Its kind, `service`, `http` or `tcp`; empty until it is loaded.
    pub kind: String,
    /// Counters of its requests; `None` for a kind that has none.
    pub requests: Option<RequestMetrics>,
    /// Gauge: requests or connections under way; of a service 1 while its `run` is.
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
    /// Counter: lines of its output that nobody read in time.
    pub dropped_lines: u64,
    /// Gauge: bytes of linear memory of all its instances.
    pub memory_bytes: u64,
}

/// What is counted of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMetrics {
    /// Requests that have ended, by the class of their answer, as in [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    /// Answers that broke off because their instance failed or was cut off.
    pub aborted: u64,
    /// Requests by how long they took: one count for each bound of [`BUCKETS_MICROS`], and one for all above.
    pub buckets: [u64; BUCKETS_MICROS.len() + 1],
    /// All their times together, in microseconds.
    pub micros: u64,
}

/// How often something was, and how long that took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How often.
    pub count: u64,
    /// How long in all.
    pub total: Duration,
}

impl Times {
    /// Counts one more.
    pub fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total = self.total.saturating_add(took);
    }
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self { classes: [0; CLASSES.len()], aborted: 0, buckets: [0; BUCKETS_MICROS.len() + 1], micros: 0 }
    }
}

impl ComponentMetrics {
    /// Adds the counters of another generation of the same component. Gauges stay as they are.
    pub fn add_counts(&mut self, other: &Self) {
        if let Some(other) = &other.requests {
            self.requests.get_or_insert_default().add_counts(other);
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

impl From<&Stats> for RequestMetrics {
    fn from(stats: &Stats) -> Self {
        let counts = stats.counts();
        let (buckets, micros) = stats.latencies();
        let mut buckets = buckets.into_iter();
        Self {
            classes: CLASSES.map(|class| counts.answered.get(class).copied().unwrap_or_default()),
            aborted: counts.aborted,
            buckets: std::array::from_fn(|_| buckets.next().unwrap_or_default()),
            micros,
        }
    }
}

impl RequestMetrics {
    fn add_counts(&mut self, other: &Self) {
        let mine = self.classes.iter_mut().chain(&mut self.buckets);
        for (mine, theirs) in mine.zip(other.classes.iter().chain(&other.buckets)) {
            *mine += theirs;
        }
        self.aborted += other.aborted;
        self.micros = self.micros.saturating_add(other.micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_off_their_stats() {
        let stats = Stats::new(1);
        stats.began(0);
        stats.ended(0, 404, Duration::from_micros(60), false);
        let requests = RequestMetrics::from(&stats);
        assert_eq!((requests.classes, requests.buckets[1], requests.micros), ([0, 0, 0, 0, 1, 0], 1, 60));
    }

    #[test]
    fn counters_of_generations_add_up_and_gauges_stay() {
        let mut requests = RequestMetrics { aborted: 1, micros: 70, ..Default::default() };
        (requests.classes[2], requests.buckets[1]) = (1, 1);
        let mut old = ComponentMetrics { traps: 2, instances: 5, ..Default::default() };
        old.hook.add(Duration::from_millis(3));
        old.requests = Some(requests.clone());
        let mut new = ComponentMetrics { traps: 1, instances: 1, ..Default::default() };
        new.add_counts(&old);
        assert_eq!((new.traps, new.instances), (3, 1));
        assert_eq!(new.hook, Times { count: 1, total: Duration::from_millis(3) });
        new.add_counts(&old);
        let sum = new.requests.unwrap();
        assert_eq!((sum.aborted, sum.micros, sum.classes[2], sum.buckets[1]), (2, 140, 2, 2));
    }
}
