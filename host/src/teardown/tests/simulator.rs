//! A world around a `Checker`: components and hands that react to what the machine says as real ones do.
//!
//! Invariant: an instance says nothing before its start nor after its end; what was asked for is answered, sooner or later.

use std::time::Duration;

use super::checker::Checker;
use super::fixtures::ms;
use super::*;
use crate::plan::OnEnd;

/// Behaviour of one instance by itself and on a notice; times in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    /// When it enters its `run`, if ever, and whether it fails instead.
    pub(super) enters: Option<(u64, bool)>,
    /// When it is ready then, if ever.
    pub(super) ready: Option<u64>,
    /// When its `run` ends by itself, if ever, and whether with an error.
    pub(super) runs: Option<(u64, bool)>,
    /// When one of its own instances fails, and when it is found dead.
    pub(super) loses: Option<u64>,
    pub(super) sick: Option<u64>,
    pub(super) stops: Option<(u64, Outcome)>,
    /// Whether it is gone when it is abandoned, or enters nevertheless.
    pub(super) heeds: bool,
    pub(super) dies: Option<(u64, Outcome)>,
}

/// The next version of the manifest.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    /// Time of the preparation.
    pub(super) takes: u64,
    pub(super) fails: bool,
    /// Fate of each component: 0 it stays, 1 and 2 it is replaced, 3 replaced after its end, 4 removed.
    pub(super) fates: Vec<u8>,
    pub(super) policies: Vec<GenerationPolicy>,
    pub(super) added: bool,
    pub(super) app: Option<Policy>,
}

/// An event from outside in the very moment of an action.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Event(Event),
    Fails,
    Lost,
    Returned,
    Unhealthy,
    StopOne(Urgency),
}

#[derive(Clone, Copy, Debug)]
enum Coming {
    Event(Event),
    /// A preparation ends.
    Prepared(Option<GenerationId>),
}

/// Components that react as real ones do, and what comes from outside.
pub(super) struct Simulator {
    pub(super) behaviours: Vec<Behaviour>,
    pub(super) edits: Vec<Edit>,
    /// After which action each comes.
    pub(super) faults: Vec<(usize, Fault)>,
    /// Each component has a behaviour of its own, the same at each start.
    pub(super) one_behaviour_each: bool,
    coming: Vec<(Duration, Coming)>,
    next: usize,
    births: usize,
    edited: usize,
    done: usize,
}

impl Simulator {
    pub(super) fn new(behaviours: Vec<Behaviour>, coming: Vec<(Duration, Event)>) -> Self {
        let coming = coming.into_iter().map(|(at, event)| (at, Coming::Event(event))).collect();
        let (edits, faults, one_behaviour_each) = (Vec::new(), Vec::new(), false);
        Self { behaviours, edits, faults, one_behaviour_each, coming, next: 0, births: 0, edited: 0, done: 0 }
    }

    fn push(&mut self, at: Duration, event: Event) {
        self.coming.push((at, Coming::Event(event)));
    }

    fn fail(&mut self, at: Duration, id: GenerationId) {
        self.push(at, Event::Failed(id));
        self.push(at + ms(1), Event::Ended(id, Outcome::Failed));
    }

    /// Takes back what one would have said.
    fn silence(&mut self, id: GenerationId) {
        let says = |event: &Event| {
            let (Event::Entered(of) | Event::Ready(of) | Event::Returned(of) | Event::Failed(of)) = event
            else {
                return matches!(event, Event::Ended(of, _) | Event::Lost(of) | Event::Unhealthy(of) if *of == id);
            };
            *of == id
        };
        self.coming.retain(|(_, coming)| !matches!(coming, Coming::Event(event) if says(event)));
    }

    fn behaviour(&self, id: GenerationId) -> Behaviour {
        let births = if self.one_behaviour_each { 0 } else { self.births };
        self.behaviours[(id.0 + 3 * births) % self.behaviours.len()].clone()
    }

    fn react(&mut self, checker: &Checker, action: Action) {
        let now = checker.now;
        let (id, end) = match action {
            Action::Start(id) => {
                self.births += 1;
                return self.start(checker, now, id);
            }
            // It tries again by itself.
            Action::Restart { id, pause } if checker.model.get(id).starts() => {
                self.births += 1;
                return self.start(checker, now + pause, id);
            }
            Action::Abandon(id) => (id, self.behaviour(id).heeds.then_some((1, Outcome::NotStarted))),
            Action::Ask { id, .. } => (id, self.behaviour(id).stops),
            Action::Cut(id) => (id, self.behaviour(id).dies),
            Action::Renew(id) => return self.prepare(now, Some(id)),
            Action::Prepare => return self.prepare(now, None),
            _ => return,
        };
        if end.is_some() || matches!(action, Action::Cut(_)) {
            self.silence(id);
        }
        match end {
            Some((after, Outcome::Failed)) => self.fail(now + ms(after), id),
            Some((after, outcome)) => self.push(now + ms(after), Event::Ended(id, outcome)),
            None => {}
        }
    }

    fn start(&mut self, checker: &Checker, now: Duration, id: GenerationId) {
        let (behaviour, policy) = (self.behaviour(id), &checker.model.get(id).policy);
        let tries_again = policy.pooled && policy.on_lost == OnEnd::Restart;
        let (after, fails) = match behaviour.enters {
            Some((after, fails)) => (ms(after), fails),
            None if tries_again => (policy.start_timeout, true),
            None => return,
        };
        let entered = now + after;
        match (fails, tries_again) {
            (true, true) => return self.push(entered, Event::Lost(id)),
            (true, false) => return self.fail(entered, id),
            (false, _) => {}
        }
        self.push(entered, Event::Entered(id));
        let later = [
            (behaviour.ready, Event::Ready(id)),
            (behaviour.loses, Event::Lost(id)),
            (behaviour.sick, Event::Unhealthy(id)),
        ];
        for (after, event) in later {
            after.into_iter().for_each(|after| self.push(entered + ms(after), event));
        }
        match behaviour.runs {
            Some((after, true)) => self.fail(entered + ms(after), id),
            Some((after, false)) => self.push(entered + ms(after), Event::Returned(id)),
            None => {}
        }
    }

    fn prepare(&mut self, now: Duration, renews: Option<GenerationId>) {
        let takes = self.edits.get(self.edited % self.edits.len().max(1)).map_or(0, |edit| edit.takes);
        self.coming.push((now + ms(takes), Coming::Prepared(renews)));
    }

    /// Begins a rollout without a request.
    pub(super) fn begin(&mut self, checker: &mut Checker, edit: &Edit) {
        let rollout = self.draw_up(checker, edit, None);
        checker.roll_out(checker.now, rollout);
    }

    /// Begins the rollout that was prepared.
    fn prepared(&mut self, checker: &mut Checker, renews: Option<GenerationId>) -> Vec<Action> {
        let edit = self.edits.get(self.edited % self.edits.len().max(1)).cloned();
        self.edited += 1;
        let Some(edit) = edit.filter(|edit| !edit.fails) else {
            return checker.feed(checker.now, Event::NothingToChange);
        };
        let rollout = self.draw_up(checker, &edit, renews);
        checker.roll_out(checker.now, rollout)
    }

    /// Compares what a manifest says with what is there.
    fn draw_up(&mut self, checker: &Checker, edit: &Edit, renews: Option<GenerationId>) -> Rollout {
        let cause = renews.map_or(Cause::Reload, Cause::Failure);
        let (removed, kept, policy) = (Vec::new(), Vec::new(), edit.app.clone().filter(|_| renews.is_none()));
        let mut rollout =
            Rollout { incoming: Vec::new(), removed, kept, policy, cause, keeps_budget: renews.is_some() };
        self.next = self.next.max(100);
        let current =
            checker.model.0.iter().filter(|(_, generation)| !generation.retired && !generation.trial);
        for (at, (id, generation)) in current.enumerate() {
            let fate = match renews {
                Some(dead) => u8::from(dead == *id),
                None => edit.fates[at % edit.fates.len()],
            };
            let policy = &edit.policies[at % edit.policies.len()];
            match fate {
                0 => rollout.kept.push((*id, generation.policy.clone())),
                4 => rollout.removed.push(*id),
                _ => {
                    // A renewal keeps the policy.
                    let policy = if renews.is_some() { &generation.policy } else { policy };
                    let policy =
                        GenerationPolicy { after: generation.policy.after.clone(), ..policy.clone() };
                    let id = (GenerationId(self.next), Some(*id));
                    rollout.incoming.push(Incoming {
                        id: id.0,
                        policy,
                        replaces: id.1,
                        before: Vec::new(),
                        waits: fate == 3,
                    });
                    self.next += 1;
                }
            }
        }
        let heirs: Vec<_> =
            rollout.incoming.iter().map(|incoming| (incoming.replaces, incoming.id)).collect();
        for after in rollout.incoming.iter_mut().map(|incoming| &mut incoming.policy.after) {
            after.retain(|id| !rollout.removed.contains(id));
            for id in after {
                *id = heirs.iter().find(|(old, _)| *old == Some(*id)).map_or(*id, |(_, heir)| *heir);
            }
        }
        for (_, policy) in &mut rollout.kept {
            policy.after.retain(|id| !rollout.removed.contains(id));
        }
        if edit.added && renews.is_none() {
            let after = rollout.kept.iter().map(|(id, _)| *id).take(1);
            let after = after.chain(rollout.incoming.iter().map(|incoming| incoming.id).take(1)).collect();
            let policy = GenerationPolicy { after, ..edit.policies[0].clone() };
            rollout.incoming.push(Incoming {
                id: GenerationId(self.next),
                policy,
                replaces: None,
                before: Vec::new(),
                waits: false,
            });
            self.next += 1;
        }
        rollout
    }

    /// A fail point: something strikes in the very moment in which something is done.
    fn strike(&mut self, checker: &Checker, action: Action) {
        let now = checker.now;
        let of = match action {
            Action::Start(id) | Action::Abandon(id) | Action::Ask { id, .. } | Action::Cut(id) => id,
            Action::FailStart(id) | Action::Restart { id, .. } | Action::Renew(id) => id,
            _ => GenerationId(self.done % 3),
        };
        let due: Vec<_> =
            self.faults.iter().filter(|(at, _)| *at == self.done).map(|(_, fault)| *fault).collect();
        self.done += 1;
        let there = checker.model.0.get(&of).is_some_and(|generation| generation.lives());
        for fault in due {
            let event = match fault {
                Fault::Event(event) => event,
                Fault::StopOne(urgency) => Event::StopOne(of, urgency),
                _ if !there => continue,
                Fault::Fails => {
                    self.silence(of);
                    self.fail(now, of);
                    continue;
                }
                Fault::Lost => Event::Lost(of),
                Fault::Returned => Event::Returned(of),
                Fault::Unhealthy => Event::Unhealthy(of),
            };
            self.coming.insert(0, (now, Coming::Event(event)));
        }
    }

    /// Lets it all happen for some time, with the clock fed when it is due, and returns how it ended.
    pub(super) fn happen(mut self, app: (Policy, Vec<GenerationPolicy>)) -> Checker {
        let mut checker = Checker::new(app, true);
        self.push(Duration::ZERO, Event::Loaded);
        for _ in 0..2_000 {
            let next = (0..self.coming.len()).min_by_key(|at| self.coming[*at].0);
            let due = next.map_or(Duration::MAX, |at| self.coming[at].0);
            let actions = match (checker.machine.next_wake().filter(|wake| *wake < due), next) {
                _ if checker.left.is_some() => break,
                (Some(wake), _) => checker.feed(wake.max(checker.now), Event::Clock),
                (None, Some(at)) => {
                    let (now, coming) = self.coming.remove(at);
                    checker.now = now;
                    match coming {
                        Coming::Event(event) => checker.feed(now, event),
                        Coming::Prepared(renews) => self.prepared(&mut checker, renews),
                    }
                }
                (None, None) => break,
            };
            for action in actions {
                self.react(&checker, action);
                self.strike(&checker, action);
            }
        }
        self.check_nothing_is_left(&checker);
        checker
    }

    /// I12: when nothing more can happen, nothing is on trial, and of those that were replaced only those are left that cannot
    /// be ended.
    fn check_nothing_is_left(&self, checker: &Checker) {
        if !self.coming.is_empty() || checker.machine.next_wake().is_some() || checker.left.is_some() {
            return;
        }
        for (id, generation) in &checker.model.0 {
            assert!(!generation.retired || generation.seen.cut.is_some(), "I12: {id:?}");
            assert!(!generation.trial, "a rollout comes to its end");
            assert!(!generation.yields || generation.seen.cut.is_some(), "{id:?} is put back");
        }
        assert!(!checker.machine.is_rolling_out());
    }
}
