//! Ports for listeners of tests. Included by path in the host's own tests, too.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Below the ports that the system gives out by itself, so that no connection of another test takes one.
const PORTS: std::ops::Range<u16> = 12_000..31_000;

/// An address with a [`free_port`].
pub fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// A port that nobody has now, on any address, that no other test of this process is given, and that is not one of those that
/// the system gives out by itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let pid = u16::try_from(std::process::id() % 1000).unwrap();
    let ports = PORTS.len() as u16;
    loop {
        let number = NEXT.fetch_add(1, Relaxed).wrapping_add(pid.wrapping_mul(19));
        let port = PORTS.start + number % ports;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}
