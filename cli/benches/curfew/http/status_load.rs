//! `status` while the host has more to do than it can: what an operator waits who looks because it has.

use std::fmt::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::get::get;
use super::server::Server;
use super::{settings, wrk};
use crate::figure::{Figure, Promised, Table, in_millis};
use crate::lab::Lab;

/// Idle services next to the one under load: what the status has to tell of.
const OTHERS: usize = 99;
/// From one question to the next.
const EVERY: Duration = Duration::from_millis(20);
/// How often it is asked while there is no load.
const IDLE: usize = 50;

/// Asks over a fresh connection to the control socket each time, under all the load that wrk can make.
pub fn status_load(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let server = Server::curfew_app(lab, &manifest(lab)?, 1)?;
    let control = lab.control();
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(ask(&control)?);
    }
    let (mut loaded, mut rates) = (Vec::new(), Vec::new());
    wrk::load(&server, Duration::from_secs(1), None)?;
    for _ in 0..rounds {
        let over = AtomicBool::new(false);
        let (load, asked) = thread::scope(|scope| {
            let asking = scope.spawn(|| ask_until(&control, &over));
            let load = wrk::load(&server, settings::turn()?, None);
            over.store(true, Ordering::Relaxed);
            anyhow::Ok((load?, asking.join().ok().context("who asked died")??))
        })?;
        loaded.extend(asked);
        rates.push(load.rate);
    }
    table.add(Figure::millis("status, idle", idle, None));
    let mut figure = Figure::millis("status under full load", loaded, 5.0);
    figure.promised = Promised::P99;
    table.add(figure);
    let (name, unit) = ("  the load meanwhile".to_owned(), "thousand requests/s");
    table.add(Figure { name, unit, samples: rates, promised: Promised::Median, bound: None });
    Ok(())
}

fn ask_until(control: &Path, over: &AtomicBool) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        thread::sleep(EVERY);
        took.push(ask(control)?);
    }
    Ok(took)
}

/// Returns how many milliseconds it took from before the connection until the whole status was there.
fn ask(control: &Path) -> Result<f64> {
    let start = Instant::now();
    let body = get(UnixStream::connect(control).context("the control socket")?, "/status")?;
    let took = in_millis(start.elapsed());
    let status: Value = serde_json::from_str(&body)?;
    let components = status.get("components").and_then(Value::as_array).map(Vec::len);
    ensure!(components == Some(OTHERS + 1), "a status of {components:?} components");
    Ok(took)
}

fn manifest(lab: &Lab) -> Result<PathBuf> {
    let (control, web, service) = (lab.control(), artifacts::HELLO_HTTP, artifacts::SERVER);
    let mut text = format!(
        "[app]\nname = \"bench\"\ncontrol = {control:?}\n\
         [component.web]\nsource = {web:?}\nlisten = [\"127.0.0.1:0\"]\n"
    );
    for number in 1..=OTHERS {
        writeln!(text, "[component.s{number:03}]\nsource = {service:?}")?;
    }
    lab.manifest("operated", &text)
}
