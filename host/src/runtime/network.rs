//! Which addresses an instance may use: the grant of its plan as a check on each bind, connect and datagram.

use std::net::{IpAddr, SocketAddr};

use wasmtime_wasi::sockets::SocketAddrUse;

use crate::plan::{NetworkGrant, Peer, PeerHost};

/// A grant whose names have been looked up.
#[derive(Clone, Debug, Default)]
pub struct Network {
    listen: Vec<SocketAddr>,
    connect: Vec<(Option<IpAddr>, Option<u16>)>,
    /// Whether names can be looked up by the component itself.
    pub names: bool,
}

impl Network {
    /// Looks up the names in a grant; the addresses that they have now are what is granted. Blocks.
    ///
    /// # Errors
    /// When a name has no address, with that name.
    pub fn resolve(grant: &NetworkGrant) -> Result<Self, (String, std::io::Error)> {
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
        Ok(Self { listen: grant.listen.clone(), connect, names: grant.names })
    }

    /// Returns whether anything at all is granted.
    pub fn is_empty(&self) -> bool {
        self.listen.is_empty() && self.connect.is_empty() && !self.names
    }

    /// Returns whether this use of this address is granted.
    pub fn allows(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
        match usage {
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                self.listen.contains(&address) || (is_wildcard(address) && !self.connect.is_empty())
            }
            SocketAddrUse::TcpListen => self.may_listen(address),
            SocketAddrUse::TcpAccept => !self.listen.is_empty(),
            SocketAddrUse::TcpConnect => self.may_connect(address),
            // A UDP server answers whoever asked, which cannot be known here.
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => {
                self.may_connect(address) || !self.listen.is_empty()
            }
        }
    }

    /// A port that the system chose is granted by port 0 of the same address: any other port was refused when
    /// the socket was bound.
    fn may_listen(&self, address: SocketAddr) -> bool {
        self.listen.contains(&address) || self.listen.contains(&SocketAddr::new(address.ip(), 0))
    }

    fn may_connect(&self, address: SocketAddr) -> bool {
        self.connect.iter().any(|(ip, port)| {
            ip.is_none_or(|ip| ip == address.ip()) && port.is_none_or(|port| port == address.port())
        })
    }
}

/// What a client socket is bound to before it connects or sends: an address of the system's choice.
fn is_wildcard(address: SocketAddr) -> bool {
    address.ip().is_unspecified() && address.port() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

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
            names: false,
        };
        let network = Network::resolve(&grant).unwrap();
        assert!(network.allows(here, SocketAddrUse::TcpBind));
        assert!(!network.allows("0.0.0.0:80".parse().unwrap(), SocketAddrUse::TcpBind));
        assert!(!network.allows("127.0.0.1:0".parse().unwrap(), SocketAddrUse::TcpBind));
        assert!(network.allows("0.0.0.0:0".parse().unwrap(), SocketAddrUse::UdpBind));
        assert!(!network.allows("0.0.0.0:4242".parse().unwrap(), SocketAddrUse::TcpListen));
        assert!(network.allows("10.0.0.1:9".parse().unwrap(), SocketAddrUse::TcpConnect));
        assert!(!network.allows("10.0.0.2:9".parse().unwrap(), SocketAddrUse::TcpConnect));
        assert!(network.allows("10.0.0.2:53".parse().unwrap(), SocketAddrUse::UdpSend));
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let network = Network::resolve(&NetworkGrant::default()).unwrap();
        assert!(network.is_empty());
        for usage in [SocketAddrUse::TcpBind, SocketAddrUse::UdpBind, SocketAddrUse::TcpConnect] {
            assert!(!network.allows("127.0.0.1:0".parse().unwrap(), usage));
        }
    }
}
