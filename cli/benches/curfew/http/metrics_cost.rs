//! What it costs to be watched: the throughput with an admin listener that is scraped each second, against the same
//! without one.
//!
//! Invariant: both have fresh processes in each round, so that the luck of a process is not taken for a cost; they
//! take turns in the order off, on, on, off, so that what becomes slower with time is not either.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::get::get;
use super::server::Server;
use super::wrk::Load;
use super::{settings, turns, wrk};
use crate::figure::{Figure, Promised, Table};
use crate::lab::{Lab, free_port};

/// How often it is scraped, as often as anybody does.
const SCRAPE: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(1);
/// Something that only a metrics page has.
const SIGN: &str = "curfew_";

/// Loads both in turn.
pub fn metrics_cost(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let turn = settings::turn()?;
    let (mut off, mut on) = (Sides::default(), Sides::default());
    for _ in 0..rounds {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let plain = Server::curfew_app(lab, &manifest(lab, None)?, 1)?;
        let watched = Server::curfew_app(lab, &manifest(lab, Some(admin))?, 1)?;
        wrk::load(&plain, WARM_UP, None)?;
        scraped(admin, || wrk::load(&watched, WARM_UP, None))?;
        let first = wrk::load(&plain, turn, None)?;
        let second = scraped(admin, || wrk::load(&watched, turn, None))?;
        let third = scraped(admin, || wrk::load(&watched, turn, None))?;
        off.add(first, wrk::load(&plain, turn, None)?);
        on.add(second, third);
    }
    for (name, sides) in [("admin off", &off), ("scraped each second", &on)] {
        table.add(figure(name.to_owned(), "thousand requests/s", sides.rates.clone()));
        table.add(figure(format!("{name}: CPU a request"), "us", sides.costs.clone()));
    }
    table.add(turns::ratio("throughput: scraped / admin off".to_owned(), &on.rates, &off.rates, Some(0.98)));
    let costs = on.costs.iter().zip(&off.costs).map(|(on, off)| on / off).collect();
    table.add(figure("CPU a request: scraped / admin off".to_owned(), "x", costs));
    Ok(())
}

/// The rounds of one side, each the mean of its two turns.
#[derive(Default)]
struct Sides {
    rates: Vec<f64>,
    costs: Vec<f64>,
}

impl Sides {
    fn add(&mut self, one: Load, other: Load) {
        self.rates.push(f64::midpoint(one.rate, other.rate));
        self.costs.push(f64::midpoint(one.cost, other.cost));
    }
}

/// Does something while the metrics are asked for, at once and then each second.
fn scraped<T>(admin: SocketAddr, work: impl FnOnce() -> Result<T>) -> Result<T> {
    thread::scope(|scope| {
        let (enough, told) = channel::<()>();
        let scraper = scope.spawn(move || {
            loop {
                let page = get(TcpStream::connect(admin).context("the admin listener")?, "/metrics")?;
                ensure!(page.contains(SIGN), "no metrics: {page}");
                match told.recv_timeout(SCRAPE) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    Ok(()) => bail!("nobody sends this"),
                }
            }
        });
        let done = work();
        drop(enough);
        scraper.join().ok().context("the scraper died")??;
        done
    })
}

fn manifest(lab: &Lab, admin: Option<SocketAddr>) -> Result<PathBuf> {
    let source = artifacts::HELLO_HTTP;
    let line = admin.map(|admin| format!("admin = \"{admin}\"\n")).unwrap_or_default();
    let text = format!(
        "[app]\nname = \"bench\"\n{line}[component.web]\nsource = {source:?}\nlisten = [\"127.0.0.1:0\"]\n"
    );
    lab.manifest(if admin.is_some() { "watched" } else { "plain" }, &text)
}

fn figure(name: String, unit: &'static str, samples: Vec<f64>) -> Figure {
    Figure { name, unit, samples, promised: Promised::Median, bound: None }
}
