//! The host as a process of its own: started, watched from outside, stopped by a signal.
//!
//! Invariant: no process is left behind. Its log is read all the time, as an operator's collector would, but
//! it is looked at only after the end: parsing it meanwhile would take from the cores that are measured.

use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::Lab;

/// What the host logs when the `run` of all components has been entered.
const STARTED: &[u8] = b"app started";
/// Longest time that anything may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Descriptors that an app of a thousand components may need.
const FILES: u64 = 16_000;

/// A running host. Dropping it kills it.
pub struct Host {
    child: Child,
    spawned: Instant,
    started: Receiver<Instant>,
    log: Option<JoinHandle<Vec<u8>>>,
}

/// What a host said and how it ended.
pub struct Ended {
    pub at: Instant,
    pub status: ExitStatus,
    pub log: String,
    pub stdout: String,
}

impl Host {
    /// Starts the host on a manifest. `stdout` says whether anybody wants its standard output.
    pub fn spawn(lab: &Lab, manifest: &Path, stdout: bool) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
        command.arg("run").arg(manifest).arg("--cache").arg(lab.cache());
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command.stdout(if stdout { Stdio::piped() } else { Stdio::null() });
        let spawned = Instant::now();
        let mut child = command.spawn().context("the host")?;
        let stderr = child.stderr.take().context("standard error was piped")?;
        let (tell, started) = channel();
        let log = Some(std::thread::spawn(move || collect(stderr, &tell)));
        Ok(Self { child, spawned, started, log })
    }

    /// Waits until the app has started, and returns how long that took from before the host was spawned.
    pub fn started(&self) -> Result<Duration> {
        match self.started.recv_timeout(PATIENCE) {
            Ok(at) => Ok(at - self.spawned),
            Err(RecvTimeoutError::Timeout) => bail!("the app has not started after {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the host ended before the app had started"),
        }
    }

    /// Lets the host be for so long; it must not end meanwhile.
    pub fn rest(&self, time: Duration) -> Result<()> {
        // Its log ends when it does, and with it the channel.
        let still_there = self.started.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
        ensure!(still_there, "the host ended by itself");
        Ok(())
    }

    /// Sends TERM, waits for the end, and returns how long it took.
    pub fn stop(self) -> Result<(Duration, Ended)> {
        let asked = Instant::now();
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let ended = self.wait()?;
        Ok((ended.at - asked, ended))
    }

    /// Waits for the end. What it writes to a piped standard output must fit into the pipe.
    pub fn wait(mut self) -> Result<Ended> {
        let status = self.child.wait()?;
        let at = Instant::now();
        let mut stdout = String::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_string(&mut stdout)?;
        }
        let log = self.log.take().and_then(|log| log.join().ok()).context("the log's reader died")?;
        Ok(Ended { at, status, log: String::from_utf8_lossy(&log).into_owned(), stdout })
    }

    /// Returns a number from `/proc/PID/status`, in MiB.
    pub fn memory(&self, key: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such key")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }

    /// Returns the CPU time that all its threads have had. The sum in `/proc/PID/stat` counts in ticks of 10 ms,
    /// which is the whole bound.
    pub fn cpu_time(&self) -> Result<Duration> {
        let mut nanos = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let ran = stat.split(' ').next().context("an empty schedstat")?;
            nanos += ran.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Reads a log to its end, and tells of the moment in which the app had started.
fn collect(mut stderr: ChildStderr, tell: &Sender<Instant>) -> Vec<u8> {
    let mut log = Vec::new();
    let mut seen = 0;
    let mut told = false;
    let mut piece = vec![0; 64 << 10];
    while let Ok(length) = stderr.read(&mut piece) {
        if length == 0 {
            break;
        }
        log.extend(piece.iter().take(length));
        let fresh = log.get(seen..).unwrap_or_default();
        if !told && fresh.windows(STARTED.len()).any(|window| window == STARTED) {
            // Nobody waits when the bench has given up.
            let _gone = tell.send(Instant::now());
            told = true;
        }
        seen = log.len().saturating_sub(STARTED.len());
    }
    log
}

/// Raises the soft limit of open files as far as is needed; the hosts inherit it.
pub fn raise_file_limit() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < FILES {
        ensure!(hard >= FILES, "at most {hard} files may be open here (ulimit -Hn), {FILES} are needed");
        setrlimit(Resource::RLIMIT_NOFILE, FILES, hard)?;
    }
    Ok(())
}
