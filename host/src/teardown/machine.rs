//! The machine itself: every event, at every level, and what has to be done about it.
//!
//! Invariant: levels and phases only move forward (I5), the cause is set once (I6), deadlines are computed
//! once and only ever come closer, and each component is asked at most once. Times are since the start of the
//! app, on a clock that stands still while the process is stopped; the caller passes them in.

use std::time::Duration;

use super::{Cause, ComponentId, Deadlines, ExitCode, Level, Outcome, Phase, Requester, Signal, exit_code};
use crate::plan::{OnEnd, SignalProfile};

/// What holds for the app as a whole.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Longest graceful stop.
    pub grace: Duration,
    /// The same after a failure.
    pub fail_grace: Duration,
    /// Not ready, but serving, for this long first.
    pub drain_delay: Duration,
    /// Which table of signals holds.
    pub signals: SignalProfile,
}

/// What holds for one component.
#[derive(Clone, Debug)]
pub struct MemberPolicy {
    /// Longest time between its notice and its cut-off, within what the app has; `None` is all of that.
    pub grace: Option<Duration>,
    /// Longest time until its `run` is entered.
    pub start_timeout: Duration,
    /// What its normal end means.
    pub on_exit: OnEnd,
    /// What its failure means.
    pub on_failure: OnEnd,
    /// What the failure of one of its instances means, where it has several and goes on without it.
    pub on_lost: OnEnd,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything is loaded: the components can start.
    Loaded,
    /// The `run` of a component has been entered.
    Entered(ComponentId),
    /// The `run` of a component has returned without an error.
    Returned(ComponentId),
    /// A component has failed; its end follows.
    Failed(ComponentId),
    /// One of a component's instances has failed; others take its place.
    Lost(ComponentId),
    /// Nothing of a component is left, and this is how it ended.
    Ended(ComponentId, Outcome),
    /// A signal arrived.
    Signal(Signal),
    /// Somebody asked for a graceful stop.
    StopRequested(Requester),
    /// A task of the host died.
    HostBug(&'static str),
    /// Time has passed.
    Clock,
}

/// Something that has to be done. The order in the list is the order to do it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an action that is dropped leaves the stop stuck"]
pub enum Action {
    /// Start this component.
    Start(ComponentId),
    /// Say that this component has failed: its `run` was not entered in time.
    FailStart(ComponentId),
    /// Drop this component if its `run` has not been entered yet.
    Abandon(ComponentId),
    /// Say that a new level holds.
    Raise(Level),
    /// Tell this component to stop, with the cause and the time of its cut-off.
    Ask {
        /// Which one.
        id: ComponentId,
        /// Why.
        cause: Cause,
        /// When it is cut off.
        deadline: Duration,
    },
    /// Cut this component off, on both prongs.
    Cut(ComponentId),
    /// Say that a signal came which changes nothing.
    NoteSignal(Signal),
    /// Say that a reload is not possible.
    RefuseReload,
    /// Print one line for each component.
    PrintStatus,
    /// Report, and leave with this code.
    Leave(ExitCode),
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) policy: MemberPolicy,
    pub(super) phase: Phase,
    pub(super) failed: bool,
    /// One of its instances has failed, and that counts as its own failure.
    pub(super) lost: bool,
    pub(super) deadline: Option<Duration>,
    /// How far its deadline can be extended, set when it is asked.
    pub(super) ceiling: Duration,
    pub(super) outcome: Option<Outcome>,
}

/// The state of the stop. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) policy: Policy,
    pub(super) level: Level,
    pub(super) cause: Option<Cause>,
    pub(super) deadlines: Option<Deadlines>,
    pub(super) grace_factor: u32,
    pub(super) members: Vec<Member>,
    pub(super) counted: Vec<(Signal, Duration)>,
    pub(super) forced: Option<Signal>,
    pub(super) host_bug: bool,
    /// How many members have not ended.
    pub(super) open: usize,
    /// No deadline passes before this: with a thousand members, not every event looks at all of them.
    pub(super) due: Duration,
    pub(super) actions: Vec<Action>,
}

impl Machine {
    /// Returns a machine at level `running` in which nothing has started.
    pub fn new(policy: Policy, members: Vec<MemberPolicy>) -> Self {
        let members: Vec<_> = members
            .into_iter()
            .map(|policy| Member {
                policy,
                phase: Phase::Pending,
                failed: false,
                lost: false,
                deadline: None,
                ceiling: Duration::ZERO,
                outcome: None,
            })
            .collect();
        let open = members.len();
        Self {
            policy,
            level: Level::Running,
            cause: None,
            deadlines: None,
            grace_factor: 1,
            members,
            counted: Vec::new(),
            forced: None,
            host_bug: false,
            open,
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
            Event::Loaded => self.start_all(now),
            Event::Entered(id) => self.entered(now, id),
            Event::Returned(id) => self.returned(now, id),
            Event::Failed(id) => self.failed(now, id),
            Event::Lost(id) => self.lost(now, id),
            Event::Ended(id, outcome) => self.ended(now, id, outcome),
            Event::Signal(signal) => self.signal(now, signal),
            Event::StopRequested(by) => {
                self.begin(now, Cause::Request(by), Duration::ZERO, self.policy.grace)
            }
            Event::HostBug(what) => {
                self.host_bug = true;
                self.fail(now, Cause::HostBug(what));
            }
            Event::Clock => {}
        }
    }

    fn start_all(&mut self, now: Duration) {
        for (at, member) in self.members.iter_mut().enumerate() {
            if member.phase == Phase::Pending {
                member.phase = Phase::Starting;
                let deadline = now.saturating_add(member.policy.start_timeout);
                member.deadline = Some(deadline);
                self.due = self.due.min(deadline);
                self.actions.push(Action::Start(ComponentId(at)));
            }
        }
    }

    fn entered(&mut self, now: Duration, id: ComponentId) {
        let Some(member) = self.members.get_mut(id.0) else {
            return;
        };
        if member.phase == Phase::Starting {
            member.phase = Phase::Running;
            member.deadline = None;
            // It slipped in while it was being abandoned: it has started, so it is asked like all others.
            if let (true, Some(cause)) = (self.level > Level::Running, self.cause) {
                self.ask(now, id, cause);
            }
        }
    }

    fn returned(&mut self, now: Duration, id: ComponentId) {
        let Some(member) = self.members.get(id.0) else {
            return;
        };
        if member.phase != Phase::Running {
            return;
        }
        match (self.level, member.policy.on_exit) {
            (Level::Running, OnEnd::StopApp) => {
                self.begin(now, Cause::Finished(id), Duration::ZERO, self.policy.grace);
            }
            (Level::Running, OnEnd::Ignore | OnEnd::Restart) => self.ask(now, id, Cause::Finished(id)),
            // Whoever ends during the delay does not wait for it.
            (
                Level::Delay | Level::Drain | Level::Cut | Level::Exit,
                OnEnd::StopApp | OnEnd::Ignore | OnEnd::Restart,
            ) => {
                let cause = self.cause.unwrap_or(Cause::Finished(id));
                self.ask(now, id, cause);
            }
        }
    }

    pub(super) fn failed(&mut self, now: Duration, id: ComponentId) {
        let Some(member) = self.members.get_mut(id.0) else {
            return;
        };
        if matches!(member.phase, Phase::Pending | Phase::Ended) || member.failed {
            return;
        }
        member.failed = true;
        // It gets no notice, it cannot be entered again; but tasks that it left behind can linger.
        member.phase = member.phase.max(Phase::Asked);
        if member.phase < Phase::Cut {
            let deadline = now.saturating_add(self.policy.fail_grace);
            member.deadline = Some(member.deadline.map_or(deadline, |old| old.min(deadline)));
            self.due = self.due.min(deadline);
        }
        match member.policy.on_failure {
            OnEnd::StopApp => self.fail(now, Cause::Failure(id)),
            OnEnd::Ignore | OnEnd::Restart => {}
        }
    }

    /// The component goes on, and is asked like all others if the app has to stop for it.
    fn lost(&mut self, now: Duration, id: ComponentId) {
        let Some(member) = self.members.get_mut(id.0) else {
            return;
        };
        let lives = member.phase > Phase::Pending && member.phase < Phase::Ended;
        if member.policy.on_lost == OnEnd::StopApp && lives {
            member.lost = true;
            self.fail(now, Cause::Failure(id));
        }
    }

    fn ended(&mut self, now: Duration, id: ComponentId, outcome: Outcome) {
        let Some(member) = self.members.get_mut(id.0) else {
            return;
        };
        if member.phase == Phase::Ended {
            return;
        }
        let told = member.failed;
        // Nothing that follows masks a failure: what was left of it can have been cut off.
        let outcome = if told || member.lost { outcome.or_failed() } else { outcome };
        member.phase = Phase::Ended;
        member.deadline = None;
        self.open = self.open.saturating_sub(1);
        member.outcome = Some(outcome);
        let (on_exit, on_failure) = (member.policy.on_exit, member.policy.on_failure);
        match outcome {
            Outcome::Failed | Outcome::GaveUp if !told && on_failure == OnEnd::StopApp => {
                self.fail(now, Cause::Failure(id));
            }
            Outcome::Finished | Outcome::Stopped if self.level == Level::Running => {
                if on_exit == OnEnd::StopApp {
                    self.begin(now, Cause::Finished(id), Duration::ZERO, self.policy.grace);
                }
            }
            Outcome::Finished
            | Outcome::Stopped
            | Outcome::HookFailed
            | Outcome::Failed
            | Outcome::CutOff
            | Outcome::Leaked
            | Outcome::GaveUp
            | Outcome::NotStarted => {}
        }
    }

    /// Grants a component more time, up to the app's deadline, and returns how much.
    pub fn extend(&mut self, id: ComponentId, by: Duration) -> Duration {
        let bound = self.deadlines.map_or(Duration::MAX, |deadlines| deadlines.end);
        let Some(member) = self.members.get_mut(id.0) else {
            return Duration::ZERO;
        };
        let (Phase::Asked, Some(old)) = (member.phase, member.deadline) else {
            return Duration::ZERO;
        };
        let new = old.saturating_add(by).min(member.ceiling).min(bound).max(old);
        member.deadline = Some(new);
        new - old
    }

    /// Returns when the next [`Event::Clock`] is due, if any is.
    pub fn next_wake(&self) -> Option<Duration> {
        let own = self.members.iter().filter_map(|member| member.deadline);
        let stop = self.deadlines.map(|deadlines| match self.level {
            Level::Running | Level::Delay => deadlines.drain,
            Level::Drain => deadlines.end,
            Level::Cut | Level::Exit => deadlines.hard,
        });
        own.chain(stop).min()
    }

    /// Returns the exit code if the process left now. Whoever has not ended counts as cut off.
    pub fn exit_code(&self) -> ExitCode {
        let outcomes: Vec<_> = (0..self.members.len()).map(|at| self.outcome(ComponentId(at))).collect();
        exit_code(self.host_bug, self.forced, &outcomes)
    }

    /// Returns how a component ended, or what it would be called if the process left now.
    pub fn outcome(&self, id: ComponentId) -> Outcome {
        let Some(member) = self.members.get(id.0) else {
            return Outcome::NotStarted;
        };
        match (member.outcome, member.phase) {
            (Some(outcome), _) => outcome,
            (None, _) if member.failed || member.lost => Outcome::Failed,
            (None, Phase::Pending) => Outcome::NotStarted,
            (None, Phase::Starting | Phase::Running | Phase::Asked | Phase::Ended) => Outcome::CutOff,
            (None, Phase::Cut) => Outcome::Leaked,
        }
    }

    /// Returns how far a component got.
    pub fn phase(&self, id: ComponentId) -> Phase {
        self.members.get(id.0).map_or(Phase::Ended, |member| member.phase)
    }

    /// Returns when a component is cut off, while it has been asked.
    pub fn deadline(&self, id: ComponentId) -> Option<Duration> {
        let own = self.members.get(id.0).and_then(|member| member.deadline)?;
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
