//! A `Checker` around the machine, for `properties`: follows what it hears and says, and checks each action as it is said.
//!
//! Invariant: what is known is in `model`; the rules that hold behind each step are in `invariants`.

use std::time::Duration;

use super::model::{Model, ModelGeneration, Seen};
use super::*;
use crate::plan::OnEnd;

/// Start and length of the drain, and the number of generations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) at: Duration,
    pub(super) total: Duration,
    pub(super) count: u32,
}

/// A machine, and all that was seen of it.
pub(super) struct Checker {
    pub(super) machine: Machine,
    twin: Machine,
    pub(super) model: Model,
    pub(super) now: Duration,
    /// As told by the actions so far.
    pub(super) level: Level,
    pub(super) loaded: bool,
    pub(super) host_bug: bool,
    pub(super) left: Option<ExitCode>,
    /// The rollout on trial.
    pub(super) rollout: Option<Rollout>,
    /// Something is being prepared.
    pub(super) busy: bool,
    pub(super) wanted: bool,
    pub(super) prepared: Option<Duration>,
    pub(super) drain: Option<Drain>,
    /// All were cut off without waiting.
    pub(super) forced: bool,
    /// Whether the clock is fed when it is due.
    pub(super) punctual: bool,
}

impl Checker {
    pub(super) fn new((policy, generations): (Policy, Vec<GenerationPolicy>), punctual: bool) -> Self {
        let ids = generations.iter().enumerate().map(|(at, policy)| (GenerationId(at), policy));
        let all = ids.map(|(id, policy)| (id, ModelGeneration::new(policy.clone(), id))).collect();
        let model = Model(all, Duration::ZERO);
        let machine = Machine::new(policy, generations, 7);
        let (twin, level) = (machine.clone(), Level::Running);
        let (loaded, host_bug, busy, wanted, forced) = (false, false, false, false, false);
        let (left, rollout, prepared, drain, now) = (None, None, None, None, Duration::ZERO);
        Self {
            machine,
            twin,
            model,
            now,
            level,
            loaded,
            host_bug,
            left,
            rollout,
            busy,
            wanted,
            prepared,
            drain,
            forced,
            punctual,
        }
    }

    /// Feeds one event and checks every rule.
    pub(super) fn feed(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let knew = self.left.is_none();
        let ended =
            matches!(event, Event::Ended(id, _) if self.model.0.get(&id).is_some_and(ModelGeneration::lives));
        if knew {
            self.now = now;
            self.note_event(event);
        }
        let actions = self.step(now, |machine| machine.on(now, event));
        if let (true, Event::Ended(id, _), true) = (ended, event, knew) {
            self.check_comes_back(id);
        }
        actions
    }

    /// Begins a change and checks every rule.
    pub(super) fn roll_out(&mut self, now: Duration, rollout: Rollout) -> Vec<Action> {
        self.busy = false;
        if self.level > Level::Running || self.rollout.is_some() {
            let refused = self.machine.roll_out(now, rollout.clone());
            assert_eq!(refused, [Action::RollBack(None)], "R13");
            assert_eq!(self.twin.roll_out(now, rollout), refused);
            return Vec::new();
        }
        for incoming in &rollout.incoming {
            let root = incoming.replaces.map_or(incoming.id, |old| self.model.get(old).root);
            let waits = incoming.waits && (incoming.replaces.is_some() || !incoming.before.is_empty());
            let generation =
                ModelGeneration { trial: true, waits, ..ModelGeneration::new(incoming.policy.clone(), root) };
            self.model.0.insert(incoming.id, generation);
        }
        self.rollout = Some(rollout.clone());
        self.step(now, |machine| machine.roll_out(now, rollout.clone()))
    }

    fn step(&mut self, now: Duration, act: impl Fn(&mut Machine) -> Vec<Action>) -> Vec<Action> {
        (self.now, self.model.1) = (now, now);
        let before = self.machine.clone();
        let just_stuck = self.note_who_is_stuck();
        let actions = act(&mut self.machine);
        assert_eq!(actions, act(&mut self.twin), "the same events give the same actions");
        if self.left.is_some() {
            let nothing = |action: &Action| *action == Action::RollBack(None);
            assert!(actions.iter().all(nothing), "nothing is done after Leave: {actions:?}");
        } else {
            actions.iter().for_each(|action| self.note_action(&before, *action));
            self.note_yields();
            self.check_step(&before, &actions);
            self.model.0.values_mut().for_each(|generation| generation.passed = generation.has_passed(now));
            // A stop that begins in that moment gives each generation its own time.
            for id in just_stuck.into_iter().filter(|_| self.level > Level::Running) {
                self.model.0.entry(id).and_modify(|generation| generation.stuck = false);
            }
        }
        actions
    }

    fn note_event(&mut self, event: Event) {
        let runs = self.level == Level::Running;
        match event {
            Event::Loaded => self.loaded = true,
            Event::HostBug(_) => self.host_bug = true,
            Event::Signal(Signal::Hup) | Event::ReloadRequested => self.wanted |= runs,
            Event::NothingToChange => self.busy = false,
            Event::Entered(id)
            | Event::Ready(id)
            | Event::Returned(id)
            | Event::Failed(id)
            | Event::Lost(id)
            | Event::Unhealthy(id)
            | Event::Ended(id, _)
            | Event::StopOne(id, _) => {
                let now = self.now;
                if let Some(generation) = self.model.0.get_mut(&id) {
                    note_of_one(generation, event, runs);
                    let seen = &mut generation.seen;
                    seen.up = seen.up.or((seen.ready && seen.entered).then_some(now));
                }
                self.note_put_back(id);
            }
            Event::Signal(_) | Event::StopRequested(_) | Event::OperatorStop(_) | Event::Clock => {}
        }
    }

    fn note_action(&mut self, before: &Machine, action: Action) {
        assert_eq!(self.left, None, "Leave is the last action");
        let stops = self.level > Level::Running || self.machine.cause().is_some();
        match action {
            Action::Start(id) => {
                self.note_yields();
                self.note_start(id);
            }
            Action::Ask { id, cause, deadline } => {
                self.note_yields();
                self.note_ask(id, cause, deadline);
            }
            Action::Cut(id) => self.note_cut(id),
            Action::FailStart(id) => self.note_fail_start(id),
            Action::Abandon(id) => {
                self.note_yields();
                let generation = self.model.get_mut(id);
                assert!(
                    generation.starts() && !generation.seen.abandoned,
                    "{id:?} is abandoned once, while it starts"
                );
                generation.seen.abandoned = true;
            }
            Action::Restart { id, pause } => self.note_restart(before, id, pause),
            Action::GiveUp(id) => self.note_give_up(id),
            Action::PutOutOfService(id) => self.note_put_out(id),
            Action::CannotStart(id) => {
                self.note_yields();
                let generation = self.model.get(id);
                assert!(
                    !generation.lives() && generation.counts() && self.model.lacks(id),
                    "{id:?} waits in vain"
                );
                self.model.get_mut(id).hopeless = true;
            }
            Action::Renew(id) => {
                let generation = self.model.get(id);
                assert!(generation.lives() && generation.counts() && !generation.trial, "{id:?} takes part");
                assert!(!generation.is_out(), "{id:?} has given up");
                assert!(!self.busy && self.rollout.is_none() && !stops, "one rollout at a time");
                self.busy = true;
            }
            Action::Prepare => self.note_prepare(stops),
            Action::Switch => self.note_switch(),
            Action::RollBack(because) => self.note_roll_back(because),
            Action::Forget(id) => {
                let generation = self.model.0.remove(&id).expect("it is forgotten once");
                let runs = self.level == Level::Running;
                assert!(generation.retired && !generation.lives(), "what is forgotten has ended");
                assert!(runs || generation.taken_back, "{id:?} is an outcome of the stop");
            }
            Action::Leave(code) => self.left = Some(code),
            Action::Raise(level) => self.note_level(level),
            Action::RefuseReload => assert!(self.level > Level::Running),
            Action::NoteSignal(_) | Action::PrintStatus => {}
        }
    }

    fn note_fail_start(&mut self, id: GenerationId) {
        let now = self.now;
        let generation = self.model.get_mut(id);
        let since = generation.seen.started.expect("it was started");
        assert!(generation.starts() || generation.runs(), "{id:?} is there");
        assert!(!generation.seen.ready || !generation.seen.entered, "it is not ready");
        assert!(!generation.seen.abandoned && now >= since + generation.policy.start_timeout);
        generation.seen.failed = true;
    }

    fn note_give_up(&mut self, id: GenerationId) {
        let now = self.now;
        let generation = self.model.get_mut(id);
        assert!(generation.counts() && !generation.trial && self.level == Level::Running);
        let max = generation.policy.restart.max.expect("R11: without a number there is no end");
        assert!(generation.recent(now) >= max as usize, "R11: its budget is spent");
        generation.gave_up = true;
        generation.ended = generation.ended.map(|_| Outcome::GaveUp);
        assert_eq!(self.machine.cause(), Some(Cause::Failure(id)), "R11");
    }

    /// R11: a pool that has spent its budget leaves the app alone.
    fn note_put_out(&mut self, id: GenerationId) {
        let now = self.now;
        let generation = self.model.get_mut(id);
        assert!(generation.counts() && !generation.trial && self.level == Level::Running);
        assert!(
            generation.policy.pooled && (generation.starts() || generation.runs()) && !generation.gave_up
        );
        let max = generation.policy.restart.max.expect("R11: without a number there is no end");
        assert!(generation.recent(now) >= max as usize, "R11: its budget is spent");
        (generation.gave_up, generation.out) = (true, true);
        (generation.seen.entered, generation.seen.ready) = (true, false);
    }

    fn note_prepare(&mut self, stops: bool) {
        let now = self.now;
        assert!(!self.busy && self.rollout.is_none() && !stops, "R6: never concurrent");
        assert!(self.wanted && self.loaded, "somebody has asked for it");
        let soon = self.prepared.is_some_and(|last| now < last + Duration::from_millis(500));
        assert!(!soon, "R6: coalesced");
        (self.busy, self.wanted, self.prepared) = (true, false, Some(now));
    }

    /// While the app runs, a generation that was cut off some time ago counts as stuck.
    fn note_who_is_stuck(&mut self) -> Vec<GenerationId> {
        let (now, runs) = (self.now, self.level == Level::Running);
        let mut just = Vec::new();
        for (id, generation) in
            self.model.0.iter_mut().filter(|(_, generation)| generation.lives() && runs && !generation.stuck)
        {
            generation.stuck = generation.seen.cut.is_some_and(|at| now >= at + HARD_RESERVE);
            just.extend(generation.stuck.then_some(*id));
        }
        just
    }

    fn note_level(&mut self, level: Level) {
        self.level = level;
        self.wanted = false;
        if let (Level::Drain, Some(all)) = (level, self.machine.deadlines()) {
            let living =
                self.model.0.values_mut().filter(|generation| generation.lives()).collect::<Vec<_>>();
            let count = u32::try_from(living.len()).unwrap().max(1);
            // A force in the same step takes the end away; nothing is divided then.
            let total = all.end.saturating_sub(self.now);
            self.drain = Some(Drain { at: self.now, total, count });
            for generation in living {
                let slice = self.now + total / count;
                generation.seen.slice = Some(generation.seen.slice.map_or(slice, |old| old.min(slice)));
            }
        }
        self.forced |= level == Level::Cut;
    }

    fn note_start(&mut self, id: GenerationId) {
        assert!(
            self.machine.cause().is_none() || self.level == Level::Running,
            "nothing is started in a stop"
        );
        let generation = self.model.get(id);
        assert!(
            self.loaded && !generation.lives() && generation.counts() && !generation.hopeless,
            "{id:?} can be started"
        );
        assert!(
            generation.seen.started.is_none() || generation.again.is_some_and(|at| self.now >= at),
            "R12"
        );
        assert!(self.model.may_start(id), "{id:?} starts when those it comes after are ready");
        let generation = self.model.get_mut(id);
        generation.seen = Seen { started: Some(self.now), ..Seen::default() };
        (generation.ended, generation.again) = (None, None);
        (generation.gave_up, generation.out) = (false, false);
    }

    fn note_ask(&mut self, id: GenerationId, cause: Cause, deadline: Duration) {
        let stops = self.machine.cause().filter(|_| self.level > Level::Running);
        let (now, end) = (self.now, self.machine.deadlines().map(|all| all.end));
        let generation = self.model.get_mut(id);
        assert!(
            generation.lives()
                && generation.seen.entered
                && !generation.seen.failed
                && generation.seen.cut.is_none(),
            "I1"
        );
        assert!(generation.seen.asked.is_none(), "I1: {id:?} is asked once");
        let own = match cause {
            Cause::Finished(of) => of == id && generation.seen.returned,
            Cause::Failure(of) if of == id && generation.seen.dead => true,
            Cause::Request(Requester::Operator) if generation.halted => true,
            _ => generation.retired || generation.yields,
        };
        assert!(own || stops == Some(cause), "{id:?} is told {cause:?}");
        assert!(stops.is_none() || end.is_none_or(|end| deadline <= end), "never past the app's end");
        generation.seen.asked = Some(deadline);
        if self.level < Level::Drain {
            generation.seen.slice = Some(generation.seen.slice.map_or(now, |old| old.min(now)));
        }
    }

    fn note_cut(&mut self, id: GenerationId) {
        let cut_all = self.level >= Level::Cut;
        let generation = self.model.get_mut(id);
        assert!(
            generation.lives() && generation.seen.cut.is_none(),
            "{id:?} is cut off once, while it is there"
        );
        let seen = &generation.seen;
        assert!(seen.asked.is_some() || seen.failed || !seen.entered, "I1: asked before it is cut off");
        assert!(seen.entered || seen.failed || seen.abandoned || cut_all, "a start has its time");
        generation.seen.cut = Some(self.now);
    }

    fn note_restart(&mut self, before: &Machine, id: GenerationId, pause: Duration) {
        let (now, stops) = (self.now, self.level > Level::Running);
        let generation = self.model.get_mut(id);
        let plan = generation.policy.restart;
        if !generation.lives() {
            assert!(
                generation.comes_back() && generation.counts() && !stops,
                "{id:?} comes back after {:?}",
                generation.ended
            );
            assert!(generation.again.is_none(), "once");
            generation.again = Some(now + pause);
        } else {
            assert_eq!(generation.policy.on_lost, OnEnd::Restart);
            if stops || !generation.counts() {
                return assert!(pause <= Duration::from_millis(100), "there is no time");
            }
        }
        assert_eq!(self.machine.restarts(id), before.restarts(id) + 1, "R11: each one counts");
        let [first, longest] = plan.backoff;
        let least = first.min(longest) * 3 / 4;
        let in_range = pause + Duration::from_nanos(9) >= least && pause <= longest;
        assert!(in_range, "R12: {pause:?} of {plan:?}");
    }

    fn note_switch(&mut self) {
        let rollout = self.rollout.take().expect("something takes over");
        assert!(self.level == Level::Running, "a stop ends any rollout");
        for incoming in &rollout.incoming {
            let generation = self.model.get(incoming.id);
            assert!(generation.is_up(self.now), "I9: {:?} is ready, and has passed its trial", incoming.id);
            let old = incoming.replaces.filter(|_| generation.waits).map(|old| self.model.get(old));
            assert!(old.is_none_or(|old| !old.lives() || old.stuck), "{:?} is alone", incoming.id);
            let old =
                incoming.replaces.filter(|_| rollout.keeps_budget).map(|old| self.model.get(old).clone());
            let (spent, counted) = old.map_or((Vec::new(), 0), |old| (old.spent, old.counted));
            let generation = self.model.get_mut(incoming.id);
            (generation.trial, generation.spent, generation.counted) = (false, spent, counted);
        }
        for (id, policy) in rollout.kept {
            if let Some(generation) = self.model.0.get_mut(&id) {
                generation.policy = policy;
            }
        }
        let replaced = rollout.incoming.iter().filter_map(|incoming| incoming.replaces);
        for id in replaced.chain(rollout.removed) {
            self.retire(id);
        }
        for generation in self.model.0.values_mut().filter(|generation| !generation.retired) {
            for needed in &mut generation.policy.after {
                let heir = rollout.incoming.iter().find(|incoming| incoming.replaces == Some(*needed));
                *needed = heir.map_or(*needed, |heir| heir.id);
            }
        }
    }

    fn note_roll_back(&mut self, because: Option<GenerationId>) {
        let Some(rollout) = self.rollout.take() else {
            return assert_eq!(because, None);
        };
        let incoming: Vec<_> = rollout.incoming.iter().map(|incoming| incoming.id).collect();
        assert!(
            because.is_some_and(|id| incoming.contains(&id)) || self.machine.cause().is_some(),
            "{because:?}"
        );
        for id in incoming {
            self.retire(id);
            self.model.get_mut(id).taken_back = because.is_some();
        }
        let replaced = rollout.incoming.iter().filter_map(|incoming| incoming.replaces);
        for old in replaced {
            self.note_kept_in_place(old, because.is_none());
        }
        rollout
            .incoming
            .iter()
            .filter_map(|incoming| incoming.replaces)
            .for_each(|old| self.note_put_back(old));
    }

    /// Notes the generations that make room, once all of the rollout are up that can run beside them.
    fn note_yields(&mut self) {
        let Some(rollout) = self.rollout.clone().filter(|_| self.level == Level::Running) else { return };
        let (waiting, beside): (Vec<_>, Vec<_>) =
            rollout.incoming.iter().partition(|one| self.model.get(one.id).waits);
        if !beside.iter().all(|one| self.model.get(one.id).is_up(self.now)) {
            return;
        }
        // I10: nobody makes room for a rollout that cannot succeed.
        let is_doomed = |id| self.model.get(id).is_pending(self.now) && self.model.lacks(id);
        if waiting.iter().any(|one| is_doomed(one.id)) {
            return;
        }
        for old in waiting.into_iter().filter_map(|one| one.replaces) {
            if self.model.get(old).counts() && !self.model.is_over(old) {
                let now = self.now;
                let generation = self.model.get_mut(old);
                (generation.yields, generation.again) = (true, None);
                generation.seen.slice.get_or_insert(now);
            }
        }
    }

    /// I10: one that was to make room and was not asked yet goes on. One that was abandoned, and is not ready, ends first.
    fn note_kept_in_place(&mut self, id: GenerationId, stops: bool) {
        let generation = self.model.get_mut(id);
        let goes_on = stops || generation.seen.ready || !generation.seen.abandoned;
        if generation.yields && generation.runs() && goes_on {
            generation.yields = false;
            (generation.seen.slice, generation.seen.abandoned) = (None, false);
        }
    }

    /// Notes that a generation that made room is to start again, once it has ended and nothing is to replace it.
    fn note_put_back(&mut self, id: GenerationId) {
        let (now, runs) = (self.now, self.level == Level::Running && self.machine.cause().is_none());
        let replaced = self.rollout.iter().flat_map(|rollout| &rollout.incoming);
        let replaced = replaced.filter_map(|incoming| incoming.replaces).any(|old| old == id);
        let Some(generation) = self.model.0.get_mut(&id) else { return };
        if runs && generation.yields && !generation.lives() && !replaced {
            (generation.yields, generation.waits, generation.again) = (false, true, Some(now));
        }
    }

    fn retire(&mut self, id: GenerationId) {
        let now = self.now;
        let generation = self.model.get_mut(id);
        (generation.trial, generation.yields, generation.retired) = (false, false, true);
        generation.seen.slice.get_or_insert(now);
    }

    pub(super) fn extend(&mut self, id: GenerationId, by: Duration) {
        let before = self.machine.deadline(id);
        let granted = self.machine.extend(id, by);
        assert_eq!(self.twin.extend(id, by), granted);
        assert!(granted <= by && self.machine.deadline(id) == before.map(|before| before + granted));
        if let Some(asked) = self.model.0.get_mut(&id).and_then(|generation| generation.seen.asked.as_mut()) {
            *asked += granted;
        }
        self.check_bounds();
    }
}

/// Notes an event of one generation, if it can occur.
fn note_of_one(generation: &mut ModelGeneration, event: Event, app_runs: bool) {
    let takes_part = app_runs && generation.counts() && !generation.trial;
    match event {
        Event::Entered(_) => generation.seen.entered |= generation.starts(),
        Event::Ready(_) => {
            generation.seen.ready |= (generation.starts() || generation.runs()) && !generation.out
        }
        Event::Returned(_) => generation.seen.returned |= generation.runs(),
        Event::Failed(_) => generation.seen.failed |= generation.lives() && !generation.seen.dead,
        Event::Lost(_) => {
            let stops_app = generation.policy.on_lost == OnEnd::StopApp;
            generation.seen.lost |=
                stops_app && generation.lives() && generation.counts() && !generation.trial;
        }
        Event::Unhealthy(_) if takes_part && generation.runs() && !generation.out => {
            match generation.policy.pooled {
                true => generation.seen.lost |= generation.policy.on_failure == OnEnd::StopApp,
                false => generation.seen.dead = true,
            }
        }
        Event::Ended(_, outcome) if generation.lives() => generation.ends(outcome),
        // From then on, its slice is its own.
        Event::StopOne(..) if app_runs => {
            (generation.halted, generation.yields) = (true, false);
            generation.seen.slice = Some(Duration::ZERO);
        }
        _ => {}
    }
}
