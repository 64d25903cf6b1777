//! How levels rise and what each rise does to the components. Levels and deadlines change nowhere else.

use std::time::Duration;

use super::machine::{Action, Machine};
use super::{Cause, ComponentId, Deadlines, Level, Outcome, Phase};

/// How long those who are cut off by force may take to be gone before the process leaves.
const FORCED_RESERVE: Duration = Duration::from_millis(250);

impl Machine {
    /// Sets the cause and the deadlines, once, and raises the level (I6).
    pub(super) fn begin(&mut self, now: Duration, cause: Cause, delay: Duration, grace: Duration) {
        if self.cause.is_some() {
            return;
        }
        self.cause = Some(cause);
        self.deadlines = Some(Deadlines::new(now, delay, grace));
        for (at, member) in self.members.iter_mut().enumerate() {
            match member.phase {
                Phase::Pending => {
                    member.phase = Phase::Ended;
                    self.open = self.open.saturating_sub(1);
                    member.outcome = Some(Outcome::NotStarted);
                }
                Phase::Starting => self.actions.push(Action::Abandon(ComponentId(at))),
                Phase::Running | Phase::Asked | Phase::Cut | Phase::Ended => {}
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
        let Some(cause) = self.cause else { return };
        for at in 0..self.members.len() {
            match level {
                Level::Drain => self.ask(now, ComponentId(at), cause),
                Level::Cut => self.cut(ComponentId(at)),
                Level::Running | Level::Delay | Level::Exit => {}
            }
        }
    }

    pub(super) fn ask(&mut self, now: Duration, id: ComponentId, cause: Cause) {
        // Who ends alone has as long as the app would have.
        let bound = self.deadlines.map_or(now.saturating_add(self.policy.grace), |deadlines| deadlines.end);
        let Some(member) = self.members.get_mut(id.0) else {
            return;
        };
        if member.phase == Phase::Running {
            let own = member.policy.grace.map(|grace| grace.saturating_mul(self.grace_factor));
            let deadline = own.map_or(bound, |own| now.saturating_add(own).min(bound));
            member.phase = Phase::Asked;
            member.deadline = Some(deadline);
            member.ceiling = bound;
            self.due = self.due.min(deadline);
            self.actions.push(Action::Ask { id, cause, deadline });
        }
    }

    fn cut(&mut self, id: ComponentId) {
        let Some(member) = self.members.get_mut(id.0) else {
            return;
        };
        if member.phase > Phase::Pending && member.phase < Phase::Cut {
            member.phase = Phase::Cut;
            member.deadline = None;
            self.actions.push(Action::Cut(id));
        }
    }

    /// Does what time and the ends of components demand.
    pub(super) fn settle(&mut self, now: Duration) {
        if now >= self.due {
            self.pass_deadlines(now);
            self.due = self.next_wake().unwrap_or(Duration::MAX);
        }
        if self.open == 0 || self.deadlines.is_some_and(|deadlines| now >= deadlines.hard) {
            self.leave();
        }
    }

    fn pass_deadlines(&mut self, now: Duration) {
        // This one first: it can give others a deadline that is over at once.
        self.fail_late_starts(now);
        if self.level == Level::Delay && self.deadlines.is_some_and(|deadlines| now >= deadlines.drain) {
            self.raise(now, Level::Drain);
        }
        for at in 0..self.members.len() {
            if self.is_over(now, at) {
                self.cut(ComponentId(at));
            }
        }
        if self.deadlines.is_some_and(|deadlines| now >= deadlines.end) {
            self.raise(now, Level::Cut);
        }
    }

    /// Who overruns its start has failed, unless the app stops: then it was abandoned.
    fn fail_late_starts(&mut self, now: Duration) {
        for at in 0..self.members.len() {
            let starting = self.phase(ComponentId(at)) == Phase::Starting;
            if self.level == Level::Running && starting && self.is_over(now, at) {
                self.actions.push(Action::FailStart(ComponentId(at)));
                self.failed(now, ComponentId(at));
                self.cut(ComponentId(at));
            }
        }
    }

    fn is_over(&self, now: Duration, at: usize) -> bool {
        self.members.get(at).and_then(|member| member.deadline).is_some_and(|end| now >= end)
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
