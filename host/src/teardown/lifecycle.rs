//! What becomes of one component: started, ready, returned, failed, ended, started again. Nothing of it concerns the levels
//! but the calls of `begin` and `fail`.

use std::time::Duration;

use super::event::{Action, Urgency};
use super::generation::Leaving;
use super::machine::Machine;
use super::{Cause, GenerationId, Level, Outcome, Phase, Requester};
use crate::plan::OnEnd;

/// The longest pause of an instance that comes back while its component is on the way out: it has no time for longer ones,
/// but one that traps at each start is not to fill a core.
const LAST_PAUSE: Duration = Duration::from_millis(100);

impl Machine {
    /// Starts a component, for the first time or again.
    pub(super) fn start(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        generation.phase = Phase::Starting;
        (generation.ready, generation.said_ready) = (false, false);
        // One that starts its instances again by itself has its budget for it, and each of them the same bound.
        let bounded =
            !(generation.policy.pooled && generation.policy.on_lost == OnEnd::Restart && !generation.trial);
        generation.deadline = bounded.then(|| now.saturating_add(generation.policy.start_timeout));
        self.due = self.due.min(generation.deadline.unwrap_or(Duration::MAX));
        self.actions.push(Action::Start(id));
    }

    pub(super) fn entered(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) =
            self.generations.get_mut(&id).filter(|generation| generation.phase == Phase::Starting)
        else {
            return;
        };
        generation.phase = Phase::Running;
        generation.restarts.runs(now);
        // Whose start has no bound as a whole has one from here on.
        let bound = now.saturating_add(generation.policy.start_timeout);
        generation.deadline = (!generation.said_ready).then_some(generation.deadline.unwrap_or(bound));
        generation.ready = generation.said_ready;
        self.due = self.due.min(bound);
        // It slipped in while it was being abandoned: it has started, so it is asked like all others, in its turn.
        if let (None, Some(cause), Some(deadlines)) = (generation.leaving, self.cause, self.deadlines) {
            generation.leaving = Some(Leaving { cause, until: deadlines.end });
        }
        if generation.leaving.is_some() {
            generation.deadline = None;
            self.asks_due = true;
        }
    }

    /// A guest can say so before its `run` is entered; it counts from then on.
    pub(super) fn ready(&mut self, id: GenerationId) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        match generation.phase {
            Phase::Starting => generation.said_ready = true,
            Phase::Running => (generation.ready, generation.deadline) = (true, None),
            Phase::Pending | Phase::Backoff | Phase::Asked | Phase::Cut | Phase::Ended => {}
        }
    }

    pub(super) fn returned(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) =
            self.generations.get(&id).filter(|generation| generation.phase == Phase::Running)
        else {
            return;
        };
        let (counts, trial) = (generation.counts(), generation.trial);
        match (self.level, generation.policy.on_exit) {
            // It would have stopped the app: with it, nothing can take over.
            (Level::Running, OnEnd::StopApp) if trial => {
                self.ask_alone(now, id, Cause::Finished(id));
                self.roll_back(now, Some(id));
            }
            (Level::Running, OnEnd::StopApp) if counts => {
                self.begin(now, Cause::Finished(id), Duration::ZERO, self.policy.grace);
            }
            // Whoever ends during the delay does not wait for it.
            (Level::Running | Level::Delay | Level::Drain | Level::Cut | Level::Exit, _) => {
                let cause = self.cause.unwrap_or(Cause::Finished(id));
                self.ask_alone(now, id, cause);
            }
        }
    }

    pub(super) fn failed(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) =
            self.generations.get_mut(&id).filter(|generation| generation.lives() && !generation.failed)
        else {
            return;
        };
        generation.failed = true;
        // It gets no notice, it cannot be entered again; but tasks that it left behind can linger.
        generation.phase = generation.phase.max(Phase::Asked);
        if generation.phase < Phase::Cut {
            let slice = generation.leaving.map_or(Duration::MAX, |leaving| leaving.until);
            let deadline = now.saturating_add(self.policy.fail_grace).min(slice);
            generation.deadline = Some(generation.deadline.map_or(deadline, |old| old.min(deadline)));
            self.due = self.due.min(deadline);
        }
        let (trial, counts, on_failure) =
            (generation.trial, generation.counts(), generation.policy.on_failure);
        if trial && self.rollout.is_some() {
            self.roll_back(now, Some(id));
        } else if counts && on_failure == OnEnd::StopApp {
            self.fail(now, Cause::Failure(id));
        }
    }

    /// The component goes on, and is asked like all others if the app has to stop for it.
    pub(super) fn lost(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get_mut(&id).filter(|generation| generation.lives()) else {
            return;
        };
        if generation.trial && self.rollout.is_some() {
            return self.roll_back(now, Some(id));
        }
        match generation.policy.on_lost {
            OnEnd::Ignore => {}
            OnEnd::StopApp => {
                if generation.counts() {
                    generation.lost = true;
                    self.fail(now, Cause::Failure(id));
                }
            }
            // Who is on the way out has no time for pauses, and does not come back often.
            OnEnd::Restart if self.level > Level::Running || !generation.counts() => {
                let pause = generation.policy.restart.first_pause.min(LAST_PAUSE);
                self.actions.push(Action::Restart { id, pause });
            }
            OnEnd::Restart => match self.spend(now, id) {
                Some(pause) => {
                    if let Some(generation) = self.generations.get_mut(&id) {
                        // The next one is stable if nothing is heard of it for long enough.
                        generation.restarts.runs(now.saturating_add(pause));
                    }
                    self.actions.push(Action::Restart { id, pause });
                }
                None => self.give_up(now, id),
            },
        }
    }

    /// It answers no more: it ends as a failed one, with a notice, or is replaced where that is possible before.
    pub(super) fn unhealthy(&mut self, now: Duration, id: GenerationId) {
        let running = |phase: Phase| phase == Phase::Running;
        let Some(generation) = self.generations.get_mut(&id).filter(|generation| running(generation.phase))
        else {
            return;
        };
        if generation.trial && self.rollout.is_some() {
            return self.roll_back(now, Some(id));
        }
        if self.level > Level::Running || !generation.counts() || generation.renew.is_some() {
            return;
        }
        match (generation.policy.on_failure, generation.policy.pooled) {
            (OnEnd::Restart, true) => self.renew(now, id, true),
            (OnEnd::Ignore, true) => {}
            (OnEnd::StopApp, true) => {
                generation.lost = true;
                self.fail(now, Cause::Failure(id));
            }
            (on_failure, false) => {
                generation.failed = true;
                let until = now.saturating_add(self.policy.fail_grace);
                generation.leaving = Some(Leaving { cause: Cause::Failure(id), until });
                self.ask(now, id);
                if on_failure == OnEnd::StopApp {
                    self.fail(now, Cause::Failure(id));
                }
            }
        }
    }

    /// Has a component that was found dead replaced, within its budget: at once the first time.
    pub(super) fn renew(&mut self, now: Duration, id: GenerationId, at_once: bool) {
        let pause = self.spend(now, id);
        match (pause, self.generations.get_mut(&id)) {
            (Some(pause), Some(generation)) => {
                generation.renew = Some(if at_once { now } else { now.saturating_add(pause) });
            }
            (None, Some(_)) => self.give_up(now, id),
            (_, None) => {}
        }
    }

    /// Takes a restart out of the budget.
    fn spend(&mut self, now: Duration, id: GenerationId) -> Option<Duration> {
        let chance = self.chance.next();
        let generation = self.generations.get_mut(&id)?;
        let plan = generation.policy.restart;
        generation.restarts.spend(now, &plan, chance)
    }

    fn give_up(&mut self, now: Duration, id: GenerationId) {
        if let Some(generation) = self.generations.get_mut(&id) {
            generation.gave_up = true;
        }
        self.actions.push(Action::GiveUp(id));
        self.fail(now, Cause::Failure(id));
    }

    /// An operator stops one component: its end means nothing for the others.
    pub(super) fn stop_one(&mut self, now: Duration, id: GenerationId, urgency: Urgency) {
        if self.level > Level::Running {
            return;
        }
        let Some(generation) = self.generations.get_mut(&id) else { return };
        generation.halted = true;
        if generation.trial {
            self.roll_back(now, Some(id));
        }
        match self.phase(id) {
            Phase::Pending | Phase::Backoff => self.finish(id, self.last_outcome(id)),
            Phase::Starting => self.abandon(now, id, Cause::Request(Requester::Operator)),
            Phase::Running => self.ask_alone(now, id, Cause::Request(Requester::Operator)),
            Phase::Asked | Phase::Cut | Phase::Ended => {}
        }
        if urgency == Urgency::Now {
            self.cut(now, id);
        }
    }

    pub(super) fn ended(&mut self, now: Duration, id: GenerationId, outcome: Outcome) {
        let Some(generation) = self.generations.get(&id).filter(|generation| generation.lives()) else {
            return;
        };
        let told = generation.failed || generation.gave_up;
        // Nothing that follows masks a failure: what was left of it can have been cut off.
        let outcome = match (generation.gave_up, generation.failed || generation.lost) {
            (true, _) => Outcome::GaveUp,
            (false, true) => outcome.or_failed(),
            (false, false) => outcome,
        };
        let (on_exit, on_failure) = (generation.policy.on_exit, generation.policy.on_failure);
        let counts = generation.counts() && self.level == Level::Running;
        // A job that is done before the others are ready takes part like any other; whatever else ends does not take over.
        let done = generation.ready && outcome == Outcome::Finished && on_exit != OnEnd::StopApp;
        if generation.trial && self.rollout.is_some() && !done {
            self.finish(id, outcome);
            return self.roll_back(now, Some(id));
        }
        if counts && comes_back(outcome, on_exit, on_failure) {
            return self.start_again(now, id, outcome);
        }
        let (retired, concerns) = (generation.retired, generation.counts());
        self.finish(id, outcome);
        if retired && self.level == Level::Running {
            self.forget(id);
        }
        match outcome {
            Outcome::Failed | Outcome::GaveUp if !told && concerns && on_failure == OnEnd::StopApp => {
                self.fail(now, Cause::Failure(id));
            }
            Outcome::Finished | Outcome::Stopped if counts && on_exit == OnEnd::StopApp => {
                self.begin(now, Cause::Finished(id), Duration::ZERO, self.policy.grace);
            }
            _ => {}
        }
    }

    /// Starts a component that has ended again, after a pause; or not, when it has spent its budget.
    fn start_again(&mut self, now: Duration, id: GenerationId, outcome: Outcome) {
        let Some(pause) = self.spend(now, id) else {
            let trial = self.generations.get(&id).is_some_and(|generation| generation.trial);
            self.finish(id, Outcome::GaveUp);
            return match trial {
                true => self.roll_back(now, Some(id)),
                false => self.give_up(now, id),
            };
        };
        let Some(generation) = self.generations.get_mut(&id) else { return };
        generation.phase = Phase::Backoff;
        generation.outcome = Some(outcome);
        (generation.failed, generation.lost, generation.leaving) = (false, false, None);
        generation.renew = None;
        self.stuck -= usize::from(std::mem::take(&mut generation.stuck));
        let again = now.saturating_add(pause);
        generation.deadline = Some(again);
        self.due = self.due.min(again);
        self.actions.push(Action::Restart { id, pause });
    }

    /// Returns how a component ended the last time, if it ever started.
    pub(super) fn last_outcome(&self, id: GenerationId) -> Outcome {
        self.generations.get(&id).and_then(|generation| generation.outcome).unwrap_or(Outcome::NotStarted)
    }

    /// Notes that nothing of a component is left, and will be.
    pub(super) fn finish(&mut self, id: GenerationId, outcome: Outcome) {
        let Some(generation) =
            self.generations.get_mut(&id).filter(|generation| generation.phase != Phase::Ended)
        else {
            return;
        };
        generation.phase = Phase::Ended;
        generation.deadline = None;
        generation.outcome = Some(outcome);
        self.open -= 1;
        self.stuck -= usize::from(std::mem::take(&mut generation.stuck));
    }

    /// Grants a component more time, up to the slice of its wave, and returns how much.
    pub fn extend(&mut self, id: GenerationId, by: Duration) -> Duration {
        let bound = self.deadlines.map_or(Duration::MAX, |deadlines| deadlines.end);
        let Some(generation) = self.generations.get_mut(&id) else {
            return Duration::ZERO;
        };
        let (Phase::Asked, Some(old), Some(leaving)) =
            (generation.phase, generation.deadline, generation.leaving)
        else {
            return Duration::ZERO;
        };
        let new = old.saturating_add(by).min(leaving.until).min(bound).max(old);
        generation.deadline = Some(new);
        new - old
    }
}

/// Returns whether a component that ended so is to be started again.
fn comes_back(outcome: Outcome, on_exit: OnEnd, on_failure: OnEnd) -> bool {
    match outcome {
        Outcome::Finished | Outcome::Stopped | Outcome::HookFailed => on_exit == OnEnd::Restart,
        Outcome::Failed => on_failure == OnEnd::Restart,
        // It was asked because its `run` had returned, or because it was not alive.
        Outcome::CutOff | Outcome::Leaked => on_exit == OnEnd::Restart || on_failure == OnEnd::Restart,
        Outcome::GaveUp | Outcome::NotStarted => false,
    }
}
