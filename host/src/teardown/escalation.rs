//! How levels rise and what each rise does to the components. Levels and the deadlines of the stop change nowhere else.

use std::collections::BTreeSet;
use std::time::Duration;

use super::event::Action;
use super::machine::Machine;
use super::{Cause, Deadlines, GenerationId, Level, Phase};
use crate::plan::OnEnd;

/// How long those who are cut off by force may take to be gone before the process leaves.
const FORCED_RESERVE: Duration = Duration::from_millis(250);

impl Machine {
    /// Sets the cause and the deadlines, once, and raises the level (I6).
    pub(super) fn begin(&mut self, now: Duration, cause: Cause, delay: Duration, grace: Duration) {
        if self.cause.is_some() {
            return;
        }
        self.cause = Some(cause);
        let deadlines = Deadlines::new(now, delay, grace);
        self.deadlines = Some(deadlines);
        for leaving in self.generations.values_mut().filter_map(|generation| generation.leaving.as_mut()) {
            leaving.until = leaving.until.min(deadlines.end);
        }
        self.give_up_rollout();
        for id in self.ids() {
            let Some(generation) = self.generations.get_mut(&id) else { continue };
            match generation.phase {
                Phase::Pending | Phase::Backoff => self.finish(id, self.last_outcome(id)),
                Phase::Starting => {
                    generation.deadline = None;
                    if generation.leaving.is_none() {
                        self.actions.push(Action::Abandon(id));
                    }
                }
                // The time for its start is over, or for its end: the app has its own now.
                Phase::Running | Phase::Cut => generation.deadline = None,
                Phase::Asked | Phase::Ended => {}
            }
        }
        let level = if delay.is_zero() { Level::Drain } else { Level::Delay };
        self.raise(now, level);
    }

    /// Stops because something failed: with the shorter grace, or by ending the delay of a stop under way.
    pub(super) fn fail(&mut self, now: Duration, cause: Cause) {
        match self.level {
            Level::Running => self.begin(now, cause, Duration::ZERO, self.policy.fail_grace),
            Level::Delay => self.end_delay(now),
            Level::Drain | Level::Cut | Level::Exit => {}
        }
    }

    /// Ends the delay: its rest is not added to the grace, so everything behind it moves earlier.
    pub(super) fn end_delay(&mut self, now: Duration) {
        if let (Level::Delay, Some(deadlines)) = (self.level, self.deadlines.as_mut()) {
            let rest = deadlines.drain.saturating_sub(now);
            deadlines.drain -= rest;
            deadlines.end -= rest;
            deadlines.hard -= rest;
            self.raise(now, Level::Drain);
        }
    }

    /// Cuts everyone off now, by the operator's force.
    pub(super) fn force(&mut self, now: Duration) {
        if let Some(deadlines) = self.deadlines.as_mut() {
            deadlines.end = deadlines.end.min(now);
            deadlines.hard = deadlines.hard.min(now.saturating_add(FORCED_RESERVE));
        }
        self.raise(now, Level::Cut);
    }

    fn raise(&mut self, now: Duration, level: Level) {
        if level <= self.level {
            return;
        }
        self.level = level;
        self.due = Duration::ZERO;
        self.actions.push(Action::Raise(level));
        match level {
            Level::Drain => self.dismiss_all(now),
            Level::Cut => self.cut_all(now),
            Level::Running | Level::Delay | Level::Exit => {}
        }
    }

    fn dismiss_all(&mut self, now: Duration) {
        let (Some(cause), Some(deadlines)) = (self.cause, self.deadlines) else { return };
        let lives = self.generations.iter().filter(|(_, generation)| generation.lives());
        let ids: BTreeSet<_> = lives.map(|(id, _)| *id).collect();
        self.dismiss(now, &ids, cause, deadlines.end);
        self.ask_whoever_may(now);
    }

    /// Nobody is cut off without having been told.
    fn cut_all(&mut self, now: Duration) {
        for id in self.ids() {
            if let Some(generation) = self.generations.get_mut(&id)
                && let Some(leaving) = generation.leaving.as_mut()
            {
                leaving.until = leaving.until.min(now);
            }
            self.ask(now, id);
            self.cut(now, id);
        }
        (self.asks_due, self.next_slice) = (false, None);
    }

    fn ids(&self) -> Vec<GenerationId> {
        self.generations.keys().copied().collect()
    }

    pub(super) fn pass_deadlines(&mut self, now: Duration) {
        // These first: they can give others a deadline that is over at once.
        for id in self.overdue(now) {
            // What one of them brings about can give another one a new deadline.
            let still = self.generations.get(&id).is_some_and(|generation| generation.is_overdue(now));
            if still && self.level == Level::Running {
                self.pass_while_running(now, id);
            }
        }
        if self.level == Level::Delay && self.deadlines.is_some_and(|deadlines| now >= deadlines.drain) {
            self.raise(now, Level::Drain);
        }
        for id in self.overdue(now) {
            if self.phase(id) >= Phase::Asked {
                self.cut(now, id);
            }
        }
        if self.deadlines.is_some_and(|deadlines| now >= deadlines.end) {
            self.raise(now, Level::Cut);
        }
    }

    fn overdue(&self, now: Duration) -> Vec<GenerationId> {
        let over = self.generations.iter().filter(|(_, generation)| generation.is_overdue(now));
        over.map(|(id, _)| *id).collect()
    }

    fn pass_while_running(&mut self, now: Duration, id: GenerationId) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        match generation.phase {
            // Those that it comes after can be down, too.
            Phase::Backoff => {
                (generation.phase, generation.deadline) = (Phase::Pending, None);
                self.starts_due = true;
            }
            // It was abandoned, and does not heed it.
            Phase::Starting if generation.leaving.is_some() => self.cut(now, id),
            // Who overruns its start has failed; if the app stopped, it would have been abandoned.
            Phase::Starting | Phase::Running => {
                self.actions.push(Action::FailStart(id));
                self.failed(now, id);
                self.cut(now, id);
            }
            // It cannot be ended, so it can neither be started again nor be forgotten.
            Phase::Cut => {
                (generation.deadline, generation.stuck) = (None, true);
                self.stuck += 1;
                self.starts_due = true;
                if generation.counts() && generation.policy.on_failure != OnEnd::Ignore {
                    self.fail(now, Cause::Failure(id));
                }
            }
            Phase::Pending | Phase::Asked | Phase::Ended => {}
        }
    }

    pub(super) fn leave(&mut self) {
        if self.level < Level::Exit {
            self.level = Level::Exit;
            self.actions.push(Action::Raise(Level::Exit));
            let code = self.exit_code();
            self.actions.push(Action::Leave(code));
        }
    }
}
