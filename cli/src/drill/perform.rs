//! Carries a try out: runs the app, does to it what is tried, and notes what is seen.
//!
//! Invariant: nothing here waits for a clock where there is an event to wait for, and every wait has an end. What is good
//! and what is bad is not known here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::child::{All, Child};
use super::error::DrillError;
use super::finding::Finding;
use super::interrupt::Interrupt;
use super::load::Load;
use super::observation::{Exit, FINISHED, Observation};
use super::record::Record;
use super::report::Report;
use super::scenario::{NOISE, Scenario};
use super::table::why;
use super::tally::{Counts, Turns};
use super::target::Target;
use super::{failing_peer, reload_cycle};
use curfew_host::plan::{ListenAddress, Plan};

/// The same signal within 500 ms counts once.
const BETWEEN_INTS: Duration = Duration::from_millis(600);
/// Longest wait for a start: compiling takes its time, and start-timeouts are the app's own.
const START: Duration = Duration::from_secs(600);
/// When a peer fails after its start, without load and with.
const PEER_IDLE: Duration = Duration::from_millis(100);
const PEER_LOADED: Duration = Duration::from_millis(700);
/// How much earlier than its record is read a failure can have been.
const HEARING: Duration = Duration::from_millis(250);
/// How much longer than allowed the end of a process is waited for, to see whether it comes at all.
const OVERTIME: Duration = Duration::from_secs(3);

/// What is drilled.
#[derive(Debug)]
pub struct Subject {
    /// The binary that runs it: ourselves.
    pub program: PathBuf,
    /// What to run, and its flags.
    pub arguments: Vec<OsString>,
    /// Arguments of a single file.
    pub guest_arguments: Vec<String>,
    /// What they mean.
    pub plan: Plan,
    /// Where requests go; empty: to each http component.
    pub aims: Vec<Target>,
    /// How many clients each aim has.
    pub clients: usize,
}

/// A moment of a start.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// So long after the process was started.
    After(Duration),
    /// When the log has so many records, since machines differ in how long that takes; but no later than this. One start
    /// may say less than another.
    Record(usize, Duration),
}

/// Where tries are carried out.
#[derive(Debug)]
pub struct Stage {
    subject: Subject,
    pub(super) interrupt: Interrupt,
    folder: TempDir,
    /// What the component that fails is called.
    peer: String,
}

/// An app that runs, with its load.
pub struct Scene {
    pub(super) child: Child,
    pub(super) load: Option<Load>,
    /// From the start of the process until everything had started.
    ready: Option<Duration>,
    pub(super) found: Vec<Finding>,
    /// What became of a load that has ended.
    pub(super) loads: Vec<(String, Counts)>,
    pub(super) aims: Vec<Target>,
    /// It says itself that nobody of it answers HTTP.
    pub(super) cannot_be_asked: bool,
}

impl Stage {
    /// Makes the folder that all its files are in.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(subject: Subject, interrupt: Interrupt) -> Result<Self, DrillError> {
        let folder = tempfile::Builder::new().prefix("curfew-drill-").tempdir();
        let folder = folder.map_err(DrillError::system("make a folder for temporary files"))?;
        let peer = subject.plan.peer_name();
        Ok(Self { subject, interrupt, folder, peer })
    }

    /// Returns what is drilled.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Carries out one try.
    ///
    /// # Errors
    /// When the app does not start, or the drill is to end.
    pub fn perform(&self, what: Scenario, loaded: bool) -> Result<Observation, DrillError> {
        match what {
            Scenario::Peer => self.peer(loaded),
            Scenario::Reload => self.reload(loaded),
            Scenario::Term | Scenario::Start => self.signal(what, Signal::SIGTERM, loaded),
            Scenario::Int => self.signal(what, Signal::SIGINT, loaded),
            Scenario::Quit => self.signal(what, Signal::SIGQUIT, loaded),
        }
    }

    /// Stops the app by a signal once it runs.
    fn signal(&self, what: Scenario, signal: Signal, loaded: bool) -> Result<Observation, DrillError> {
        let mut scene = self.start(&[])?;
        if loaded {
            self.load(&mut scene)?;
        }
        let mut asked = scene.ask(signal);
        let mut forced = false;
        if what == Scenario::Int {
            let heard = self.heard(&scene.child, asked, what)?;
            forced = scene.child.wait_for_end(heard + BETWEEN_INTS)?.is_none();
            if forced {
                scene.child.signal(signal);
                asked = heard;
            }
        }
        let turns = if forced { Turns::AnyTime } else { Turns::Since(asked) };
        let seen = self.end(scene, what, Some(asked), turns)?;
        Ok(Observation { forced, ..seen })
    }

    /// Returns when the app has heard that it is to stop: on a busy machine that is later than it was asked.
    fn heard(&self, child: &Child, asked: Instant, what: Scenario) -> Result<Instant, DrillError> {
        let until = asked + what.bound(&self.subject.plan.app);
        let heard = child.wait(until, |all| match all.exit {
            Some((_, at)) => Some(at),
            None => {
                all.records.iter().find(|record| record.said.message == "stopping").map(|record| record.at)
            }
        })?;
        Ok(heard.unwrap_or(asked).max(asked))
    }

    /// Stops the app at a moment of its start, however far it is. These are asked meanwhile.
    ///
    /// # Errors
    /// When the drill is to end.
    pub fn during_start(&self, moment: Moment, aims: &[Target]) -> Result<Observation, DrillError> {
        let load = (!aims.is_empty()).then(|| Load::start(aims, self.subject.clients)).transpose()?;
        let child = Child::start(self.command(&[]), &self.interrupt)?;
        let (until, records) = match moment {
            Moment::After(time) => (child.started + time, usize::MAX),
            Moment::Record(number, within) => (child.started + within.min(START), number),
        };
        child.wait(until, |all| (all.records.len() >= records || all.exit.is_some()).then_some(()))?;
        let scene = Scene { load, ..Scene::new(child, None) };
        let asked = scene.ask(Signal::SIGTERM);
        let moment = asked.saturating_duration_since(scene.child.started);
        // Nobody promises that it listens already.
        let seen = self.end(scene, Scenario::Start, Some(asked), Turns::Starting(asked))?;
        Ok(Observation { moment: Some(moment), ..seen })
    }

    fn peer(&self, loaded: bool) -> Result<Observation, DrillError> {
        let file = self.folder.path().join("drill-peer.wasm");
        let bytes = failing_peer::component(if loaded { PEER_LOADED } else { PEER_IDLE });
        let written = bytes.map_err(std::io::Error::other).and_then(|bytes| std::fs::write(&file, bytes));
        written.map_err(|cause| DrillError::Write { path: file.clone(), cause })?;
        let mut scene = self.start(&["--drill-peer".into(), file.into()])?;
        if loaded {
            self.load(&mut scene)?;
        }
        let failed = |record: &&Record| record.is("failed", &self.peer);
        let until = Instant::now() + PEER_LOADED + START;
        let asked = scene.child.wait(until, |all| {
            let at = all.records.iter().find(failed).map(|record| record.at);
            at.map(Some).or_else(|| all.exit.map(|_| None))
        })?;
        if let Some(load) = &scene.load {
            load.stopping();
        }
        let asked = asked.flatten();
        let since = asked.and_then(|asked| asked.checked_sub(HEARING));
        self.end(scene, Scenario::Peer, asked, since.map_or(Turns::AnyTime, Turns::Since))
    }

    fn reload(&self, loaded: bool) -> Result<Observation, DrillError> {
        let mut scene = self.start(&[])?;
        reload_cycle::reload(self, &mut scene, loaded)?;
        let asked = scene.ask(Signal::SIGTERM);
        self.end(scene, Scenario::Reload, Some(asked), Turns::Since(asked))
    }

    /// Starts the app and waits until all of it has started.
    fn start(&self, more: &[OsString]) -> Result<Scene, DrillError> {
        let child = Child::start(self.command(more), &self.interrupt)?;
        let until = child.started + START;
        let ready = child.wait(until, |all| {
            let started = all.records.iter().find(|record| self.has_started(record));
            started.map(|record| Ok(record.at)).or_else(|| all.exit.map(|(status, _)| Err(status)))
        })?;
        match ready {
            Some(Ok(at)) => {
                let ready = Some(at.saturating_duration_since(child.started));
                Ok(Scene::new(child, ready))
            }
            Some(Err(status)) => {
                child.wait_for_end(Instant::now() + OVERTIME)?;
                // A peer can fail while the stop of what had finished goes on: that says nothing about the app.
                let is_peers = || !more.is_empty() && self.finished();
                if status.success() || is_peers() {
                    // It had nothing more to do: there is nothing to stop, and nothing wrong.
                    return Ok(Scene::new(child, None));
                }
                Err(DrillError::CannotStart { code: code(status), said: why(&child.look(All::tail)) })
            }
            None => {
                let said = format!(
                    "{}\nit has not started within {} s",
                    why(&child.look(All::tail)),
                    START.as_secs()
                );
                Err(DrillError::CannotStart { code: 1, said })
            }
        }
    }

    /// Whether all of the app has started. The one that is to fail starts last, but for those that pause before a restart:
    /// they can take longer than it lives.
    fn has_started(&self, record: &Record) -> bool {
        record.is("app started", "") || record.is("component started", &self.peer)
    }

    /// Whether the app ended by itself, as its report says.
    fn finished(&self) -> bool {
        let cause = Report::read(&self.report_file()).and_then(|report| report.cause);
        cause.is_some_and(|cause| cause.kind == FINISHED)
    }

    fn command(&self, more: &[OsString]) -> Command {
        let mut command = Command::new(&self.subject.program);
        command.arg("run").args(&self.subject.arguments).args(more);
        command.args(["--log-format", "json", "--log-level", "info"]);
        command.arg("--report").arg(self.report_file()).arg("--control").arg(self.control_file());
        command.arg("--leave-with").arg(std::process::id().to_string());
        if !self.subject.guest_arguments.is_empty() {
            command.arg("--").args(&self.subject.guest_arguments);
        }
        let _none = std::fs::remove_file(self.report_file());
        command
    }

    fn report_file(&self) -> PathBuf {
        self.folder.path().join("report.json")
    }

    pub(super) fn control_file(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// Waits for the end of the app, by force if it is long overdue, and collects what there is to see.
    fn end(
        &self,
        scene: Scene,
        what: Scenario,
        asked: Option<Instant>,
        turns: Turns,
    ) -> Result<Observation, DrillError> {
        let Scene { child, load, ready, found, loads, aims, cannot_be_asked } = scene;
        let bound = what.bound(&self.subject.plan.app).saturating_add(NOISE).saturating_add(OVERTIME);
        let ended = child.wait_for_end(asked.unwrap_or_else(Instant::now) + bound)?;
        if ended.is_none() {
            child.kill();
        }
        let report = Report::read(&self.report_file());
        let peer = (what == Scenario::Peer).then(|| self.peer.clone());
        let exit = Exit::of(ended.map(|(status, _)| status), peer.as_deref(), report.as_ref());
        let took = asked.and_then(|asked| Some(ended?.1.saturating_duration_since(asked)));
        let mut left = Vec::new();
        if ended.is_some() && !child.group_is_gone()? {
            left.push("a process of its group".to_owned());
        }
        left.extend(self.files_left().filter(|_| matches!(exit, Exit::Code(_) | Exit::Early(_))));
        let loads = load.map_or(loads, |load| load.counts(turns));
        let (records, tail) = child.look(|all| (all.records.clone(), all.tail()));
        let (moment, forced) = (None, false);
        Ok(Observation {
            what,
            peer,
            moment,
            ready,
            asked,
            exit,
            took,
            forced,
            records,
            report,
            loads,
            aims,
            cannot_be_asked,
            found,
            left,
            tail,
        })
    }

    /// The sockets that it should have taken away.
    fn files_left(&self) -> impl Iterator<Item = String> {
        let listen = self.subject.plan.components.iter().flat_map(|component| &component.http.listen);
        let sockets = listen.filter_map(|address| match address {
            ListenAddress::Unix(path) => Some(path.clone()),
            ListenAddress::Ip(_) | ListenAddress::Activated(_) => None,
        });
        let files = sockets.chain([self.control_file()]).filter(|path| path.exists());
        files.map(|path| format!("the socket {}", path.display()))
    }
}

impl Scene {
    fn new(child: Child, ready: Option<Duration>) -> Self {
        let (found, loads, aims) = (Vec::new(), Vec::new(), Vec::new());
        Self { child, load: None, ready, found, loads, aims, cannot_be_asked: false }
    }

    /// Notes what was found, unless it was found before.
    pub(super) fn find(&mut self, finding: Finding) {
        if !self.found.iter().any(|known| known.is_same(&finding)) {
            self.found.push(finding);
        }
    }

    /// Asks it to stop.
    fn ask(&self, signal: Signal) -> Instant {
        if let Some(load) = &self.load {
            load.stopping();
        }
        // What is sent from here on may be turned away.
        let asked = Instant::now();
        self.child.signal(signal);
        asked
    }
}

fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use curfew_host::plan::Bare;

    /// A program that runs and says nothing, whatever it is told.
    fn silent(folder: &std::path::Path) -> PathBuf {
        let program = folder.join("silent");
        // Written by another process: what this one writes cannot be run while a thread of it forks.
        let script = "printf '#!/bin/sh\\nexec sleep 1000\\n' >\"$0\" && chmod +x \"$0\"";
        assert!(Command::new("sh").arg("-c").arg(script).arg(&program).status().unwrap().success());
        program
    }

    #[test]
    fn a_start_that_says_less_than_the_last_one_is_stopped_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.wasm");
        std::fs::write(&source, "").unwrap();
        let plan = Plan::from_files(&[source], &Bare::default()).unwrap();
        let (program, arguments, guest_arguments) = (silent(folder.path()), Vec::new(), Vec::new());
        let subject = Subject { program, arguments, guest_arguments, plan, aims: Vec::new(), clients: 1 };
        let stage = Stage::new(subject, Interrupt::default()).unwrap();
        let seen = stage.during_start(Moment::Record(7, Duration::from_millis(50)), &[]).unwrap();
        assert!(seen.moment.unwrap() >= Duration::from_millis(50), "{seen:?}");
        assert_eq!(seen.exit, Exit::Signal(Signal::SIGTERM as i32));
    }
}
