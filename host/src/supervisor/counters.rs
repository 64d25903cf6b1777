//! The counts of a component, by its name, over all its generations and restarts. Invariant: no count ever goes back.

use std::time::Duration;

use super::generation_record::GenerationRecord;
use crate::admin::{ComponentMetrics, Times};
use crate::teardown::Outcome;

/// The books of one component.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Generations so far.
    pub generations: u64,
    /// Starts after it failed or ended, and fresh generations that were asked for.
    pub restarts: u64,
    /// Times that it was cut off.
    pub cut_offs: u64,
    /// Times of its hooks.
    pub hook: Times,
    /// Times of its drains.
    pub drain: Times,
    /// Its last failure, in one line.
    pub last_failure: Option<String>,
    /// The counts of forgotten generations.
    gone: ComponentMetrics,
}

impl Counters {
    /// Takes note of the end of a generation, or of one start of it.
    pub(super) fn ended(&mut self, record: &GenerationRecord, outcome: Outcome, now: Duration) {
        self.cut_offs += u64::from(matches!(outcome, Outcome::CutOff | Outcome::Leaked));
        if let Some(asked) = record.asked {
            let end = record.returned.or(record.ended).unwrap_or(now);
            self.drain.add(end.saturating_sub(asked));
        }
    }

    /// Keeps the counts of a generation that is forgotten.
    pub(super) fn absorb(&mut self, record: &GenerationRecord) {
        self.gone.add_counts(&counts(record));
    }

    /// Returns all figures; `living` are the generations that are not forgotten, each with the number of
    /// its instances.
    pub(super) fn metrics<'a>(
        &self,
        name: &str,
        living: impl Iterator<Item = (&'a GenerationRecord, u64)>,
    ) -> ComponentMetrics {
        let mut all = ComponentMetrics {
            name: name.to_owned(),
            restarts: self.restarts,
            cut_offs: self.cut_offs,
            hook: self.hook,
            drain: self.drain,
            ..ComponentMetrics::default()
        };
        all.add_counts(&self.gone);
        for (record, instances) in living {
            all.add_counts(&counts(record));
            all.kind = record.kind().to_owned();
            all.in_flight += record.in_flight_now();
            all.instances += instances;
            all.memory_bytes += record.memory();
        }
        all
    }
}

/// Returns the counts of one generation.
fn counts(record: &GenerationRecord) -> ComponentMetrics {
    let mut counts =
        ComponentMetrics { dropped_lines: record.dropped_lines(), ..ComponentMetrics::default() };
    record.stats.iter().for_each(|stats| counts.add_stats(stats));
    counts
}
