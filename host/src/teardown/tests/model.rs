//! The model of a `Checker`: its observations of each generation.
//!
//! Invariant: kept from events and actions alone, never copied from the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::plan::OnEnd;

/// Observations since the last start.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) started: Option<Duration>,
    pub(super) entered: bool,
    pub(super) ready: bool,
    /// Since when it was ready and its `run` entered.
    pub(super) up: Option<Duration>,
    pub(super) returned: bool,
    pub(super) failed: bool,
    /// It was not alive by its health check, and ends as a failed one.
    pub(super) dead: bool,
    /// One of its instances failed, and that counts.
    pub(super) lost: bool,
    pub(super) abandoned: bool,
    /// The deadline that it was told, with what it was granted since.
    pub(super) asked: Option<Duration>,
    pub(super) cut: Option<Duration>,
    /// Before that, its slice is not over.
    pub(super) slice: Option<Duration>,
}

/// Observations of one generation.
#[derive(Clone, Debug)]
pub(super) struct ModelGeneration {
    pub(super) policy: GenerationPolicy,
    pub(super) seen: Seen,
    /// Its last outcome.
    pub(super) ended: Option<Outcome>,
    /// When it is started again.
    pub(super) again: Option<Duration>,
    pub(super) gave_up: bool,
    /// It gave up, and goes on without instances.
    pub(super) out: bool,
    pub(super) halted: bool,
    pub(super) retired: bool,
    /// It failed before it served, or one that came with it did.
    pub(super) taken_back: bool,
    pub(super) trial: bool,
    pub(super) waits: bool,
    /// It has passed its trial.
    pub(super) passed: bool,
    /// It makes room for the one on trial that is to replace it.
    pub(super) yields: bool,
    /// It came after one that was never ready.
    pub(super) hopeless: bool,
    pub(super) stuck: bool,
    /// The first generation of its component.
    pub(super) root: GenerationId,
    /// When its restarts were, and how many that were.
    pub(super) spent: Vec<Duration>,
    pub(super) counted: u64,
}

impl ModelGeneration {
    pub(super) fn new(policy: GenerationPolicy, root: GenerationId) -> Self {
        Self {
            policy,
            seen: Seen::default(),
            ended: None,
            again: None,
            gave_up: false,
            out: false,
            halted: false,
            retired: false,
            taken_back: false,
            trial: false,
            waits: false,
            passed: false,
            yields: false,
            hopeless: false,
            stuck: false,
            root,
            spent: Vec::new(),
            counted: 0,
        }
    }

    pub(super) fn lives(&self) -> bool {
        self.seen.started.is_some() && self.ended.is_none()
    }

    /// Whether its `run` has been entered, and it was not asked and has not failed.
    pub(super) fn runs(&self) -> bool {
        let seen = &self.seen;
        self.lives() && seen.entered && seen.asked.is_none() && !seen.failed && seen.cut.is_none()
    }

    /// Whether it gave up and refuses its clients.
    pub(super) fn is_out(&self) -> bool {
        self.out && self.runs()
    }

    pub(super) fn starts(&self) -> bool {
        self.lives() && !self.seen.entered && !self.seen.failed && self.seen.cut.is_none()
    }

    pub(super) fn counts(&self) -> bool {
        !self.halted && !self.retired && !self.yields
    }

    /// Whether it waits for others to start.
    pub(super) fn is_pending(&self, now: Duration) -> bool {
        let is_due = match (self.seen.started, self.again) {
            (None, _) => self.ended.is_none(),
            (Some(_), again) => again.is_some_and(|at| now >= at),
        };
        is_due && !self.lives() && self.counts() && !self.hopeless
    }

    /// Whether it can take over.
    pub(super) fn is_up(&self, now: Duration) -> bool {
        let there = (self.lives() || self.ended == Some(Outcome::Finished)) && self.again.is_none();
        there && self.seen.up.is_some() && !self.seen.failed && !self.halted && self.has_passed(now)
    }

    /// Whether it has run for the time of its trial, or done its work.
    pub(super) fn has_passed(&self, now: Duration) -> bool {
        let has_ended = self.ended == Some(Outcome::Finished) || self.seen.returned;
        let done = has_ended && self.policy.on_exit != OnEnd::StopApp;
        self.passed || done || self.seen.up.is_some_and(|at| now >= at + self.policy.trial)
    }

    /// Whether it is on its way out for a reason of its own.
    pub(super) fn leaves(&self) -> bool {
        let seen = &self.seen;
        let goes = self.retired || self.yields;
        goes || seen.asked.is_some() || seen.abandoned || seen.failed || seen.cut.is_some()
    }

    /// I11: how it ended, or what it is called if the process leaves now.
    pub(super) fn outcome(&self) -> Outcome {
        match (self.ended, &self.seen) {
            (Some(outcome), _) => outcome,
            (None, _) if self.gave_up => Outcome::GaveUp,
            (None, seen) if seen.failed || seen.lost || seen.dead => Outcome::Failed,
            (None, seen) if seen.started.is_none() => Outcome::NotStarted,
            (None, seen) if seen.cut.is_some() => Outcome::Leaked,
            (None, _) => Outcome::CutOff,
        }
    }

    /// Notes how it ended. Nothing that follows masks a failure.
    pub(super) fn ends(&mut self, outcome: Outcome) {
        let failed = self.seen.failed || self.seen.lost || self.seen.dead;
        self.stuck = false;
        self.ended = Some(match outcome {
            _ if self.gave_up => Outcome::GaveUp,
            Outcome::GaveUp => Outcome::GaveUp,
            _ if failed => Outcome::Failed,
            other => other,
        });
    }

    /// Whether that end means a restart.
    pub(super) fn comes_back(&self) -> bool {
        let (exit, failure) =
            (self.policy.on_exit == OnEnd::Restart, self.policy.on_failure == OnEnd::Restart);
        match self.ended {
            Some(Outcome::Finished | Outcome::Stopped | Outcome::HookFailed) => exit,
            Some(Outcome::Failed) => failure,
            Some(Outcome::CutOff | Outcome::Leaked) => exit || failure,
            Some(Outcome::GaveUp | Outcome::NotStarted) | None => false,
        }
    }

    /// Number of restarts within the period.
    pub(super) fn recent(&self, now: Duration) -> usize {
        self.spent.iter().filter(|at| now - **at < self.policy.restart.within).count()
    }
}

/// All generations that were not forgotten, and the time.
#[derive(Clone, Debug, Default)]
pub(super) struct Model(pub(super) BTreeMap<GenerationId, ModelGeneration>, pub(super) Duration);

impl Model {
    pub(super) fn get(&self, id: GenerationId) -> &ModelGeneration {
        self.0.get(&id).unwrap_or_else(|| panic!("{id:?} was forgotten"))
    }

    pub(super) fn get_mut(&mut self, id: GenerationId) -> &mut ModelGeneration {
        self.0.get_mut(&id).unwrap_or_else(|| panic!("{id:?} was forgotten"))
    }

    /// Living generations that one comes after, directly or through others that do not live.
    pub(super) fn needs(&self, id: GenerationId) -> BTreeSet<GenerationId> {
        let (mut found, mut seen, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![id]);
        while let Some(at) = open.pop() {
            for id in self.0.get(&at).map(|generation| generation.policy.after.clone()).unwrap_or_default() {
                match self.0.get(&id) {
                    Some(generation) if generation.lives() => drop(found.insert(id)),
                    Some(_) if seen.insert(id) => open.push(id),
                    _ => {}
                }
            }
        }
        found
    }

    /// Living generations that need that one.
    pub(super) fn dependents(&self, id: GenerationId) -> Vec<GenerationId> {
        let living = self.0.iter().filter(|(_, generation)| generation.lives()).map(|(id, _)| *id);
        living.filter(|other| self.needs(*other).contains(&id)).collect()
    }

    /// Whether it is not there, and will not be, while the app runs.
    pub(super) fn is_over(&self, id: GenerationId) -> bool {
        let generation = self.get(id);
        match (generation.lives(), generation.seen.started) {
            (true, _) => generation.stuck,
            (false, _) if generation.halted || generation.retired || generation.hopeless => true,
            // Whether it comes back in vain is found out when it comes back.
            (false, Some(_)) => generation.again.is_none(),
            (false, None) => self.lacks(id),
        }
    }

    /// Whether one of those it comes after can never be ready any more.
    pub(super) fn lacks(&self, id: GenerationId) -> bool {
        let generation = self.get(id);
        let mut known = generation.policy.after.iter().filter(|id| self.0.contains_key(id));
        known.any(|needed| {
            let is_lost = self.is_over(*needed) && !self.makes_room(*needed);
            let is_lost = is_lost || (generation.trial && self.is_stranded(*needed));
            is_lost && !self.is_there(*needed) && !self.stands_in(generation, *needed)
        })
    }

    /// Whether it does its work for those that come after it, or was ready when it ended. If it makes room, its successor does.
    fn is_there(&self, id: GenerationId) -> bool {
        let was_up = |id: GenerationId, generation: &ModelGeneration| {
            let was_up = generation.seen.ready && generation.seen.entered;
            was_up && (generation.runs() || self.is_over(id))
        };
        if self.makes_room(id) {
            let successor = self.successor(self.get(id));
            return successor.is_some_and(|(id, one)| was_up(id, one) && one.is_up(self.1));
        }
        was_up(id, self.get(id))
    }

    /// Whether it is out of service, or waits to start for one that is, perhaps through others.
    fn is_stranded(&self, id: GenerationId) -> bool {
        self.0.get(&id).is_some_and(|generation| {
            let waits = generation.is_pending(self.1);
            let mut after = generation.policy.after.iter();
            generation.is_out() || (waits && after.any(|needed| self.is_stranded(*needed)))
        })
    }

    /// The one on trial that is to replace it.
    fn successor(&self, generation: &ModelGeneration) -> Option<(GenerationId, &ModelGeneration)> {
        let found = self.0.iter().find(|(_, other)| other.trial && other.root == generation.root);
        found.map(|(id, other)| (*id, other))
    }

    /// Whether it ends for one on trial, or comes back itself at its end.
    fn makes_room(&self, id: GenerationId) -> bool {
        let generation = self.get(id);
        generation.yields && (!generation.stuck || self.successor(generation).is_some())
    }

    fn stands_in(&self, generation: &ModelGeneration, needed: GenerationId) -> bool {
        let needed = self.get(needed);
        generation.trial && !generation.waits && needed.trial && needed.waits
    }

    /// Whether all that a start waits for is there.
    pub(super) fn may_start(&self, id: GenerationId) -> bool {
        let generation = self.get(id);
        let before = |(at, other): (&GenerationId, &ModelGeneration)| {
            let same = *at != id && other.root == generation.root && !other.trial;
            same && !self.is_over(*at) && (other.lives() || !other.yields)
        };
        let alone = !generation.waits || !self.0.iter().any(before);
        let mut known = generation.policy.after.iter().filter(|id| self.0.contains_key(id));
        alone && known.all(|needed| self.is_there(*needed) || self.stands_in(generation, *needed))
    }
}
