//! A reload that changes one of a hundred components: how long from HUP until the new one answers. The change is
//! another file for the component, which is compiled already, as when an older version is taken back.

use std::fmt::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::get::get;
use super::server::Server;
use crate::figure::{Figure, Table, in_millis};
use crate::lab::Lab;

/// How many components there are, each with an address of its own.
const MANY: usize = 100;
/// What the first of them is made from in turn, and how to tell by the answer.
const VERSIONS: [(&str, Is); 2] = [
    (artifacts::HTTP_LAB, |body| body.starts_with("Hello ")),
    (artifacts::HELLO_HTTP, |body| body == "Hello"),
];
/// Between two questions whether the new one is there.
const PAUSE: Duration = Duration::from_micros(500);
/// Reloads that are asked for within half a second are one, and the one that was replaced gets time to end.
const SETTLE: Duration = Duration::from_millis(600);
const PATIENCE: Duration = Duration::from_secs(10);

type Is = fn(&str) -> bool;

/// Changes the first component back and forth.
pub fn reload_one(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let server = Server::curfew_app(lab, &manifest(lab, artifacts::HELLO_HTTP)?, MANY)?;
    let address = server.address()?;
    let (mut answers, mut records) = (Vec::new(), Vec::new());
    // The first round compiles, and does not count.
    for round in 0..=rounds {
        for (source, is_there) in VERSIONS {
            manifest(lab, source)?;
            let asked = server.hang_up()?;
            let answered = first_answer(address, is_there)?;
            let said = server.reloaded()?;
            if round > 0 {
                answers.push(in_millis(answered - asked));
                records.push(in_millis(said - asked));
            }
            thread::sleep(SETTLE);
        }
    }
    let of = format!("reload of 1 of {MANY}, HUP to");
    table.add(Figure::millis(format!("{of} the new one's first answer"), answers, 50.0));
    table.add(Figure::millis(format!("{of} `reloaded` in the log"), records, None));
    Ok(())
}

/// Asks over new connections until the new one answers, and returns when it did.
fn first_answer(address: SocketAddr, is_there: Is) -> Result<Instant> {
    let start = Instant::now();
    while !is_there(&get(TcpStream::connect(address)?, "/")?) {
        ensure!(start.elapsed() < PATIENCE, "the new component does not answer after {PATIENCE:?}");
        thread::sleep(PAUSE);
    }
    Ok(Instant::now())
}

/// An app of which the first component is made from this file, the others all from the same.
fn manifest(lab: &Lab, first: &str) -> Result<PathBuf> {
    let mut text = "[app]\nname = \"bench\"\n".to_owned();
    for number in 1..=MANY {
        let source = if number == 1 { first } else { artifacts::HELLO_HTTP };
        writeln!(text, "[component.c{number:03}]\nsource = {source:?}\nlisten = [\"127.0.0.1:0\"]")?;
    }
    lab.manifest("one-of-many", &text)
}
