//! The rules that hold behind each step, checked by a `Checker` on its model.
//!
//! Invariant: nothing in here changes what was seen, but for what follows from time alone.

use std::time::Duration;

use super::checker::Checker;
use super::model::ModelGeneration;
use super::*;

impl Checker {
    pub(super) fn check_step(&mut self, before: &Machine, actions: &[Action]) {
        let machine = &self.machine;
        let raised =
            actions.iter().filter_map(|action| if let Action::Raise(to) = action { Some(*to) } else { None });
        let levels: Vec<_> = [before.level()].into_iter().chain(raised).collect();
        assert!(levels.is_sorted_by(|low, high| low < high), "I5: levels only rise: {levels:?}");
        assert_eq!(levels.last(), Some(&machine.level()), "each rise is told");
        if before.cause().is_some() {
            assert_eq!(machine.cause(), before.cause(), "I6");
        }
        assert_eq!(machine.cause().is_some(), machine.deadlines().is_some());
        if let (Some(old), Some(new)) = (before.deadlines(), machine.deadlines()) {
            assert!(
                new.drain <= old.drain && new.end <= old.end && new.hard <= old.hard,
                "I5: {old:?} {new:?}"
            );
        }
        self.note_time();
        self.check_budgets();
        self.check_bounds();
        self.check_order(actions);
        if self.left.is_none() {
            self.check_nobody_is_left_out();
            self.check_generations();
        }
        self.check_end(before);
    }

    /// Notes the effects of time and of the ends of others.
    fn note_time(&mut self) {
        if self.level > Level::Running {
            return;
        }
        let now = self.now;
        let waits = |generation: &ModelGeneration| {
            !generation.lives()
                && generation.counts()
                && (generation.ended.is_none() || generation.again.is_some())
        };
        let waiting: Vec<_> =
            self.model.0.iter().filter(|(_, generation)| waits(generation)).map(|(id, _)| *id).collect();
        for id in waiting {
            let due = self.model.get(id).again.is_none_or(|at| now >= at);
            if self.loaded && due && self.model.lacks(id) {
                self.model.get_mut(id).hopeless = true;
            }
        }
    }

    /// R11: no more restarts than the budget allows, and each of them in the model.
    fn check_budgets(&mut self) {
        for (id, generation) in &mut self.model.0 {
            let count = self.machine.restarts(*id);
            assert!(count == generation.counted || count == generation.counted + 1, "{id:?}: one at a time");
            if count > generation.counted {
                (generation.counted, _) = (count, generation.spent.push(self.now));
                assert!(
                    generation
                        .policy
                        .restart
                        .max
                        .is_none_or(|max| generation.recent(self.now) <= max as usize),
                    "R11: {id:?}"
                );
            }
        }
    }

    pub(super) fn check_bounds(&self) {
        let (machine, now) = (&self.machine, self.now);
        if self.left.is_some() {
            return;
        }
        assert!(machine.next_wake().is_none_or(|at| at > now), "what is due has been done");
        if let Some(all) = machine.deadlines() {
            assert!(all.end <= all.hard);
            let due = if machine.level() < Level::Cut { all.end } else { all.hard };
            assert!(machine.next_wake().is_some_and(|at| at <= due), "I3");
            assert!(now < all.hard, "I3: left by {:?}", all.hard);
        }
        for (id, generation) in &self.model.0 {
            let own = machine.deadline(*id);
            let over = |end: Duration| machine.deadlines().is_some_and(|all| end > all.end);
            assert!(!own.is_some_and(over), "nobody has time past the app's end");
            if let (Some(told), None, true) = (generation.seen.asked, generation.seen.cut, generation.lives())
            {
                assert!(
                    own.is_some_and(|own| now < own && own <= told),
                    "{id:?} is cut off in time: {own:?}"
                );
            }
            if self.level == Level::Drain && generation.seen.cut.is_none() && generation.lives() {
                own.into_iter().for_each(|own| self.check_reserve(*id, own));
            }
            let bounded =
                !(generation.policy.pooled && generation.policy.on_lost == crate::plan::OnEnd::Restart);
            if (generation.starts() || generation.runs())
                && !generation.leaves()
                && self.level == Level::Running
                && bounded
                && !generation.out
            {
                let late =
                    generation.seen.started.is_some_and(|at| now >= at + generation.policy.start_timeout);
                assert!(generation.seen.ready || !late, "R9: {id:?} is ready in time");
            }
        }
    }

    /// I2: a generation that is asked leaves enough time to those it comes after.
    fn check_reserve(&self, id: GenerationId, deadline: Duration) {
        let Some(drain) = self.drain else { return };
        for needed in self.model.needs(id) {
            let generation = self.model.get(needed);
            if generation.runs()
                && generation.seen.started.is_some_and(|at| at < drain.at)
                && generation.seen.slice.is_some()
            {
                let least = self.least(generation, drain.total / drain.count);
                assert!(
                    deadline + least <= drain.at + drain.total,
                    "I2: {id:?} leaves {needed:?} its reserve"
                );
            }
        }
    }

    fn least(&self, generation: &ModelGeneration, share: Duration) -> Duration {
        generation
            .policy
            .grace
            .map_or(share, |own| own.saturating_mul(self.machine.grace_factor()).min(share))
    }

    /// I2: a generation is asked once those that depend on it have ended, or their slices are over.
    fn check_order(&self, actions: &[Action]) {
        for (at, action) in actions.iter().enumerate() {
            let Action::Ask { id, deadline, .. } = *action else { continue };
            let Some(generation) = self.model.0.get(&id).filter(|_| !self.forced) else { continue };
            let own = generation.seen.returned || generation.seen.dead || generation.halted;
            // The oldest generation, if there are too many.
            if own || actions.get(at + 1) == Some(&Action::Cut(id)) {
                continue;
            }
            for other in self.model.dependents(id) {
                let (seen, stays) = (&self.model.get(other).seen, !self.model.get(other).leaves());
                let stays = stays && self.level == Level::Running;
                let gone = seen.cut.is_some() || seen.failed || (seen.abandoned && !seen.entered);
                let over = gone && seen.slice.is_none_or(|slice| self.now >= slice);
                assert!(stays || over, "I2: {id:?} is asked while {other:?} is there");
            }
            if let (Some(drain), true) = (self.drain.filter(|_| self.level == Level::Drain), self.punctual)
                && generation.seen.started.is_some_and(|at| at < drain.at)
                && generation.seen.slice.is_some_and(|slice| slice >= drain.at)
                && !generation.seen.abandoned
                // One that was asked before the stop, in the same moment, has what it was told then, by the grace of the app; a
                // `fail-grace` that is longer gives it no more (see `whoever_was_asked_before_the_stop_gets_no_more_time_by_it`).
                && !actions.iter().skip(at).any(|later| *later == Action::Raise(Level::Drain))
            {
                let least = self.least(generation, drain.total / drain.count);
                assert!(deadline - self.now >= least, "R8: {id:?} gets its reserve: {least:?}");
            }
        }
    }

    /// Each generation that may start was started; each one that has to stop and that no other needs was asked.
    fn check_nobody_is_left_out(&self) {
        let running = self.level == Level::Running;
        for (id, generation) in &self.model.0 {
            let waits = !generation.lives() && generation.counts() && !generation.hopeless;
            let due = match (generation.ended, generation.again) {
                (None, _) => true,
                (Some(_), again) => again.is_some_and(|at| self.now >= at),
            };
            assert!(!(running && self.loaded && waits && due && self.model.may_start(*id)), "{id:?} starts");
            if generation.runs()
                && (self.level >= Level::Drain
                    || (running && (generation.retired || generation.yields))
                    || generation.seen.abandoned)
            {
                let mut blockers = self.model.dependents(*id).into_iter().filter(|other| {
                    let other = self.model.get(*other);
                    !running || other.leaves()
                });
                assert!(self.level < Level::Cut && blockers.next().is_some(), "I1: {id:?} is asked");
            }
        }
        if running && self.loaded && self.wanted && !self.busy && self.rollout.is_none() {
            let last = self.prepared.expect("the first one begins at once");
            assert!(self.now < last + Duration::from_millis(500), "R6: what was asked for begins");
        }
        if let (true, Some(rollout)) = (running, &self.rollout) {
            let up = |incoming: &Incoming| self.model.get(incoming.id).is_up(self.now);
            assert!(!rollout.incoming.iter().all(up), "they take over");
        }
    }

    /// R4: at most four generations of a component are alive.
    fn check_generations(&self) {
        let alive = |generation: &&ModelGeneration| generation.lives() && generation.seen.cut.is_none();
        for generation in self.model.0.values() {
            let same = |other: &&ModelGeneration| other.root == generation.root;
            let count = self.model.0.values().filter(alive).filter(same).count();
            assert!(count <= 4, "R4: {count} generations of {:?}", generation.root);
        }
    }

    /// A generation that ended comes back if its policy says so, and no other does.
    pub(super) fn check_comes_back(&self, id: GenerationId) {
        let Some(generation) = self.model.0.get(&id) else { return };
        let comes = generation.comes_back() && generation.counts() && self.level == Level::Running;
        assert!(!comes || generation.lives() || generation.again.is_some(), "{id:?} comes back");
    }

    fn check_end(&self, before: &Machine) {
        let (machine, stops) = (&self.machine, self.machine.cause().is_some());
        let (now, all) = (self.now, &self.model.0);
        let over = |id: &GenerationId| match stops {
            true => !self.model.get(*id).lives() || self.model.get(*id).stuck,
            false => self.model.is_over(*id),
        };
        let cut =
            |generation: &ModelGeneration| generation.seen.cut.is_some_and(|at| now >= at + HARD_RESERVE);
        // A generation that is stuck in the moment in which the stop begins has the time of the stop.
        let just =
            |generation: &ModelGeneration| before.level() == Level::Running && stops && generation.lives();
        let quiet = all.iter().all(|(id, generation)| over(id) && !just(generation));
        let nearly = all.iter().all(|(id, generation)| over(id) || cut(generation));
        let late = machine.deadlines().is_some_and(|all| now >= all.hard);
        let at_once = before.level() == Level::Cut && matches!(machine.forced(), Some(Signal::Int));
        assert!(!quiet || self.left.is_some() || !(self.loaded || stops), "I4: quiet means leave");
        assert!(self.left.is_none() || nearly || late || at_once, "it leaves for a reason");
        assert_eq!(self.left.is_some(), machine.level() == Level::Exit);
        if let Some(code) = self.left {
            self.check_code(code);
        }
    }

    /// I11, from the model.
    fn check_code(&self, code: ExitCode) {
        let outcomes: Vec<_> = self.model.0.values().map(ModelGeneration::outcome).collect();
        let found: Vec<_> = self.model.0.keys().map(|id| self.machine.outcome(*id)).collect();
        assert_eq!(found, outcomes);
        let outcomes: Vec<_> = outcomes.into_iter().collect();
        assert_eq!(code, exit_code(self.host_bug, self.machine.forced(), &outcomes), "I11");
        assert_eq!(code, self.machine.exit_code());
        let gave_up = self.model.0.values().any(|generation| generation.gave_up);
        let above = self.host_bug || self.machine.forced().is_some();
        assert!(!gave_up || above || code == ExitCode::GAVE_UP, "R11: 75");
    }

    /// Feeds the clock whenever it is due, up to `until`.
    pub(super) fn clock(&mut self, until: Duration) {
        while let Some(at) = self.machine.next_wake().filter(|at| *at <= until && self.left.is_none()) {
            self.feed(at.max(self.now), Event::Clock);
        }
    }

    /// I3: nothing but the clock comes any more.
    pub(super) fn end(mut self) {
        // Without a stop, a component whose starts overrun can be started again for ever.
        let until =
            if self.machine.cause().is_some() { Duration::MAX } else { self.now + 100 * HARD_RESERVE };
        self.clock(until);
        assert!(self.machine.cause().is_none() || self.left.is_some(), "I3: a cause leads to the exit");
        for event in [Event::Clock, Event::Signal(Signal::Int), Event::Failed(GenerationId(0))] {
            if self.left.is_some() {
                self.feed(self.now + Duration::from_millis(700), event);
            }
        }
    }
}
