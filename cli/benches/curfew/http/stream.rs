//! A large body through a component and back: how fast, and in how much memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::answer::Answer;
use super::hello::PEER_BEST;
use super::server::Server;
use super::{settings, turns};
use crate::figure::{Figure, Promised, Table};
use crate::lab::Lab;

const LARGE: usize = 100 << 20;
const SMALL: usize = 1 << 20;
const WARM_UPS: usize = 4;
/// What all the large bodies together may add to the memory that small ones needed, in MiB.
const FLAT: f64 = 16.0;

/// Sends 100 MiB to `/echo` and reads them back at the same time, again and again.
pub fn stream(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let (component, turn) = (artifacts::STREAM_HTTP, settings::turn()?);
    let servers = [Server::curfew(lab, component)?, Server::peer(component, PEER_BEST)?, Server::hyper()?];
    let names = ["curfew", "wasmtime serve", "hyper"];
    let (mut speeds, mut growths) = ([const { Vec::new() }; 3], Vec::new());
    for server in &servers {
        for _ in 0..WARM_UPS {
            echo(server.address()?, SMALL)?;
        }
        growths.push(-server.memory("VmHWM")?);
    }
    for _ in 0..rounds {
        for (server, speeds) in servers.iter().zip(&mut speeds) {
            speeds.push(speed(server, turn)?);
        }
    }
    for ((name, server), (speeds, growth)) in names.iter().zip(&servers).zip(speeds.iter().zip(&mut growths))
    {
        table.add(figure(format!("100 MiB through {name}"), "MiB/s", speeds.clone(), None));
        *growth += server.memory("VmHWM")?;
        let bound = (*name == "curfew").then_some(FLAT);
        table.add(figure(format!("memory that {name} added"), "MiB", vec![*growth], bound));
    }
    let [curfew, peer, hyper] = &speeds;
    table.add(turns::ratio("100 MiB: curfew / wasmtime serve".to_owned(), curfew, peer, Some(0.8)));
    table.add(turns::ratio("100 MiB: curfew / hyper".to_owned(), curfew, hyper, None));
    Ok(())
}

fn figure(name: String, unit: &'static str, samples: Vec<f64>, bound: Option<f64>) -> Figure {
    Figure { name, unit, samples, promised: Promised::Median, bound }
}

/// Returns how many MiB a second go through, one large body after the other.
fn speed(server: &Server, turn: Duration) -> Result<f64> {
    let (start, mut bodies) = (Instant::now(), 0);
    while bodies == 0 || start.elapsed() < turn {
        echo(server.address()?, LARGE)?;
        bodies += 1;
    }
    Ok(f64::from(bodies * (LARGE >> 20) as u32) / start.elapsed().as_secs_f64())
}

fn echo(address: SocketAddr, size: usize) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let mut sending = stream.try_clone()?;
    let sender = thread::spawn(move || send(&mut sending, size));
    let mut answer = Answer::default();
    let mut piece = vec![0; 256 << 10];
    loop {
        let length = stream.read(&mut piece)?;
        if length == 0 {
            bail!("the answer broke off after {} bytes", answer.received);
        }
        if answer.take(piece.get(..length).unwrap_or_default())? {
            break;
        }
    }
    sender.join().ok().context("the sender died")??;
    ensure!(answer.received >= size, "{} of {size} bytes came back", answer.received);
    Ok(())
}

fn send(stream: &mut TcpStream, size: usize) -> Result<()> {
    write!(stream, "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n")?;
    let piece = vec![b'x'; 64 << 10];
    let mut left = size;
    while left > 0 {
        let now = piece.get(..left.min(piece.len())).unwrap_or_default();
        stream.write_all(now)?;
        left -= now.len();
    }
    Ok(())
}
