//! The machine itself: every event, at every level, and what it knows of the app.
//!
//! Invariant: levels only move forward (I5), the cause is set once (I6), deadlines of the stop are computed once and only ever
//! come closer. Times are since the start of the app, on a clock that stands still while the process is stopped; the caller
//! passes them in. What becomes of one component is in `lifecycle`, the order among them in `order`, the levels in `escalation`,
//! generations in `rollout`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Action, Event, Urgency};
use super::generation::Generation;
use super::restart_budget::Chance;
use super::rollout::Rollout;
use super::{
    Cause, Deadlines, ExitCode, GenerationId, GenerationPolicy, Level, Outcome, Phase, Policy, Requester,
    Signal, exit_code,
};

/// The state of the app. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) policy: Policy,
    pub(super) level: Level,
    pub(super) cause: Option<Cause>,
    pub(super) deadlines: Option<Deadlines>,
    pub(super) grace_factor: u32,
    pub(super) generations: BTreeMap<GenerationId, Generation>,
    pub(super) counted: Vec<(Signal, Duration)>,
    pub(super) forced: Option<Signal>,
    pub(super) host_bug: bool,
    pub(super) loaded: bool,
    /// How many generations have not ended.
    pub(super) open: usize,
    /// Whether somebody is to start, and has not.
    pub(super) starts_due: bool,
    /// Whether somebody is to go, and has not been asked.
    pub(super) asks_due: bool,
    /// When the slice ends of the first whom those wait for.
    pub(super) next_slice: Option<Duration>,
    /// How many generations are there that cannot be ended.
    pub(super) stuck: usize,
    /// What is about to take over from what.
    pub(super) rollout: Option<Rollout>,
    /// A manifest is being read, or a fresh generation prepared.
    pub(super) preparing: bool,
    /// Whose renewal is being prepared.
    pub(super) renewing: Option<GenerationId>,
    /// Another reload was asked for meanwhile.
    pub(super) reload_wanted: bool,
    /// When the last reload began.
    pub(super) reload_began: Option<Duration>,
    pub(super) chance: Chance,
    /// No deadline passes before this: with a thousand generations, not every event looks at all of them.
    pub(super) due: Duration,
    pub(super) actions: Vec<Action>,
}

impl Machine {
    /// Returns a machine at level `running` in which nothing has started; the generations get their ids in this order, from 0.
    /// `seed` is for the jitter of pauses.
    pub fn new(policy: Policy, generations: Vec<GenerationPolicy>, seed: u64) -> Self {
        let open = generations.len();
        let generations = generations.into_iter().map(Generation::new).enumerate();
        Self {
            policy,
            level: Level::Running,
            cause: None,
            deadlines: None,
            grace_factor: 1,
            generations: generations.map(|(at, generation)| (GenerationId(at), generation)).collect(),
            counted: Vec::new(),
            forced: None,
            host_bug: false,
            loaded: false,
            open,
            starts_due: true,
            asks_due: false,
            next_slice: None,
            stuck: 0,
            rollout: None,
            preparing: false,
            renewing: None,
            reload_wanted: false,
            reload_began: None,
            chance: Chance(seed),
            due: Duration::MAX,
            actions: Vec::new(),
        }
    }

    /// Takes one event and returns what has to be done about it.
    pub fn on(&mut self, now: Duration, event: Event) -> Vec<Action> {
        if self.level < Level::Exit {
            self.take(now, event);
            self.settle(now);
        }
        std::mem::take(&mut self.actions)
    }

    fn take(&mut self, now: Duration, event: Event) {
        match event {
            Event::Loaded => self.loaded = true,
            Event::Entered(id) => self.entered(now, id),
            Event::Ready(id) => self.ready(id),
            Event::Returned(id) => self.returned(now, id),
            Event::Failed(id) => self.failed(now, id),
            Event::Lost(id) => self.lost(now, id),
            Event::Unhealthy(id) => self.unhealthy(now, id),
            Event::Ended(id, outcome) => self.ended(now, id, outcome),
            Event::Signal(signal) => self.signal(now, signal),
            Event::StopRequested(by) => {
                self.begin(now, Cause::Request(by), Duration::ZERO, self.policy.grace)
            }
            Event::OperatorStop(urgency) => self.operator_stop(now, urgency),
            Event::StopOne(id, urgency) => self.stop_one(now, id, urgency),
            Event::ReloadRequested => self.want_reload(),
            Event::NothingToChange => self.nothing_to_change(now),
            Event::HostBug(what) => {
                self.host_bug = true;
                self.fail(now, Cause::HostBug(what));
            }
            Event::Clock => {}
        }
    }

    fn operator_stop(&mut self, now: Duration, urgency: Urgency) {
        let delay = match urgency {
            Urgency::Graceful => self.policy.drain_delay,
            Urgency::Now if self.level == Level::Delay => return self.end_delay(now),
            Urgency::Now => Duration::ZERO,
        };
        self.begin(now, Cause::Request(Requester::Operator), delay, self.policy.grace);
    }

    /// Does what time and the ends of components demand.
    pub(super) fn settle(&mut self, now: Duration) {
        loop {
            if now >= self.due {
                self.pass_deadlines(now);
                self.due = self.next_deadline().unwrap_or(Duration::MAX);
            }
            // A switch can bring about that somebody may start who waited for one that is gone.
            self.switch_if_ready(now);
            self.start_whoever_may(now);
            self.begin_reload_if_wanted(now);
            self.ask_whoever_may(now);
            // Nobody waits for those who cannot be ended.
            let quiet = self.open == self.stuck;
            if quiet || self.deadlines.is_some_and(|deadlines| now >= deadlines.hard) {
                return self.leave();
            }
            // Whoever got no time at all is cut off in the same step.
            if now < self.due {
                return;
            }
        }
    }

    /// Returns when the next [`Event::Clock`] is due, if any is.
    pub fn next_wake(&self) -> Option<Duration> {
        self.next_deadline().into_iter().chain(self.next_slice).chain(self.rollout_due()).min()
    }

    fn next_deadline(&self) -> Option<Duration> {
        let own = self.generations.values().filter_map(|generation| generation.deadline);
        let stop = self.deadlines.map(|deadlines| match self.level {
            Level::Running | Level::Delay => deadlines.drain,
            Level::Drain => deadlines.end,
            Level::Cut | Level::Exit => deadlines.hard,
        });
        own.chain(stop).min()
    }

    /// Returns the exit code if the process left now. Whoever has not ended counts as cut off.
    pub fn exit_code(&self) -> ExitCode {
        let outcomes: Vec<_> = self.generations.keys().map(|id| self.outcome(*id)).collect();
        exit_code(self.host_bug, self.forced, &outcomes)
    }

    /// Returns how a component ended, or what it would be called if the process left now.
    pub fn outcome(&self, id: GenerationId) -> Outcome {
        let Some(generation) = self.generations.get(&id) else {
            return Outcome::NotStarted;
        };
        match (generation.outcome, generation.phase) {
            (Some(outcome), Phase::Ended | Phase::Backoff | Phase::Pending) => outcome,
            _ if generation.gave_up => Outcome::GaveUp,
            _ if generation.failed || generation.lost => Outcome::Failed,
            (_, Phase::Pending) => Outcome::NotStarted,
            (_, Phase::Starting | Phase::Running | Phase::Asked | Phase::Ended | Phase::Backoff) => {
                Outcome::CutOff
            }
            (_, Phase::Cut) => Outcome::Leaked,
        }
    }

    /// Returns how far a component got.
    pub fn phase(&self, id: GenerationId) -> Phase {
        self.generations.get(&id).map_or(Phase::Ended, |generation| generation.phase)
    }

    /// Returns whether a component takes part: it has not been forgotten.
    pub fn knows(&self, id: GenerationId) -> bool {
        self.generations.contains_key(&id)
    }

    /// Returns whether a component is ready.
    pub fn is_ready(&self, id: GenerationId) -> bool {
        self.generations
            .get(&id)
            .is_some_and(|generation| generation.ready && generation.phase == Phase::Running)
    }

    /// Returns the components that take part in what the app does now: not those that others took over from, nor those
    /// that are on trial, nor those that an operator stopped, nor those that have ended with no harm done.
    pub fn in_service(&self) -> impl Iterator<Item = GenerationId> {
        let serves = |generation: &Generation| {
            generation.counts() && !generation.trial && generation.phase != Phase::Ended
        };
        self.generations.iter().filter(move |(_, generation)| serves(generation)).map(|(id, _)| *id)
    }

    /// Returns whether a generation was replaced or removed and only ends.
    pub fn is_retired(&self, id: GenerationId) -> bool {
        self.generations.get(&id).is_none_or(|generation| generation.retired)
    }

    /// Returns how often a component was started again.
    pub fn restarts(&self, id: GenerationId) -> u64 {
        self.generations.get(&id).map_or(0, |generation| generation.restarts.count)
    }

    /// Returns when a component is cut off, while it has been asked.
    pub fn deadline(&self, id: GenerationId) -> Option<Duration> {
        let own = self.generations.get(&id).filter(|generation| generation.phase == Phase::Asked)?.deadline?;
        // The app's end can have come closer since it was told.
        Some(self.deadlines.map_or(own, |deadlines| own.min(deadlines.end)))
    }

    /// Returns where the app stands.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns why the app stops, once it does.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Returns the bounds of the stop, once it has begun.
    pub fn deadlines(&self) -> Option<Deadlines> {
        self.deadlines
    }
}
