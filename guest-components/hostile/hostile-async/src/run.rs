//! How `run` behaves.

use crate::curfew::lifecycle::host;
use crate::wasi::cli::{exit, stdin};
use crate::wasi::clocks::monotonic_clock::wait_for;
use crate::wasi::sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
use crate::{HOUR, extend_for_ever, misdeeds, wit_future, wit_stream};
use futures::stream::StreamExt;
use std::time::Duration;
use wit_bindgen::{StreamResult, spawn_local, yield_async};

const LEAKS: usize = 100;

pub async fn behave(behaviour: &str) -> Result<(), String> {
    match behaviour {
        "good" | "never-ready" => good().await,
        "spin" => misdeeds::spin(),
        "park" => wait_for(HOUR).await,
        // Blocks the whole store: not even the hook can be entered meanwhile.
        "park-sync" => std::thread::sleep(Duration::from_nanos(HOUR)),
        "stdin" => {
            read_stdin().await;
            good().await;
        }
        "accept" => accept().await?,
        "fifo" => {
            misdeeds::open_fifo();
            good().await;
        }
        "fill" => misdeeds::fill(),
        "grow" => {
            misdeeds::grow();
            good().await;
        }
        "recurse" => println!("{}", misdeeds::recurse(0)),
        "trap" => misdeeds::deep_trap(),
        "trap-on-stop" => {
            good().await;
            misdeeds::deep_trap();
        }
        "error-on-stop" => {
            good().await;
            return Err("an error on purpose, when asked to stop".to_string());
        }
        "exit0" => exit::exit(Ok(())),
        "exit3" => exit::exit_with_code(3),
        "return" => {}
        "error" => return Err("an error on purpose".to_string()),
        "flood" => until_notice(misdeeds::flood_line).await,
        "flood-forever" => loop {
            misdeeds::flood_line();
        },
        "endless-line" => until_notice(misdeeds::flood_piece).await,
        "extend" => extend_for_ever().await,
        "leak" => {
            leak_handles();
            good().await;
        }
        "leak-tasks" => {
            leak_tasks();
            good().await;
        }
        "panic" => misdeeds::panic_on_purpose(),
        "request-stop" => {
            host::request_stop();
            host::request_stop();
            good().await;
        }
        other => return Err(misdeeds::unknown("run", other)),
    }
    Ok(())
}

/// Waits for the notice, and lets the hook run meanwhile.
async fn good() {
    host::stop_requested().await;
}

/// Writes until the stop is asked for; the yield lets the hook in between two pieces.
async fn until_notice(write: fn()) {
    while host::stop_notice().is_none() {
        write();
        yield_async().await;
    }
}

async fn read_stdin() {
    let (mut bytes, _ended) = stdin::read_via_stream();
    loop {
        let (result, read) = bytes.read(Vec::with_capacity(1024)).await;
        if read.is_empty() && result == StreamResult::Dropped {
            println!("stdin ended");
            return;
        }
    }
}

/// Waits for a client that never comes.
async fn accept() -> Result<(), String> {
    let address = Ipv4SocketAddress { port: 0, address: (127, 0, 0, 1) };
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(|error| format!("{error:?}"))?;
    socket.bind(IpSocketAddress::Ipv4(address)).map_err(|error| format!("can not bind: {error:?}"))?;
    let mut incoming = socket.listen().map_err(|error| format!("can not listen: {error:?}"))?.into_stream();
    println!("accepting");
    while incoming.next().await.is_some() {}
    Ok(())
}

fn leak_handles() {
    let mut sockets = 0;
    for _ in 0..LEAKS {
        if let Ok(socket) = TcpSocket::create(IpAddressFamily::Ipv4) {
            std::mem::forget(socket);
            sockets += 1;
        }
        std::mem::forget(wit_stream::new::<u8>());
        std::mem::forget(wit_future::new::<Result<(), crate::wasi::sockets::types::ErrorCode>>(|| Ok(())));
    }
    println!("leaked {sockets} sockets and {LEAKS} streams and futures");
}

/// They go on after `run` has returned, so the component does not become quiet.
fn leak_tasks() {
    for _ in 0..LEAKS {
        spawn_local(async { wait_for(HOUR).await });
    }
    println!("leaked {LEAKS} tasks");
}
