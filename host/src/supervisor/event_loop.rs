//! The control thread's loop: waits for signals, messages and deadlines, feeds the machine, and has `perform`
//! carries them out. Invariant: only the one `ppoll` blocks, and no guest code runs here. A deadline is late only by the
//! delay of the system's scheduler.

use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::error::AppError;
use super::guardian::Guardian;
use super::inbox::Inbox;
use super::log_events;
use super::options::Options;
use super::policies::{generation_policy, policy};
use super::readiness::Readiness;
use super::registry::Registry;
use super::reload_state::ReloadState;
use super::report::Report;
use super::service_manager::ServiceManager;
use super::signals::SignalSource;
use super::startup_progress::StartupProgress;
use super::stop_progress::StopProgress;
use super::suspension::SuspensionWatch;
use super::waiting_operators::WaitingOperators;
use crate::admin::Admin;
use crate::plan::Plan;
use crate::runtime::Runtime;
use crate::server::Servers;
use crate::teardown::{Event, GenerationId, Level, Machine, Phase};

/// Period of epoch bumps while a generation that was cut off still runs. A store made after the first bump
/// would miss it.
const BUMP_EVERY: Duration = Duration::from_millis(10);
/// Longest time between two looks at the clock while a deadline is set, so that a gap shows.
const LOOK: Duration = Duration::from_millis(100);

/// The remains of an app that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its report.
    pub result: Result<Report, AppError>,
    /// Still on guard, with the bound of the stop if there was one.
    pub guardian: Guardian,
    /// The signals, which the app does not read any more.
    pub signals: Option<SignalSource>,
    /// Still answering, until it is dropped: the last that closes.
    pub admin: Option<Admin>,
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
pub(super) struct EventLoop {
    pub(super) runtime: Runtime,
    pub(super) plan: Plan,
    pub(super) options: Options,
    pub(super) inbox: Inbox,
    pub(super) machine: Machine,
    pub(super) registry: Registry,
    pub(super) guardian: Guardian,
    /// Components are being loaded.
    pub(super) startup: Option<StartupProgress>,
    pub(super) stop: StopProgress,
    /// The servers of the components, once these are loaded.
    pub(super) servers: Option<Servers>,
    pub(super) reloads: ReloadState,
    pub(super) waiting: WaitingOperators,
    pub(super) service_manager: ServiceManager,
    pub(super) readiness: Readiness,
    /// The control socket and the admin listener.
    admin: Option<Admin>,
    /// The time of this turn: all events of one turn happen at one time.
    pub(super) now: Duration,
    suspension: SuspensionWatch,
}

impl EventLoop {
    /// Puts the app together; nothing has started yet.
    pub(super) fn new(
        runtime: Runtime,
        plan: Plan,
        options: Options,
        inbox: Inbox,
        guardian: Guardian,
    ) -> Self {
        let mut registry = Registry::default();
        let add = |component: &crate::plan::ComponentPlan| {
            (component.name.clone(), registry.add(Arc::new(component.clone()), None))
        };
        let ids = plan.components.iter().map(add).collect();
        let members =
            plan.components.iter().map(|component| generation_policy(component, None, &ids)).collect();
        registry.set_current(ids);
        let seed = u64::from(std::process::id());
        Self {
            machine: Machine::new(policy(&plan.app), members, seed),
            registry,
            service_manager: ServiceManager::new(options.service_manager),
            servers: None,
            reloads: ReloadState::default(),
            waiting: WaitingOperators::default(),
            readiness: Readiness::default(),
            admin: None,
            runtime,
            plan,
            options,
            inbox,
            guardian,
            startup: None,
            stop: StopProgress::default(),
            now: Duration::ZERO,
            suspension: SuspensionWatch::start(),
        }
    }

    /// Runs the app to its end. The guardian goes on until it is dismissed.
    pub(super) fn run(mut self) -> Ended {
        let result = self.run_to_end();
        Ended { result, guardian: self.guardian, signals: self.options.signals, admin: self.admin }
    }

    fn run_to_end(&mut self) -> Result<Report, AppError> {
        self.open_to_operators()?;
        self.load()?;
        while self.stop.exit_code().is_none() {
            let timed = self.wait()?;
            let source = self.options.signals.as_ref();
            let (now, signals) = self.suspension.begin_turn(self.runtime.clock(), source, timed);
            self.now = now;
            for signal in signals {
                self.feed(Event::Signal(signal));
            }
            for message in self.inbox.take() {
                self.hear(message)?;
            }
            self.check_liveness();
            self.feed(Event::Clock);
            self.tell_readiness();
            self.arm_guardian();
            self.say_who_is_waited_for();
            if self.somebody_is_being_cut() {
                self.runtime.bump();
            }
        }
        Ok(self.report())
    }

    /// Opens the control socket and the admin listener, before anything else of the app exists.
    fn open_to_operators(&mut self) -> Result<(), AppError> {
        let (control, admin) = (self.plan.app.control.clone(), self.plan.app.admin);
        if control.is_none() && admin.is_none() {
            return Ok(());
        }
        let inbox = self.inbox.clone();
        let died = move || inbox.send(super::inbox::Message::HostBug("the thread for operators"));
        let operator = Arc::new(self.inbox.clone());
        self.admin = Some(Admin::start(control, admin, operator, died)?);
        Ok(())
    }

    /// Waits for the next event or deadline. Returns whether a deadline bounded the wait.
    fn wait(&mut self) -> Result<bool, AppError> {
        let now = self.runtime.clock().now();
        let due = self.machine.next_wake().into_iter().chain(self.next_liveness_check()).min();
        let mut timeout = due.map(|at| at.saturating_sub(now).min(LOOK));
        if self.somebody_is_being_cut() {
            timeout = Some(timeout.map_or(BUMP_EVERY, |timeout| timeout.min(BUMP_EVERY)));
        }
        let timed = timeout.is_some();
        let timeout = timeout.into_iter().chain(self.service_manager.next_call(now)).min();
        let signals = self.options.signals.as_ref().map(SignalSource::as_fd);
        let mut polled = vec![PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN)];
        polled.extend(signals.map(|signals| PollFd::new(signals, PollFlags::POLLIN)));
        match ppoll(&mut polled, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(timed),
            Err(error) => Err(AppError::System { what: "wait for events", cause: error.into() }),
        }
    }

    /// Feeds the machine an event, and carries out its actions.
    pub(super) fn feed(&mut self, event: Event) {
        let before = self.machine.level();
        let actions = self.machine.on(self.now, event);
        self.follow(before, actions);
    }

    /// Carries out actions of the machine; `before` is the level before its event.
    pub(super) fn follow(&mut self, before: Level, actions: Vec<crate::teardown::Action>) {
        if before == Level::Running && self.machine.cause().is_some() {
            self.stop.begins(self.now);
            self.tell_readiness();
        }
        if before == Level::Running && self.machine.level() > Level::Running {
            self.refuse_pending();
            self.give_up_reading();
            let left = self.machine.deadlines().map(|deadlines| deadlines.hard.saturating_sub(self.now));
            self.service_manager.stopping(self.now, left.unwrap_or_default());
        }
        for action in actions {
            self.perform(self.now, action);
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
        self.registry.iter().any(|(id, record)| {
            let abandoned = || record.link.as_ref().is_some_and(|link| link.orders.is_abandoned());
            let phase = self.machine.phase(id);
            phase == Phase::Cut || (phase == Phase::Starting && abandoned())
        })
    }

    fn say_who_is_waited_for(&mut self) {
        let now = self.now;
        if !self.stop.is_waiting_line_due(now) {
            return;
        }
        for (id, record) in self.registry.iter() {
            let phase = self.machine.phase(id);
            if phase != Phase::Ended {
                let deadline = self.machine.deadline(id).or(self.machine.deadlines().map(|all| all.end));
                let left = deadline.unwrap_or(now).saturating_sub(now);
                let (name, in_flight) = (&record.plan.name, record.in_flight());
                let (alone, hook) = (self.plan.passthrough, record.hook_time(now));
                log_events::waiting(alone, name, record.doing(phase), in_flight, hook, left);
            }
        }
        let left = self.machine.deadlines().map(|deadlines| deadlines.hard.saturating_sub(now));
        self.service_manager.still_stopping(left.unwrap_or_default());
    }

    /// Returns the name of a component.
    pub(super) fn name(&self, id: GenerationId) -> String {
        self.registry.get(id).map_or_else(String::new, |record| record.plan.name.clone())
    }
}
