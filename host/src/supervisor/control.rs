//! The control thread's loop: waits for signals, messages and deadlines, feeds the machine, and has `perform`
//! do what it says. Invariant: nothing in here blocks but the one `poll`, and no guest code runs here, so a
//! deadline is late only by what the system's scheduler adds.

use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::board::Record;
use super::guardian::Guardian;
use super::inbox::Inbox;
use super::narrate;
use super::pause::PauseWatch;
use super::report::Report;
use super::signals::SignalSource;
use super::{AppError, Options};
use crate::fail_point;
use crate::output::Progress;
use crate::plan::{ComponentPlan, OnEnd, Plan};
use crate::runtime::{Loading, Runtime};
use crate::server::http::Front;
use crate::teardown::{ComponentId, Event, ExitCode, Level, Machine, MemberPolicy, Phase, Policy};

/// How often epochs are bumped while somebody who is cut off still runs. A store made after the first bump
/// would miss it.
const BUMP_EVERY: Duration = Duration::from_millis(10);
/// How often the log says whom the stop waits for.
const WAITING_EVERY: Duration = Duration::from_secs(1);
/// Longest time between two looks at the clock while a deadline is set, so that a gap shows.
const LOOK: Duration = Duration::from_millis(100);

/// What is left when an app has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its report.
    pub result: Result<Report, AppError>,
    /// Still on guard, with the bound of the stop if there was one.
    pub guardian: Guardian,
    /// The signals, which nobody listens to any more.
    pub signals: Option<SignalSource>,
}

impl Ended {
    /// Returns the report alone: the process goes on without the app.
    ///
    /// # Errors
    /// When a component could not be loaded.
    pub fn dismissed(self) -> Result<Report, AppError> {
        self.guardian.dismiss();
        self.result
    }
}

/// The app as the control thread holds it.
pub struct Control {
    pub(super) runtime: Runtime,
    pub(super) plan: Plan,
    pub(super) components: Vec<Arc<ComponentPlan>>,
    pub(super) options: Options,
    pub(super) inbox: Inbox,
    pub(super) machine: Machine,
    pub(super) records: Vec<Record>,
    pub(super) guardian: Guardian,
    pub(super) loading: Option<Loading>,
    pub(super) progress: Option<Progress>,
    pub(super) stop_began: Option<Duration>,
    pub(super) left: Option<ExitCode>,
    pub(super) not_entered: usize,
    /// What serves the components of kind `http`, once they are loaded.
    pub(super) front: Option<Front>,
    /// The time of this turn: everything that is heard in one turn happens at one time.
    pub(super) now: Duration,
    pauses: PauseWatch,
    next_waiting: Option<Duration>,
}

impl Control {
    /// Puts the app together; nothing has started yet.
    pub fn new(runtime: Runtime, plan: Plan, options: Options, inbox: Inbox, guardian: Guardian) -> Self {
        let policy = Policy {
            grace: plan.app.grace,
            fail_grace: plan.app.fail_grace,
            drain_delay: plan.app.drain_delay,
            signals: plan.app.signals,
        };
        let members = plan.components.iter().map(|component| MemberPolicy {
            grace: component.grace,
            start_timeout: component.start_timeout,
            on_exit: component.on_exit,
            on_failure: component.on_failure.unwrap_or(OnEnd::StopApp),
            on_lost: component.on_failure.unwrap_or(OnEnd::Ignore),
            restart: component.restart,
            after: Vec::new(),
            pooled: false,
        });
        Self {
            machine: Machine::new(policy, members.collect(), 0),
            records: plan.components.iter().map(|_| Record::default()).collect(),
            components: plan.components.iter().cloned().map(Arc::new).collect(),
            not_entered: plan.components.len(),
            front: None,
            runtime,
            plan,
            options,
            inbox,
            guardian,
            loading: None,
            progress: None,
            stop_began: None,
            left: None,
            now: Duration::ZERO,
            pauses: PauseWatch::start(),
            next_waiting: None,
        }
    }

    /// Runs the app to its end. The guardian goes on until somebody dismisses it.
    pub fn run(mut self) -> Ended {
        let result = self.run_to_end();
        Ended { result, guardian: self.guardian, signals: self.options.signals }
    }

    fn run_to_end(&mut self) -> Result<Report, AppError> {
        self.load()?;
        while self.left.is_none() {
            let timed = self.wait()?;
            let source = self.options.signals.as_ref();
            let (now, signals) = self.pauses.begin_turn(self.runtime.clock(), source, timed);
            self.now = now;
            for signal in signals {
                self.feed(Event::Signal(signal));
            }
            for message in self.inbox.take() {
                self.hear(message)?;
            }
            self.feed(Event::Clock);
            self.arm_guardian();
            self.say_who_is_waited_for();
            if self.somebody_is_being_cut() {
                self.runtime.bump();
            }
            if self.not_entered == 0 {
                fail_point::reach("control");
            }
        }
        Ok(self.report())
    }

    /// Waits until there is something to do. Returns whether a deadline was in sight.
    fn wait(&mut self) -> Result<bool, AppError> {
        let now = self.runtime.clock().now();
        let mut timeout = self.machine.next_wake().map(|at| at.saturating_sub(now).min(LOOK));
        if self.somebody_is_being_cut() {
            timeout = Some(timeout.map_or(BUMP_EVERY, |timeout| timeout.min(BUMP_EVERY)));
        }
        let signals = self.options.signals.as_ref().map(SignalSource::as_fd);
        let mut polled = vec![PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN)];
        polled.extend(signals.map(|signals| PollFd::new(signals, PollFlags::POLLIN)));
        match ppoll(&mut polled, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(timeout.is_some()),
            Err(error) => Err(AppError::System { what: "wait for events", cause: error.into() }),
        }
    }

    /// Feeds the machine, and does what it says.
    pub(super) fn feed(&mut self, event: Event) {
        let now = self.now;
        let before = self.machine.level();
        let actions = self.machine.on(now, event);
        if before == Level::Running && self.machine.cause().is_some() {
            self.stop_began = Some(now);
            narrate::not_ready();
        }
        for action in actions {
            self.perform(now, action);
        }
        // Before the stop begins there is nothing to guard; after that, once for each batch is enough.
        if before == Level::Running {
            self.arm_guardian();
        }
    }

    fn arm_guardian(&self) {
        if let Some(deadlines) = self.machine.deadlines() {
            self.guardian.arm(deadlines.hard, self.machine.exit_code());
        }
    }

    fn somebody_is_being_cut(&self) -> bool {
        (0..self.records.len()).any(|at| {
            let phase = self.machine.phase(ComponentId(at));
            let abandoned = phase == Phase::Starting && self.machine.level() > Level::Running;
            phase == Phase::Cut || abandoned
        })
    }

    fn say_who_is_waited_for(&mut self) {
        let now = self.now;
        let Some(began) = self.stop_began else { return };
        if now < *self.next_waiting.get_or_insert(began + WAITING_EVERY) || self.left.is_some() {
            return;
        }
        self.next_waiting = Some(now + WAITING_EVERY);
        for (at, record) in self.records.iter().enumerate() {
            let id = ComponentId(at);
            let phase = self.machine.phase(id);
            if phase != Phase::Ended {
                let deadline = self.machine.deadline(id).or(self.machine.deadlines().map(|all| all.end));
                let left = deadline.unwrap_or(now).saturating_sub(now);
                let in_flight = record.in_flight();
                narrate::waiting(&self.name(id), record.doing(phase), in_flight, record.hook_time(now), left);
            }
        }
    }

    /// Returns the name of a component.
    pub(super) fn name(&self, id: ComponentId) -> String {
        self.components.get(id.0).map_or_else(String::new, |component| component.name.clone())
    }
}
