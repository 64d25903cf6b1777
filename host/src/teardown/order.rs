//! The order among components: who may start, who may be asked, and how long each has.
//!
//! Invariant (I2): nobody is started before those it comes after are ready; nobody is asked before those that come after it
//! have ended, or their slice is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::Action;
use super::generation::{Generation, Leaving};
use super::machine::Machine;
use super::{Cause, GenerationId, HARD_RESERVE, Level, Phase, reserves};

impl Machine {
    /// Starts all who wait for nobody.
    pub(super) fn start_whoever_may(&mut self, now: Duration) {
        if !self.starts_due || !self.loaded || self.level > Level::Running {
            return;
        }
        loop {
            let pending = |(_, generation): &(&GenerationId, &Generation)| generation.phase == Phase::Pending;
            let waiting: Vec<_> = self.generations.iter().filter(pending).map(|(id, _)| *id).collect();
            let (mut left, mut hopeless) = (Vec::new(), Vec::new());
            for id in waiting {
                match self.may_start(id) {
                    May::Now => self.start(now, id),
                    May::Later => left.push(id),
                    May::Never => hopeless.push(id),
                }
            }
            self.starts_due = !left.is_empty();
            if hopeless.is_empty() {
                return;
            }
            for id in hopeless {
                // It can be gone with another one that was taken back.
                if self.phase(id) != Phase::Pending {
                    continue;
                }
                self.actions.push(Action::CannotStart(id));
                self.finish(id, self.last_outcome(id));
                if self.generations.get(&id).is_some_and(|generation| generation.trial)
                    && self.rollout.is_some()
                {
                    self.roll_back(now, Some(id));
                }
            }
        }
    }

    fn may_start(&self, id: GenerationId) -> May {
        let Some(generation) = self.generations.get(&id) else { return May::Never };
        let gone = |generation: &Generation| generation.phase == Phase::Ended || generation.stuck;
        let before = generation.line.iter().filter_map(|id| self.generations.get(id));
        let mut answer = match generation.waits && (generation.trial || !before.into_iter().all(gone)) {
            true => May::Later,
            false => May::Now,
        };
        for needed in generation.policy.after.iter().filter_map(|id| self.generations.get(id)) {
            // Before a switch, the one that it will follow does its work.
            let has_stand_in = generation.trial && needed.trial && needed.waits;
            let up = needed.ready && (needed.phase == Phase::Running || gone(needed));
            match up || has_stand_in {
                true => {}
                false if gone(needed) => return May::Never,
                // Whoever is on the way out can come back.
                false => answer = May::Later,
            }
        }
        answer
    }

    /// Asks all who are to go and whom nobody needs any more.
    pub(super) fn ask_whoever_may(&mut self, now: Duration) {
        if !self.asks_due {
            return;
        }
        // In the delay, the others will go, too; before it, they stay whoever goes.
        let blocks = |(_, generation): &(&GenerationId, &Generation)| {
            let all_go = self.level == Level::Delay;
            generation.lives() && generation.leaving.map_or(all_go, |leaving| now < leaving.until)
        };
        let mut needed: BTreeMap<GenerationId, Duration> = BTreeMap::new();
        for (id, blocker) in self.generations.iter().filter(blocks) {
            let until = blocker.leaving.map_or(Duration::MAX, |leaving| leaving.until);
            for id in self.needs(*id) {
                let first = needed.entry(id).or_insert(until);
                *first = until.min(*first);
            }
        }
        let waits = |(_, generation): &(&GenerationId, &Generation)| {
            generation.phase == Phase::Running && generation.leaving.is_some()
        };
        let waiting: Vec<_> = self.generations.iter().filter(waits).map(|(id, _)| *id).collect();
        let (wait, may): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|id| needed.contains_key(id));
        self.asks_due = !wait.is_empty();
        self.next_slice = wait.iter().filter_map(|id| needed.get(id)).min().copied();
        for id in may {
            self.ask(now, id);
        }
    }

    /// Asks a component that is to go.
    pub(super) fn ask(&mut self, now: Duration, id: GenerationId) {
        let factor = self.grace_factor;
        let Some(generation) =
            self.generations.get_mut(&id).filter(|generation| generation.phase == Phase::Running)
        else {
            return;
        };
        let Some(Leaving { cause, until }) = generation.leaving else { return };
        let own = generation.policy.grace.map(|grace| now.saturating_add(grace.saturating_mul(factor)));
        // Who has waited for others while the app runs has no more for it.
        let alone = now.saturating_add(self.policy.grace);
        let until = if self.level == Level::Running { until.min(alone) } else { until };
        let deadline = own.map_or(until, |own| own.min(until));
        generation.phase = Phase::Asked;
        generation.deadline = Some(deadline);
        self.due = self.due.min(deadline);
        self.actions.push(Action::Ask { id, cause, deadline });
    }

    /// Asks a component now, whatever comes after it. Who goes alone has as long as the app would have.
    pub(super) fn ask_alone(&mut self, now: Duration, id: GenerationId, cause: Cause) {
        let end = self.deadlines.map_or(now.saturating_add(self.policy.grace), |deadlines| deadlines.end);
        if let Some(generation) = self.generations.get_mut(&id) {
            generation.leaving.get_or_insert(Leaving { cause, until: end });
        }
        self.ask(now, id);
    }

    /// Gives up a component that has not been entered.
    pub(super) fn abandon(&mut self, now: Duration, id: GenerationId, cause: Cause) {
        let until = now.saturating_add(self.policy.grace);
        let Some(generation) =
            self.generations.get_mut(&id).filter(|generation| generation.leaving.is_none())
        else {
            return;
        };
        generation.leaving = Some(Leaving { cause, until });
        generation.deadline = Some(until);
        self.due = self.due.min(until);
        self.actions.push(Action::Abandon(id));
    }

    /// Has these components go, in waves, and all of them by `end`.
    pub(super) fn dismiss(
        &mut self,
        now: Duration,
        ids: &BTreeSet<GenerationId>,
        cause: Cause,
        end: Duration,
    ) {
        let waves = self.stop_waves(ids);
        let count = waves.values().max().map_or(0, |last| last + 1);
        let mut wishes = vec![Some(Duration::ZERO); count];
        for (id, wave) in &waves {
            let own = self.generations.get(id).and_then(|generation| generation.policy.grace);
            let own = own.map(|grace| grace.saturating_mul(self.grace_factor));
            if let Some(wish) = wishes.get_mut(*wave) {
                *wish = wish.zip(own).map(|(wish, own)| wish.max(own));
            }
        }
        let reserves = reserves(end.saturating_sub(now), &wishes);
        for (id, wave) in waves {
            let reserve = reserves.get(wave).copied().unwrap_or_default();
            if let Some(generation) = self.generations.get_mut(&id) {
                let until = end.saturating_sub(reserve);
                // Who is on the way out already keeps its cause, and gets no more time.
                let old = generation.leaving.map_or(until, |leaving| leaving.until.min(until));
                let cause = generation.leaving.map_or(cause, |leaving| leaving.cause);
                let asked = generation.phase > Phase::Running;
                let until = if asked { old.max(now) } else { until };
                generation.leaving = Some(Leaving { cause, until });
                if generation.phase == Phase::Asked {
                    generation.deadline =
                        Some(generation.deadline.map_or(until, |deadline| deadline.min(until)));
                    self.due = self.due.min(until);
                }
            }
        }
        self.asks_due = true;
    }

    /// Returns when the last slice ends of those who go already and need one of these.
    pub(super) fn last_slice_before(&self, ids: &BTreeSet<GenerationId>) -> Option<Duration> {
        let goes = |(id, generation): &(&GenerationId, &Generation)| {
            generation.lives()
                && generation.leaving.is_some()
                && !ids.contains(id)
                && !self.needs(**id).is_disjoint(ids)
        };
        self.generations
            .iter()
            .filter(goes)
            .filter_map(|(_, generation)| Some(generation.leaving?.until))
            .max()
    }

    /// Returns the wave of each of these in their stop: 0 for those that nobody comes after, else one more than the last of
    /// those that do. A loop instead of recursion: a manifest can be as deep as it likes.
    fn stop_waves(&self, ids: &BTreeSet<GenerationId>) -> BTreeMap<GenerationId, usize> {
        let edges: BTreeMap<_, BTreeSet<_>> = ids.iter().map(|id| (*id, self.needs(*id))).collect();
        let after = |id: &GenerationId| edges.get(id).into_iter().flatten().filter(|id| ids.contains(id));
        let mut dependents: BTreeMap<GenerationId, usize> = ids.iter().map(|id| (*id, 0)).collect();
        for needed in ids.iter().flat_map(after) {
            *dependents.entry(*needed).or_default() += 1;
        }
        let mut waves: BTreeMap<_, usize> = ids.iter().map(|id| (*id, 0)).collect();
        let mut free: Vec<_> =
            dependents.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
        while let Some(id) = free.pop() {
            let next = waves.get(&id).map_or(0, |wave| wave + 1);
            for needed in after(&id) {
                if let Some(wave) = waves.get_mut(needed) {
                    *wave = (*wave).max(next);
                }
                if let Some(count) = dependents.get_mut(needed) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(*needed);
                    }
                }
            }
        }
        waves
    }

    /// Returns those who live among all that a component comes after, also behind others that do not.
    fn needs(&self, id: GenerationId) -> BTreeSet<GenerationId> {
        let (mut found, mut behind, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![id]);
        while let Some(generation) = open.pop().and_then(|id| self.generations.get(&id)) {
            for id in &generation.policy.after {
                match self.generations.get(id) {
                    Some(generation) if generation.lives() => {
                        found.insert(*id);
                    }
                    Some(_) if behind.insert(*id) => open.push(*id),
                    Some(_) | None => {}
                }
            }
        }
        found
    }

    /// Cuts a component off. One that is not gone some time later cannot be: while the app runs, it stops for that.
    pub(super) fn cut(&mut self, now: Duration, id: GenerationId) {
        let running = self.level == Level::Running;
        let Some(generation) = self.generations.get_mut(&id).filter(|generation| generation.lives()) else {
            return;
        };
        if generation.phase < Phase::Cut {
            generation.phase = Phase::Cut;
            generation.deadline = running.then(|| now.saturating_add(HARD_RESERVE));
            self.due = self.due.min(generation.deadline.unwrap_or(Duration::MAX));
            self.actions.push(Action::Cut(id));
        }
    }
}

/// Whether a component may start.
enum May {
    Now,
    Later,
    /// One that it comes after has ended and was never ready.
    Never,
}
