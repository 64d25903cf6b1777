//! The smallest component, under all the load that wrk can make.

use anyhow::Result;

use super::server::Server;
use super::settings;
use super::turns::{self, Contender};
use crate::figure::Table;
use crate::lab::Lab;

/// The flags with which `wasmtime serve` was fastest for a component of WASI 0.3: 50,000 requests/s; with 1, 16
/// (its default) or 32 at a time 44,000 to 48,000, with 8 the same; the allocator made no difference.
pub const PEER_BEST: &[&str] = &[
    "--max-instance-reuse-count=1000000000",
    "--max-instance-concurrent-reuse-count=4",
    "--idle-instance-timeout=60s",
];
/// The same for one of WASI 0.2, which serves one request at a time whatever is said.
pub const PEER_CLASSIC_BEST: &[&str] =
    &["--max-instance-reuse-count=1000000000", "--idle-instance-timeout=60s"];

/// A component of WASI 0.3.
pub fn hello(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let bounds = Bounds { peer: 1.4, peer_default: None, hyper: 0.5 };
    measure(lab, rounds, table, ("0.3", artifacts::HELLO_HTTP, PEER_BEST), bounds)
}

/// A component of WASI 0.2.
pub fn classic(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let bounds = Bounds { peer: 1.2, peer_default: Some(5.0), hyper: 0.6 };
    measure(lab, rounds, table, ("0.2", artifacts::HELLO_HTTP_CLASSIC, PEER_CLASSIC_BEST), bounds)
}

/// A component of WASI 0.2 that cannot hear of a stop: each request gets a fresh instance, here and on `wasmtime serve`.
pub fn fresh(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let component = artifacts::HTTP_LAB_PLAIN;
    let keys = "listen = [\"127.0.0.1:0\"]\ninstances = { requests = 0 }";
    let manifest = lab.manifest("kept", &format!("[component.web]\nsource = {component:?}\n{keys}\n"))?;
    let curfew = Server::curfew(lab, component)?;
    let kept = Server::curfew_app(lab, &manifest, 1)?;
    let peer = Server::peer(component, &[])?;
    let mut contenders = [
        Contender::new("curfew, fresh", &curfew),
        Contender::new("curfew, kept", &kept),
        Contender::new("wasmtime serve, default", &peer),
    ];
    turns::take(&mut contenders, rounds, settings::turn()?, table)?;
    let [curfew, kept, peer] = &contenders;
    table.add(turns::compare("0.2", curfew, peer, 3.0));
    table.add(turns::compare("0.2", curfew, kept, 0.35));
    Ok(())
}

/// How many times the rate of each other server the host must reach.
struct Bounds {
    peer: f64,
    peer_default: Option<f64>,
    hyper: f64,
}

/// What it is called, its file, and the peer's best flags for it.
pub type Guest = (&'static str, &'static str, &'static [&'static str]);

fn measure(lab: &Lab, rounds: usize, table: &mut Table, guest: Guest, bounds: Bounds) -> Result<()> {
    let (what, component, best) = guest;
    let curfew = Server::curfew(lab, component)?;
    let peer = Server::peer(component, best)?;
    let default = Server::peer(component, &[])?;
    let hyper = Server::hyper()?;
    let before = settings::before().map(|binary| Server::curfew_of(&binary, lab, component)).transpose()?;
    let mut contenders = vec![
        Contender::new("curfew", &curfew),
        Contender::new("wasmtime serve, reuse", &peer),
        Contender::new("wasmtime serve, default", &default),
        Contender::new("hyper", &hyper),
    ];
    contenders.extend(before.iter().map(|before| Contender::new("curfew before", before)));
    turns::take(&mut contenders, rounds, settings::turn()?, table)?;
    let [curfew, peer, default, hyper, before @ ..] = contenders.as_slice() else { return Ok(()) };
    table.add(turns::compare(what, curfew, peer, bounds.peer));
    table.add(turns::compare(what, curfew, default, bounds.peer_default));
    table.add(turns::compare(what, curfew, hyper, bounds.hyper));
    before.iter().for_each(|before| table.add(turns::compare(what, curfew, before, 0.98)));
    Ok(())
}
