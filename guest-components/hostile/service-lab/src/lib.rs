//! A service that starts, lives and ends as its arguments say, all of them optional:
//!
//! | argument | what it does |
//! | --- | --- |
//! | `ready=MS`, `ready=never` | says that it is ready after so long (at once unless given), or only when told to |
//! | `alive=MS` | says that it is alive, each time after so long, until it is muted |
//! | `end=MS`, `fail=MS`, `trap=MS` | one of them: ends, fails or traps by itself after so long |
//! | `count=PATH` | counts its starts in this file |
//! | `good-from=N` | neither ends, fails nor traps by itself from its Nth start on |
//! | `bad-from=N` | does so only from its Nth start on |
//! | `stop=MS` | takes so long from the notice to its end |
//! | `listen=ADDRESS` | takes commands, see `commands.rs` |
//! | `hook-ms=MS` | the hook takes so long |
//! | `hook-calls=ADDRESS` | the hook then sends a line there, and fails unless it gets the same line back |
//!
//! It prints `started`, with the number of the start where it counts, `ready`, `asked` and `ended`.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

mod call;
mod commands;
#[allow(dead_code, reason = "most of it is for guests that misbehave")]
#[path = "../../shared/misdeeds.rs"]
mod misdeeds;
#[path = "../../../tcp-echo/src/net.rs"]
mod net;

use commands::Order;
use curfew::lifecycle::host;
use futures::channel::mpsc;
use futures::future::{Either, FutureExt, join3, pending, select};
use futures::stream::StreamExt;
use std::cell::Cell;
use std::pin::pin;
use wasi::clocks::monotonic_clock::wait_for;

wit_bindgen::generate!({
    path: "../../../wit/0.3",
    inline: "
        package hostile:service;
        world service-lab {
            import curfew:lifecycle/host@0.3.0;
            import wasi:clocks/monotonic-clock@0.3.0;
            import wasi:sockets/types@0.3.0;
            export wasi:cli/run@0.3.0;
            export shutdown: async func() -> result<_, string>;
        }
    ",
    world: "hostile:service/service-lab",
    generate_all,
});

const MILLISECOND: u64 = 1_000_000;

thread_local! {
    static MUTED: Cell<bool> = const { Cell::new(false) };
}

struct Lab;
export!(Lab);

impl exports::wasi::cli::run::Guest for Lab {
    async fn run() -> Result<(), ()> {
        live().await.map_err(|error| eprintln!("{error}"))
    }
}

impl Guest for Lab {
    async fn shutdown() -> Result<(), String> {
        println!("hook called");
        if let Some(ms) = milliseconds("hook-ms")? {
            wait_for(ms * MILLISECOND).await;
        }
        if let Some(address) = misdeeds::option("hook-calls") {
            call::echoed(&address).await.map_err(|error| format!("{address}: {error}"))?;
            println!("hook: {address} answers");
        }
        Ok(())
    }
}

async fn live() -> Result<(), String> {
    let start = count_start()?;
    let (give, mut orders) = mpsc::unbounded();
    let mut life =
        pin!(join3(get_ready(), beat(), commands::serve(give)).map(|(_, _, served)| served).fuse());
    let mut fate = pin!(fate(start).fuse());
    let mut stop = pin!(host::stop_requested().map(drop).fuse());
    let order = futures::select_biased! {
        () = stop => return leave(life).await,
        order = orders.select_next_some() => order,
        order = fate => order?,
        served = life => return served,
    };
    match order {
        Order::End => {
            println!("ended");
            Ok(())
        }
        Order::Fail => Err("a failure on purpose".to_string()),
        Order::Trap => {
            misdeeds::deep_trap();
            Ok(())
        }
    }
}

/// Goes on with its work for as long as it was told to.
async fn leave(life: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    println!("asked");
    let rest = milliseconds("stop")?.unwrap_or(0) * MILLISECOND;
    if let Either::Right((Err(error), _)) = select(pin!(wait_for(rest)), pin!(life)).await {
        return Err(error);
    }
    println!("ended");
    Ok(())
}

async fn get_ready() {
    let Ok(ms) = milliseconds("ready") else { return };
    wait_for(ms.unwrap_or(0) * MILLISECOND).await;
    say_ready();
}

fn say_ready() {
    println!("ready");
    host::ready();
}

async fn beat() {
    let Ok(Some(ms)) = milliseconds("alive") else { return };
    while !MUTED.get() {
        host::alive();
        wait_for(ms * MILLISECOND).await;
    }
    println!("muted");
}

/// What it does by itself.
async fn fate(start: u64) -> Result<Order, String> {
    let bad_from = milliseconds("bad-from")?.unwrap_or(0);
    let good_from = milliseconds("good-from")?.unwrap_or(u64::MAX);
    for (key, order) in [("end", Order::End), ("fail", Order::Fail), ("trap", Order::Trap)] {
        if let Some(ms) = milliseconds(key)?
            && (bad_from..good_from).contains(&start)
        {
            wait_for(ms * MILLISECOND).await;
            return Ok(order);
        }
    }
    pending().await
}

/// The number of this start, and says so.
fn count_start() -> Result<u64, String> {
    let Some(path) = misdeeds::option("count") else {
        println!("started");
        return Ok(1);
    };
    let before = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let start = before.unwrap_or(0) + 1;
    std::fs::write(&path, start.to_string()).map_err(|error| format!("{path}: {error}"))?;
    println!("started {start}");
    Ok(start)
}

fn milliseconds(key: &str) -> Result<Option<u64>, String> {
    let Some(text) = misdeeds::option(key) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{key}={text} is not a number"))
}
