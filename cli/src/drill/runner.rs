//! Carries out the scenarios: runs the app, puts load on it, stops it, and collects an [`Observation`].
//!
//! Invariant: where there is an event, the runner waits for it and not for a clock, and every wait has an end. It does not
//! judge: that is the duty of `evaluation`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::app_process::{AppProcess, ProcessState};
use super::app_report::AppReport;
use super::control::AppControl;
use super::error::DrillError;
use super::evaluation::NO_ANSWER;
use super::finding::{Finding, REPORT_BUG};
use super::interrupt::Interrupt;
use super::load_generator::LoadGenerator;
use super::log_record::LogRecord;
use super::observation::{FINISHED, Observation, ProcessExit};
use super::requests::{RejectionWindow, RequestCounts};
use super::scenario::{NOISE, Scenario};
use super::table::failure_lines;
use super::target::Target;
use super::{failing_peer, reload_cycle};
use curfew_host::admin::Status;
use curfew_host::plan::{ListenAddress, Plan};

/// Time between two INT: the same signal within 500 ms counts once.
const BETWEEN_INTS: Duration = Duration::from_millis(600);
/// Longest wait for a start: compiling takes its time, and `start-timeout` is the app's own.
const START_TIMEOUT: Duration = Duration::from_secs(600);
/// From the start of the peer to its failure, without load and with.
const PEER_IDLE: Duration = Duration::from_millis(100);
const PEER_LOADED: Duration = Duration::from_millis(700);
/// Longest delay from a failure until its record is read.
const RECORD_DELAY: Duration = Duration::from_millis(250);
/// How long the runner waits past the bound of a stop, to see whether the process ends at all.
const OVERTIME: Duration = Duration::from_secs(3);
/// How long a target may take to give its first answers.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);
/// How long the runner waits for complete answers once all have begun: some never end.
const MORE_ANSWERS: Duration = Duration::from_millis(500);
/// How much later than the end of its control socket the end of an app may be noticed.
const EXIT_DELAY: Duration = Duration::from_secs(2);

/// The app to drill, and the load.
#[derive(Debug)]
pub(crate) struct DrillConfig {
    /// The binary that runs the app: our own.
    pub(crate) program: PathBuf,
    /// Arguments of `curfew run`.
    pub(crate) arguments: Vec<OsString>,
    /// Arguments of a single file.
    pub(crate) guest_arguments: Vec<String>,
    /// The plan of these arguments.
    pub(crate) plan: Plan,
    /// Targets of the load; empty: each http component.
    pub(crate) targets: Vec<Target>,
    /// Clients for each target.
    pub(crate) clients: usize,
}

/// A moment of a start.
#[derive(Clone, Copy, Debug)]
pub(super) enum StopMoment {
    /// So long after the start of the process.
    After(Duration),
    /// When the log has so many records, since the speed of machines differs; but no later than this, since one start
    /// may log less than another.
    Record(usize, Duration),
}

#[derive(Debug)]
pub(crate) struct Runner {
    config: DrillConfig,
    interrupt: Interrupt,
    folder: TempDir,
    control: AppControl,
    /// The name of the component that fails.
    peer: String,
}

/// An app that runs, with its load.
pub(super) struct RunningApp {
    pub(super) process: AppProcess,
    pub(super) load: Option<LoadGenerator>,
    /// From the start of the process until all components had started.
    startup: Option<Duration>,
    findings: Vec<Finding>,
    /// Requests of a load that has ended, by the name of the target.
    pub(super) loads: Vec<(String, RequestCounts)>,
    pub(super) targets: Vec<Target>,
    has_no_http: bool,
}

impl Runner {
    /// Creates the folder of the drill's files.
    pub(crate) fn new(config: DrillConfig, interrupt: Interrupt) -> Result<Self, DrillError> {
        let folder = tempfile::Builder::new().prefix("curfew-drill-").tempdir();
        let folder = folder.map_err(DrillError::system("make a folder for temporary files"))?;
        let control = AppControl::new(control_socket(&folder), interrupt.clone());
        let peer = config.plan.peer_name();
        Ok(Self { config, interrupt, folder, control, peer })
    }

    pub(super) fn config(&self) -> &DrillConfig {
        &self.config
    }

    pub(super) fn control(&self) -> &AppControl {
        &self.control
    }

    pub(super) fn run(&self, scenario: Scenario, with_load: bool) -> Result<Observation, DrillError> {
        match scenario {
            Scenario::Peer => self.run_peer(with_load),
            Scenario::Reload => self.run_reload(with_load),
            Scenario::Term | Scenario::Start => self.run_signal(scenario, Signal::SIGTERM, with_load),
            Scenario::Int => self.run_signal(scenario, Signal::SIGINT, with_load),
            Scenario::Quit => self.run_signal(scenario, Signal::SIGQUIT, with_load),
        }
    }

    /// Stops the running app by a signal.
    fn run_signal(
        &self,
        scenario: Scenario,
        signal: Signal,
        with_load: bool,
    ) -> Result<Observation, DrillError> {
        let mut app = self.start(&[])?;
        if with_load {
            self.start_load(&mut app)?;
        }
        let mut stop_at = app.stop(signal);
        let mut is_forced = false;
        if scenario == Scenario::Int {
            let logged = self.stop_logged(&app.process, stop_at, scenario)?;
            is_forced = app.process.wait_for_end(logged + BETWEEN_INTS)?.is_none();
            if is_forced {
                app.process.signal(signal);
                stop_at = logged;
            }
        }
        let window = if is_forced { RejectionWindow::AnyTime } else { RejectionWindow::From(stop_at) };
        let run = self.observe_end(app, scenario, Some(stop_at), window)?;
        Ok(Observation { is_forced, ..run })
    }

    /// Returns when the app began to stop: on a busy machine that is later than the signal.
    fn stop_logged(
        &self,
        process: &AppProcess,
        stop_at: Instant,
        scenario: Scenario,
    ) -> Result<Instant, DrillError> {
        let until = stop_at + scenario.exit_bound(&self.config.plan.app);
        let logged = process.wait(until, |state| match state.exit {
            Some((_, at)) => Some(at),
            None => {
                let stopping = |record: &&LogRecord| record.fields.message == "stopping";
                state.records.iter().find(stopping).map(|record| record.at)
            }
        })?;
        Ok(logged.unwrap_or(stop_at).max(stop_at))
    }

    /// Stops the app at a moment of its start. These targets get load meanwhile.
    pub(super) fn run_during_start(
        &self,
        moment: StopMoment,
        targets: &[Target],
    ) -> Result<Observation, DrillError> {
        let load =
            (!targets.is_empty()).then(|| LoadGenerator::start(targets, self.config.clients)).transpose()?;
        let process = AppProcess::start(self.command(&[]), &self.interrupt)?;
        let (until, records) = match moment {
            StopMoment::After(time) => (process.started + time, usize::MAX),
            StopMoment::Record(number, within) => (process.started + within.min(START_TIMEOUT), number),
        };
        process
            .wait(until, |state| (state.records.len() >= records || state.exit.is_some()).then_some(()))?;
        let app = RunningApp { load, ..RunningApp::new(process, None) };
        let stop_at = app.stop(Signal::SIGTERM);
        let moment = stop_at.saturating_duration_since(app.process.started);
        let window = RejectionWindow::DuringStart(stop_at);
        let run = self.observe_end(app, Scenario::Start, Some(stop_at), window)?;
        Ok(Observation { moment: Some(moment), ..run })
    }

    fn run_peer(&self, with_load: bool) -> Result<Observation, DrillError> {
        let file = self.folder.path().join("drill-peer.wasm");
        let bytes = failing_peer::component(if with_load { PEER_LOADED } else { PEER_IDLE });
        let written = bytes.map_err(std::io::Error::other).and_then(|bytes| std::fs::write(&file, bytes));
        written.map_err(|cause| DrillError::Write { path: file.clone(), cause })?;
        let mut app = self.start(&["--drill-peer".into(), file.into()])?;
        if with_load {
            self.start_load(&mut app)?;
        }
        let failed = |record: &&LogRecord| record.is("failed", &self.peer);
        let until = Instant::now() + PEER_LOADED + START_TIMEOUT;
        let stop_at = app.process.wait(until, |state| {
            let at = state.records.iter().find(failed).map(|record| record.at);
            at.map(Some).or_else(|| state.exit.map(|_| None))
        })?;
        if let Some(load) = &app.load {
            load.set_stopping();
        }
        let stop_at = stop_at.flatten();
        let failed = stop_at.and_then(|at| at.checked_sub(RECORD_DELAY));
        let window = failed.map_or(RejectionWindow::AnyTime, RejectionWindow::From);
        self.observe_end(app, Scenario::Peer, stop_at, window)
    }

    fn run_reload(&self, with_load: bool) -> Result<Observation, DrillError> {
        let mut app = self.start(&[])?;
        reload_cycle::run(self, &mut app, with_load)?;
        let stop_at = app.stop(Signal::SIGTERM);
        self.observe_end(app, Scenario::Reload, Some(stop_at), RejectionWindow::From(stop_at))
    }

    /// Starts the app and waits until all components have started.
    fn start(&self, more_arguments: &[OsString]) -> Result<RunningApp, DrillError> {
        let process = AppProcess::start(self.command(more_arguments), &self.interrupt)?;
        let until = process.started + START_TIMEOUT;
        let started = process.wait(until, |state| {
            let record = state.records.iter().find(|record| self.is_app_started(record));
            record.map(|record| Ok(record.at)).or_else(|| state.exit.map(|(status, _)| Err(status)))
        })?;
        match started {
            Some(Ok(at)) => {
                let startup = Some(at.saturating_duration_since(process.started));
                Ok(RunningApp::new(process, startup))
            }
            Some(Err(status)) => {
                process.wait_for_end(Instant::now() + OVERTIME)?;
                // A peer can fail during the stop of an app that has finished, which then leaves with 1.
                let is_finished = || !more_arguments.is_empty() && self.is_finished();
                if status.success() || is_finished() {
                    // The app had nothing more to do: there is nothing to stop, and no fault.
                    return Ok(RunningApp::new(process, None));
                }
                let output = failure_lines(&process.read(ProcessState::last_lines));
                let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
                Err(DrillError::CannotStart { code, output })
            }
            None => {
                let lines = failure_lines(&process.read(ProcessState::last_lines));
                let output = format!("{lines}\nit has not started within {} s", START_TIMEOUT.as_secs());
                Err(DrillError::CannotStart { code: 1, output })
            }
        }
    }

    /// Returns whether the record says that all of the app has started. The failing peer starts last, except for
    /// components that pause before a restart: they can take longer than the peer lives.
    fn is_app_started(&self, record: &LogRecord) -> bool {
        record.is("app started", "") || record.is("component started", &self.peer)
    }

    /// Returns whether all components had finished, as the report says.
    fn is_finished(&self) -> bool {
        let cause = AppReport::read(&self.report_file()).and_then(|report| report.cause);
        cause.is_some_and(|cause| cause.kind == FINISHED)
    }

    fn command(&self, more_arguments: &[OsString]) -> Command {
        let mut command = Command::new(&self.config.program);
        command.arg("run").args(&self.config.arguments).args(more_arguments);
        command.args(["--log-format", "json", "--log-level", "info"]);
        command.arg("--report").arg(self.report_file()).arg("--control").arg(control_socket(&self.folder));
        command.arg("--leave-with").arg(std::process::id().to_string());
        if !self.config.guest_arguments.is_empty() {
            command.arg("--").args(&self.config.guest_arguments);
        }
        let _none = std::fs::remove_file(self.report_file());
        command
    }

    fn report_file(&self) -> PathBuf {
        self.folder.path().join("report.json")
    }

    /// Starts the load, and waits until the targets answer.
    pub(super) fn start_load(&self, app: &mut RunningApp) -> Result<(), DrillError> {
        let Some(targets) = self.targets(app)? else { return Ok(()) };
        let clients = self.config.clients;
        let load = LoadGenerator::start(&targets, clients)?;
        app.process.wait(Instant::now() + FIRST_ANSWERS, |state| {
            let waits = load.targets_where(|log| log.answers_begun() < clients);
            (state.exit.is_some() || waits.is_empty()).then_some(())
        })?;
        for target in load.targets_where(|log| log.answers_begun() == 0) {
            let text = format!("{} gave no answer within {} s", target.name, FIRST_ANSWERS.as_secs());
            let advice = "With --load URL, name an address and a path that the app answers.";
            app.findings.push(Finding::failure(NO_ANSWER, text).advise(advice));
        }
        app.process.wait(Instant::now() + MORE_ANSWERS, |state| {
            let waits = load.targets_where(|log| log.answers() < 4 * clients);
            (state.exit.is_some() || waits.is_empty()).then_some(())
        })?;
        app.load = Some(load);
        app.has_no_http = targets.is_empty();
        app.targets = targets;
        Ok(())
    }

    /// Returns the named targets, or the first address of each http component with its first route. `None` if the app
    /// does not return its status, which is a finding unless it has ended.
    fn targets(&self, app: &mut RunningApp) -> Result<Option<Vec<Target>>, DrillError> {
        if !self.config.targets.is_empty() {
            return Ok(Some(self.config.targets.clone()));
        }
        let Some(status) = self.status(app)? else { return Ok(None) };
        let mut targets = Vec::new();
        for component in status.components.iter().filter(|component| component.kind == "http") {
            let plan = self.config.plan.components.iter().find(|plan| plan.name == component.name);
            let route = plan.and_then(|plan| plan.http.routes.first());
            let address = component.addresses.first();
            let target = address.and_then(|address| Target::of_component(&component.name, address, route));
            let is_shared =
                status.components.iter().filter(|other| other.addresses.first() == address).count() > 1;
            targets.extend(target.map(|target| Target { is_shared, ..target }));
        }
        Ok(Some(targets))
    }

    /// Returns the status of the app. `None` if the app does not return it, which is a finding unless it has ended.
    pub(super) fn status(&self, app: &mut RunningApp) -> Result<Option<Status>, DrillError> {
        let error = match self.control.status()? {
            Ok(status) => return Ok(Some(status)),
            Err(error) => error,
        };
        // An app that ends closes its socket a moment before its end is noticed, and its end is judged by itself.
        if app.process.wait(Instant::now() + EXIT_DELAY, |state| state.exit)?.is_none() {
            let text = format!("the app did not return its status: {error}");
            app.add_finding(Finding::failure("no-status", text).advise(REPORT_BUG));
        }
        Ok(None)
    }

    /// Waits for the end of the app, kills it if it is long overdue, and collects the observation.
    fn observe_end(
        &self,
        app: RunningApp,
        scenario: Scenario,
        stop_at: Option<Instant>,
        window: RejectionWindow,
    ) -> Result<Observation, DrillError> {
        let RunningApp { process, load, startup, findings, loads, targets, has_no_http } = app;
        let bound = scenario.exit_bound(&self.config.plan.app).saturating_add(NOISE).saturating_add(OVERTIME);
        let ended = process.wait_for_end(stop_at.unwrap_or_else(Instant::now) + bound)?;
        if ended.is_none() {
            process.kill();
        }
        let report = AppReport::read(&self.report_file());
        let peer = (scenario == Scenario::Peer).then(|| self.peer.clone());
        let exit = ProcessExit::of(ended.map(|(status, _)| status), peer.as_deref(), report.as_ref());
        let stop_time = stop_at.and_then(|at| Some(ended?.1.saturating_duration_since(at)));
        let mut leftovers = Vec::new();
        if ended.is_some() && !process.group_is_gone()? {
            leftovers.push("a process of its group".to_owned());
        }
        let removes_files = matches!(exit, ProcessExit::Code(_) | ProcessExit::Early(_));
        leftovers.extend(self.sockets_left().filter(|_| removes_files));
        let (records, last_lines) = process.read(|state| (state.records.clone(), state.last_lines()));
        let window = |target: &Target| match window {
            RejectionWindow::DuringStart(stop) if !self.had_started(target, &records, stop) => {
                RejectionWindow::NotStarted
            }
            window => window,
        };
        let loads = load.map_or(loads, |load| load.counts(window));
        Ok(Observation {
            scenario,
            peer,
            moment: None,
            startup,
            stop_at,
            exit,
            stop_time,
            is_forced: false,
            records,
            report,
            loads,
            targets,
            has_no_http,
            findings,
            leftovers,
            last_lines,
        })
    }

    /// Returns whether the component behind a target had started before the stop. A URL of `--load` names no component.
    fn had_started(&self, target: &Target, records: &[LogRecord], stop: Instant) -> bool {
        let mut components = self.config.plan.components.iter();
        let Some(component) = components.find(|component| target.is_of(&component.name)) else { return true };
        let started = records.iter().find(|record| record.is("component started", &component.name));
        started.is_some_and(|record| record.at < stop)
    }

    /// Returns the sockets that the app should have removed.
    fn sockets_left(&self) -> impl Iterator<Item = String> {
        let listen = self.config.plan.components.iter().flat_map(|component| &component.http.listen);
        let sockets = listen.filter_map(|address| match address {
            ListenAddress::Unix(path) => Some(path.clone()),
            ListenAddress::Ip(_) | ListenAddress::Activated(_) => None,
        });
        let files = sockets.chain([control_socket(&self.folder)]).filter(|path| path.exists());
        files.map(|path| format!("the socket {}", path.display()))
    }
}

fn control_socket(folder: &TempDir) -> PathBuf {
    folder.path().join("control.sock")
}

impl RunningApp {
    fn new(process: AppProcess, startup: Option<Duration>) -> Self {
        let (findings, loads, targets) = (Vec::new(), Vec::new(), Vec::new());
        Self { process, load: None, startup, findings, loads, targets, has_no_http: false }
    }

    /// Adds a finding, unless the same fault was found before.
    pub(super) fn add_finding(&mut self, finding: Finding) {
        if !self.findings.iter().any(|known| known.is_same(&finding)) {
            self.findings.push(finding);
        }
    }

    /// Stops the app, and returns when. From then on it may reject requests.
    fn stop(&self, signal: Signal) -> Instant {
        if let Some(load) = &self.load {
            load.set_stopping();
        }
        let stop_at = Instant::now();
        self.process.signal(signal);
        stop_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curfew_host::plan::Bare;

    /// Creates a program that runs, writes nothing and ignores its arguments.
    fn silent_program(folder: &std::path::Path) -> PathBuf {
        let program = folder.join("silent");
        // Written by another process: a file that this process has open for writing cannot run while a thread forks.
        let script = "printf '#!/bin/sh\\nexec sleep 1000\\n' >\"$0\" && chmod +x \"$0\"";
        assert!(Command::new("sh").arg("-c").arg(script).arg(&program).status().unwrap().success());
        program
    }

    #[test]
    fn a_start_that_logs_less_than_the_last_one_is_stopped_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.wasm");
        std::fs::write(&source, "").unwrap();
        let plan = Plan::from_files(&[source], &Bare::default()).unwrap();
        let (program, arguments, guest_arguments) = (silent_program(folder.path()), Vec::new(), Vec::new());
        let config =
            DrillConfig { program, arguments, guest_arguments, plan, targets: Vec::new(), clients: 1 };
        let runner = Runner::new(config, Interrupt::default()).unwrap();
        let run = runner.run_during_start(StopMoment::Record(7, Duration::from_millis(50)), &[]).unwrap();
        assert!(run.moment.unwrap() >= Duration::from_millis(50), "{run:?}");
        assert_eq!(run.exit, ProcessExit::Signal(Signal::SIGTERM as i32));
    }
}
