//! Serving one client's HTTP connection from its acceptance to its end.
//!
//! Invariant (I8): when its address drains, an idle connection is closed at once, before a byte of another request is
//! read; one with requests in flight lives until they are answered; and no client holds the stop up by sending
//! slowly. Requests themselves are in `request`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::Connection;
use super::request::handle;
use super::timeouts::Timeouts;
use crate::server::address::acceptor::{Accepted, Stream};
use crate::server::address::address::Stage;
use crate::server::connection::linger::{LAST_LOOK, LINGER, STRAGGLE, linger};
use crate::server::connection::metered_stream::{HttpVersion, Meter, MeteredStream};
use crate::server::connection::transport::Transport;
use crate::server::worker::workers::ConnectionSlot;

/// Streams at a time on one HTTP/2 connection.
const STREAMS: u32 = 256;
/// How often an HTTP/2 client is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Serves a connection to its end.
///
/// # Cancel safety
/// Dropping it closes the connection, and breaks off what is in flight.
pub(crate) async fn serve(accepted: Accepted, worker: usize, slot: ConnectionSlot) {
    let Accepted { stream, client, address, host, intake, counted } = accepted;
    let tls = address.routing().tls.clone();
    let connection = Arc::new(Connection::new(address, client, host, worker, tls.is_some(), intake));
    let stream = match stream {
        Stream::Tcp(stream) => TcpStream::from_std(stream).map(|stream| (Some(stream), None)),
        Stream::Unix(stream) => UnixStream::from_std(stream).map(|stream| (None, Some(stream))),
    };
    match stream {
        Ok((Some(stream), _)) => begin(&connection, tls, stream).await,
        Ok((None, Some(stream))) => begin(&connection, tls, stream).await,
        Ok((None, None)) => {}
        Err(error) => tracing::debug!(%error, "a connection cannot be served"),
    }
    drop(connection);
    // The order matters: the end of the last connection makes others count the worker's.
    drop(slot);
    drop(counted);
}

async fn begin<S: Transport>(connection: &Arc<Connection>, tls: Option<TlsAcceptor>, stream: S) {
    match tls {
        None => converse(connection, stream, None).await,
        Some(tls) => {
            if let Some(stream) = greet(connection, &tls, stream).await {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let protocol = if is_http2 { HttpVersion::Http2 } else { HttpVersion::Http1 };
                converse(connection, stream, Some(protocol)).await;
            }
        }
    }
}

/// Shakes hands. A client that is at it when its address drains has a little time left; one that has not said a word
/// has none.
async fn greet<S: Transport>(
    connection: &Connection,
    tls: &TlsAcceptor,
    stream: S,
) -> Option<TlsStream<MeteredStream<S>>> {
    let mut stage = connection.address.watch();
    let meter = Arc::new(Meter::default());
    let limit = connection.limits.header_timeout;
    let mut greeting = pin!(timeout(limit, tls.accept(MeteredStream::new(stream, meter.clone()))));
    let last_look = async {
        drop(stage.wait_for(|stage| *stage >= Stage::Drain).await);
        sleep(LAST_LOOK).await;
    };
    tokio::select! {
        biased;
        greeted = &mut greeting => return greeted.ok()?.ok(),
        () = last_look => {}
    }
    if meter.read() == 0 {
        return None;
    }
    connection.is_late.store(true, SeqCst);
    timeout(STRAGGLE, greeting).await.ok()?.ok()?.ok()
}

async fn converse<S: Transport>(connection: &Arc<Connection>, stream: S, protocol: Option<HttpVersion>) {
    let mut wire = MeteredStream::new(stream, connection.meter.clone());
    let mut timeouts = Timeouts::new(connection.clone());
    let protocol = match protocol {
        Some(protocol) => protocol,
        None => match sniff(connection, &mut wire, &mut timeouts).await {
            Some(protocol) => protocol,
            None => return,
        },
    };
    match protocol {
        HttpVersion::Http1 => converse1(connection, wire, timeouts).await,
        HttpVersion::Http2 => converse2(connection, wire, timeouts).await,
    }
}

/// Finds out what the client speaks; `None` when it has left, or was given up before it said a word.
async fn sniff<S: Transport>(
    connection: &Connection,
    wire: &mut MeteredStream<S>,
    timeouts: &mut Timeouts,
) -> Option<HttpVersion> {
    let mut stage = connection.address.watch();
    // Requests that have come before the address drains are served. A new socket has to be looked at first.
    let last_look = async {
        drop(stage.wait_for(|stage| *stage >= Stage::Drain).await);
        sleep(LAST_LOOK).await;
    };
    tokio::select! {
        biased;
        sniffed = wire.sniff() => return sniffed.ok().flatten(),
        _ = timeouts.give_up() => return None,
        () = last_look => {}
    }
    if connection.meter.read() == 0 {
        return None;
    }
    timeouts.hurry();
    tokio::select! {
        biased;
        sniffed = wire.sniff() => sniffed.ok().flatten(),
        _ = timeouts.give_up() => None,
    }
}

async fn converse1<S: Transport>(
    connection: &Arc<Connection>,
    wire: MeteredStream<S>,
    mut timeouts: Timeouts,
) {
    let limits = connection.limits;
    let shared = connection.clone();
    let service = service_fn(move |request| handle(shared.clone(), request));
    let mut conversation = http1::Builder::new()
        .max_buf_size(limits.header_size)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(wire), service);
    let end = |conversation: Pin<&mut _>| http1::Connection::graceful_shutdown(conversation);
    let ended = attend(connection, Pin::new(&mut conversation), end, &mut timeouts).await;
    let unfinished = !connection.is_idle();
    let stream = conversation.into_parts().io.into_inner().into_inner();
    if connection.broke_off.load(SeqCst) || (ended.is_none() && unfinished) {
        // HTTP/1.0 has no other sign that an answer is whole than the end of its connection.
        stream.reset();
    } else if ended.is_some_and(|result| result.is_ok()) && connection.bodies.load(SeqCst) > 0 {
        connection.release_intake();
        let most = if connection.drains.load(SeqCst) { STRAGGLE } else { LINGER };
        linger(&connection.address, most, stream).await;
    }
}

async fn converse2<S: Transport>(
    connection: &Arc<Connection>,
    wire: MeteredStream<S>,
    mut timeouts: Timeouts,
) {
    connection.serial.store(false, SeqCst);
    let limits = connection.limits;
    let shared = connection.clone();
    let service = service_fn(move |request| handle(shared.clone(), request));
    let conversation = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX))
        .keep_alive_interval(KEEP_ALIVE)
        .serve_connection(TokioIo::new(wire), service);
    let end = |conversation: Pin<&mut _>| http2::Connection::graceful_shutdown(conversation);
    // Its requests are tasks of their own, which end with it.
    let _ended = attend(connection, pin!(conversation), end, &mut timeouts).await;
}

/// Attends a conversation to its end; `None` when it was given up.
async fn attend<C: Future<Output = hyper::Result<()>>>(
    connection: &Connection,
    mut conversation: Pin<&mut C>,
    end: impl Fn(Pin<&mut C>),
    timeouts: &mut Timeouts,
) -> Option<hyper::Result<()>> {
    let mut stage = connection.address.watch();
    tokio::select! {
        biased;
        result = conversation.as_mut() => return Some(result),
        _ = stage.wait_for(|stage| *stage >= Stage::Drain) => {}
        was_idle = timeouts.give_up() => if !was_idle { return None; },
    }
    // Requests that have come until now are served: one more look at the socket, then no more. A client that has only
    // just shaken hands is about to send one.
    let last_look = async {
        match connection.is_late.load(SeqCst) {
            true => drop(timeout(STRAGGLE, connection.first_request.notified()).await),
            false => sleep(LAST_LOOK).await,
        }
    };
    tokio::select! {
        biased;
        result = conversation.as_mut() => return Some(result),
        () = last_look => {}
    }
    connection.drain();
    end(conversation.as_mut());
    timeouts.hurry();
    let late = async {
        sleep(STRAGGLE).await;
        // With a request under way an HTTP/2 connection stays, but nobody has to wait for another one.
        connection.release_intake();
        std::future::pending().await
    };
    tokio::select! {
        biased;
        result = conversation => Some(result),
        _ = stage.wait_for(|stage| *stage == Stage::Cut) => None,
        _ = timeouts.give_up() => None,
        () = late => None,
    }
}
