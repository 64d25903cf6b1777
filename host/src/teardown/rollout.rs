//! How generations follow each other: a reload, an operator's restart of one component, the replacement of one found dead.
//!
//! Invariant: one change at a time, and one moment in which it takes place: before the switch, whatever goes wrong is taken back
//! and nothing has changed (I10); after it, the fresh ones are the app, and the stale ones only end. A stop ends any change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::Action;
use super::generation::Generation;
use super::machine::Machine;
use super::{Cause, GenerationId, GenerationPolicy, Level, Outcome, Phase, Policy};

/// Reloads that are asked for within this time of one that began are one: whoever saves a file twice means the last.
const RELOADS_WITHIN: Duration = Duration::from_millis(500);
/// Generations of one component that may live at a time: the one that serves, one on trial, and those that they follow.
const GENERATIONS: usize = 4;

/// A component that is to take part from the switch on.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its number, higher than all before it.
    pub id: GenerationId,
    /// What holds for it.
    pub policy: GenerationPolicy,
    /// The generation that it replaces, if there is one.
    pub replaces: Option<GenerationId>,
    /// Older generations of its name that still end, the youngest first.
    pub before: Vec<GenerationId>,
    /// Whether it starts only when all those have ended: it needs something that only one can have.
    pub waits: bool,
}

/// What is to change in one moment.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// Those that are to take part from then on.
    pub incoming: Vec<Incoming>,
    /// Those that are to go without a successor.
    pub removed: Vec<GenerationId>,
    /// What holds from then on for those that stay.
    pub kept: Vec<(GenerationId, GenerationPolicy)>,
    /// What holds from then on for the app.
    pub policy: Option<Policy>,
    /// What those that go are told.
    pub cause: Cause,
    /// Whether the restarts of those replaced count against their successors: these follow because the others failed.
    pub keeps_budget: bool,
}

impl Machine {
    /// Whether a reload or a restart is under way: another has to wait.
    pub fn is_rolling_out(&self) -> bool {
        self.preparing || self.rollout.is_some()
    }

    /// Begins a change that has been prepared.
    pub fn roll_out(&mut self, now: Duration, rollout: Rollout) -> Vec<Action> {
        (self.preparing, self.renewing) = (false, None);
        if self.level > Level::Running || self.rollout.is_some() {
            self.actions.push(Action::RollBack(None));
        } else {
            for incoming in &rollout.incoming {
                let generation = Generation {
                    trial: true,
                    waits: incoming.waits && (incoming.replaces.is_some() || !incoming.before.is_empty()),
                    ..Generation::new(incoming.policy.clone())
                };
                self.generations.insert(incoming.id, generation);
                self.open += 1;
            }
            self.starts_due = true;
            self.rollout = Some(rollout);
            self.settle(now);
        }
        std::mem::take(&mut self.actions)
    }

    pub(super) fn want_reload(&mut self) {
        if self.level == Level::Running {
            self.reload_wanted = true;
            self.due = Duration::ZERO;
        } else {
            self.actions.push(Action::RefuseReload);
        }
    }

    pub(super) fn nothing_to_change(&mut self, now: Duration) {
        self.preparing = false;
        if let Some(id) = self.renewing.take() {
            self.still_dead(now, id);
        }
    }

    /// A component that was found dead could not be replaced: it is tried again, as long as its budget lasts.
    fn still_dead(&mut self, now: Duration, id: GenerationId) {
        let counts = |generation: &Generation| generation.counts() && generation.phase == Phase::Running;
        if self.level == Level::Running && self.generations.get(&id).is_some_and(counts) {
            self.renew(now, id, false);
        }
    }

    /// Returns when what was asked for may begin, if anything was and nothing else is under way.
    pub(super) fn rollout_due(&self) -> Option<Duration> {
        if self.is_rolling_out() || self.level > Level::Running || !self.loaded {
            return None;
        }
        let renewals = self.generations.values().filter_map(Generation::needs_renewal);
        renewals.chain(self.reload_due()).min()
    }

    fn reload_due(&self) -> Option<Duration> {
        let last = self.reload_began.map(|began| began.saturating_add(RELOADS_WITHIN));
        self.reload_wanted.then(|| last.unwrap_or_default())
    }

    /// Begins what was asked for: the replacement of a dead component before a reload.
    pub(super) fn begin_reload_if_wanted(&mut self, now: Duration) {
        if self.rollout_due().is_none_or(|due| now < due) {
            return;
        }
        let dead = |(_, generation): &(&GenerationId, &mut Generation)| {
            generation.needs_renewal().is_some_and(|from| now >= from)
        };
        if let Some((id, generation)) = self.generations.iter_mut().find(dead) {
            generation.renew = None;
            (self.preparing, self.renewing) = (true, Some(*id));
            self.actions.push(Action::Renew(*id));
        } else if self.reload_due().is_some_and(|due| now >= due) {
            (self.preparing, self.reload_wanted, self.reload_began) = (true, false, Some(now));
            self.actions.push(Action::Prepare);
        }
    }

    /// Lets the fresh ones take over if all that can be ready before that are.
    pub(super) fn switch_if_ready(&mut self, now: Duration) {
        let ready = |incoming: &Incoming| {
            self.generations
                .get(&incoming.id)
                .is_some_and(|generation| generation.is_up() || generation.waits)
        };
        if !self.rollout.as_ref().is_some_and(|rollout| rollout.incoming.iter().all(ready)) {
            return;
        }
        let Some(rollout) = self.rollout.take() else { return };
        self.actions.push(Action::Switch);
        for incoming in &rollout.incoming {
            let old = incoming.replaces.and_then(|old| self.generations.get(&old));
            let books = old.filter(|_| rollout.keeps_budget).map(|old| old.restarts.clone());
            if let Some(generation) = self.generations.get_mut(&incoming.id) {
                generation.trial = false;
                generation.restarts = books.unwrap_or_default();
                generation.restarts.runs(now);
            }
        }
        for (id, policy) in rollout.kept {
            if let Some(generation) = self.generations.get_mut(&id) {
                generation.policy = policy;
            }
        }
        self.policy = rollout.policy.unwrap_or_else(|| self.policy.clone());
        for incoming in &rollout.incoming {
            self.queue_up(incoming);
        }
        let replaced = rollout.incoming.iter().filter_map(|incoming| Some((incoming.replaces?, incoming.id)));
        let replaced: BTreeMap<_, _> = replaced.collect();
        let stale: BTreeSet<_> = replaced.keys().chain(&rollout.removed).copied().collect();
        self.come_after(&replaced, &stale);
        self.retire(now, &stale, rollout.cause);
        for incoming in &rollout.incoming {
            self.end_the_oldest(now, incoming.id);
        }
        self.starts_due = true;
        self.start_whoever_may(now);
    }

    /// Whoever stays comes after the fresh ones as it came after those that they replace.
    fn come_after(
        &mut self,
        replaced: &BTreeMap<GenerationId, GenerationId>,
        stale: &BTreeSet<GenerationId>,
    ) {
        let stays =
            |(id, generation): &(&GenerationId, &mut Generation)| !generation.retired && !stale.contains(id);
        for (_, generation) in self.generations.iter_mut().filter(stays) {
            for needed in &mut generation.policy.after {
                *needed = replaced.get(needed).copied().unwrap_or(*needed);
            }
        }
    }

    /// Has these generations end. They are forgotten then.
    fn retire(&mut self, now: Duration, ids: &BTreeSet<GenerationId>, cause: Cause) {
        for id in ids {
            let Some(generation) = self.generations.get_mut(id) else { continue };
            generation.retired = true;
            match generation.phase {
                Phase::Pending => self.finish(*id, Outcome::NotStarted),
                Phase::Backoff => self.finish(*id, Outcome::Stopped),
                Phase::Starting => self.abandon(now, *id, cause),
                Phase::Running => generation.deadline = None,
                Phase::Asked | Phase::Cut | Phase::Ended => {}
            }
            if self.phase(*id) == Phase::Ended {
                self.forget(*id);
            }
        }
        let lives = |id: &&GenerationId| self.generations.get(id).is_some_and(Generation::lives);
        let living: BTreeSet<_> = ids.iter().filter(lives).copied().collect();
        // Some of them can be needed by others that were replaced before them, and have their own time first.
        let begin = self.last_slice_before(&living).map_or(now, |slice| slice.max(now));
        self.dismiss(begin, &living, cause, begin.saturating_add(self.policy.grace));
        self.ask_whoever_may(now);
    }

    /// Notes which generations of a component there are besides the one that takes part.
    fn queue_up(&mut self, incoming: &Incoming) {
        let old = incoming.replaces.and_then(|old| self.generations.get(&old));
        let before = old.map(|generation| generation.line.clone()).unwrap_or_default();
        let all: BTreeSet<_> =
            incoming.replaces.into_iter().chain(before).chain(incoming.before.clone()).collect();
        let line = all.into_iter().rev().filter(|id| self.generations.contains_key(id)).collect();
        if let Some(generation) = self.generations.get_mut(&incoming.id) {
            generation.line = line;
        }
    }

    /// Cuts off the oldest generations of a component if there are too many.
    fn end_the_oldest(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get(&id) else { return };
        let mut line: Vec<_> =
            generation.line.iter().filter(|id| self.generations.contains_key(id)).copied().collect();
        line.sort_unstable_by(|young, old| old.cmp(young));
        // The one that takes part, and the next one, are not among them.
        for old in line.into_iter().skip(GENERATIONS - 2) {
            // Nobody is cut off without having been told.
            self.ask(now, old);
            self.cut(now, old);
        }
    }

    /// Takes a change back before its switch: what was started for it ends again.
    pub(super) fn roll_back(&mut self, now: Duration, because: Option<GenerationId>) {
        let Some(rollout) = self.rollout.take() else { return };
        self.actions.push(Action::RollBack(because));
        let incoming: BTreeSet<_> = rollout.incoming.iter().map(|incoming| incoming.id).collect();
        for id in &incoming {
            if let Some(generation) = self.generations.get_mut(id) {
                generation.trial = false;
            }
        }
        self.retire(now, &incoming, rollout.cause);
        for Incoming { id, replaces, .. } in rollout.incoming {
            let Some(old) = replaces else { continue };
            self.make_room(now, id, old);
            if rollout.keeps_budget {
                self.still_dead(now, old);
            }
        }
    }

    /// A generation that was taken back counts while it ends, and goes before those that have clients.
    fn make_room(&mut self, now: Duration, failed: GenerationId, old: GenerationId) {
        let known = |id: &GenerationId| self.generations.contains_key(id);
        let Some(generation) = self.generations.get(&old).filter(|_| known(&failed)) else { return };
        let line: Vec<_> = generation.line.iter().copied().filter(known).collect();
        if line.len() >= GENERATIONS - 2 {
            self.ask(now, failed);
            self.cut(now, failed);
        }
        if let Some(generation) = self.generations.get_mut(&old) {
            generation.line = [failed].into_iter().chain(line).collect();
        }
    }

    /// The app stops: whatever was to take over takes part in that like all others.
    pub(super) fn give_up_rollout(&mut self) {
        self.reload_wanted = false;
        if let Some(rollout) = self.rollout.take() {
            self.actions.push(Action::RollBack(None));
            for incoming in rollout.incoming {
                if let Some(generation) = self.generations.get_mut(&incoming.id) {
                    (generation.trial, generation.retired) = (false, true);
                }
            }
        }
    }

    pub(super) fn forget(&mut self, id: GenerationId) {
        self.generations.remove(&id);
        self.actions.push(Action::Forget(id));
    }
}
