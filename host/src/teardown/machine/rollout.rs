//! Rollouts: a reload, an operator's restart of one component, the renewal of a dead pool.
//!
//! Invariant: there is one rollout at a time, and it switches in one moment. Before the switch any failure takes it back, and nothing
//! has changed (I10). After it the incoming generations serve, and the stale ones only end. A stop aborts a rollout.
//!
//! A generation that cannot run beside its predecessor waits until all others of the rollout are up. Then the predecessor yields: it
//! ends, and stays known until the switch. If the rollout is taken back, it is put back: the same generation starts again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Machine;
use crate::teardown::generation::{Generation, Role, Slice, State};
use crate::teardown::{Action, Cause, GenerationId, GenerationPolicy, Level, Phase, Policy};

/// Shortest time between the starts of two reloads: all requests within it are one reload, which reads the last manifest.
const RELOADS_WITHIN: Duration = Duration::from_millis(500);
/// Most living predecessors of the generation that serves.
const PREDECESSORS: usize = 2;
/// Most living generations of a component.
pub(crate) const MOST_GENERATIONS: usize = PREDECESSORS + 2;

/// A generation that serves from the switch on. Its id is higher than all before it.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) id: GenerationId,
    pub(crate) policy: GenerationPolicy,
    pub(crate) replaces: Option<GenerationId>,
    /// Older generations of its component that have not ended, the youngest first.
    pub(crate) before: Vec<GenerationId>,
    /// True if it starts only after all those have ended, because they need something exclusive.
    pub(crate) waits: bool,
}

/// A set of changes that take place in one moment, the switch.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    pub(crate) incoming: Vec<Incoming>,
    /// Generations that stop without a successor.
    pub(crate) removed: Vec<GenerationId>,
    pub(crate) kept: Vec<(GenerationId, GenerationPolicy)>,
    pub(crate) policy: Option<Policy>,
    /// Cause in the notice of stale generations.
    pub(crate) cause: Cause,
    /// True if each successor inherits the spent restart budget, because its predecessor failed.
    pub(crate) keeps_budget: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Rollouts {
    stage: Stage,
    /// Generations that were found dead, with the earliest time of their renewal.
    pub(super) renewals: BTreeMap<GenerationId, Duration>,
    pub(super) reload_wanted: bool,
    reload_began: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// The host reads a manifest, or prepares the renewal of a generation.
    Preparing {
        renews: Option<GenerationId>,
    },
    OnTrial(Rollout),
}

impl Rollouts {
    fn take(&mut self) -> Option<Rollout> {
        match std::mem::take(&mut self.stage) {
            Stage::OnTrial(rollout) => return Some(rollout),
            other @ (Stage::Idle | Stage::Preparing { .. }) => self.stage = other,
        }
        None
    }

    /// Ends a preparation, and returns the generation that it was to renew.
    fn end_preparation(&mut self) -> Option<GenerationId> {
        let Stage::Preparing { renews } = self.stage else { return None };
        self.stage = Stage::Idle;
        renews
    }
}

impl Machine {
    pub(crate) fn is_rolling_out(&self) -> bool {
        !matches!(self.rollouts.stage, Stage::Idle)
    }

    #[must_use = "an action that is dropped leaves the rollout stuck"]
    pub(crate) fn roll_out(&mut self, now: Duration, rollout: Rollout) -> Vec<Action> {
        self.rollouts.end_preparation();
        if self.level() > Level::Running || self.is_rolling_out() {
            self.actions.push(Action::RollBack(None));
        } else {
            for Incoming { id, policy, replaces, before, waits } in &rollout.incoming {
                let waits = *waits && (replaces.is_some() || !before.is_empty());
                let old = replaces.map(|old| self.predecessors(old)).into_iter().flatten();
                let before: BTreeSet<_> = before.iter().copied().chain(old).chain(*replaces).collect();
                let mut generation = Generation::new(policy.clone(), Role::OnTrial, waits);
                generation.predecessors = before.into_iter().rev().filter(|id| self.knows(*id)).collect();
                self.generations.insert(*id, generation);
            }
            self.rollouts.stage = Stage::OnTrial(rollout);
            self.settle(now);
        }
        std::mem::take(&mut self.actions)
    }

    pub(super) fn nothing_to_change(&mut self, now: Duration) {
        if let Some(id) = self.rollouts.end_preparation() {
            self.renew_again(now, id);
        }
    }

    /// Has a dead pool renewed within its budget, at once or after a pause.
    pub(super) fn renew(&mut self, now: Duration, id: GenerationId, at_once: bool) {
        let Some(pause) = self.spend(now, id) else { return self.give_up(now, id) };
        let from = if at_once { now } else { now.saturating_add(pause) };
        self.rollouts.renewals.insert(id, from);
    }

    fn renew_again(&mut self, now: Duration, id: GenerationId) {
        if self.level() == Level::Running && self.generations.get(id).is_some_and(can_be_renewed) {
            self.renew(now, id, false);
        }
    }

    /// Returns when the next rollout may begin, if one is wanted and no other is under way.
    pub(super) fn rollout_due(&self) -> Option<Duration> {
        if self.is_rolling_out() || self.level() > Level::Running || !self.loaded {
            return None;
        }
        let last = self.rollouts.reload_began.map(|began| began.saturating_add(RELOADS_WITHIN));
        let reload = self.rollouts.reload_wanted.then(|| last.unwrap_or_default());
        self.rollouts.renewals.values().copied().chain(reload).min()
    }

    /// Has the next rollout prepared if one is due. Renewals go before a reload.
    pub(super) fn prepare_rollout_if_due(&mut self, now: Duration) {
        self.rollouts.renewals.retain(|id, _| self.generations.get(*id).is_some_and(can_be_renewed));
        if self.rollout_due().is_none_or(|due| now < due) {
            return;
        }
        let renews = self.rollouts.renewals.iter().find(|(_, from)| now >= **from).map(|(id, _)| *id);
        self.rollouts.stage = Stage::Preparing { renews };
        if let Some(id) = renews {
            self.rollouts.renewals.remove(&id);
            self.actions.push(Action::Renew(id));
        } else {
            (self.rollouts.reload_wanted, self.rollouts.reload_began) = (false, Some(now));
            self.actions.push(Action::Prepare);
        }
    }

    /// Has predecessors yield once each incoming generation is up that need not wait for its own, and switches once all are up.
    pub(super) fn advance_rollout(&mut self, now: Duration) {
        let Stage::OnTrial(rollout) = &self.rollouts.stage else { return };
        let generation = |one: &Incoming| self.generations.get(one.id);
        let is_up = |one: &&Incoming| generation(one).is_some_and(Generation::is_up);
        let (waiting, beside): (Vec<_>, Vec<_>) =
            rollout.incoming.iter().partition(|one| generation(one).is_some_and(|one| one.waits));
        if !beside.iter().all(is_up) {
            return;
        }
        let serves = |id: &GenerationId| {
            let old = self.generations.get(*id);
            old.is_some_and(|old| old.role == Role::Serving && !old.is_gone())
        };
        let (cause, is_up) = (rollout.cause, waiting.iter().all(is_up));
        let yielding: BTreeSet<_> = waiting.iter().filter_map(|one| one.replaces).filter(serves).collect();
        // A rollout that cannot succeed is about to be taken back: no generation makes room for it (I10).
        let is_doomed = waiting.iter().any(|one| self.is_hopeless(one.id));
        if !yielding.is_empty() && !is_doomed {
            self.retire(now, &yielding, Role::Yielding, cause);
        } else if yielding.is_empty() && is_up {
            self.switch(now);
        }
    }

    fn switch(&mut self, now: Duration) {
        let Some(rollout) = self.rollouts.take() else { return };
        self.actions.push(Action::Switch);
        for incoming in &rollout.incoming {
            self.take_over(now, incoming, rollout.keeps_budget);
        }
        rollout.kept.into_iter().for_each(|(id, policy)| self.set_policy(id, policy));
        self.policy = rollout.policy.unwrap_or_else(|| self.policy.clone());
        let replaced = rollout.incoming.iter().filter_map(|incoming| Some((incoming.replaces?, incoming.id)));
        let replaced: BTreeMap<_, _> = replaced.collect();
        let stale: BTreeSet<_> = replaced.keys().chain(&rollout.removed).copied().collect();
        // The generations that stay come after the incoming ones as they came after the stale ones.
        for id in self.ids().into_iter().filter(|id| !stale.contains(id)) {
            let Some(generation) = self.generations.get_mut(id) else { continue };
            if generation.role < Role::Retired {
                let heir = |old: &GenerationId| replaced.get(old).copied().unwrap_or(*old);
                generation.policy.after.iter_mut().for_each(|needed| *needed = heir(needed));
            }
        }
        self.retire(now, &stale, Role::Retired, rollout.cause);
        for incoming in &rollout.incoming {
            for oldest in self.predecessors(incoming.id).into_iter().skip(PREDECESSORS) {
                self.ask_and_cut(now, oldest);
            }
        }
        self.start_pending(now);
    }

    fn take_over(&mut self, now: Duration, incoming: &Incoming, keeps_budget: bool) {
        let old = incoming.replaces.and_then(|old| self.generations.get(old));
        let mut budget = old.filter(|_| keeps_budget).map(|old| old.budget.clone()).unwrap_or_default();
        budget.runs(now);
        if let Some(generation) = self.generations.get_mut(incoming.id) {
            (generation.role, generation.budget) = (Role::Serving, budget);
        }
    }

    /// Has these generations stop, and be forgotten once they have ended, unless they only yield.
    fn retire(&mut self, now: Duration, ids: &BTreeSet<GenerationId>, role: Role, cause: Cause) {
        for id in ids.iter().copied() {
            let Some(generation) = self.generations.get_mut(id) else { continue };
            generation.role = role;
            match generation.state() {
                State::Pending { last } | State::Backoff { last, .. } => self.finish(id, last),
                State::Starting { .. } => self.abandon(now, id, cause),
                // It can still be kept in place.
                State::Running { .. } if role == Role::Yielding => {}
                State::Running { .. } => self.generations.set(id, State::Running { bound: None }),
                State::Asked { .. } | State::Cut { .. } | State::Stuck | State::Ended { .. } => {}
            }
            if self.phase(id) == Phase::Ended && role >= Role::Retired {
                self.forget(id);
            }
        }
        let lives = |id: &&GenerationId| self.generations.get(**id).is_some_and(Generation::lives);
        let living: BTreeSet<_> = ids.iter().filter(lives).copied().collect();
        // Generations that were retired before can need some of these, and stop first.
        let begin = self.last_slice_before(&living).map_or(now, |end| end.max(now));
        self.dismiss(begin, &living, Slice { cause, end: begin.saturating_add(self.policy.grace) });
        self.ask_unneeded(now);
    }

    fn predecessors(&self, id: GenerationId) -> Vec<GenerationId> {
        let all = self.generations.get(id).map(|generation| &generation.predecessors);
        all.into_iter().flatten().copied().filter(|id| self.knows(*id)).collect()
    }

    pub(super) fn roll_back(&mut self, now: Duration, because: Option<GenerationId>) {
        let Some(rollout) = self.rollouts.take() else { return };
        self.actions.push(Action::RollBack(because));
        self.keep_in_place(&rollout);
        let incoming: BTreeSet<_> = rollout.incoming.iter().map(|incoming| incoming.id).collect();
        self.retire(now, &incoming, Role::TakenBack, rollout.cause);
        for Incoming { id, replaces, .. } in rollout.incoming {
            let Some(old) = replaces else { continue };
            self.make_room(now, id, old);
            self.put_back(now, old);
            if rollout.keeps_budget {
                self.renew_again(now, old);
            }
        }
    }

    /// Makes a generation that was taken back the first predecessor of `old`. If there are too many, it goes before those with clients.
    fn make_room(&mut self, now: Duration, failed: GenerationId, old: GenerationId) {
        let mut predecessors = self.predecessors(old);
        if self.knows(failed) && predecessors.len() >= PREDECESSORS {
            self.ask_and_cut(now, failed);
        }
        predecessors.insert(0, failed);
        if let Some(generation) = self.generations.get_mut(old) {
            generation.predecessors = predecessors;
        }
    }

    /// Returns the generation on trial that is to replace this one.
    pub(super) fn successor(&self, old: GenerationId) -> Option<GenerationId> {
        let Stage::OnTrial(rollout) = &self.rollouts.stage else { return None };
        rollout.incoming.iter().find(|incoming| incoming.replaces == Some(old)).map(|incoming| incoming.id)
    }

    /// Has the generations that were to make room, and were not asked yet, go on as if nothing had been (I10).
    fn keep_in_place(&mut self, rollout: &Rollout) {
        for old in rollout.incoming.iter().filter_map(|incoming| incoming.replaces) {
            let Some(generation) = self.generations.get_mut(old) else { continue };
            let State::Running { bound } = generation.state() else { continue };
            // One that was abandoned, and entered its `run` nevertheless, has no bound for its start any more.
            let is_bounded = generation.is_ready() || generation.is_out_of_service() || bound.is_some();
            if generation.role == Role::Yielding && (is_bounded || self.stop.has_begun()) {
                (generation.role, generation.slice) = (Role::Serving, None);
            }
        }
    }

    /// Has a generation that made room start again, unless its successor is on trial. It waits for the ends of both.
    pub(super) fn put_back(&mut self, now: Duration, id: GenerationId) {
        if self.level() > Level::Running || self.successor(id).is_some() {
            return;
        }
        let yields = |generation: &&mut Generation| generation.role == Role::Yielding;
        let Some(generation) = self.generations.get_mut(id).filter(yields) else { return };
        if let State::Ended { outcome } = generation.state() {
            (generation.role, generation.waits) = (Role::Serving, true);
            self.generations.set(id, State::Pending { last: outcome });
        } else if generation.state() == State::Stuck {
            self.miss(now, id);
        }
    }

    /// Ends a rollout because the app stops. The incoming generations stop like all others.
    pub(super) fn abort_rollout(&mut self) {
        self.rollouts.reload_wanted = false;
        let Some(rollout) = self.rollouts.take() else { return };
        self.actions.push(Action::RollBack(None));
        self.keep_in_place(&rollout);
        for incoming in rollout.incoming {
            if let Some(generation) = self.generations.get_mut(incoming.id) {
                generation.role = Role::Retired;
            }
        }
    }

    pub(super) fn forget(&mut self, id: GenerationId) {
        self.generations.remove(id);
        self.actions.push(Action::Forget(id));
    }
}

/// Returns whether a generation that was found dead can still be replaced.
fn can_be_renewed(generation: &Generation) -> bool {
    generation.counts() && generation.phase() == Phase::Running && !generation.is_out_of_service()
}
