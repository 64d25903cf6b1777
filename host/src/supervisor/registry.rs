//! All generations of all components by their number, and the counters by name.
//!
//! Invariant: a number is given once. A name means one generation at a time, the one that serves or is to. No count goes back.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::generation_record::GenerationRecord;
use crate::admin::ComponentMetrics;
use crate::plan::{ComponentPlan, Plan};
use crate::runtime::Loaded;
use crate::server::Servers;
use crate::teardown::GenerationId;

#[derive(Debug, Default)]
pub(super) struct Registry {
    generations: BTreeMap<GenerationId, GenerationRecord>,
    /// The generation that each name means.
    pub(super) current: BTreeMap<String, GenerationId>,
    pub(super) counters: BTreeMap<String, Counters>,
    next: usize,
}

/// The counts of a component, by its name, over all its generations and restarts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    generations: u64,
    pub last_failure: Option<String>,
    /// Restarts, cut-offs, hooks and drains so far, and the other counts of forgotten generations.
    pub metrics: ComponentMetrics,
}

/// Adds the counts that a generation keeps.
pub(super) fn add_counts(metrics: &mut ComponentMetrics, record: &GenerationRecord) {
    metrics.dropped_lines += record.dropped_lines();
    record.stats.iter().for_each(|stats| metrics.add_stats(stats));
}

impl Registry {
    /// Adds a generation, which its name does not mean yet.
    pub(super) fn add(&mut self, plan: Arc<ComponentPlan>, loaded: Option<Arc<Loaded>>) -> GenerationId {
        let id = GenerationId(self.next);
        self.next += 1;
        let counters = self.counters.entry(plan.name.clone()).or_default();
        counters.generations += 1;
        self.generations.insert(id, GenerationRecord::new(plan, loaded, counters.generations));
        id
    }

    /// Takes back one that was added last of its name and has never been started.
    pub(super) fn take_back(&mut self, id: GenerationId) {
        if let Some((_, counters)) = self.remove(id) {
            counters.generations -= 1;
        }
    }

    /// Forgets a generation. Its counts stay.
    pub(super) fn forget(&mut self, id: GenerationId) {
        if let Some((record, counters)) = self.remove(id) {
            add_counts(&mut counters.metrics, &record);
        }
    }

    fn remove(&mut self, id: GenerationId) -> Option<(GenerationRecord, &mut Counters)> {
        let record = self.generations.remove(&id)?;
        let counters = self.counters.get_mut(&record.plan.name)?;
        Some((record, counters))
    }

    pub(super) fn id_of(&self, name: &str) -> Option<GenerationId> {
        self.current.get(name).copied()
    }

    pub(super) fn get(&self, id: GenerationId) -> Option<&GenerationRecord> {
        self.generations.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: GenerationId) -> Option<&mut GenerationRecord> {
        self.generations.get_mut(&id)
    }

    /// Returns a generation and the counters of its name, to write in both.
    pub(super) fn with_counters(
        &mut self,
        id: GenerationId,
    ) -> Option<(&mut GenerationRecord, &mut Counters)> {
        let record = self.generations.get_mut(&id)?;
        let counters = self.counters.get_mut(&record.plan.name)?;
        Some((record, counters))
    }

    /// Gives each new generation the counts that its server keeps.
    pub(super) fn set_stats(&mut self, servers: &Servers) {
        for (id, record) in &mut self.generations {
            record.stats = record.stats.take().or_else(|| servers.stats(*id));
        }
    }

    /// Returns all generations, in the order in which they came.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (GenerationId, &GenerationRecord)> {
        self.generations.iter().map(|(id, record)| (*id, record))
    }

    /// Returns all generations in the order of the manifest, the one that a name means before those that it meant.
    pub(super) fn in_order(&self, plan: &Plan) -> Vec<(GenerationId, &GenerationRecord)> {
        let names = plan.components.iter().map(|component| component.name.as_str());
        let places: BTreeMap<&str, usize> = names.zip(0..).collect();
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by_key(|(id, record)| {
            let place = places.get(record.plan.name.as_str()).copied().unwrap_or(usize::MAX);
            let is_current = self.id_of(&record.plan.name) == Some(*id);
            (place, !is_current, Reverse(*id))
        });
        all
    }
}
