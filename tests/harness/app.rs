//! A host that runs: signals to it, waiting for what it says, and its end.
//!
//! Invariant: when an `App` is gone, nothing of its process group is left.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::capture::{Capture, Record, Said};
use super::{Host, Output};

/// A running host.
#[must_use = "an app that is dropped is killed"]
pub struct App {
    capture: Capture,
    pid: Pid,
    streams: usize,
    started: Instant,
    dir: Option<TempDir>,
    report: std::path::PathBuf,
    stdin: Option<std::process::ChildStdin>,
    waited: bool,
}

impl App {
    #[track_caller]
    pub(super) fn spawn(host: Host) -> App {
        let Host { dir, mut command, report, .. } = host;
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let capture = Capture::default();
        let mut streams = 0;
        if let Some(stdout) = child.stdout.take() {
            capture.read_stdout(stdout);
            streams += 1;
        }
        if let Some(stderr) = child.stderr.take() {
            capture.read_stderr(stderr);
            streams += 1;
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let stdin = child.stdin.take();
        reap(child, pid, capture.clone());
        App { capture, pid, streams, started, dir: Some(dir), report, stdin, waited: false }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The folder of the manifest, which is the host's working directory.
    pub fn path(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// The other end of standard input, if it was piped; closed once dropped.
    pub fn take_stdin(&mut self) -> std::process::ChildStdin {
        self.stdin.take().expect("standard input was not piped")
    }

    /// Sends the signal to the host and says when. Nothing happens when the host has gone.
    pub fn signal(&self, signal: Signal) -> Instant {
        self.signal_to(self.pid, signal)
    }

    /// The same to another process that lives as long as the host does.
    pub fn signal_to(&self, pid: Pid, signal: Signal) -> Instant {
        // The lock keeps the reaper from freeing the number meanwhile.
        let said = self.capture.lock();
        let now = Instant::now();
        if said.exit.is_none() {
            kill(pid, signal).unwrap();
        }
        drop(said);
        now
    }

    pub fn has_ended(&self) -> bool {
        self.capture.lock().exit.is_some()
    }

    /// Looks at what was said up to now.
    pub fn look<T>(&self, look: impl FnOnce(&Said) -> T) -> T {
        look(&self.capture.lock())
    }

    /// The records with this message; an empty component stands for any.
    pub fn records(&self, message: &str, component: &str) -> Vec<Record> {
        self.look(|said| {
            said.records.iter().filter(|record| record.is(message, component)).cloned().collect()
        })
    }

    /// Waits for the first record with this message; an empty component stands for any.
    #[track_caller]
    pub fn wait_for_log(&self, message: &str, component: &str) -> Record {
        let what = format!("a record {message:?} of {component:?}");
        self.wait_until(&what, |said| {
            said.records.iter().find(|record| record.is(message, component)).cloned()
        })
    }

    /// Waits for `count` records with this message.
    #[track_caller]
    pub fn wait_for_logs(&self, message: &str, component: &str, count: usize) -> Vec<Record> {
        let what = format!("{count} records {message:?} of {component:?}");
        self.wait_until(&what, |said| {
            let found = said.records.iter().filter(|record| record.is(message, component));
            let found: Vec<Record> = found.cloned().collect();
            (found.len() >= count).then_some(found)
        })
    }

    /// Waits for a line of output that contains this text, and returns it.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) -> String {
        let what = format!("a line with {text:?}");
        self.wait_until(&what, |said| said.lines.iter().find(|line| line.contains(text)).cloned())
    }

    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, look: impl FnMut(&Said) -> Option<T>) -> T {
        match self.capture.wait(self.streams, look) {
            Some(found) => found,
            None => panic!("{what} never came; the host said:\n{}", transcript(&self.capture.lock())),
        }
    }

    /// The port that a guest of the echo kind says it listens on.
    #[track_caller]
    pub fn port(&self, component: &str) -> u16 {
        let line = self.wait_for_line(&format!("{component} | listening on "));
        line.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Waits whether the host ends within this time.
    pub fn ends_within(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut ended = self.has_ended();
        while !ended && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
            ended = self.has_ended();
        }
        ended
    }

    /// TERM, and the end.
    #[track_caller]
    pub fn stop(self) -> Output {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Waits for the end, and fails when a process is left behind.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let exit = self.capture.wait(usize::MAX, |said| said.exit);
        let Some((status, ended)) = exit else {
            panic!("the host never ended; it said:\n{}", transcript(&self.capture.lock()));
        };
        self.expect_no_leak();
        let streams = self.streams;
        self.capture.wait(streams, |said| (said.ended_streams >= streams).then_some(()));
        self.waited = true;
        let report = std::fs::read_to_string(&self.report).ok();
        let said = std::mem::take(&mut *self.capture.lock());
        Output {
            status,
            started: self.started,
            ended,
            report: report.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
            records: said.records,
            lines: said.lines,
            stdout: said.stdout,
            stderr: said.stderr,
            stderr_lines: said.stderr_lines,
            dir: self.dir.take().unwrap(),
        }
    }

    #[track_caller]
    fn expect_no_leak(&self) {
        // Killed children of the host take a moment to be reaped by init.
        super::until("the end of every process in the host's group", || {
            (killpg(self.pid, None) == Err(Errno::ESRCH)).then_some(())
        });
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if self.waited {
            return;
        }
        // The group lives as long as any member does, so this hits nobody else.
        let _ = killpg(self.pid, Signal::SIGKILL);
        self.signal(Signal::SIGKILL);
        let _ = self.capture.wait(usize::MAX, |said| said.exit);
        if thread::panicking() {
            eprintln!("the host said:\n{}", transcript(&self.capture.lock()));
        }
    }
}

/// Waits for the exit on a thread of its own, so that its moment is exact whatever the test does.
fn reap(mut child: Child, pid: Pid, capture: Capture) {
    thread::spawn(move || {
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let now = Instant::now();
        capture.change(|said| {
            let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(1));
            said.exit = Some((status, now));
        });
    });
}

/// What is shown when a test fails.
fn transcript(said: &Said) -> String {
    let mut text = said.stderr.join("\n");
    let stdout = String::from_utf8_lossy(&said.stdout);
    let shown: String = stdout.chars().take(4000).collect();
    text.push_str(&format!("\n--- standard output\n{shown}\n--- exit: {:?}", said.exit.map(|exit| exit.0)));
    text
}
