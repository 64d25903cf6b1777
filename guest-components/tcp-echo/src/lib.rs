//! A TCP server that answers every line with the same line, and stops well. Arguments: `ADDRESS [DELAY_MS]`.
//!
//! When it is asked to stop it accepts no more, finishes the answers in hand, tells its clients that no more
//! is coming (half-close), gives them a moment to close, and ends.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

mod connection;
mod net;

use curfew::lifecycle::host;
use futures::future::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use std::cell::Cell;
use wasi::clocks::monotonic_clock::wait_for;

wit_bindgen::generate!({
    path: "../../wit/0.3",
    inline: "
        package sample:tcp-echo;
        world tcp-echo {
            import curfew:lifecycle/host@0.3.0;
            import wasi:clocks/monotonic-clock@0.3.0;
            import wasi:sockets/types@0.3.0;
            export wasi:cli/run@0.3.0;
            export shutdown: async func() -> result<_, string>;
        }
    ",
    world: "sample:tcp-echo/tcp-echo",
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
    async fn run() -> Result<(), ()> {
        serve().await.map_err(|error| eprintln!("{error}"))
    }
}

impl Guest for Echo {
    /// Called next to `run`, which meanwhile finishes its answers.
    async fn shutdown() -> Result<(), String> {
        let (connections, lines) = SERVED.get();
        println!("hook: {connections} connections and {lines} lines so far");
        Ok(())
    }
}

async fn serve() -> Result<(), String> {
    let args: Vec<String> = std::env::args().collect();
    let address = args.get(1).ok_or("usage: ADDRESS [DELAY_MS]")?;
    let delay_ms: u64 = args.get(2).map_or(Ok(0), |text| text.parse()).map_err(|_| "DELAY_MS is a number")?;
    let (listener, incoming) = net::listen(address)?;
    println!("listening on {}", net::local_address(&listener)?);
    host::ready();

    let stop = stop().shared();
    let mut asked = stop.clone();
    let mut incoming = incoming.into_stream().fuse();
    let mut connections = FuturesUnordered::new();
    loop {
        futures::select_biased! {
            socket = incoming.next() => match socket {
                Some(socket) => connections.push(connection::serve(socket, delay_ms, stop.clone())),
                None => return Err("the listener failed".to_string()),
            },
            _ = connections.next() => {}
            () = asked => break,
        }
    }
    // Both hold the socket: only now new clients are refused.
    drop((incoming, listener));

    while connections.next().await.is_some() {}
    let (connections, lines) = SERVED.get();
    println!("served {connections} connections, {lines} lines");
    Ok(())
}

/// The notice, and a moment for what is on its way from the kernel.
async fn stop() {
    host::stop_requested().await;
    // Twice, because the end of a wait may be seen before a client that came during it.
    wait_for(LAST_CALL_NS / 2).await;
    wait_for(LAST_CALL_NS / 2).await;
}

fn count(connections: u64, lines: u64) {
    let (old_connections, old_lines) = SERVED.get();
    SERVED.set((old_connections + connections, old_lines + lines));
}
