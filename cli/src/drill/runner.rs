//! Carries out the scenarios: runs the app, puts load on it, stops it, and collects an [`Observation`].
//!
//! Invariant: where there is an event, the runner waits for it and not for a clock; it does not judge.

use std::ffi::OsString;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{
    AppProcess, AppReport, Finding, Interrupt, LoadGenerator, LogRecord, NO_ANSWER, NOISE, Observation,
    ProcessExit, ProcessState, REPORT_BUG, RejectionWindow, Scenario, Target, failing_peer, failure_lines,
};
use crate::error::CliError;
use crate::kinds::kinds;
use curfew_host::admin::Status;
use curfew_host::plan::{ListenAddress, Plan};
use curfew_host::teardown::ExitCode;

/// Longest time to find out whether an address is in use.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const RUN_ELSEWHERE: &str = "A drill starts and stops an app of its own: stop the one that runs, or drill a copy of its \
                             manifest with other addresses";
/// Time between two INT: the same signal within 500 ms counts once.
const BETWEEN_INTS: Duration = Duration::from_millis(600);
/// Longest wait for a start: compiling takes its time, and `start-timeout` is the app's own.
const START_TIMEOUT: Duration = Duration::from_secs(600);
/// From the start of the peer to its failure, without load and with.
const PEER_IDLE: Duration = Duration::from_millis(100);
const PEER_LOADED: Duration = Duration::from_millis(700);
/// Longest delay from a failure until its record is read.
const RECORD_DELAY: Duration = Duration::from_millis(250);
/// Time that the runner waits past the bound of a stop, to see whether the process ends at all.
const OVERTIME: Duration = Duration::from_secs(3);
/// Longest wait for the first answers of a target.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);
/// Longest wait for complete answers once all have begun: some never end.
const MORE_ANSWERS: Duration = Duration::from_millis(500);
/// Longest delay from the end of an app's control socket until its own end is noticed.
const EXIT_DELAY: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct DrillConfig {
    /// The binary that runs the app: our own.
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) guest_arguments: Vec<String>,
    pub(crate) plan: Plan,
    /// Targets of the load; empty: each http component.
    pub(crate) targets: Vec<Target>,
    pub(crate) clients: usize,
    /// Answers with a status of 5xx do not fail the drill.
    pub(crate) allow_errors: bool,
}

impl DrillConfig {
    pub(super) fn listen(&self) -> impl Iterator<Item = &ListenAddress> {
        self.plan.components.iter().flat_map(|component| &component.http.listen)
    }

    /// Returns an address of the app on which something listens while the app does not run.
    fn taken_address(&self) -> Option<String> {
        let services = self.plan.components.iter().flat_map(|component| &component.network.listen);
        let others = services.chain(&self.plan.app.admin).map(|address| ListenAddress::Ip(*address));
        self.listen().cloned().chain(others).find(is_taken).map(|address| address.to_string())
    }
}

fn is_taken(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Ip(address) if address.port() == 0 => false,
        ListenAddress::Ip(address) => TcpStream::connect_timeout(address, CONNECT_TIMEOUT).is_ok(),
        ListenAddress::Unix(path) => UnixStream::connect(path).is_ok(),
        ListenAddress::Activated(_) => false,
    }
}

/// A moment of a start: when the log has so many records, since the speed of machines differs; but no later than `within`
/// after the start of the process, since one start may log less than another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopMoment {
    pub(super) records: usize,
    pub(super) within: Duration,
}

#[derive(Debug)]
pub(crate) struct Runner {
    pub(super) config: DrillConfig,
    interrupt: Interrupt,
    folder: TempDir,
    /// The name of the component that fails.
    peer: String,
}

pub(crate) struct RunningApp<'a> {
    pub(super) runner: &'a Runner,
    pub(super) process: AppProcess,
    pub(super) load: Option<LoadGenerator>,
    /// The observation up to now.
    pub(super) run: Observation,
}

impl Runner {
    pub(crate) fn new(config: DrillConfig, interrupt: Interrupt) -> Result<Self, CliError> {
        let folder = tempfile::Builder::new().prefix("curfew-drill-").tempdir();
        let folder = folder.map_err(CliError::system("make a folder for temporary files"))?;
        let peer = config.plan.peer_name();
        Ok(Self { config, interrupt, folder, peer })
    }

    pub(super) fn run(&self, scenario: Scenario, with_load: bool) -> Result<Observation, CliError> {
        match scenario {
            Scenario::Peer => self.run_peer(with_load),
            Scenario::Reload => self.run_reload(with_load),
            Scenario::Term | Scenario::Start | Scenario::Int | Scenario::Quit => {
                self.run_signal(scenario, with_load)
            }
        }
    }

    fn run_signal(&self, scenario: Scenario, with_load: bool) -> Result<Observation, CliError> {
        let mut app = self.start(scenario, &[])?;
        if with_load {
            app.start_load()?;
        }
        let mut stop_at = app.stop();
        if scenario == Scenario::Int {
            let logged = self.stop_logged(&app, stop_at)?;
            app.run.is_forced = app.process.wait_for_end(logged + BETWEEN_INTS)?.is_none();
            if app.run.is_forced {
                app.process.signal(Signal::SIGINT);
                stop_at = logged;
            }
        }
        let window =
            if app.run.is_forced { RejectionWindow::AnyTime } else { RejectionWindow::From(stop_at) };
        app.observe_end(Some(stop_at), window)
    }

    /// Returns when the app began to stop: on a busy machine that is later than the signal.
    fn stop_logged(&self, app: &RunningApp, stop_at: Instant) -> Result<Instant, CliError> {
        let until = stop_at + app.run.scenario.exit_bound(&self.config.plan.app);
        let logged = app.process.wait(until, |state| match state.exit {
            Some((_, at)) => Some(at),
            None => state.records.iter().find(|record| record.message == "stopping").map(|record| record.at),
        })?;
        Ok(logged.unwrap_or(stop_at).max(stop_at))
    }

    /// Stops the app at a moment of its start. These targets get load meanwhile.
    pub(super) fn run_during_start(
        &self,
        moment: StopMoment,
        targets: &[Target],
    ) -> Result<Observation, CliError> {
        let load =
            (!targets.is_empty()).then(|| LoadGenerator::start(targets, self.config.clients)).transpose()?;
        let process = self.spawn_app(&[])?;
        let until = process.started + moment.within.min(START_TIMEOUT);
        let is_reached = |state: &ProcessState| state.records.len() >= moment.records || state.exit.is_some();
        process.wait(until, |state| is_reached(state).then_some(()))?;
        let run = Observation { scenario: Scenario::Start, ..Observation::default() };
        let mut app = RunningApp { runner: self, process, load, run };
        let stop_at = app.stop();
        app.run.moment = Some(stop_at.saturating_duration_since(app.process.started));
        app.observe_end(Some(stop_at), RejectionWindow::DuringStart(stop_at))
    }

    fn run_peer(&self, with_load: bool) -> Result<Observation, CliError> {
        let file = self.folder.path().join("drill-peer.wasm");
        let bytes = failing_peer::component(if with_load { PEER_LOADED } else { PEER_IDLE });
        let written = bytes.map_err(std::io::Error::other).and_then(|bytes| std::fs::write(&file, bytes));
        written.map_err(|cause| CliError::Write { path: file.clone(), cause })?;
        let mut app = self.start(Scenario::Peer, &["--drill-peer".into(), file.into()])?;
        app.run.peer = Some(self.peer.clone());
        if with_load {
            app.start_load()?;
        }
        let until = Instant::now() + PEER_LOADED + START_TIMEOUT;
        let stop_at = app.process.wait(until, |state| {
            let failed = state.records.iter().find(|record| record.is("failed", &self.peer));
            failed.map(|record| Some(record.at)).or_else(|| state.exit.map(|_| None))
        })?;
        if let Some(load) = &app.load {
            load.set_stopping();
        }
        let stop_at = stop_at.flatten();
        let failed = stop_at.and_then(|at| at.checked_sub(RECORD_DELAY));
        let window = failed.map_or(RejectionWindow::AnyTime, RejectionWindow::From);
        app.observe_end(stop_at, window)
    }

    fn run_reload(&self, with_load: bool) -> Result<Observation, CliError> {
        let mut app = self.start(Scenario::Reload, &[])?;
        app.run_reload_cycle(with_load)?;
        let stop_at = app.stop();
        app.observe_end(Some(stop_at), RejectionWindow::From(stop_at))
    }

    /// Starts the app and waits until all components have started.
    fn start(&self, scenario: Scenario, more_arguments: &[OsString]) -> Result<RunningApp<'_>, CliError> {
        let process = self.spawn_app(more_arguments)?;
        let until = process.started + START_TIMEOUT;
        let started = process.wait(until, |state| {
            let record = state.records.iter().find(|record| self.is_app_started(record));
            record.map(|record| Ok(record.at)).or_else(|| state.exit.map(|(status, _)| Err(status)))
        })?;
        let startup = match started {
            Some(Ok(at)) => Some(at.saturating_duration_since(process.started)),
            Some(Err(status)) => {
                process.wait_for_end(Instant::now() + OVERTIME)?;
                // A peer can fail during the stop of an app that has finished, which then leaves with 1.
                let report = || AppReport::read(&self.report_file());
                let is_finished =
                    || scenario == Scenario::Peer && report().is_some_and(|app| app.is_finished());
                if !status.success() && !is_finished() {
                    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
                    let mut output = failure_lines(&process.read(ProcessState::last_lines));
                    let taken = (code != ExitCode::INVALID.0).then(|| self.config.taken_address());
                    if let Some(address) = taken.flatten() {
                        output.push_str(&format!("\nhint: {address} is in use. {RUN_ELSEWHERE}"));
                    }
                    return Err(CliError::CannotStart { code, output });
                }
                // The app had nothing more to do: there is nothing to stop, and no fault.
                None
            }
            None => {
                let lines = failure_lines(&process.read(ProcessState::last_lines));
                let output = format!("{lines}\nit has not started within {} s", START_TIMEOUT.as_secs());
                return Err(CliError::CannotStart { code: 1, output });
            }
        };
        let run = Observation { scenario, startup, ..Observation::default() };
        Ok(RunningApp { runner: self, process, load: None, run })
    }

    /// Returns whether all of the app has started, except for components that pause longer than the failing peer lives.
    fn is_app_started(&self, record: &LogRecord) -> bool {
        record.is("app started", "") || record.is("component started", &self.peer)
    }

    fn spawn_app(&self, more_arguments: &[OsString]) -> Result<AppProcess, CliError> {
        let (report, control) = (self.report_file(), self.control_socket());
        let mut command = Command::new(&self.config.program);
        command.arg("run").args(&self.config.arguments).args(more_arguments);
        command.args(["--log-format", "json", "--log-level", "info"]);
        command.arg("--report").arg(&report).arg("--control").arg(&control);
        command.arg("--leave-with").arg(std::process::id().to_string());
        if !self.config.guest_arguments.is_empty() {
            command.arg("--").args(&self.config.guest_arguments);
        }
        let _none = std::fs::remove_file(report);
        AppProcess::start(command, control, &self.interrupt)
    }

    fn report_file(&self) -> PathBuf {
        self.folder.path().join("report.json")
    }

    fn control_socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    fn sockets_left(&self) -> impl Iterator<Item = String> {
        let sockets = self.config.listen().filter_map(|address| match address {
            ListenAddress::Unix(path) => Some(path.clone()),
            ListenAddress::Ip(_) | ListenAddress::Activated(_) => None,
        });
        let files = sockets.chain([self.control_socket()]).filter(|path| path.exists());
        files.map(|path| format!("the socket {}", path.display()))
    }
}

/// Returns whether the component behind a target had started before the stop. A URL of `--load` names no component.
fn had_started(target: &Target, records: &[LogRecord], stop: Instant) -> bool {
    let Some(component) = &target.component else { return true };
    let started = records.iter().find(|record| record.is("component started", component));
    started.is_some_and(|record| record.at < stop)
}

impl RunningApp<'_> {
    /// Adds a finding, unless the same fault was found before.
    pub(super) fn add_finding(&mut self, finding: Finding) {
        if !self.run.findings.iter().any(|known| known.is_same(&finding)) {
            self.run.findings.push(finding);
        }
    }

    /// Returns the status of the app. `None` if the app does not return it, which is a finding unless it has ended.
    pub(super) fn status(&mut self) -> Result<Option<Status>, CliError> {
        let error = match self.process.status()? {
            Ok(status) => return Ok(Some(status)),
            Err(error) => error,
        };
        // An app that ends closes its socket a moment before its end is noticed, and its end is judged by itself.
        if self.process.wait(Instant::now() + EXIT_DELAY, |state| state.exit)?.is_none() {
            let text = format!("the app did not return its status: {error}");
            self.add_finding(Finding::failure("no-status", text).advise(REPORT_BUG));
        }
        Ok(None)
    }

    /// Starts the load, and waits until the targets answer.
    pub(super) fn start_load(&mut self) -> Result<(), CliError> {
        let Some(targets) = self.targets()? else { return Ok(()) };
        let clients = self.runner.config.clients;
        let load = LoadGenerator::start(&targets, clients)?;
        let have_begun = || load.targets_where(|log| log.answers_begun < clients).is_empty();
        self.process.pause(FIRST_ANSWERS, |_| have_begun())?;
        for target in load.targets_where(|log| log.answers_begun == 0) {
            let text = format!("{} gave no answer within {} s", target.name, FIRST_ANSWERS.as_secs());
            let advice = "With --load URL, name an address and a path that the app answers.";
            self.run.findings.push(Finding::failure(NO_ANSWER, text).advise(advice));
        }
        let have_answered = || load.targets_where(|log| log.answers() < 4 * clients).is_empty();
        self.process.pause(MORE_ANSWERS, |_| have_answered())?;
        self.load = Some(load);
        self.run.has_no_http = targets.is_empty();
        self.run.targets = targets;
        Ok(())
    }

    /// Returns the named targets, or the first address and route of each component that handles HTTP.
    fn targets(&mut self) -> Result<Option<Vec<Target>>, CliError> {
        if !self.runner.config.targets.is_empty() {
            return Ok(Some(self.runner.config.targets.clone()));
        }
        let Some(status) = self.status()? else { return Ok(None) };
        let handles_http =
            |name: &str| kinds().iter().any(|kind| kind.name == name && kind.handles == "wasi:http");
        let mut targets = Vec::new();
        for component in status.components.iter().filter(|component| handles_http(&component.kind)) {
            let plan = self.runner.config.plan.components.iter().find(|plan| plan.name == component.name);
            let route = plan.and_then(|plan| plan.http.routes.first());
            let address = component.addresses.first();
            let target = address.and_then(|address| Target::of_component(&component.name, address, route));
            let is_shared =
                status.components.iter().filter(|other| other.addresses.first() == address).count() > 1;
            targets.extend(target.map(|target| Target { is_shared, ..target }));
        }
        Ok(Some(targets))
    }

    /// Waits for the end of the app, kills it if it is long overdue, and completes the observation.
    fn observe_end(self, stop_at: Option<Instant>, window: RejectionWindow) -> Result<Observation, CliError> {
        let Self { runner, process, load, mut run } = self;
        let bound =
            run.scenario.exit_bound(&runner.config.plan.app).saturating_add(NOISE).saturating_add(OVERTIME);
        let ended = process.wait_for_end(stop_at.unwrap_or_else(Instant::now) + bound)?;
        if ended.is_none() {
            process.kill();
        }
        let report = AppReport::read(&runner.report_file());
        run.exit = ProcessExit::of(ended.map(|(status, _)| status), run.peer.as_deref(), report.as_ref());
        run.components = report.map(|report| report.components).unwrap_or_default();
        run.stop_at = stop_at;
        run.stop_time = stop_at.and_then(|at| Some(ended?.1.saturating_duration_since(at)));
        if ended.is_some() && !process.group_is_gone()? {
            run.leftovers.push("a process of its group".to_owned());
        }
        if matches!(run.exit, ProcessExit::Code(_) | ProcessExit::Early(_)) {
            run.leftovers.extend(runner.sockets_left());
        }
        (run.records, run.last_lines) = process.read(|state| (state.records.clone(), state.last_lines()));
        if let Some(load) = load {
            run.loads = load.counts(|target| match window {
                RejectionWindow::DuringStart(stop) if !had_started(target, &run.records, stop) => {
                    RejectionWindow::NotStarted
                }
                window => window,
            });
        }
        Ok(run)
    }

    /// Stops the app by the signal of the scenario, and returns when. From then on it may reject requests.
    fn stop(&self) -> Instant {
        if let Some(load) = &self.load {
            load.set_stopping();
        }
        let stop_at = Instant::now();
        self.process.signal(self.run.scenario.signal());
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
        let config = DrillConfig {
            program,
            arguments,
            guest_arguments,
            plan,
            targets: Vec::new(),
            clients: 1,
            allow_errors: false,
        };
        let runner = Runner::new(config, Interrupt::default()).unwrap();
        let run = runner
            .run_during_start(StopMoment { records: 7, within: Duration::from_millis(50) }, &[])
            .unwrap();
        assert!(run.moment.unwrap() >= Duration::from_millis(50), "{run:?}");
        assert_eq!(run.exit, ProcessExit::Signal(Signal::SIGTERM as i32));
    }
}
