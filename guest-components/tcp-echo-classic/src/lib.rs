//! The same server as `tcp-echo`, in WASI 0.2: one loop that polls the listener, the clients and the stop.
//! Arguments: `ADDRESS [DELAY_MS]`.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

mod connection;
mod net;

use connection::Connection;
use curfew::lifecycle::host;
use std::cell::Cell;
use wasi::clocks::monotonic_clock::{now, subscribe_duration, subscribe_instant};
use wasi::io::poll::{Pollable, poll};
use wasi::sockets::network::ErrorCode;
use wasi::sockets::tcp::TcpSocket;

wit_bindgen::generate!({
    path: "../../wit/0.2",
    inline: "
        package sample:tcp-echo-classic;
        world tcp-echo-classic {
            import curfew:lifecycle/host@0.2.0;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:sockets/instance-network@0.2.12;
            import wasi:sockets/tcp-create-socket@0.2.12;
            import wasi:sockets/tcp@0.2.12;
            export wasi:cli/run@0.2.12;
            export shutdown: func() -> result;
        }
    ",
    world: "sample:tcp-echo-classic/tcp-echo-classic",
    generate_all,
});

/// Clients and lines that came before the notice may still be with the kernel: this long they are taken in.
const LAST_CALL_NS: u64 = 2_000_000;

thread_local! {
    static SERVED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

struct Echo;
export!(Echo);

impl exports::wasi::cli::run::Guest for Echo {
    fn run() -> Result<(), ()> {
        serve().map_err(|error| eprintln!("{error}"))
    }
}

impl Guest for Echo {
    /// Called when `run` has returned.
    fn shutdown() -> Result<(), ()> {
        let (connections, lines) = SERVED.get();
        println!("hook: {connections} connections and {lines} lines");
        Ok(())
    }
}

fn serve() -> Result<(), String> {
    let args: Vec<String> = std::env::args().collect();
    let address = args.get(1).ok_or("usage: ADDRESS [DELAY_MS]")?;
    let delay_ms: u64 = args.get(2).map_or(Ok(0), |text| text.parse()).map_err(|_| "DELAY_MS is a number")?;
    let mut listener = Some(net::listen(address)?);
    if let Some(listener) = &listener {
        println!("listening on {}", net::local_address(listener)?);
    }
    host::ready();

    let stop = host::subscribe_stop();
    let mut stopping = false;
    let mut connections: Vec<Connection> = Vec::new();
    while listener.is_some() || !connections.is_empty() {
        wait(&stop, listener.as_ref(), &connections);
        if !stopping && stop.ready() {
            subscribe_duration(LAST_CALL_NS).block();
            stopping = true;
        }
        if let Some(listener) = &listener {
            accept(listener, delay_ms, &mut connections)?;
        }
        if stopping {
            // From here on new clients are refused.
            listener = None;
        }
        connections.retain_mut(|connection| connection.advance(now(), stopping));
    }
    let (connections, lines) = SERVED.get();
    println!("served {connections} connections, {lines} lines");
    Ok(())
}

/// Sleeps until there is something to do for anyone.
fn wait(stop: &Pollable, listener: Option<&TcpSocket>, connections: &[Connection]) {
    let mut pollables: Vec<Pollable> = connections.iter().flat_map(Connection::subscribe).collect();
    pollables.extend(connections.iter().filter_map(Connection::due).min().map(subscribe_instant));
    pollables.extend(listener.map(TcpSocket::subscribe));
    let mut all: Vec<&Pollable> = pollables.iter().collect();
    // Once asked to stop this one is always ready, and would turn the wait into a spin.
    if listener.is_some() {
        all.push(stop);
    }
    poll(&all);
}

fn accept(listener: &TcpSocket, delay_ms: u64, connections: &mut Vec<Connection>) -> Result<(), String> {
    loop {
        match listener.accept() {
            Ok((socket, input, output)) => {
                count(1, 0);
                connections.push(Connection::new(socket, input, output, delay_ms * 1_000_000));
            }
            Err(ErrorCode::WouldBlock) => return Ok(()),
            // The client left while it was in the queue.
            Err(ErrorCode::ConnectionAborted) => {}
            Err(error) => return Err(format!("the listener failed: {error:?}")),
        }
    }
}

fn count(connections: u64, lines: u64) {
    let (old_connections, old_lines) = SERVED.get();
    SERVED.set((old_connections + connections, old_lines + lines));
}
