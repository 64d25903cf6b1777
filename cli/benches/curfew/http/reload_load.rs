//! Reloads under load: each request comes over a connection of its own, 5,000 a second, by the clock. Turns with a
//! reload each half second alternate with turns without.
//!
//! Invariant: every request of every turn counts, those of the turns without reloads too; the ratio is taken within
//! a round.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::crowd::{self, Seen};
use super::server::Server;
use super::settings;
use crate::figure::{Figure, Promised, Table, in_millis};
use crate::lab::{Lab, free_port};

/// New connections, with a request each, a second.
const RATE: f64 = 5000.0;
/// From one HUP to the next, if the reload takes no longer: those that come within half a second are one.
const EVERY: Duration = Duration::from_millis(510);
/// How long the server and its clients get warm.
const WARM_UP: Duration = Duration::from_secs(1);

/// Loads a server with and without reloads, in turn: the order changes with each round.
pub fn reload_load(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let turn = settings::turn()?;
    let port = free_port()?;
    let mut app = App { server: Server::curfew_app(lab, &manifest(lab, port, 0)?, 1)?, port, version: 0 };
    crowd::end(crowd::begin(app.server.address()?, RATE, WARM_UP)?)?;
    let (mut without, mut with, mut took) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        for reloads in [round % 2 == 1, round % 2 == 0] {
            let mut crowd = crowd::begin(app.server.address()?, RATE, turn)?;
            while reloads && crowd.try_wait()?.is_none() {
                took.push(app.reload(lab)?);
            }
            let seen = crowd::end(crowd)?;
            if reloads { with.push(seen) } else { without.push(seen) }
        }
    }
    table.note(format!("{} reloads, one each {} ms", took.len(), EVERY.as_millis()));
    table.add(Figure::millis("reload under load, HUP to `reloaded`", took, None));
    for (what, seen) in [("without", &without), ("during reloads", &with)] {
        for (share, of) in quantiles() {
            table.add(figure(format!("{share} {what}"), "ms", seen.iter().map(of).collect(), None));
        }
    }
    let ratios = with.iter().zip(&without).map(|(with, without)| with.p99 / without.p99).collect();
    table.add(figure("p99 during reloads / without".to_owned(), "x", ratios, Some(3.0)));
    lost(table, &with, &without);
    Ok(())
}

type Of = fn(&Seen) -> f64;

fn quantiles() -> [(&'static str, Of); 4] {
    [
        ("p50", |seen| seen.p50),
        ("p99", |seen| seen.p99),
        ("worst", |seen| seen.worst),
        ("p99 of the client's own lateness", |seen| seen.late_p99),
    ]
}

type Count = fn(&Seen) -> u32;

/// Everything that is not the right answer: there must be none.
fn lost(table: &mut Table, with: &[Seen], without: &[Seen]) {
    let all = with.iter().chain(without);
    table.note(format!("{} requests answered", all.clone().map(|seen| seen.answered).sum::<u32>()));
    let kinds: [(&str, Count); 4] = [
        ("refused", |seen| seen.refused),
        ("reset", |seen| seen.reset),
        ("wrong", |seen| seen.wrong),
        ("unanswered", |seen| seen.unanswered),
    ];
    for (what, of) in kinds {
        let samples = all.clone().map(|seen| f64::from(of(seen))).collect();
        let mut figure = figure(format!("requests {what} in a turn"), "requests", samples, Some(0.0));
        figure.promised = Promised::Worst;
        table.add(figure);
    }
}

struct App {
    server: Server,
    port: u16,
    version: u32,
}

impl App {
    /// Has the host reload a component that has changed, and takes as long as is between two reloads. Returns how many
    /// milliseconds the reload took.
    fn reload(&mut self, lab: &Lab) -> Result<f64> {
        self.version += 1;
        manifest(lab, self.port, self.version)?;
        let begin: Instant = self.server.hang_up()?;
        let took = self.server.reloaded()? - begin;
        thread::sleep(EVERY.saturating_sub(took));
        Ok(in_millis(took))
    }
}

/// A component whose environment is another with each version.
fn manifest(lab: &Lab, port: u16, version: u32) -> Result<PathBuf> {
    let source = artifacts::HELLO_HTTP;
    let text = format!(
        "[app]\nname = \"bench\"\n[component.web]\nsource = {source:?}\nlisten = [\"127.0.0.1:{port}\"]\n\
         env = {{ VERSION = \"{version}\" }}\n"
    );
    lab.manifest("reloads", &text)
}

fn figure(name: String, unit: &'static str, samples: Vec<f64>, bound: Option<f64>) -> Figure {
    Figure { name, unit, samples, promised: Promised::Median, bound }
}
