//! A call of another component, over TCP.

use crate::wasi::sockets::types::{IpAddressFamily, TcpSocket};
use crate::{net, wit_stream};
use std::net::SocketAddr;
use wit_bindgen::StreamResult;

const LINE: &[u8] = b"a call from the hook\n";

/// Sends a line there and waits until it has come back.
pub async fn echoed(address: &str) -> Result<(), String> {
    let address: SocketAddr = address.parse().map_err(|_| "it is not an address and port".to_string())?;
    let family = if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
    let failed = |error| format!("can not connect: {error:?}");
    let socket = TcpSocket::create(family).map_err(failed)?;
    socket.connect(net::to_wasi(address)).await.map_err(failed)?;
    let (mut lines, data) = wit_stream::new();
    let _sent = socket.send(data);
    let (mut stream, _received) = socket.receive();
    if !lines.write_all(LINE.to_vec()).await.is_empty() {
        return Err("it closed the connection".to_string());
    }
    let mut received: Vec<u8> = Vec::new();
    while received.len() < LINE.len() {
        let (result, bytes) = stream.read(Vec::with_capacity(LINE.len())).await;
        if bytes.is_empty() && result == StreamResult::Dropped {
            return Err("it did not answer".to_string());
        }
        received.extend(bytes);
    }
    if received == LINE { Ok(()) } else { Err("it answered something else".to_string()) }
}
