//! The loop of the control thread: it waits for signals, messages and deadlines, feeds the machine, and carries out its actions.
//! Invariant: only the one `ppoll` blocks, and no guest code runs here. A deadline is late only by the delay of the
//! system's scheduler.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tracing::{info, warn};

use super::app::{AppError, Ended, Options};
use super::generation_record::millis;
use super::guardian::Guardian;
use super::inbox::{Inbox, Message};
use super::registry::Registry;
use super::reload::ReloadState;
use super::report::Report;
use super::service_manager::ServiceManager;
use super::signals::{SignalSource, SuspensionWatch};
use super::waiting_operators::WaitingOperators;
use crate::admin::Admin;
use crate::output::Progress;
use crate::plan::{AppPlan, ComponentPlan, OnEnd, Plan, ReadyWhen, RestartPlan};
use crate::runtime::{Loaded, Loading, Runtime};
use crate::server::Servers;
use crate::teardown::{
    Action, Deadlines, Event, ExitCode, GenerationId, GenerationPolicy, Level, Machine, Phase, Policy,
};

/// Period of epoch bumps while a generation that was cut off still runs. One bump would miss later stores.
const BUMP_EVERY: Duration = Duration::from_millis(10);
/// Longest time between two looks at the clock while a deadline is set, so that a gap shows.
const LOOK: Duration = Duration::from_millis(100);
/// Period of the log lines about the components that the stop waits for.
const WAITING_EVERY: Duration = Duration::from_secs(1);
/// Time that a new generation has to run before it takes over, if nothing but its start says that it is ready.
const TRIAL: Duration = Duration::from_secs(1);

pub(super) struct EventLoop {
    pub(super) runtime: Runtime,
    pub(super) plan: Plan,
    pub(super) options: Options,
    pub(super) inbox: Inbox,
    pub(super) machine: Machine,
    pub(super) registry: Registry,
    guardian: Guardian,
    /// The loading at the start, and its progress on a terminal. Dropping it ends both.
    pub(super) startup: Option<(Progress, Loading)>,
    pub(super) stop: StopProgress,
    /// `None` until the components are loaded.
    pub(super) servers: Option<Servers>,
    pub(super) reloads: ReloadState,
    pub(super) waiting: WaitingOperators,
    pub(super) service_manager: ServiceManager,
    pub(super) readiness: LoggedReadiness,
    admin: Option<Admin>,
    /// The time of this turn: all events of one turn happen at one time.
    pub(super) now: Duration,
    suspension: SuspensionWatch,
}

/// Progress of the stop, as the log tells it.
#[derive(Debug, Default)]
pub(super) struct StopProgress {
    pub(super) began: Option<Duration>,
    /// The time of the next log line about the components that it waits for.
    next_line: Duration,
    pub(super) exit_code: Option<ExitCode>,
    /// The machine is too small for the app: a component could not even be started.
    pub(super) is_by_shortage: bool,
}

/// Readiness of the app, as the log told it last.
#[derive(Debug, Default)]
pub(super) struct LoggedReadiness {
    pub(super) started: bool,
    pub(super) ready: bool,
    /// The log has told that the app is not ready because it stops.
    pub(super) stop_told: bool,
}

pub(super) fn policy(app: &AppPlan) -> Policy {
    Policy {
        grace: app.grace,
        fail_grace: app.fail_grace,
        drain_delay: app.drain_delay,
        signals: app.signals,
    }
}

/// Returns the policy of a component, preliminary until it is loaded; `ids` are the current generations by name.
pub(super) fn generation_policy(
    plan: &ComponentPlan,
    loaded: Option<&Loaded>,
    ids: &BTreeMap<String, GenerationId>,
) -> GenerationPolicy {
    let resolved = loaded.map(|loaded| plan.resolve(&loaded.defaults));
    let on_failure = resolved.map_or(OnEnd::StopApp, |resolved| resolved.on_failure);
    let pooled = loaded.is_some_and(|loaded| loaded.kind.is_pooled);
    let says_ready = resolved.is_some_and(|resolved| resolved.ready == ReadyWhen::Said);
    GenerationPolicy {
        grace: plan.grace,
        start_timeout: plan.start_timeout,
        trial: if pooled || says_ready { Duration::ZERO } else { TRIAL },
        on_exit: plan.on_exit,
        on_failure,
        on_lost: on_failure,
        restart: RestartPlan {
            max: resolved.map_or(plan.restart.max, |resolved| resolved.max_restarts),
            ..plan.restart
        },
        after: plan.after.iter().filter_map(|name| ids.get(name).copied()).collect(),
        pooled,
    }
}

impl EventLoop {
    pub(super) fn new(
        runtime: Runtime,
        plan: Plan,
        options: Options,
        inbox: Inbox,
        guardian: Guardian,
    ) -> Self {
        let mut registry = Registry::default();
        for component in &plan.components {
            let id = registry.add(Arc::new(component.clone()), None);
            registry.current.insert(component.name.clone(), id);
        }
        let policy_of = |component| generation_policy(component, None, &registry.current);
        let policies = plan.components.iter().map(policy_of).collect();
        let seed = u64::from(std::process::id());
        runtime.memory.set_limit(plan.app.memory);
        Self {
            machine: Machine::new(policy(&plan.app), policies, seed),
            registry,
            service_manager: ServiceManager::new(options.service_manager),
            servers: None,
            reloads: ReloadState::default(),
            waiting: WaitingOperators::default(),
            readiness: LoggedReadiness::default(),
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
        while self.stop.exit_code.is_none() {
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
            self.log_readiness();
            self.arm_guardian();
            self.log_waiting();
            if self.is_cutting() {
                self.runtime.bump();
            }
        }
        Ok(self.report())
    }

    /// Opens the control socket and the admin listener, before anything else of the app exists.
    fn open_to_operators(&mut self) -> Result<(), AppError> {
        let (control, admin) = (self.plan.app.control.clone(), self.plan.app.admin);
        if control.is_some() || admin.is_some() {
            let inbox = self.inbox.clone();
            let died = move || inbox.send(Message::HostBug("the thread for operators"));
            let operator = Arc::new(self.inbox.clone());
            self.admin = Some(Admin::start(control, admin, operator, died)?);
        }
        Ok(())
    }

    /// Waits for the next event or deadline. Returns whether a deadline bounded the wait.
    fn wait(&mut self) -> Result<bool, AppError> {
        let now = self.runtime.clock().now();
        let due = self.machine.next_wake().into_iter().chain(self.next_liveness_check()).min();
        let deadline = due.map(|at| at.saturating_sub(now).min(LOOK));
        let timeout = deadline.into_iter().chain(self.is_cutting().then_some(BUMP_EVERY)).min();
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
    pub(super) fn follow(&mut self, before: Level, actions: Vec<Action>) {
        if before == Level::Running && self.machine.cause().is_some() {
            self.stop.began = Some(self.now);
            self.stop.next_line = self.now.saturating_add(WAITING_EVERY);
            self.log_readiness();
        }
        if before == Level::Running && self.machine.level() > Level::Running {
            self.options.output.app_stops();
            self.refuse_pending();
            self.give_up_reading();
            self.service_manager.stopping(self.now, self.time_until(|deadlines| deadlines.hard));
        }
        for action in actions {
            self.perform(action);
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

    /// Returns whether a generation that was cut off or abandoned still runs.
    fn is_cutting(&self) -> bool {
        self.registry.iter().any(|(id, record)| {
            let abandoned = || record.run.link.as_ref().is_some_and(|link| link.orders.is_abandoned());
            let phase = self.machine.phase(id);
            phase == Phase::Cut || (phase == Phase::Starting && abandoned())
        })
    }

    /// Logs the components that the stop waits for. The user of a single file sees warnings alone, and so gets one.
    fn log_waiting(&mut self) {
        let now = self.now;
        if self.stop.began.is_none() || now < self.stop.next_line || self.stop.exit_code.is_some() {
            return;
        }
        self.stop.next_line = now.saturating_add(WAITING_EVERY);
        for (id, record) in self.registry.iter() {
            let phase = self.machine.phase(id);
            if phase == Phase::Ended {
                continue;
            }
            let deadline = self.machine.deadline(id).or(self.machine.deadlines().map(|all| all.end));
            let left_ms = millis(deadline.unwrap_or(now).saturating_sub(now));
            let (component, what, in_flight) = (&record.plan.name, record.doing(phase), record.in_flight());
            let hook_ms = record.hook_time(now).map(millis);
            if self.plan.passthrough {
                let note = "one more INT cuts it off";
                warn!(component, what, in_flight, hook_ms, left_ms, note, "waiting for");
            } else {
                info!(component, what, in_flight, hook_ms, left_ms, "waiting for");
            }
        }
        self.service_manager.still_stopping(self.time_until(|deadlines| deadlines.hard));
    }

    /// Returns the time until a bound of the stop; zero before the stop.
    pub(super) fn time_until(&self, bound: impl Fn(&Deadlines) -> Duration) -> Duration {
        let at = self.machine.deadlines().as_ref().map(bound);
        at.unwrap_or_default().saturating_sub(self.now)
    }

    pub(super) fn name(&self, id: GenerationId) -> String {
        self.registry.get(id).map_or_else(String::new, |record| record.plan.name.clone())
    }
}
