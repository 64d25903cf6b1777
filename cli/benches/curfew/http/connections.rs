//! Connections that are idle behind a first request: the memory of the host for each.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::Server;
use crate::figure::{Figure, Promised, Table};
use crate::lab::Lab;

const CONNECTIONS: usize = 10_000;
/// How long the host settles before it is looked at: its clock looks at each connection every 5 s.
const SETTLE: Duration = Duration::from_secs(7);

/// Opens connections by HTTP/1.1 and HTTP/2, and compares the host's resident memory before and with them.
pub fn connections(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let keys = format!("listen = [\"127.0.0.1:0\"]\nlimits = {{ connections = {} }}", 2 * CONNECTIONS);
    let manifest =
        lab.manifest("idle", &format!("[component.web]\nsource = {:?}\n{keys}\n", artifacts::HELLO_HTTP))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut plain, mut multiplexed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        plain.push(runtime.block_on(memory(lab, &manifest, open_http1))?);
        multiplexed.push(runtime.block_on(memory(lab, &manifest, open_http2))?);
    }
    for (name, samples, bound) in [("HTTP/1.1", plain, 16.0), ("HTTP/2", multiplexed, 30.0)] {
        let name = format!("memory of each of 10,000 idle connections, {name}");
        table.add(Figure { name, unit: "KiB", samples, promised: Promised::Median, bound: Some(bound) });
    }
    Ok(())
}

async fn memory<T>(
    lab: &Lab,
    manifest: &std::path::Path,
    open: impl AsyncFn(SocketAddr) -> Result<T>,
) -> Result<f64> {
    let server = Server::curfew_app(lab, manifest, 1)?;
    let address = server.address()?;
    drop(open(address).await?);
    thread::sleep(SETTLE);
    let before = server.memory("VmRSS")?;
    let mut all = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        all.push(open(address).await?);
    }
    thread::sleep(SETTLE);
    Ok((server.memory("VmRSS")? - before) * 1024.0 / CONNECTIONS as f64)
}

async fn open_http1(address: SocketAddr) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    let mut answer = [0; 1024];
    let length = socket.read(&mut answer).await?;
    ensure!(answer.get(..length).is_some_and(|answer| answer.starts_with(b"HTTP/1.1 200")), "no answer");
    Ok(socket)
}

/// Leaves the connection without a client behind: frames that come are not read.
async fn open_http2(address: SocketAddr) -> Result<(h2::client::SendRequest<Bytes>, impl Sized)> {
    let (client, connection) = h2::client::handshake(TcpStream::connect(address).await?).await?;
    let mut connection = Box::pin(connection);
    let request = http::Request::get(format!("http://{address}/")).body(())?;
    let answered = async {
        let (answer, _) = client.clone().ready().await?.send_request(request, true)?;
        let mut body = answer.await?.into_body();
        while let Some(piece) = body.data().await {
            piece?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        answered = answered => answered?,
        ended = &mut connection => ended?,
    }
    Ok((client, connection))
}
