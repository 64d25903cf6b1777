//! The connections of an address by the network addresses of their clients, for `limits.per-client`.
//!
//! Invariant: only clients with a connection have an entry. Without the limit nothing is counted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The network part of an IPv6 address: one client has all of it.
const NETWORK: u128 = !0 << 64;

/// Counts of one address.
#[derive(Debug, Default)]
pub(crate) struct ClientConnections(Mutex<HashMap<IpAddr, usize>>);

/// A connection of a client, counted while this exists.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    all: Arc<ClientConnections>,
    client: IpAddr,
}

impl ClientConnections {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection of this client; `None` if it has as many as it may.
    pub(crate) fn admit(self: &Arc<Self>, client: IpAddr, most: usize) -> Option<ClientConnection> {
        let client = network(client);
        let mut counts = self.lock();
        let count = counts.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(ClientConnection { all: self.clone(), client })
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        let mut counts = self.all.lock();
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

/// Returns the network that counts as one client.
pub(crate) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_count() {
        let all = Arc::<ClientConnections>::default();
        let admit = |client: &str| all.admit(client.parse().unwrap(), 2);
        let two = [admit("10.0.0.1"), admit("::ffff:10.0.0.1")];
        assert!(
            two.iter().all(Option::is_some) && admit("10.0.0.1").is_none() && admit("10.0.0.2").is_some()
        );
        drop(two);
        assert!(all.lock().is_empty() && admit("10.0.0.1").is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let all = Arc::<ClientConnections>::default();
        let admit = |client: &str| all.admit(client.parse().unwrap(), 1);
        let one = admit("2001:db8::1");
        assert!(one.is_some() && admit("2001:db8:0:0:ffff::2").is_none());
        assert!(admit("2001:db8:0:1::1").is_some());
    }
}
