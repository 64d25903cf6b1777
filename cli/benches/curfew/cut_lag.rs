//! How long after its deadline a spinning guest is gone: from the deadline to the moment in which the control
//! thread knows that nothing of it is left, which is later than the end itself.
//!
//! In this process, through the library: the log of the binary counts in milliseconds.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use curfew_host::output::Output;
use curfew_host::plan::Plan;
use curfew_host::runtime::Cache;
use curfew_host::supervisor::{App, Options};

use crate::capture::{self, Heard};
use crate::figure::{Figure, Promised, Table, in_millis};
use crate::lab::Lab;
use crate::native;

/// What the guests have to stop in, and do not.
const GRACE: Duration = Duration::from_millis(30);
/// How long they spin before.
const SPIN: Duration = Duration::from_millis(20);
/// How many timed waits of a native thread each round is compared with.
const PEER_WAITS: usize = 10;
/// Longest time that anything may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures the lag of each of so many spinning components.
pub fn measure(lab: &Lab, rounds: usize, table: &mut Table, spinning: usize) -> Result<()> {
    let mut text = format!("[app]\nname = \"bench\"\ngrace = \"{}ms\"\n", GRACE.as_millis());
    for number in 1..=spinning {
        let source = artifacts::HOSTILE_ASYNC;
        text.push_str(&format!("[component.s{number}]\nsource = {source:?}\nargs = [\"run=spin\"]\n"));
    }
    let plan = Plan::from_manifest(&lab.manifest(&format!("spin-{spinning}"), &text)?)?;
    let cache = Cache::open(&lab.cache()).map_err(anyhow::Error::msg)?;
    let heard = capture::listen();
    let (mut lags, mut peers) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let of_round = run(&plan, &cache, &heard, spinning)?;
        if round > 0 {
            lags.extend(of_round);
            peers.extend(native::lateness(PEER_WAITS, spinning));
        }
    }
    let (name, bound) = match spinning {
        1 => ("cut-off lag of one that spins".to_owned(), 1.0),
        _ => (format!("cut-off lag of {spinning} that spin"), 10.0),
    };
    let mut figure = Figure::millis(name, lags, bound);
    figure.promised = Promised::P99;
    let mut peer = Figure::millis(format!("  peer: a timed wait next to {spinning} native"), peers, None);
    peer.promised = Promised::P99;
    table.note(format!("p99 of this and of its peer: ratio {:.2}", figure.promised() / peer.promised()));
    table.add(figure);
    table.add(peer);
    Ok(())
}

fn run(plan: &Plan, cache: &Cache, heard: &Receiver<Heard>, spinning: usize) -> Result<Vec<f64>> {
    let nowhere = || -> Result<OwnedFd> { Ok(File::options().write(true).open("/dev/null")?.into()) };
    let output = Output::over(nowhere()?, nowhere()?, Box::new(|_| {}))?;
    let app = App::start(plan.clone(), Options::new(output, Some(cache.clone())))?;
    capture::next(heard, "app started", PATIENCE)?;
    // Nothing comes meanwhile: they spin.
    let _quiet = heard.recv_timeout(SPIN);
    app.stopper().stop();
    let deadline = capture::next(heard, "stopping", PATIENCE)? + GRACE;
    let mut lags = Vec::new();
    for _ in 0..spinning {
        let ended = capture::next(heard, "component ended", PATIENCE)?;
        lags.push(in_millis(ended.checked_duration_since(deadline).context("it ended by itself")?));
    }
    let report = app.wait()?;
    let cut = report.components.iter().all(|component| component.outcome == "cut-off");
    ensure!(cut, "somebody was not cut off: {report:?}");
    Ok(lags)
}
