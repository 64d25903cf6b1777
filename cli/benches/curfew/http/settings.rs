//! What can be set from outside, and the helpers that this program is when it starts itself again.
//!
//! Invariant: a helper is a process of its own, so that its CPU time is not the bench's.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{crowd, hyper_server, open_loop};

/// The first argument of a process that is plain hyper.
const HYPER: &str = "--as-hyper";
/// The first argument of a process that sends requests at a fixed rate.
const OPEN_LOOP: &str = "--as-open-loop";
/// The first argument of a process that does so with a new connection for each.
const CROWD: &str = "--as-crowd";
/// How long each server is under load in each round, in seconds.
const SECONDS: &str = "CURFEW_BENCH_SECONDS";
/// The `wasmtime` to compare with, when it is not the one that `make peer` builds.
const PEER: &str = "CURFEW_BENCH_PEER";
/// An earlier curfew to compare with.
const BEFORE: &str = "CURFEW_BENCH_BEFORE";
const PEER_BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peer/bin/wasmtime");

/// Is the helper that the arguments ask for, if they do, and says so when it has ended.
pub fn started_as_helper() -> Result<bool> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some(HYPER) => hyper_server::serve()?,
        Some(OPEN_LOOP) => open_loop::run(args.get(1..).unwrap_or_default())?,
        Some(CROWD) => crowd::run(args.get(1..).unwrap_or_default())?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The command that starts plain hyper.
pub fn hyper() -> Result<Command> {
    helper(HYPER)
}

/// The command that sends requests at a fixed rate; it takes what `open_loop::run` takes.
pub fn open_loop() -> Result<Command> {
    helper(OPEN_LOOP)
}

/// The same with a new connection for each request; it takes what `crowd::run` takes.
pub fn crowd() -> Result<Command> {
    helper(CROWD)
}

fn helper(role: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("the bench's own program")?);
    command.arg(role);
    Ok(command)
}

/// The `wasmtime` to compare with.
pub fn peer() -> Result<PathBuf> {
    let path = std::env::var_os(PEER).map_or_else(|| PathBuf::from(PEER_BUILT), PathBuf::from);
    ensure!(path.is_file(), "{} is missing: build it with `make peer`", path.display());
    Ok(path)
}

/// An earlier curfew to compare with, if one is given.
pub fn before() -> Option<PathBuf> {
    std::env::var_os(BEFORE).map(PathBuf::from)
}

/// How long each server is under load in each round.
pub fn turn() -> Result<Duration> {
    let seconds = std::env::var(SECONDS).map_or(Ok(4), |text| text.parse());
    Ok(Duration::from_secs(seconds.context(SECONDS)?))
}
