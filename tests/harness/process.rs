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
    let (server, client) = (in_table(client.peer_addr().ok()?), in_table(client.local_addr().ok()?));
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let row = table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(1) == Some(&server.as_str()) && words.get(2) == Some(&client.as_str())).then_some(words)
    })?;
    // The queues are `to be sent:to be read`.
    u64::from_str_radix(row.get(4)?.split_once(':')?.1, 16).ok()
}

/// An IPv4 address as `/proc/net/tcp` has it.
fn in_table(address: SocketAddr) -> String {
    let octets = match address {
        SocketAddr::V4(address) => u32::from_ne_bytes(address.ip().octets()),
        SocketAddr::V6(address) => panic!("{address} is in another table"),
    };
    format!("{octets:08X}:{:04X}", address.port())
}
