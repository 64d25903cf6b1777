//! The listening sockets of a host as the kernel knows them: a socket that stays keeps its inode.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::App;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

impl App {
    /// The inode of each TCP socket that the host, or a guest of it, listens on.
    #[track_caller]
    pub fn listeners(&self) -> BTreeMap<SocketAddr, u64> {
        let own = self.sockets();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().skip(1).filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let inode: u64 = words.get(9)?.parse().ok()?;
            (words[3] == LISTEN && own.contains(&inode)).then(|| (address(words[1]), inode))
        });
        rows.collect()
    }

    /// The inode of each open socket of the host, of any kind.
    pub fn sockets(&self) -> Vec<u64> {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let inode = |entry: std::io::Result<std::fs::DirEntry>| {
            let target = std::fs::read_link(entry.ok()?.path()).ok()?;
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        };
        descriptors.filter_map(inode).collect()
    }
}

fn address(text: &str) -> SocketAddr {
    let (host, port) = text.split_once(':').unwrap();
    let host = u32::from_str_radix(host, 16).unwrap();
    (Ipv4Addr::from(host.to_ne_bytes()), u16::from_str_radix(port, 16).unwrap()).into()
}
