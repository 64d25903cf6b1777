//! Addresses in their text form, and the listening socket.

use crate::wasi::sockets::instance_network::instance_network;
use crate::wasi::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use crate::wasi::sockets::tcp::TcpSocket;
use crate::wasi::sockets::tcp_create_socket::create_tcp_socket;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub fn listen(address: &str) -> Result<TcpSocket, String> {
    let address: SocketAddr = address.parse().map_err(|_| format!("{address} is not an address and port"))?;
    open(address).map_err(|error| format!("can not listen on {address}: {error:?}"))
}

/// Each step of a 0.2 socket has a start and an end; these are over at once.
fn open(address: SocketAddr) -> Result<TcpSocket, ErrorCode> {
    let family = if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
    let socket = create_tcp_socket(family)?;
    socket.start_bind(&instance_network(), to_wasi(address))?;
    finish(&socket, TcpSocket::finish_bind)?;
    socket.start_listen()?;
    finish(&socket, TcpSocket::finish_listen)?;
    Ok(socket)
}

fn finish(socket: &TcpSocket, step: fn(&TcpSocket) -> Result<(), ErrorCode>) -> Result<(), ErrorCode> {
    loop {
        match step(socket) {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            result => return result,
        }
    }
}

/// The port is a real one here, also when 0 was asked for.
pub fn local_address(socket: &TcpSocket) -> Result<SocketAddr, String> {
    match socket.local_address() {
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

fn to_wasi(address: SocketAddr) -> IpSocketAddress {
    let port = address.port();
    match address.ip() {
        IpAddr::V4(ip) => IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: ip.octets().into() }),
        IpAddr::V6(ip) => {
            let address = ip.segments().into();
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 })
        }
    }
}
