//! Where the benches work: a folder with manifests and a compile cache, which is gone afterwards; and what else
//! goes on on the machine, without which no figure means anything.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tempfile::TempDir;

/// What `/proc/stat` counts in.
const TICK: Duration = Duration::from_millis(10);

/// The folder.
pub struct Lab {
    folder: TempDir,
}

/// Which file each of many components is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// All from the same.
    Shared,
    /// Each from one of its own, with the same content.
    Own,
}

impl Lab {
    /// Makes the folder.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("curfew-bench-").tempdir()?;
        std::fs::create_dir(folder.path().join("files"))?;
        Ok(Self { folder })
    }

    /// Where the hosts that are measured keep compiled components.
    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// Returns the path of a control socket.
    pub fn control(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// Writes a manifest, also in the place of another: whoever reads it has the whole of one of them.
    pub fn manifest(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name).with_extension("toml");
        let staged = path.with_extension("new");
        std::fs::write(&staged, text).with_context(|| staged.display().to_string())?;
        std::fs::rename(&staged, &path)?;
        Ok(path)
    }

    /// Writes the manifest of an app of so many idle services.
    pub fn services(&self, count: usize, sources: Sources) -> Result<PathBuf> {
        let mut text = "[app]\nname = \"bench\"\n".to_owned();
        for number in 1..=count {
            let source = match sources {
                Sources::Shared => Path::new(artifacts::SERVER).to_owned(),
                Sources::Own => self.own_file(number)?,
            };
            writeln!(text, "[component.c{number:04}]\nsource = {source:?}")?;
        }
        self.manifest(&format!("{count}-{sources:?}"), &text)
    }

    fn own_file(&self, number: usize) -> Result<PathBuf> {
        let path = self.folder.path().join("files").join(format!("c{number:04}.wasm"));
        if !path.exists() {
            std::fs::copy(artifacts::SERVER, &path)?;
        }
        Ok(path)
    }
}

/// Returns a port of this machine. Nobody else is expected to take it in the meantime.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// What the whole machine, and this process with its children, have computed since they started.
#[derive(Clone, Copy)]
pub struct Used {
    at: Instant,
    all: Duration,
    ours: Duration,
}

impl Used {
    /// Takes the counters as they are now.
    pub fn now() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat")?;
        // user, nice, system, idle, iowait, irq, softirq, steal; the rest is counted in these.
        let ticks = line.split_whitespace().take(8).map(str::parse::<u32>).collect::<Result<Vec<_>, _>>()?;
        let idle = |at: usize| at == 3 || at == 4;
        let busy: u32 = ticks.iter().enumerate().filter(|(at, _)| !idle(*at)).map(|(_, ticks)| ticks).sum();
        let mut ours = Duration::ZERO;
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let usage = getrusage(who)?;
            for time in [usage.user_time(), usage.system_time()] {
                ours += Duration::from_micros(u64::try_from(time.num_microseconds())?);
            }
        }
        Ok(Self { at: Instant::now(), all: TICK * busy, ours })
    }

    /// Returns how many cores others have kept busy since then, on average.
    pub fn others_since(self) -> Result<f64> {
        let now = Self::now()?;
        let others = (now.all - self.all).saturating_sub(now.ours - self.ours);
        Ok(others.as_secs_f64() / (now.at - self.at).as_secs_f64())
    }
}

/// Says what the figures were measured on: they mean nothing without it.
pub fn machine() -> Result<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let version = env!("CARGO_PKG_VERSION");
    let huge = huge_pages();
    Ok(format!(
        "curfew {version} on {cores} cores ({model}); transparent huge pages: {huge}; load average before: {load}"
    ))
}

/// Which mode the kernel has for transparent huge pages. The peers get them in `madvise` if they ask, in `always` anyway.
fn huge_pages() -> String {
    let modes = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let mode = modes.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    mode.map_or_else(|| "none".to_owned(), |(mode, _)| mode.to_owned())
}
