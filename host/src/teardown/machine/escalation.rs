//! Escalation: the events that raise the level of the app, and the effect of each rise on the generations.
//!
//! Invariant: levels only rise, deadlines only move earlier (I5), and the first cause never changes (I6).

use std::time::Duration;

use super::Machine;
use crate::plan::OnEnd;
use crate::teardown::generation::{Generation, Role, Slice, State};
use crate::teardown::{
    Action, Cause, Deadlines, ExitCode, GenerationId, HARD_RESERVE, Level, Phase, Signal, exit_code,
};

/// Longest time between a forced cut-off and the exit.
const FORCED_RESERVE: Duration = Duration::from_millis(250);

/// Level of the app and, once its stop has begun, cause and bounds.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    level: Level,
    begun: Option<(Cause, Deadlines)>,
    grace_factor: u32,
    forced: Option<Signal>,
    host_bug: bool,
}

impl Stop {
    pub(super) fn new() -> Self {
        Self { level: Level::Running, begun: None, grace_factor: 1, forced: None, host_bug: false }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }
}

impl Machine {
    pub(crate) fn level(&self) -> Level {
        self.stop.level
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        self.stop.begun.map(|(cause, _)| cause)
    }

    pub(crate) fn deadlines(&self) -> Option<Deadlines> {
        self.stop.begun.map(|(_, deadlines)| deadlines)
    }

    /// Returns the exit code if the process left now. A generation that has not ended counts as cut off.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let outcomes: Vec<_> = self.generations.iter().map(|(_, generation)| generation.outcome()).collect();
        exit_code(self.stop.host_bug, self.stop.forced, &outcomes)
    }

    pub(super) fn next_rise(&self) -> Option<Duration> {
        self.deadlines().map(|deadlines| match self.level() {
            Level::Running | Level::Delay => deadlines.drain,
            Level::Drain => deadlines.end,
            Level::Cut | Level::Exit => deadlines.hard,
        })
    }

    pub(super) fn last_slice(&self) -> Option<Slice> {
        self.stop.begun.map(|(cause, deadlines)| Slice { cause, end: deadlines.end })
    }

    /// Returns the stretched grace of a generation, if it has one of its own.
    pub(super) fn own_grace(&self, generation: &Generation) -> Option<Duration> {
        generation.policy.grace.map(|grace| grace.saturating_mul(self.stop.grace_factor))
    }

    pub(super) fn begin_with_delay(&mut self, now: Duration, cause: Cause) {
        self.begin(now, cause, self.policy.drain_delay, self.policy.grace);
    }

    pub(super) fn begin_at_once(&mut self, now: Duration, cause: Cause) {
        self.begin(now, cause, Duration::ZERO, self.policy.grace.saturating_mul(self.stop.grace_factor));
    }

    pub(super) fn begin_stretched(&mut self, now: Duration, cause: Cause, factor: u32) {
        self.stop.grace_factor = factor;
        self.begin_at_once(now, cause);
    }

    pub(super) fn begin_forced(&mut self, now: Duration, signal: Signal) {
        self.begin(now, Cause::Signal(signal), Duration::ZERO, Duration::ZERO);
        self.force(now, signal);
    }

    /// Sets the cause and the deadlines, once, and raises the level.
    fn begin(&mut self, now: Duration, cause: Cause, delay: Duration, grace: Duration) {
        if self.stop.begun.is_some() {
            return;
        }
        let drain = now.saturating_add(delay);
        let end = drain.saturating_add(grace);
        let deadlines = Deadlines { drain, end, hard: end.saturating_add(HARD_RESERVE) };
        self.stop.begun = Some((cause, deadlines));
        self.abort_rollout();
        for id in self.ids() {
            let Some(generation) = self.generations.get_mut(id) else { continue };
            if let Some(slice) = generation.slice.as_mut() {
                slice.end = slice.end.min(deadlines.end);
            }
            // From here on the deadlines of the app bound each start, and each end after a cut-off.
            match generation.state() {
                State::Pending { last } | State::Backoff { last, .. } => self.finish(id, last),
                State::Starting { .. } => {
                    if generation.slice.is_none() {
                        self.actions.push(Action::Abandon(id));
                    }
                    self.generations.set(id, State::Starting { bound: None });
                }
                State::Running { .. } => self.generations.set(id, State::Running { bound: None }),
                State::Cut { .. } => self.generations.set(id, State::Cut { gone_by: None }),
                State::Asked { .. } | State::Stuck | State::Ended { .. } => {}
            }
        }
        self.raise(now, if delay.is_zero() { Level::Drain } else { Level::Delay });
    }

    /// Stops the app because of a failure: with the shorter grace, or by ending the delay of a stop under way.
    pub(super) fn fail(&mut self, now: Duration, cause: Cause) {
        match self.level() {
            Level::Running => self.begin(now, cause, Duration::ZERO, self.policy.fail_grace),
            Level::Delay => self.end_delay(now),
            Level::Drain | Level::Cut | Level::Exit => {}
        }
    }

    pub(super) fn fail_by_host_bug(&mut self, now: Duration, what: &'static str) {
        self.stop.host_bug = true;
        self.fail(now, Cause::HostBug(what));
    }

    /// Ends the delay. All deadlines move earlier by its rest, which is not added to the grace.
    pub(super) fn end_delay(&mut self, now: Duration) {
        if let Some((_, deadlines)) = self.stop.begun.as_mut() {
            let rest = deadlines.drain.saturating_sub(now);
            deadlines.drain -= rest;
            deadlines.end -= rest;
            deadlines.hard -= rest;
            self.raise(now, Level::Drain);
        }
    }

    /// Cuts off every generation now, because an operator forces it.
    pub(super) fn force(&mut self, now: Duration, signal: Signal) {
        if let Some((_, deadlines)) = self.stop.begun.as_mut() {
            self.stop.forced = Some(signal);
            deadlines.end = deadlines.end.min(now);
            deadlines.hard = deadlines.hard.min(now.saturating_add(FORCED_RESERVE));
            self.raise(now, Level::Cut);
        }
    }

    pub(super) fn force_exit(&mut self, signal: Signal) {
        self.stop.forced = Some(signal);
        self.leave();
    }

    pub(super) fn leave(&mut self) {
        if self.level() < Level::Exit {
            self.stop.level = Level::Exit;
            self.actions.push(Action::Raise(Level::Exit));
            self.actions.push(Action::Leave(self.exit_code()));
        }
    }

    fn raise(&mut self, now: Duration, level: Level) {
        if level <= self.level() {
            return;
        }
        self.stop.level = level;
        self.actions.push(Action::Raise(level));
        match level {
            Level::Drain => {
                let living = self.generations.ids(Generation::lives);
                self.last_slice().into_iter().for_each(|slice| self.dismiss(now, &living, slice));
                self.ask_unneeded(now);
            }
            Level::Cut => self.cut_all(now),
            Level::Running | Level::Delay | Level::Exit => {}
        }
    }

    fn cut_all(&mut self, now: Duration) {
        for id in self.ids() {
            if let Some(slice) = self.generations.get_mut(id).and_then(|generation| generation.slice.as_mut())
            {
                slice.end = slice.end.min(now);
            }
            self.ask_and_cut(now, id);
        }
        self.next_ask = None;
    }

    pub(super) fn pass_deadlines(&mut self, now: Duration) {
        // A deadline that passes while the app runs can begin its stop, and give others a deadline that is over at once.
        for id in self.generations.overdue(now) {
            // An earlier one of them can have moved this deadline.
            let deadline = self.generations.get(id).and_then(|generation| generation.state().deadline());
            if self.level() == Level::Running && deadline.is_some_and(|deadline| now >= deadline) {
                self.pass_while_running(now, id);
            }
        }
        if self.level() == Level::Delay && self.deadlines().is_some_and(|deadlines| now >= deadlines.drain) {
            self.raise(now, Level::Drain);
        }
        for id in self.generations.overdue(now) {
            if self.phase(id) >= Phase::Asked {
                self.cut(now, id);
            }
        }
        if self.deadlines().is_some_and(|deadlines| now >= deadlines.end) {
            self.raise(now, Level::Cut);
        }
    }

    fn pass_while_running(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get_mut(id) else { return };
        match generation.state() {
            // It may have to wait for those that it comes after.
            State::Backoff { last, .. } => self.generations.set(id, State::Pending { last }),
            // It was abandoned, and started nevertheless.
            State::Starting { .. } if generation.slice.is_some() => self.cut(now, id),
            State::Running { .. } if generation.is_ready() => {
                generation.passed = true;
                self.generations.set(id, State::Running { bound: None });
            }
            State::Starting { .. } | State::Running { .. } => {
                self.actions.push(Action::FailStart(id));
                self.failed(now, id);
                self.cut(now, id);
            }
            State::Cut { .. } => {
                let on_trial = generation.on_trial();
                self.generations.set(id, State::Stuck);
                match on_trial {
                    true => self.roll_back(now, Some(id)),
                    false => self.miss(now, id),
                }
            }
            State::Pending { .. } | State::Asked { .. } | State::Stuck | State::Ended { .. } => {}
        }
    }

    /// Stops the app if it lacks a generation that could not be ended, and so can be neither started again nor forgotten.
    pub(super) fn miss(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get(id) else { return };
        let is_to_come_back = generation.role == Role::Yielding && self.successor(id).is_none();
        if (generation.counts() || is_to_come_back) && generation.policy.on_failure != OnEnd::Ignore {
            self.fail(now, Cause::Failure(id));
        }
    }
}

#[cfg(test)]
impl Machine {
    pub(in crate::teardown) fn forced(&self) -> Option<Signal> {
        self.stop.forced
    }

    pub(in crate::teardown) fn grace_factor(&self) -> u32 {
        self.stop.grace_factor
    }
}
