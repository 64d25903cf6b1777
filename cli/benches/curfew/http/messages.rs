//! Client streams of many small messages over HTTP/2, as of gRPC: each message is a DATA frame of its own, and all come back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;

use super::server::Server;
use super::{settings, turns};
use crate::figure::{Figure, Promised, Table};
use crate::lab::Lab;

const MESSAGES: usize = 20_000;
/// The five bytes before a message of gRPC, and ten of a small one.
const MESSAGE: &[u8] = b"\0\0\0\0\x0a0123456789";

/// Sends 20,000 messages to `/echo` and reads them back, again and again.
pub fn messages(lab: &Lab, rounds: usize, table: &mut Table) -> Result<()> {
    let turn = settings::turn()?;
    let servers = [Server::curfew(lab, artifacts::STREAM_HTTP)?, Server::hyper()?];
    let mut rates = [const { Vec::new() }; 2];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut ended = None;
    for round in 0..=rounds {
        for ((server, name), rates) in servers.iter().zip(["curfew", "hyper"]).zip(&mut rates) {
            match runtime.block_on(rate(server.address()?, turn)) {
                // The first one is a warm-up.
                Ok(rate) if round > 0 => rates.push(rate),
                Ok(_) => {}
                // `h2` ends a connection with many small frames that wait, and hyper does not read ahead.
                Err(error) if name == "hyper" => ended = Some(error),
                Err(error) => return Err(error.context(name)),
            }
        }
    }
    let [curfew, hyper] = &rates;
    for (name, rates) in
        [("curfew", curfew), ("hyper", hyper)].into_iter().filter(|(_, rates)| !rates.is_empty())
    {
        let name = format!("client stream of 20,000 messages: {name}");
        let (samples, promised) = (rates.clone(), Promised::Median);
        table.add(Figure { name, unit: "thousand messages/s", samples, promised, bound: None });
    }
    match ended {
        None => {
            table.add(turns::ratio("20,000 messages: curfew / hyper".to_owned(), curfew, hyper, Some(1.0)))
        }
        Some(error) => table.note(format!("plain hyper does not bear 20,000 messages: {error:#}")),
    }
    Ok(())
}

/// Returns how many thousand messages a second go through, one stream after the other.
async fn rate(address: SocketAddr, turn: Duration) -> Result<f64> {
    let socket = tokio::net::TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 20);
    let (client, connection) = builder.handshake(socket).await?;
    let driver = tokio::spawn(connection);
    let (start, mut streams) = (Instant::now(), 0);
    while streams == 0 || start.elapsed() < turn {
        stream(client.clone(), address).await?;
        streams += 1;
    }
    let rate = (streams * MESSAGES) as f64 / start.elapsed().as_secs_f64() / 1e3;
    driver.abort();
    Ok(rate)
}

async fn stream(client: SendRequest<Bytes>, address: SocketAddr) -> Result<()> {
    let request = http::Request::post(format!("http://{address}/echo"))
        .header("content-type", "application/grpc")
        .body(())?;
    let (answer, mut sending) = client.ready().await?.send_request(request, false)?;
    let sent = async {
        for message in 0..MESSAGES {
            sending.reserve_capacity(MESSAGE.len());
            while sending.capacity() < MESSAGE.len() {
                let room = std::future::poll_fn(|context| sending.poll_capacity(context)).await;
                room.context("the stream is closed")??;
            }
            sending.send_data(Bytes::from_static(MESSAGE), message + 1 == MESSAGES)?;
        }
        anyhow::Ok(())
    };
    let read = async {
        let (mut body, mut length) = (answer.await?.into_body(), 0);
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            length += piece.len();
        }
        anyhow::Ok(length)
    };
    let ((), length) = futures::future::try_join(sent, read).await?;
    ensure!(length == MESSAGES * MESSAGE.len(), "{length} bytes came back");
    Ok(())
}
