//! The machine: its state, every event at every level, and queries. The caller passes all times in. They count from the start of
//! the app, on a clock that stands still while the process is stopped.

mod escalation;
mod lifecycle;
mod order;
mod rollout;
mod signals;

use std::time::Duration;

use escalation::Stop;
use rollout::Rollouts;
pub(crate) use rollout::{Incoming, MOST_GENERATIONS, Rollout};
use signals::Debounce;

use super::generation::{Generation, Generations, Role};
use super::restart_budget::Chance;
use super::{
    Action, Cause, Event, GenerationId, GenerationPolicy, Level, Outcome, Phase, Policy, Requester, Urgency,
};

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    policy: Policy,
    loaded: bool,
    stop: Stop,
    generations: Generations,
    rollouts: Rollouts,
    /// Set while a generation waits to be asked to stop: the end of the first slice that one waits for.
    next_ask: Option<Duration>,
    debounce: Debounce,
    chance: Chance,
    actions: Vec<Action>,
}

impl Machine {
    /// Returns a machine in which nothing has started. Ids follow `policies`, from 0. `seed` is for the jitter of pauses.
    pub(crate) fn new(policy: Policy, policies: Vec<GenerationPolicy>, seed: u64) -> Self {
        let mut generations = Generations::default();
        for (at, policy) in policies.into_iter().enumerate() {
            generations.insert(GenerationId(at), Generation::new(policy, Role::Serving, false));
        }
        Self {
            policy,
            loaded: false,
            stop: Stop::new(),
            generations,
            rollouts: Rollouts::default(),
            next_ask: None,
            debounce: Debounce::default(),
            chance: Chance(seed),
            actions: Vec::new(),
        }
    }

    /// Sets the policy of a generation: before the app is loaded, when its kind is known, and when a rollout keeps it.
    pub(crate) fn set_policy(&mut self, id: GenerationId, policy: GenerationPolicy) {
        if let Some(generation) = self.generations.get_mut(id) {
            generation.policy = policy;
        }
    }

    #[must_use = "an action that is dropped leaves the stop stuck"]
    pub(crate) fn on(&mut self, now: Duration, event: Event) -> Vec<Action> {
        if self.level() < Level::Exit {
            self.take(now, event);
            self.settle(now);
        }
        std::mem::take(&mut self.actions)
    }

    fn take(&mut self, now: Duration, event: Event) {
        use Level::{Cut, Delay, Drain, Exit, Running};
        let by_operator = Cause::Request(Requester::Operator);
        match (self.level(), event) {
            (_, Event::Loaded) => self.loaded = true,
            (_, Event::Entered(id) | Event::Ready(id) | Event::Returned(id) | Event::Ended(id, _))
            | (_, Event::Failed(id) | Event::Lost(id) | Event::Unhealthy(id))
            | (Running, Event::StopOne(id, _)) => self.take_of(now, id, event),
            (_, Event::Signal(signal)) => self.signal(now, signal),
            (Running, Event::StopRequested(by)) => self.begin_at_once(now, Cause::Request(by)),
            (Running, Event::OperatorStop(Urgency::Graceful)) => self.begin_with_delay(now, by_operator),
            (Running, Event::OperatorStop(Urgency::Now)) => self.begin_at_once(now, by_operator),
            (Delay, Event::OperatorStop(Urgency::Now)) => self.end_delay(now),
            (Running, Event::ReloadRequested) => self.rollouts.reload_wanted = true,
            (Delay | Drain | Cut | Exit, Event::ReloadRequested) => self.actions.push(Action::RefuseReload),
            (_, Event::NothingToChange) => self.nothing_to_change(now),
            (_, Event::HostBug(what)) => self.fail_by_host_bug(now, what),
            (_, Event::Clock) => {}
            // The app stops already.
            (Delay, Event::OperatorStop(Urgency::Graceful))
            | (Drain | Cut | Exit, Event::OperatorStop(_))
            | (Delay | Drain | Cut | Exit, Event::StopRequested(_) | Event::StopOne(..)) => {}
        }
    }

    fn settle(&mut self, now: Duration) {
        loop {
            if self.is_due(now) {
                self.pass_deadlines(now);
            }
            // A switch lets those start that waited for a generation that is gone.
            self.advance_rollout(now);
            self.start_pending(now);
            self.prepare_rollout_if_due(now);
            self.ask_unneeded(now);
            let is_quiet = self.generations.iter().all(|(_, generation)| generation.is_gone());
            if is_quiet || self.deadlines().is_some_and(|deadlines| now >= deadlines.hard) {
                return self.leave();
            }
            // A generation without any grace is cut off in the same step.
            if !self.is_due(now) {
                return;
            }
        }
    }

    fn is_due(&self, now: Duration) -> bool {
        self.next_deadline().is_some_and(|deadline| now >= deadline)
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.generations.next_deadline().into_iter().chain(self.next_rise()).min()
    }

    pub(crate) fn next_wake(&self) -> Option<Duration> {
        self.next_deadline().into_iter().chain(self.next_ask).chain(self.rollout_due()).min()
    }

    pub(crate) fn outcome(&self, id: GenerationId) -> Outcome {
        self.generations.get(id).map_or(Outcome::NotStarted, Generation::outcome)
    }

    pub(crate) fn phase(&self, id: GenerationId) -> Phase {
        self.generations.get(id).map_or(Phase::Ended, Generation::phase)
    }

    pub(super) fn ids(&self) -> Vec<GenerationId> {
        self.generations.ids(|_| true)
    }

    /// Returns whether the machine has not forgotten a generation.
    pub(crate) fn knows(&self, id: GenerationId) -> bool {
        self.generations.get(id).is_some()
    }

    pub(crate) fn is_ready(&self, id: GenerationId) -> bool {
        self.phase(id) == Phase::Running && self.generations.get(id).is_some_and(Generation::is_ready)
    }

    /// Returns whether a generation has spent its restart budget and refuses its clients.
    pub(crate) fn is_out_of_service(&self, id: GenerationId) -> bool {
        self.generations.get(id).is_some_and(Generation::is_out_of_service)
    }

    /// Returns the generations that serve, that is, have the role, and have not ended. In the place of one that makes room it
    /// returns its successor.
    pub(crate) fn in_service(&self) -> impl Iterator<Item = GenerationId> {
        let serving = self.generations.iter().filter_map(|(id, generation)| match generation.role {
            Role::Serving => Some(id),
            Role::Yielding => Some(self.successor(id).unwrap_or(id)),
            Role::OnTrial | Role::StoppedByOperator | Role::Retired | Role::TakenBack => None,
        });
        serving.filter(|id| self.phase(*id) != Phase::Ended)
    }

    /// Returns whether an operator stopped it.
    pub(crate) fn is_stopped(&self, id: GenerationId) -> bool {
        self.generations.get(id).is_some_and(|generation| generation.role == Role::StoppedByOperator)
    }

    /// Returns whether it makes room for its successor.
    pub(crate) fn yields(&self, id: GenerationId) -> bool {
        self.generations.get(id).is_some_and(|generation| generation.role == Role::Yielding)
    }

    pub(crate) fn is_retired(&self, id: GenerationId) -> bool {
        self.generations.get(id).is_none_or(|generation| generation.role >= Role::Retired)
    }

    pub(crate) fn restarts(&self, id: GenerationId) -> u64 {
        self.generations.get(id).map_or(0, |generation| generation.budget.count)
    }

    /// Returns for how long a generation that is started again and again has been failing.
    pub(crate) fn failing_for(&self, id: GenerationId, now: Duration) -> Option<Duration> {
        let generation = self.generations.get(id).filter(|generation| generation.phase() != Phase::Ended)?;
        let [_, longest] = generation.policy.restart.backoff;
        generation.budget.failing_for(now, longest)
    }

    /// Returns when a generation that was asked is cut off.
    pub(crate) fn deadline(&self, id: GenerationId) -> Option<Duration> {
        let asked = self.generations.get(id).filter(|generation| generation.phase() == Phase::Asked)?;
        let own = asked.state().deadline()?;
        // The end of the app can have moved earlier since the notice.
        Some(self.deadlines().map_or(own, |deadlines| own.min(deadlines.end)))
    }
}
