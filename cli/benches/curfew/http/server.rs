//! A server that is measured: started, found by the address that it prints, watched from outside.
//!
//! Invariant: no process is left behind, and what it logs is always read.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::settings;
use crate::lab::Lab;

/// Longest time until a server listens; it may have to compile.
const PATIENCE: Duration = Duration::from_secs(60);
/// What `/proc/PID/stat` counts CPU time in.
const TICK: Duration = Duration::from_millis(10);

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    addresses: Vec<SocketAddr>,
    heard: Receiver<Told>,
}

/// Where something listens; the name orders the listeners of an app.
type Listening = (String, SocketAddr);

/// What a server says of itself.
enum Told {
    Listening(Listening),
    /// A reload took over.
    Reloaded(Instant),
    /// It came to nothing, for this reason.
    ReloadFailed(String),
}

impl Server {
    /// Starts the host on a single component.
    pub fn curfew(lab: &Lab, component: &str) -> Result<Self> {
        Self::curfew_of(Path::new(env!("CARGO_BIN_EXE_curfew")), lab, component)
    }

    /// Starts another build of the host on a single component.
    pub fn curfew_of(binary: &Path, lab: &Lab, component: &str) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("run").arg(component).args(["--listen", "127.0.0.1:0", "--cache"]).arg(lab.cache());
        Self::spawn("curfew", command, 1)
    }

    /// Starts the host on an app with so many listeners.
    pub fn curfew_app(lab: &Lab, manifest: &Path, listeners: usize) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
        command.arg("run").arg(manifest).args(["--log-format", "json", "--cache"]).arg(lab.cache());
        Self::spawn("curfew", command, listeners)
    }

    /// Starts `wasmtime serve`; `flags` say how it reuses instances.
    pub fn peer(component: &str, flags: &[&str]) -> Result<Self> {
        let mut command = Command::new(settings::peer()?);
        command.args(["serve", "-Scli", "--addr", "127.0.0.1:0"]).args(flags).arg(component);
        Self::spawn("wasmtime serve", command, 1)
    }

    /// Starts plain hyper.
    pub fn hyper() -> Result<Self> {
        Self::spawn("hyper", settings::hyper()?, 1)
    }

    fn spawn(name: &str, mut command: Command, listeners: usize) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| name.to_owned())?;
        let stderr = child.stderr.take().context("standard error was piped")?;
        let (tell, heard) = channel();
        let mut server = Self { child, addresses: Vec::new(), heard };
        thread::spawn(move || read(stderr, &tell));
        let mut found = Vec::new();
        while found.len() < listeners {
            match server.heard.recv_timeout(PATIENCE) {
                Ok(Told::Listening(listening)) => found.push(listening),
                Ok(Told::Reloaded(_) | Told::ReloadFailed(_)) => {}
                Err(RecvTimeoutError::Timeout) => bail!("{name} does not listen after {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("{name} ended before it listened"),
            }
        }
        found.sort();
        server.addresses = found.into_iter().map(|(_, address)| address).collect();
        Ok(server)
    }

    /// Where it listens; of an app, where its first component does.
    pub fn address(&self) -> Result<SocketAddr> {
        self.addresses.first().copied().context("it listens nowhere")
    }

    /// Asks the host by HUP to reload, and returns when that was.
    pub fn hang_up(&self) -> Result<Instant> {
        let asked = Instant::now();
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGHUP)?;
        Ok(asked)
    }

    /// Waits until the host says that a reload has taken over, and returns when it did.
    pub fn reloaded(&self) -> Result<Instant> {
        loop {
            match self.heard.recv_timeout(PATIENCE).context("the host says nothing of its reload")? {
                Told::Listening(_) => {}
                Told::Reloaded(at) => return Ok(at),
                Told::ReloadFailed(why) => bail!("the reload failed: {why}"),
            }
        }
    }

    /// Returns the CPU time that it has had, ended threads included.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may have spaces; user and system time are the 12th and 13th after it.
        let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat")?;
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
        Ok(TICK * ticks.sum::<Result<u32, _>>()?)
    }

    /// Returns a number from `/proc/PID/status`, in MiB.
    pub fn memory(&self, key: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such key")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Reads to the end, and tells of each address and each reload.
fn read(stderr: ChildStderr, tell: &Sender<Told>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        if let Some(told) = told(&String::from_utf8_lossy(&line)) {
            // Nobody listens any more when the server is dropped.
            let _gone = tell.send(told);
        }
    }
}

/// Finds `… on http://ADDRESS`, which all servers print, or what the host's log says in JSON.
fn told(line: &str) -> Option<Told> {
    if let Ok(event) = serde_json::from_str::<Value>(line) {
        let text = |key: &str| event.get(key)?.as_str();
        return match text("message")? {
            "listening" => {
                let address = text("address")?.strip_prefix("http://")?.parse().ok()?;
                Some(Told::Listening((text("component")?.to_owned(), address)))
            }
            "reloaded" => Some(Told::Reloaded(Instant::now())),
            "reload failed" => Some(Told::ReloadFailed(text("error").unwrap_or_default().to_owned())),
            _ => None,
        };
    }
    let (_, address) = line.split_once(" on http://")?;
    let address = address.trim_end().trim_end_matches('/').parse().ok()?;
    Some(Told::Listening((String::new(), address)))
}
