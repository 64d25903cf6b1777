//! Order of starts and stops among generations, and the time slice of each.
//!
//! Invariant (I2): a generation starts once those it comes after are ready. It is asked to stop once those that come after it have
//! ended, or their slices are over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Machine;
use crate::plan::{all_waves, reversed};
use crate::teardown::generation::{Generation, Role, Slice, State};
use crate::teardown::{Action, Cause, GenerationId, HARD_RESERVE, Level, Phase, reserves};

enum Start {
    Now,
    Later,
    /// One that it comes after has ended and was never ready, or is stranded.
    Never,
}

impl Machine {
    pub(super) fn start_pending(&mut self, now: Duration) {
        if !self.loaded || self.level() > Level::Running {
            return;
        }
        loop {
            let mut hopeless = Vec::new();
            for id in self.generations.ids::<Vec<_>>(|generation| generation.phase() == Phase::Pending) {
                match self.may_start(id) {
                    Start::Now => self.start(now, id),
                    Start::Later => {}
                    Start::Never => hopeless.push(id),
                }
            }
            if hopeless.is_empty() {
                return;
            }
            for id in hopeless {
                // The rollback of another one can have ended it.
                let Some(generation) = self.generations.get(id) else { continue };
                let State::Pending { last } = generation.state() else { continue };
                let on_trial = generation.on_trial();
                self.actions.push(Action::CannotStart(id));
                self.finish(id, last);
                if on_trial {
                    self.roll_back(now, Some(id));
                }
            }
        }
    }

    /// Returns whether a generation waits to start in vain.
    pub(super) fn is_hopeless(&self, id: GenerationId) -> bool {
        self.phase(id) == Phase::Pending && matches!(self.may_start(id), Start::Never)
    }

    fn may_start(&self, id: GenerationId) -> Start {
        let Some(generation) = self.generations.get(id) else { return Start::Never };
        let mut before = generation.predecessors.iter().filter_map(|id| self.generations.get(*id));
        let is_held = generation.waits && !before.all(Generation::is_gone);
        let mut answer = if is_held { Start::Later } else { Start::Now };
        for id in &generation.policy.after {
            let Some(needed) = self.generations.get(*id) else { continue };
            // The predecessor of a generation that waits does its work until all that need not wait are up.
            let is_beside = generation.on_trial() && !generation.waits;
            let has_stand_in = is_beside && needed.on_trial() && needed.waits;
            if has_stand_in || self.is_there(*id) {
                continue;
            }
            // A rollout does not wait for one that only another rollout brings back.
            let is_lost = needed.is_gone() && !self.makes_room(*id);
            if is_lost || (generation.on_trial() && self.is_stranded(*id)) {
                return Start::Never;
            }
            // A generation that stops can come back.
            answer = Start::Later;
        }
        answer
    }

    /// Returns whether a generation does its work, or was ready when it ended. The successor of one that makes room does that work
    /// once it is up: others of the rollout can wait for one that waits for it, so the switch would never come.
    fn is_there(&self, id: GenerationId) -> bool {
        let is_there = |generation: &&Generation| {
            generation.is_ready() && (generation.phase() == Phase::Running || generation.is_gone())
        };
        if self.makes_room(id) {
            let successor = self.successor(id).and_then(|id| self.generations.get(id));
            return successor.filter(is_there).is_some_and(Generation::is_up);
        }
        self.generations.get(id).filter(is_there).is_some()
    }

    /// Returns whether a generation makes room, and its successor does its work soon, or it comes back itself. One that cannot be
    /// ended does not come back.
    fn makes_room(&self, id: GenerationId) -> bool {
        self.generations.get(id).is_some_and(|generation| {
            generation.role == Role::Yielding && (!generation.is_gone() || self.successor(id).is_some())
        })
    }

    /// Returns whether a generation is out of service, or waits to start until another one is not, directly or through others.
    fn is_stranded(&self, id: GenerationId) -> bool {
        self.generations.get(id).is_some_and(|generation| {
            let waits = generation.phase() == Phase::Pending;
            generation.is_out_of_service()
                || (waits && generation.policy.after.iter().any(|needed| self.is_stranded(*needed)))
        })
    }

    /// Asks each generation that has to stop and that no other needs any more.
    pub(super) fn ask_unneeded(&mut self, now: Duration) {
        if self.next_ask.is_none() {
            return;
        }
        // During the delay the generations without a slice will stop, too; while the app runs, they stay.
        let all_stop = self.level() == Level::Delay;
        let mut needed_until: BTreeMap<GenerationId, Duration> = BTreeMap::new();
        for (id, blocker) in self.generations.iter().filter(|(_, generation)| generation.lives()) {
            let until = match blocker.slice {
                Some(slice) if now < slice.end => slice.end,
                None if all_stop => Duration::MAX,
                Some(_) | None => continue,
            };
            for id in self.needs(id) {
                let first = needed_until.entry(id).or_insert(until);
                *first = until.min(*first);
            }
        }
        let waits =
            |generation: &Generation| generation.phase() == Phase::Running && generation.slice.is_some();
        // One that waits itself stops first, also when its slice is over.
        let mut open: Vec<_> = needed_until.iter().map(|(id, until)| (*id, *until)).collect();
        while let Some((id, until)) = open.pop() {
            if self.generations.get(id).is_some_and(waits) {
                for id in self.needs(id) {
                    needed_until.entry(id).or_insert_with(|| {
                        open.push((id, until));
                        until
                    });
                }
            }
        }
        self.next_ask = None;
        for id in self.generations.ids::<Vec<_>>(waits) {
            match needed_until.get(&id) {
                Some(until) => self.next_ask = Some(self.next_ask.map_or(*until, |next| next.min(*until))),
                None => self.ask(now, id),
            }
        }
    }

    /// Asks a generation that has to stop, even if others need it.
    pub(super) fn ask(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get(id) else { return };
        let (Phase::Running, Some(Slice { cause, end })) = (generation.phase(), generation.slice) else {
            return;
        };
        // While the app runs, a stop takes at most the grace of the app, also after a wait for others.
        let alone = now.saturating_add(self.policy.grace);
        let end = if self.level() == Level::Running { end.min(alone) } else { end };
        let own = self.own_grace(generation).map(|grace| now.saturating_add(grace));
        let deadline = own.map_or(end, |own| own.min(end));
        self.generations.set(id, State::Asked { deadline });
        self.actions.push(Action::Ask { id, cause, deadline });
    }

    /// Asks a generation that stops alone. Its slice is as long as that of the app.
    pub(super) fn ask_alone(&mut self, now: Duration, id: GenerationId, cause: Cause) {
        let end = self.deadlines().map_or(now.saturating_add(self.policy.grace), |deadlines| deadlines.end);
        if let Some(generation) = self.generations.get_mut(id) {
            generation.slice.get_or_insert(Slice { cause, end });
        }
        self.ask(now, id);
    }

    pub(super) fn abandon(&mut self, now: Duration, id: GenerationId, cause: Cause) {
        let end = now.saturating_add(self.policy.grace);
        let Some(generation) = self.generations.get_mut(id) else { return };
        if generation.slice.is_none() {
            generation.slice = Some(Slice { cause, end });
            self.generations.set(id, State::Starting { bound: Some(end) });
            self.actions.push(Action::Abandon(id));
        }
    }

    /// Has these generations stop in waves, the last one by the end of the slice.
    pub(super) fn dismiss(&mut self, now: Duration, ids: &BTreeSet<GenerationId>, slice: Slice) {
        let Slice { cause, end } = slice;
        let needs = ids.iter().map(|id| (*id, self.needs(*id))).collect();
        let waves = all_waves(&reversed(&needs));
        // The longest grace in a wave, or `None` if one of its generations has none of its own.
        let wish = |wave: &Vec<GenerationId>| {
            let mut graces = wave.iter().filter_map(|id| Some(self.own_grace(self.generations.get(*id)?)));
            graces.try_fold(Duration::ZERO, |longest, own| Some(longest.max(own?)))
        };
        let wishes: Vec<_> = waves.iter().map(wish).collect();
        let reserves = reserves(end.saturating_sub(now), &wishes);
        for (wave, reserve) in waves.iter().zip(reserves) {
            for id in wave {
                self.give_slice(now, *id, Slice { cause, end: end.saturating_sub(reserve) });
            }
        }
        self.next_ask = Some(now);
    }

    /// Sets the slice of a generation. One that stops already keeps its cause, and one that was asked gets no more time.
    fn give_slice(&mut self, now: Duration, id: GenerationId, slice: Slice) {
        let Some(generation) = self.generations.get_mut(id) else { return };
        let Slice { cause, end: old } = generation.slice.unwrap_or(slice);
        let was_asked = generation.phase() > Phase::Running;
        let end = if was_asked { old.min(slice.end).max(now) } else { slice.end };
        generation.slice = Some(Slice { cause, end });
        if let State::Asked { deadline } = generation.state() {
            self.generations.set(id, State::Asked { deadline: deadline.min(end) });
        }
    }

    /// Returns the end of the last slice among other generations that stop already and need one of these.
    pub(super) fn last_slice_before(&self, ids: &BTreeSet<GenerationId>) -> Option<Duration> {
        let stops = |(id, generation): &(GenerationId, &Generation)| {
            generation.slice.is_some()
                && generation.lives()
                && !ids.contains(id)
                && !self.needs(*id).is_disjoint(ids)
        };
        self.generations.iter().filter(stops).filter_map(|(_, generation)| Some(generation.slice?.end)).max()
    }

    /// Returns the living generations that one comes after, directly or through others that do not live.
    fn needs(&self, id: GenerationId) -> BTreeSet<GenerationId> {
        let (mut found, mut behind, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![id]);
        while let Some(generation) = open.pop().and_then(|id| self.generations.get(id)) {
            for id in &generation.policy.after {
                match self.generations.get(*id) {
                    Some(needed) if needed.lives() => {
                        found.insert(*id);
                    }
                    Some(_) if behind.insert(*id) => open.push(*id),
                    Some(_) | None => {}
                }
            }
        }
        found
    }

    /// Cuts a generation off. While the app runs, the generation has [`HARD_RESERVE`] to end.
    pub(super) fn cut(&mut self, now: Duration, id: GenerationId) {
        if (Phase::Starting..=Phase::Asked).contains(&self.phase(id)) {
            let running = self.level() == Level::Running;
            let gone_by = running.then(|| now.saturating_add(HARD_RESERVE));
            self.generations.set(id, State::Cut { gone_by });
            self.actions.push(Action::Cut(id));
        }
    }

    /// A notice comes before each cut-off.
    pub(super) fn ask_and_cut(&mut self, now: Duration, id: GenerationId) {
        self.ask(now, id);
        self.cut(now, id);
    }
}
