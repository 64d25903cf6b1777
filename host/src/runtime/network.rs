//! The network grant of a component: a check of each bind, connect, datagram and look-up of its instances. A refusal is logged
//! once, with the key that would grant it.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use wasmtime_wasi::sockets::SocketAddrUse;

use super::refused_once::RefusedOnce;
use crate::plan::{NetworkGrant, Peer, PeerHost};

/// A network grant whose names have been looked up.
#[derive(Debug)]
pub(super) struct Network {
    listen: Vec<SocketAddr>,
    connect: Vec<(Option<IpAddr>, Option<u16>)>,
    pub(super) names: bool,
    all: bool,
    refused: RefusedOnce,
}

impl Network {
    /// Looks up the names in a grant, and grants the addresses that they have now. Blocks.
    pub(super) fn resolve(component: &str, grant: &NetworkGrant) -> Result<Self, (String, std::io::Error)> {
        let mut connect = Vec::new();
        for Peer { host, port } in &grant.connect {
            match host {
                PeerHost::Any => connect.push((None, *port)),
                PeerHost::Ip(ip) => connect.push((Some(*ip), *port)),
                PeerHost::Name(name) => {
                    let found = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), 0));
                    let found = found.map_err(|error| (name.clone(), error))?;
                    connect.extend(found.map(|address| (Some(address.ip()), *port)));
                }
            }
        }
        let NetworkGrant { all, names, .. } = *grant;
        let refused = RefusedOnce::new(component);
        Ok(Self { listen: grant.listen.clone(), connect, names: names || all, all, refused })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listen.is_empty() && self.connect.is_empty() && !self.names
    }

    /// Checks a use of an address, and logs its refusal.
    pub(super) fn check(&self, address: SocketAddr, usage: SocketAddrUse, peers: &mut UdpPeers) -> bool {
        let allowed = self.allows(address, usage, peers);
        if !allowed {
            self.log_refusal(address, usage);
        }
        allowed
    }

    fn log_refusal(&self, address: SocketAddr, usage: SocketAddrUse) {
        match usage {
            // A socket is bound before it sends; the peer is not known yet.
            SocketAddrUse::UdpBind if is_client(address) => {
                self.log_once("send", "any peer", "add the peer to network.connect");
            }
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => self.log_address("listen", address),
            // The system has chosen the port.
            SocketAddrUse::TcpListen => self.log_address("listen", SocketAddr::new(address.ip(), 0)),
            SocketAddrUse::TcpConnect => self.log_address("connect", address),
            SocketAddrUse::UdpSend => self.log_address("send", address),
            // Those who did this are not the guest.
            SocketAddrUse::UdpReceive | SocketAddrUse::TcpAccept => {}
        }
    }

    fn log_address(&self, access: &str, address: SocketAddr) {
        let key = if access == "listen" { "listen" } else { "connect" };
        self.log_once(access, &address.to_string(), &format!("add \"{address}\" to network.{key}"));
    }

    /// Takes note of a look-up of a name, and logs it if it is going to be refused.
    pub(super) fn note_lookup(&self, name: &str) {
        if !self.names {
            self.log_once("look up", name, "set network.names = true");
        }
    }

    fn log_once(&self, access: &str, target: &str, hint: &str) {
        let Some(told) = self.refused.first(&format!("{access} {target}")) else { return };
        let (component, hint) =
            (self.refused.component.as_str(), format!("{hint}; a single file: --allow-net"));
        tracing::warn!(component, access = told, hint, "network access refused");
    }

    fn allows(&self, address: SocketAddr, usage: SocketAddrUse, peers: &mut UdpPeers) -> bool {
        match usage {
            _ if self.all => true,
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                // A client socket is bound to an address of the system's choice before it connects or sends. A TCP socket
                // does nothing by that, and its peer is checked next.
                let is_tcp = matches!(usage, SocketAddrUse::TcpBind);
                self.listen.contains(&address) || (is_client(address) && (is_tcp || !self.connect.is_empty()))
            }
            SocketAddrUse::TcpListen => self.may_listen(address),
            SocketAddrUse::TcpAccept => !self.listen.is_empty(),
            SocketAddrUse::TcpConnect => self.may_connect(address),
            // A UDP server receives from any peer, and may answer those that it received from.
            SocketAddrUse::UdpReceive => {
                let heard = !self.listen.is_empty();
                if heard {
                    peers.hear(address);
                }
                heard || self.may_connect(address)
            }
            SocketAddrUse::UdpSend => self.may_connect(address) || peers.contains(address),
        }
    }

    /// Port 0 of an address grants the port that the system chose. The bind has refused any other port.
    fn may_listen(&self, address: SocketAddr) -> bool {
        self.listen.contains(&address) || self.listen.contains(&SocketAddr::new(address.ip(), 0))
    }

    fn may_connect(&self, address: SocketAddr) -> bool {
        self.connect.iter().any(|(ip, port)| {
            ip.is_none_or(|ip| ip == address.ip()) && port.is_none_or(|port| port == address.port())
        })
    }
}

fn is_client(address: SocketAddr) -> bool {
    address.ip().is_unspecified() && address.port() == 0
}

/// Number of UDP peers that are remembered; the oldest is forgotten first.
const UDP_PEERS: usize = 1024;

/// Peers that sent a datagram to an instance, and may be answered.
#[derive(Debug, Default)]
pub(super) struct UdpPeers {
    known: HashSet<SocketAddr>,
    oldest_first: VecDeque<SocketAddr>,
}

impl UdpPeers {
    fn hear(&mut self, peer: SocketAddr) {
        if self.known.insert(peer) {
            self.oldest_first.push_back(peer);
        }
        if self.known.len() > UDP_PEERS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn contains(&self, peer: SocketAddr) -> bool {
        self.known.contains(&peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(network: &Network, address: SocketAddr, usage: SocketAddrUse) -> bool {
        network.allows(address, usage, &mut UdpPeers::default())
    }

    fn peer(host: PeerHost, port: Option<u16>) -> Peer {
        Peer { host, port }
    }

    #[test]
    fn only_what_is_granted_is_allowed() {
        let here = "127.0.0.1:80".parse().unwrap();
        let grant = NetworkGrant {
            listen: vec![here],
            connect: vec![
                peer(PeerHost::Ip("10.0.0.1".parse().unwrap()), None),
                peer(PeerHost::Any, Some(53)),
            ],
            ..NetworkGrant::default()
        };
        let network = Network::resolve("web", &grant).unwrap();
        assert!(allows(&network, here, SocketAddrUse::TcpBind));
        assert!(!allows(&network, "0.0.0.0:80".parse().unwrap(), SocketAddrUse::TcpBind));
        assert!(!allows(&network, "127.0.0.1:0".parse().unwrap(), SocketAddrUse::TcpBind));
        assert!(allows(&network, "0.0.0.0:0".parse().unwrap(), SocketAddrUse::UdpBind));
        assert!(!allows(&network, "0.0.0.0:4242".parse().unwrap(), SocketAddrUse::TcpListen));
        assert!(allows(&network, "10.0.0.1:9".parse().unwrap(), SocketAddrUse::TcpConnect));
        assert!(!allows(&network, "10.0.0.2:9".parse().unwrap(), SocketAddrUse::TcpConnect));
        assert!(allows(&network, "10.0.0.2:53".parse().unwrap(), SocketAddrUse::UdpSend));
    }

    #[test]
    fn a_udp_server_answers_who_asked_and_nobody_else() {
        let grant = NetworkGrant { listen: vec!["127.0.0.1:53".parse().unwrap()], ..NetworkGrant::default() };
        let network = Network::resolve("web", &grant).unwrap();
        let [asker, stranger] = ["10.0.0.9:4000", "8.8.8.8:53"].map(|peer| peer.parse().unwrap());
        let mut peers = UdpPeers::default();
        assert!(!network.allows(asker, SocketAddrUse::UdpSend, &mut peers));
        assert!(network.allows(asker, SocketAddrUse::UdpReceive, &mut peers));
        assert!(network.allows(asker, SocketAddrUse::UdpSend, &mut peers));
        assert!(!network.allows(stranger, SocketAddrUse::UdpSend, &mut peers));
        for port in 0..2000 {
            peers.hear(SocketAddr::new(stranger.ip(), port));
        }
        assert!(!peers.contains(asker), "the oldest is forgotten");
        assert_eq!((peers.known.len(), peers.oldest_first.len()), (UDP_PEERS, UDP_PEERS));
    }

    #[test]
    fn all_of_it_is_all_of_it() {
        let network =
            Network::resolve("web", &NetworkGrant { all: true, ..NetworkGrant::default() }).unwrap();
        assert!(network.names && !network.is_empty());
        let usages = [
            SocketAddrUse::TcpBind,
            SocketAddrUse::TcpListen,
            SocketAddrUse::TcpConnect,
            SocketAddrUse::UdpSend,
        ];
        for usage in usages {
            assert!(allows(&network, "10.0.0.1:80".parse().unwrap(), usage));
        }
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let network = Network::resolve("web", &NetworkGrant::default()).unwrap();
        assert!(network.is_empty());
        for usage in [SocketAddrUse::TcpBind, SocketAddrUse::UdpBind, SocketAddrUse::TcpConnect] {
            assert!(!allows(&network, "127.0.0.1:0".parse().unwrap(), usage));
        }
        // A client's socket comes as far as its peer, which is refused.
        let client = "0.0.0.0:0".parse().unwrap();
        assert!(allows(&network, client, SocketAddrUse::TcpBind));
        for usage in [SocketAddrUse::UdpBind, SocketAddrUse::TcpListen, SocketAddrUse::TcpConnect] {
            assert!(!allows(&network, client, usage));
        }
    }
}
