//! Guests that look whether something is ready, again and again, and never wait for it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::curfew::lifecycle::host;
use crate::wasi::cli::stdin::get_stdin;
use crate::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::wasi::io::poll::Pollable;
use crate::wasi::io::streams::StreamError;
use crate::{HOUR, MILLISECOND, misdeeds};

pub fn timer() {
    look_at(&subscribe_duration(misdeeds::number("ms", 10) * MILLISECOND));
    println!("the timer fired");
    look_at(&host::subscribe_stop());
    println!("saw the stop");
}

/// Nothing that it looks at is ever ready.
pub fn for_ever() {
    look_at(&subscribe_duration(HOUR));
}

fn look_at(event: &Pollable) {
    while !event.ready() {}
}

/// What comes between two looks.
fn pause() {
    match misdeeds::option("between").as_deref() {
        Some("sleep") => std::thread::sleep(Duration::ZERO),
        Some("yield") => std::thread::yield_now(),
        _ => {}
    }
}

/// A server with std only, which says nothing of the stop to it.
pub fn echo() -> Result<(), String> {
    let failed = |error| format!("can not listen: {error}");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    println!("listening on {}", listener.local_addr().map_err(failed)?);
    let mut clients = Vec::new();
    while host::stop_notice().is_none() {
        match listener.accept() {
            Ok((client, _)) => {
                client.set_nonblocking(true).map_err(failed)?;
                clients.push(client);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed(error)),
        }
        clients.retain_mut(sends_back);
        pause();
    }
    Ok(())
}

/// False when the client has gone.
fn sends_back(client: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    match client.read(&mut buffer) {
        Ok(0) => false,
        Ok(length) => client.write_all(&buffer[..length]).is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

pub fn udp_echo() -> Result<(), String> {
    let failed = |error| format!("can not receive: {error}");
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    println!("listening on {}", socket.local_addr().map_err(failed)?);
    let mut buffer = [0; 1024];
    while host::stop_notice().is_none() {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => drop(socket.send_to(&buffer[..length], from).map_err(failed)?),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

pub fn stdin() {
    let stdin = get_stdin();
    loop {
        match stdin.read(1024) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => print!("read {}", String::from_utf8_lossy(&bytes)),
            Err(StreamError::Closed | StreamError::LastOperationFailed(_)) => break,
        }
    }
    println!("stdin ended");
    look_at(&host::subscribe_stop());
}
