//! What the system tells of a host that runs: its memory, its descriptors, its threads.

use std::net::{SocketAddr, TcpStream};

use super::App;

impl App {
    /// Resident memory in MiB.
    #[track_caller]
    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
        kib / 1024.0
    }

    /// Open descriptors.
    #[track_caller]
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    #[track_caller]
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().count()
    }
}

/// Looks again every few milliseconds until it is so: for what the system tells nobody of.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + super::patience();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(std::time::Instant::now() < end, "{what} never came");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// How many bytes of a client's connection wait in the socket of its server, which is on this machine, too. `None`
/// while there is no such socket.
pub fn unread(client: &TcpStream) -> Option<u64> {
    queues(client.peer_addr().ok()?, client.local_addr().ok()?).map(|(_, unread)| unread)
}

/// How many bytes that a client has sent have not arrived in the socket of its server.
pub fn unsent(client: &TcpStream) -> Option<u64> {
    queues(client.local_addr().ok()?, client.peer_addr().ok()?).map(|(unsent, _)| unsent)
}

/// What waits to be sent and to be read in the socket between these addresses.
fn queues(own: SocketAddr, other: SocketAddr) -> Option<(u64, u64)> {
    let (own, other) = (in_table(own), in_table(other));
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let row = table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(1) == Some(&own.as_str()) && words.get(2) == Some(&other.as_str())).then_some(words)
    })?;
    let (unsent, unread) = row.get(4)?.split_once(':')?;
    Some((u64::from_str_radix(unsent, 16).ok()?, u64::from_str_radix(unread, 16).ok()?))
}

/// An IPv4 address as `/proc/net/tcp` has it.
fn in_table(address: SocketAddr) -> String {
    let octets = match address {
        SocketAddr::V4(address) => u32::from_ne_bytes(address.ip().octets()),
        SocketAddr::V6(address) => panic!("{address} is in another table"),
    };
    format!("{octets:08X}:{:04X}", address.port())
}
