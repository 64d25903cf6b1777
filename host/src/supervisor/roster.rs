//! Who takes part in the app: each generation of each component by its number, and the books by name.
//!
//! Invariant: a number is given once; a name means one generation at a time, the one that serves or is to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::board::Record;
use super::ledger::Ledger;
use crate::plan::ComponentPlan;
use crate::runtime::Loaded;
use crate::teardown::ComponentId;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Roster {
    members: BTreeMap<ComponentId, Record>,
    current: BTreeMap<String, ComponentId>,
    ledgers: BTreeMap<String, Ledger>,
    next: usize,
}

impl Roster {
    /// Adds a generation, which its name does not mean yet.
    pub fn add(&mut self, plan: Arc<ComponentPlan>, loaded: Option<Arc<Loaded>>) -> ComponentId {
        let id = ComponentId(self.next);
        self.next += 1;
        let ledger = self.ledgers.entry(plan.name.clone()).or_default();
        ledger.generations += 1;
        self.members.insert(id, Record::new(plan, loaded, ledger.generations));
        id
    }

    /// Takes back one that was added last of its name and has never been started.
    pub fn take_back(&mut self, id: ComponentId) {
        if let Some(record) = self.members.remove(&id)
            && let Some(ledger) = self.ledgers.get_mut(&record.plan.name)
        {
            ledger.generations -= 1;
        }
    }

    /// Lets names mean these generations, and no others.
    pub fn set_current(&mut self, current: BTreeMap<String, ComponentId>) {
        self.current = current;
    }

    /// Returns the generations that names mean.
    pub fn current(&self) -> &BTreeMap<String, ComponentId> {
        &self.current
    }

    /// Returns the generation that a name means.
    pub fn id_of(&self, name: &str) -> Option<ComponentId> {
        self.current.get(name).copied()
    }

    /// Returns one generation.
    pub fn get(&self, id: ComponentId) -> Option<&Record> {
        self.members.get(&id)
    }

    /// The same, to write in it.
    pub fn get_mut(&mut self, id: ComponentId) -> Option<&mut Record> {
        self.members.get_mut(&id)
    }

    /// Returns the books of a name.
    pub fn ledger(&self, name: &str) -> Option<&Ledger> {
        self.ledgers.get(name)
    }

    /// Returns a generation and the books of its name, to write in both.
    pub fn with_ledger(&mut self, id: ComponentId) -> Option<(&mut Record, &mut Ledger)> {
        let record = self.members.get_mut(&id)?;
        let ledger = self.ledgers.get_mut(&record.plan.name)?;
        Some((record, ledger))
    }

    /// Forgets a generation. What it has counted stays.
    pub fn forget(&mut self, id: ComponentId) {
        if let Some(record) = self.members.remove(&id)
            && let Some(ledger) = self.ledgers.get_mut(&record.plan.name)
        {
            ledger.absorb(&record);
        }
    }

    /// Returns all generations, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (ComponentId, &Record)> {
        self.members.iter().map(|(id, record)| (*id, record))
    }

    /// Returns all generations as people want to see them: in the order of the manifest, the one that a name means
    /// before those that it meant.
    pub fn in_order<'a>(&'a self, names: impl Iterator<Item = &'a str>) -> Vec<(ComponentId, &'a Record)> {
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
