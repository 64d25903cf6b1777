//! How `run` behaves.

use crate::curfew::lifecycle::host;
use crate::wasi::cli::exit;
use crate::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::wasi::sockets::network::IpAddressFamily;
use crate::wasi::sockets::tcp_create_socket::create_tcp_socket;
use crate::{HOUR, extend_for_ever, look, misdeeds, wait_for};

const LEAKS: usize = 100;

pub fn behave(behaviour: &str) -> Result<(), String> {
    match behaviour {
        "good" | "never-ready" => good(),
        "spin" => misdeeds::spin(),
        "park" => wait_for(HOUR),
        "stdin" => {
            misdeeds::read_stdin();
            good();
        }
        "accept" => accept()?,
        "look-timer" => look::timer(),
        "look-for-ever" => look::for_ever(),
        "look-echo" => look::echo()?,
        "look-udp" => look::udp_echo()?,
        "look-stdin" => look::stdin(),
        "fifo" => {
            misdeeds::open_fifo();
            good();
        }
        "fill" => misdeeds::fill(),
        "grow" => {
            misdeeds::grow();
            good();
        }
        "recurse" => println!("{}", misdeeds::recurse(0)),
        "trap" => misdeeds::deep_trap(),
        "trap-on-stop" => {
            good();
            misdeeds::deep_trap();
        }
        "error-on-stop" => {
            good();
            return Err("an error on purpose, when asked to stop".to_string());
        }
        "exit0" => exit::exit(Ok(())),
        "exit3" => exit::exit_with_code(3),
        "return" => {}
        "error" => return Err("an error on purpose".to_string()),
        "flood" => until_notice(misdeeds::flood_line),
        "flood-forever" => loop {
            misdeeds::flood_line();
        },
        "endless-line" => until_notice(misdeeds::flood_piece),
        "extend" => extend_for_ever(),
        "leak" => {
            leak_handles();
            good();
        }
        "panic" => misdeeds::panic_on_purpose(),
        "request-stop" => {
            host::request_stop();
            host::request_stop();
            good();
        }
        other => return Err(misdeeds::unknown("run", other)),
    }
    Ok(())
}

fn good() {
    host::subscribe_stop().block();
}

fn until_notice(write: fn()) {
    while host::stop_notice().is_none() {
        write();
    }
}

/// Waits for a client that never comes.
fn accept() -> Result<(), String> {
    let failed = |error| format!("can not listen: {error}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    println!("accepting");
    while listener.accept().is_ok() {}
    Ok(())
}

fn leak_handles() {
    let mut sockets = 0;
    for _ in 0..LEAKS {
        if let Ok(socket) = create_tcp_socket(IpAddressFamily::Ipv4) {
            std::mem::forget(socket);
            sockets += 1;
        }
        std::mem::forget(subscribe_duration(HOUR));
    }
    println!("leaked {sockets} sockets and {LEAKS} pollables");
}
