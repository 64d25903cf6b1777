//! All generations of all components by their number, and the counters by name.
//!
//! Invariant: a number is given once; a name means one generation at a time, the one that serves or is to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::counters::Counters;
use super::generation_record::GenerationRecord;
use crate::plan::ComponentPlan;
use crate::runtime::Loaded;
use crate::teardown::GenerationId;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Registry {
    members: BTreeMap<GenerationId, GenerationRecord>,
    current: BTreeMap<String, GenerationId>,
    counters: BTreeMap<String, Counters>,
    next: usize,
}

impl Registry {
    /// Adds a generation, which its name does not mean yet.
    pub(super) fn add(&mut self, plan: Arc<ComponentPlan>, loaded: Option<Arc<Loaded>>) -> GenerationId {
        let id = GenerationId(self.next);
        self.next += 1;
        let counters = self.counters.entry(plan.name.clone()).or_default();
        counters.generations += 1;
        self.members.insert(id, GenerationRecord::new(plan, loaded, counters.generations));
        id
    }

    /// Takes back one that was added last of its name and has never been started.
    pub(super) fn take_back(&mut self, id: GenerationId) {
        if let Some(record) = self.members.remove(&id)
            && let Some(counters) = self.counters.get_mut(&record.plan.name)
        {
            counters.generations -= 1;
        }
    }

    /// Lets names mean these generations, and no others.
    pub(super) fn set_current(&mut self, current: BTreeMap<String, GenerationId>) {
        self.current = current;
    }

    /// Returns the generations that names mean.
    pub(super) fn current(&self) -> &BTreeMap<String, GenerationId> {
        &self.current
    }

    /// Returns the generation that a name means.
    pub(super) fn id_of(&self, name: &str) -> Option<GenerationId> {
        self.current.get(name).copied()
    }

    /// Returns one generation.
    pub(super) fn get(&self, id: GenerationId) -> Option<&GenerationRecord> {
        self.members.get(&id)
    }

    /// The same, to write in it.
    pub(super) fn get_mut(&mut self, id: GenerationId) -> Option<&mut GenerationRecord> {
        self.members.get_mut(&id)
    }

    /// Returns the books of a name.
    pub(super) fn counters(&self, name: &str) -> Option<&Counters> {
        self.counters.get(name)
    }

    /// Returns a generation and the books of its name, to write in both.
    pub(super) fn with_counters(
        &mut self,
        id: GenerationId,
    ) -> Option<(&mut GenerationRecord, &mut Counters)> {
        let record = self.members.get_mut(&id)?;
        let counters = self.counters.get_mut(&record.plan.name)?;
        Some((record, counters))
    }

    /// Forgets a generation. Its counts stay.
    pub(super) fn forget(&mut self, id: GenerationId) {
        if let Some(record) = self.members.remove(&id)
            && let Some(counters) = self.counters.get_mut(&record.plan.name)
        {
            counters.absorb(&record);
        }
    }

    /// Returns all generations, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (GenerationId, &GenerationRecord)> {
        self.members.iter().map(|(id, record)| (*id, record))
    }

    /// Returns all generations as people want to see them: in the order of the manifest, the one that a name means
    /// before those that it meant.
    pub(super) fn in_order<'a>(
        &'a self,
        names: impl Iterator<Item = &'a str>,
    ) -> Vec<(GenerationId, &'a GenerationRecord)> {
        let places: BTreeMap<&str, usize> = names.enumerate().map(|(place, name)| (name, place)).collect();
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by_key(|(id, record)| {
            let place = places.get(record.plan.name.as_str()).copied().unwrap_or(usize::MAX);
            let is_current = self.id_of(&record.plan.name) == Some(*id);
            (place, !is_current, std::cmp::Reverse(*id))
        });
        all
    }
}
