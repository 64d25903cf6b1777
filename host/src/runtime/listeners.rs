//! The listeners of a service that listens by itself. The guest's sockets lie in a table that nobody else can read while the guest
//! waits in a call of the host, so the ports are noted when it listens, and the system is asked for their clients.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The tables of this process's network, and the state in them of a socket that listens.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
const LISTENS: &str = "0A";

/// The ports that an instance has listened on.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    ports: Mutex<BTreeSet<u16>>,
}

impl Listeners {
    pub(super) fn add(&self, port: u16) {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    /// Returns whether the instance listens and has no client. False, too, if the system does not tell.
    pub(crate) fn are_idle(&self) -> bool {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut tables = TABLES.iter().filter_map(|table| std::fs::read_to_string(table).ok()).peekable();
        !ports.is_empty() && tables.peek().is_some() && !tables.any(|table| has_client(&table, &ports))
    }
}

/// Returns whether a table has a connection on one of these ports that is not closed: a closed one has no inode.
fn has_client(table: &str, ports: &BTreeSet<u16>) -> bool {
    table.lines().skip(1).any(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let (Some(local), Some(state), Some(inode)) = (words.get(1), words.get(3), words.get(9)) else {
            return false;
        };
        let port = local.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
        port.is_some_and(|port| ports.contains(&port)) && *state != LISTENS && *inode != "0"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_client_counts_from_its_acceptance_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = Listeners::default();
        assert!(!listeners.are_idle(), "it does not listen");
        listeners.add(address.port());
        let _client = TcpStream::connect(address).unwrap();
        let accepted = listener.accept().unwrap();
        assert!(!listeners.are_idle());
        drop(accepted);
        assert!(listeners.are_idle());
    }
}
