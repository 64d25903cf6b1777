//! One connection to Redis: a command, then its reply.

use crate::resp::{self, Reply};
use crate::wasi::sockets::types::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket,
};
use crate::wit_stream;
use std::net::{IpAddr, SocketAddr};
use wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};

pub struct Connection {
    requests: StreamWriter<u8>,
    replies: StreamReader<u8>,
    received: Vec<u8>,
    _socket: TcpSocket,
    _sent: FutureReader<Result<(), ErrorCode>>,
}

impl Connection {
    pub async fn open(address: &str) -> Result<Connection, String> {
        let address: SocketAddr =
            address.parse().map_err(|_| format!("{address} is not an address and port"))?;
        let family = if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
        let failed = |error| format!("can not connect to {address}: {error:?}");
        let socket = TcpSocket::create(family).map_err(failed)?;
        socket.connect(to_wasi(address)).await.map_err(failed)?;
        let (requests, data) = wit_stream::new();
        let sent = socket.send(data);
        let (replies, _) = socket.receive();
        Ok(Connection { requests, replies, received: Vec::new(), _socket: socket, _sent: sent })
    }

    /// An error reply of Redis is an error here too.
    pub async fn call(&mut self, command: &[&str]) -> Result<Reply, String> {
        if !self.requests.write_all(resp::encode(command)).await.is_empty() {
            return Err("redis closed the connection".to_string());
        }
        loop {
            if let Some((reply, length)) = resp::decode(&self.received)? {
                self.received.drain(..length);
                return match reply {
                    Reply::Error(error) => Err(error),
                    reply => Ok(reply),
                };
            }
            let (result, bytes) = self.replies.read(Vec::with_capacity(4096)).await;
            if bytes.is_empty() && result == StreamResult::Dropped {
                return Err("redis closed the connection".to_string());
            }
            self.received.extend(bytes);
        }
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
