//! Addresses in their text form, and the listening socket.

use crate::wasi::sockets::types::{
    IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wit_bindgen::StreamReader;

pub fn listen(address: &str) -> Result<(TcpSocket, StreamReader<TcpSocket>), String> {
    let address: SocketAddr = address.parse().map_err(|_| format!("{address} is not an address and port"))?;
    let family = if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
    let failed = |what: &str, error| format!("can not {what} {address}: {error:?}");
    let socket = TcpSocket::create(family).map_err(|error| failed("create a socket for", error))?;
    socket.bind(to_wasi(address)).map_err(|error| failed("bind", error))?;
    let incoming = socket.listen().map_err(|error| failed("listen on", error))?;
    Ok((socket, incoming))
}

/// The port is a real one here, also when 0 was asked for.
pub fn local_address(socket: &TcpSocket) -> Result<SocketAddr, String> {
    match socket.get_local_address() {
        Ok(IpSocketAddress::Ipv4(ip)) => {
            let (a, b, c, d) = ip.address;
            Ok(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), ip.port))
        }
        Ok(IpSocketAddress::Ipv6(ip)) => {
            let (a, b, c, d, e, f, g, h) = ip.address;
            Ok(SocketAddr::new(Ipv6Addr::new(a, b, c, d, e, f, g, h).into(), ip.port))
        }
        Err(error) => Err(format!("no local address: {error:?}")),
    }
}

pub fn to_wasi(address: SocketAddr) -> IpSocketAddress {
    let port = address.port();
    match address.ip() {
        IpAddr::V4(ip) => IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: ip.octets().into() }),
        IpAddr::V6(ip) => {
            let address = ip.segments().into();
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 })
        }
    }
}
