//! How long requests take at half of the rate that the peer can just bear.

use anyhow::Result;

use super::hello::{Guest, PEER_BEST, PEER_CLASSIC_BEST};
use super::open_loop::{self, Seen};
use super::server::Server;
use super::settings;
use super::turns::{self, Contender};
use crate::figure::{Figure, Promised, Table};
use crate::lab::Lab;

/// A component of WASI 0.3.
pub fn p99(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    measure(lab, rounds, table, ("0.3", artifacts::HELLO_HTTP, PEER_BEST))
}

/// A component of WASI 0.2.
pub fn classic(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    measure(lab, rounds, table, ("0.2", artifacts::HELLO_HTTP_CLASSIC, PEER_CLASSIC_BEST))
}

fn measure(lab: &Lab, rounds: usize, table: &mut Table, (what, component, best): Guest) -> Result<()> {
    let turn = settings::turn()?;
    let servers = [Server::curfew(lab, component)?, Server::peer(component, best)?, Server::hyper()?];
    let [_, peer, _] = &servers;
    let mut top = [Contender::new("wasmtime serve, reuse", peer)];
    turns::take(&mut top, rounds.min(3), turn, table)?;
    let rate = top.iter().map(Contender::rate).sum::<f64>() / 2.0;
    table.note(format!(
        "half of it: {rate:.0} requests/s, sent by the clock, counted from when they were due"
    ));
    let mut seen = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        for (server, seen) in servers.iter().zip(&mut seen) {
            seen.push(open_loop::load(server.address()?, rate, turn)?);
        }
    }
    for (name, seen) in ["curfew", "wasmtime serve, reuse", "hyper"].iter().zip(&seen) {
        table.add(figure(format!("{name}: p50"), seen, |seen| seen.p50));
        table.add(figure(format!("{name}: p99"), seen, |seen| seen.p99));
        table.add(figure(format!("{name}: p99.9"), seen, |seen| seen.p999));
        table.add(figure(format!("{name}: p99 of the client's own lateness"), seen, |seen| seen.late_p99));
    }
    let [curfew, peer, _] = &seen;
    let samples = curfew.iter().zip(peer).map(|(curfew, peer)| curfew.p99 / peer.p99).collect();
    // No tolerance: the median of the rounds has to be at the peer's or below.
    table.add(Figure {
        name: format!("{what}: p99 of curfew / wasmtime serve, reuse"),
        unit: "x",
        samples,
        promised: Promised::Median,
        bound: Some(1.0),
    });
    Ok(())
}

fn figure(name: String, seen: &[Seen], of: fn(&Seen) -> f64) -> Figure {
    let samples = seen.iter().map(of).collect();
    Figure { name, unit: "ms", samples, promised: Promised::Median, bound: None }
}
