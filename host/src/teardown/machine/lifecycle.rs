//! Lifecycle of one generation: start, readiness, failure, end, restart.

use std::time::Duration;

use super::Machine;
use crate::plan::OnEnd;
use crate::teardown::generation::{Generation, Readiness, Role, Slice, State, Verdict};
use crate::teardown::{Action, Cause, Event, GenerationId, Level, Outcome, Phase, Requester, Urgency};

/// Longest pause before the restart of a lost instance while its component stops. A longer one would take its grace; without any,
/// an instance that traps at each start would fill a core.
const LAST_PAUSE: Duration = Duration::from_millis(100);

impl Machine {
    pub(super) fn take_of(&mut self, now: Duration, id: GenerationId, event: Event) {
        use Phase::{Asked, Backoff, Cut, Ended, Pending, Running, Starting};
        let Some(generation) = self.generations.get_mut(id) else { return };
        match (generation.phase(), event) {
            (Starting, Event::Entered(_)) => self.entered(now, id),
            (Starting, Event::Ready(_)) => generation.readiness = Readiness::Announced,
            (Running, Event::Ready(_)) if generation.is_out_of_service() => {}
            (Running, Event::Ready(_)) => self.ready(now, id),
            (Running, Event::Returned(_)) => self.returned(now, id),
            (Running, Event::Unhealthy(_)) => self.unhealthy(now, id),
            (Starting | Running | Asked | Cut, Event::Failed(_)) => self.failed(now, id),
            (Starting | Running | Asked | Cut, Event::Lost(_)) => self.lost(now, id),
            (Starting | Running | Asked | Cut, Event::Ended(_, outcome)) => self.ended(now, id, outcome),
            (Pending | Backoff | Starting | Running | Asked | Cut | Ended, Event::StopOne(_, urgency)) => {
                self.stop_one(now, id, urgency);
            }
            // The event is late, or a repetition.
            (Pending | Backoff | Running | Asked | Cut | Ended, Event::Entered(_))
            | (Pending | Backoff | Asked | Cut | Ended, Event::Ready(_))
            | (
                Pending | Backoff | Starting | Asked | Cut | Ended,
                Event::Returned(_) | Event::Unhealthy(_),
            )
            | (Pending | Backoff | Ended, Event::Failed(_) | Event::Lost(_) | Event::Ended(..)) => {}
            // These concern the app.
            (_, Event::Loaded | Event::Signal(_) | Event::StopRequested(_) | Event::OperatorStop(_))
            | (_, Event::ReloadRequested | Event::NothingToChange | Event::HostBug(_) | Event::Clock) => {}
        }
    }

    pub(super) fn start(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get_mut(id) else { return };
        generation.readiness = Readiness::NotReady;
        (generation.verdict, generation.slice) = (Verdict::Sound, None);
        // A pool that restarts its instances has a budget for that, and the host bounds the start of each instance.
        let policy = &generation.policy;
        let bounded = !policy.pooled || policy.on_lost != OnEnd::Restart || generation.on_trial();
        let bound = bounded.then(|| now.saturating_add(policy.start_timeout));
        self.generations.set(id, State::Starting { bound });
        self.actions.push(Action::Start(id));
    }

    fn entered(&mut self, now: Duration, id: GenerationId) {
        let slice = self.last_slice();
        let Some(generation) = self.generations.get_mut(id) else { return };
        generation.budget.runs(now);
        // It was entered while the app stopped: it is asked like all others, in its turn.
        generation.slice = generation.slice.or(slice);
        if generation.slice.is_some() {
            self.next_ask = Some(now);
        }
        // From here on `start-timeout` bounds the start of a pool, too.
        let bound = generation.state().deadline();
        let bound = bound.unwrap_or(now.saturating_add(generation.policy.start_timeout));
        let ready = generation.readiness == Readiness::Announced;
        generation.readiness = Readiness::NotReady;
        let bound = (!ready && generation.slice.is_none()).then_some(bound);
        self.generations.set(id, State::Running { bound });
        if ready {
            self.ready(now, id);
        }
    }

    fn ready(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get_mut(id) else { return };
        if generation.is_ready() {
            return;
        }
        generation.readiness = Readiness::Ready;
        let trial = generation.policy.trial;
        let is_tried = generation.on_trial() && !generation.passed && !trial.is_zero();
        generation.passed |= !is_tried;
        self.generations.set(id, State::Running { bound: is_tried.then(|| now.saturating_add(trial)) });
    }

    fn returned(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get_mut(id) else { return };
        let (on_exit, role) = (generation.policy.on_exit, generation.role);
        generation.passed |= on_exit != OnEnd::StopApp;
        match (self.level(), on_exit, role) {
            // Its end would stop the app, so it cannot take over.
            (Level::Running, OnEnd::StopApp, Role::OnTrial) => {
                self.ask_alone(now, id, Cause::Finished(id));
                self.roll_back(now, Some(id));
            }
            (Level::Running, OnEnd::StopApp, Role::Serving) => {
                self.begin_at_once(now, Cause::Finished(id));
            }
            // During the delay it is asked at once.
            (Level::Running, OnEnd::StopApp, Role::Yielding | Role::StoppedByOperator)
            | (Level::Running, OnEnd::StopApp, Role::Retired | Role::TakenBack)
            | (Level::Running, OnEnd::Ignore | OnEnd::Restart, _)
            | (Level::Delay | Level::Drain | Level::Cut | Level::Exit, _, _) => {
                self.ask_alone(now, id, self.cause().unwrap_or(Cause::Finished(id)));
            }
        }
    }

    /// A failed generation gets no notice, because it cannot be entered again. It has a deadline for the tasks that it left behind.
    pub(super) fn failed(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get_mut(id) else { return };
        generation.verdict = generation.verdict.max(Verdict::Failed);
        let (role, on_failure) = (generation.role, generation.policy.on_failure);
        if generation.phase() < Phase::Cut {
            let bounds = [generation.state().deadline(), generation.slice.map(|slice| slice.end)];
            let own = now.saturating_add(self.policy.fail_grace);
            let deadline = bounds.into_iter().flatten().fold(own, Duration::min);
            self.generations.set(id, State::Asked { deadline });
        }
        match role {
            Role::OnTrial => self.roll_back(now, Some(id)),
            Role::Serving if on_failure == OnEnd::StopApp => self.fail(now, Cause::Failure(id)),
            Role::Serving | Role::Yielding | Role::StoppedByOperator | Role::Retired | Role::TakenBack => {}
        }
    }

    /// An instance of a pool failed, which counts; the pool goes on.
    fn lost(&mut self, now: Duration, id: GenerationId) {
        let running = self.level() == Level::Running;
        let Some(generation) = self.generations.get_mut(id) else { return };
        if generation.on_trial() {
            return self.roll_back(now, Some(id));
        }
        if generation.verdict == Verdict::GaveUp {
            return;
        }
        let counts = generation.counts();
        match generation.policy.on_lost {
            OnEnd::StopApp if counts => {
                generation.verdict = generation.verdict.max(Verdict::InstanceLost);
                self.fail(now, Cause::Failure(id));
            }
            OnEnd::Ignore | OnEnd::StopApp => {}
            OnEnd::Restart if counts && running => match self.spend(now, id) {
                Some(pause) => {
                    if let Some(generation) = self.generations.get_mut(id) {
                        // The run counts from the start of the next instance.
                        generation.budget.runs(now.saturating_add(pause));
                    }
                    self.actions.push(Action::Restart { id, pause });
                }
                None => self.give_up(now, id),
            },
            OnEnd::Restart => {
                let [first, _] = generation.policy.restart.backoff;
                let pause = first.min(LAST_PAUSE);
                self.actions.push(Action::Restart { id, pause });
            }
        }
    }

    /// A health check found a generation dead. It is asked, and ends as a failed one; a pool is renewed first.
    fn unhealthy(&mut self, now: Duration, id: GenerationId) {
        let takes_part = self.level() == Level::Running && !self.rollouts.renewals.contains_key(&id);
        let Some(generation) = self.generations.get_mut(id) else { return };
        if generation.on_trial() {
            return self.roll_back(now, Some(id));
        }
        if !takes_part || !generation.counts() || generation.is_out_of_service() {
            return;
        }
        let on_failure = generation.policy.on_failure;
        match (generation.policy.pooled, on_failure) {
            (true, OnEnd::Restart) => return self.renew(now, id, true),
            (true, OnEnd::Ignore) => {}
            (true, OnEnd::StopApp) => generation.verdict = generation.verdict.max(Verdict::InstanceLost),
            (false, OnEnd::Restart | OnEnd::Ignore | OnEnd::StopApp) => {
                generation.verdict = generation.verdict.max(Verdict::Failed);
                let end = now.saturating_add(self.policy.fail_grace);
                generation.slice = Some(Slice { cause: Cause::Failure(id), end });
                self.ask(now, id);
            }
        }
        if on_failure == OnEnd::StopApp {
            self.fail(now, Cause::Failure(id));
        }
    }

    pub(super) fn spend(&mut self, now: Duration, id: GenerationId) -> Option<Duration> {
        let chance = self.chance.next();
        let generation = self.generations.get_mut(id)?;
        generation.budget.spend(now, &generation.policy.restart, chance)
    }

    /// Gives a generation up whose budget is spent. Clients reach a pool, and must not be able to stop the app: the pool goes out
    /// of service alone. Any other generation stops the app.
    pub(super) fn give_up(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get_mut(id) else { return };
        generation.verdict = Verdict::GaveUp;
        if generation.policy.pooled && matches!(generation.phase(), Phase::Starting | Phase::Running) {
            generation.readiness = Readiness::NotReady;
            // A stop asks it as any other, also if none of its instances has ever started.
            self.generations.set(id, State::Running { bound: None });
            return self.actions.push(Action::PutOutOfService(id));
        }
        self.actions.push(Action::GiveUp(id));
        self.fail(now, Cause::Failure(id));
    }

    /// An operator stops one component while the app runs. Its end does not affect the others.
    fn stop_one(&mut self, now: Duration, id: GenerationId, urgency: Urgency) {
        let successor = self.successor(id);
        let Some(generation) = self.generations.get_mut(id) else { return };
        match generation.role {
            Role::OnTrial => self.roll_back(now, Some(id)),
            Role::Serving => generation.role = Role::StoppedByOperator,
            // Neither it nor the one that it makes room for is to run.
            Role::Yielding => {
                generation.role = Role::StoppedByOperator;
                generation
                    .slice
                    .iter_mut()
                    .for_each(|slice| slice.cause = Cause::Request(Requester::Operator));
                if successor.is_some() {
                    self.roll_back(now, successor);
                }
            }
            Role::StoppedByOperator | Role::Retired | Role::TakenBack => {}
        }
        let Some(generation) = self.generations.get(id) else { return };
        match generation.state() {
            State::Pending { last } | State::Backoff { last, .. } => self.finish(id, last),
            State::Starting { .. } => self.abandon(now, id, Cause::Request(Requester::Operator)),
            State::Running { .. } => self.ask_alone(now, id, Cause::Request(Requester::Operator)),
            State::Asked { .. } | State::Cut { .. } | State::Stuck | State::Ended { .. } => {}
        }
        if urgency == Urgency::Now {
            self.cut(now, id);
        }
    }

    fn ended(&mut self, now: Duration, id: GenerationId, outcome: Outcome) {
        let running = self.level() == Level::Running;
        let Some(generation) = self.generations.get_mut(id) else { return };
        let (was_told, counts) = (generation.verdict >= Verdict::Failed, generation.counts());
        let outcome = generation.verdict.over(outcome);
        let (on_exit, on_failure) = (generation.policy.on_exit, generation.policy.on_failure);
        // A job on trial that is done takes over with the others. Any other end on trial takes the rollout back.
        let done = generation.is_ready() && outcome == Outcome::Finished && on_exit != OnEnd::StopApp;
        generation.passed |= done;
        if generation.on_trial() && !done {
            self.finish(id, outcome);
            return self.roll_back(now, Some(id));
        }
        if running && counts && comes_back(outcome, on_exit, on_failure) {
            return self.start_again(now, id, outcome);
        }
        let leaves_no_trace = match generation.role {
            Role::Retired => running,
            Role::TakenBack => true,
            Role::OnTrial | Role::Serving | Role::Yielding | Role::StoppedByOperator => false,
        };
        self.finish(id, outcome);
        if leaves_no_trace {
            self.forget(id);
        }
        self.put_back(now, id);
        match outcome {
            Outcome::Failed | Outcome::GaveUp => {
                if counts && !was_told && on_failure == OnEnd::StopApp {
                    self.fail(now, Cause::Failure(id));
                }
            }
            Outcome::Finished | Outcome::Stopped => {
                if counts && running && on_exit == OnEnd::StopApp {
                    self.begin_at_once(now, Cause::Finished(id));
                }
            }
            Outcome::HookFailed | Outcome::CutOff | Outcome::Leaked | Outcome::NotStarted => {}
        }
    }

    /// Starts a generation that has ended again after a pause, if its budget allows that.
    fn start_again(&mut self, now: Duration, id: GenerationId, last: Outcome) {
        if let Some(pause) = self.spend(now, id) {
            let failed = !matches!(last, Outcome::Finished | Outcome::Stopped | Outcome::HookFailed);
            self.generations
                .get_mut(id)
                .into_iter()
                .for_each(|generation| generation.budget.ended(now, failed));
            self.generations.set(id, State::Backoff { until: now.saturating_add(pause), last });
            return self.actions.push(Action::Restart { id, pause });
        }
        let on_trial = self.generations.get(id).is_some_and(Generation::on_trial);
        self.finish(id, Outcome::GaveUp);
        match on_trial {
            true => self.roll_back(now, Some(id)),
            false => self.give_up(now, id),
        }
    }

    pub(super) fn finish(&mut self, id: GenerationId, outcome: Outcome) {
        self.generations.set(id, State::Ended { outcome });
    }

    /// Grants a generation more time, up to the end of its slice, and returns how much.
    pub(crate) fn extend(&mut self, id: GenerationId, by: Duration) -> Duration {
        let bound = self.deadlines().map_or(Duration::MAX, |deadlines| deadlines.end);
        let asked = self.generations.get(id).map(|generation| (generation.state(), generation.slice));
        let Some((State::Asked { deadline: old }, Some(slice))) = asked else { return Duration::ZERO };
        let deadline = old.saturating_add(by).min(slice.end).min(bound).max(old);
        self.generations.set(id, State::Asked { deadline });
        deadline - old
    }
}

fn comes_back(outcome: Outcome, on_exit: OnEnd, on_failure: OnEnd) -> bool {
    match outcome {
        Outcome::Finished | Outcome::Stopped | Outcome::HookFailed => on_exit == OnEnd::Restart,
        Outcome::Failed => on_failure == OnEnd::Restart,
        // It was asked because its `run` had returned, or because it was not alive.
        Outcome::CutOff | Outcome::Leaked => on_exit == OnEnd::Restart || on_failure == OnEnd::Restart,
        Outcome::GaveUp | Outcome::NotStarted => false,
    }
}
