//! Serving one client's HTTP connection from its acceptance to its end. Requests themselves are in `request`.
//!
//! Invariant (I8): when its address drains, an idle connection is closed at once, before a byte of another request is
//! read; one with requests in flight lives until they are answered; and no client holds the stop up by sending slowly.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Poll, ready};

use futures::FutureExt;
use h2::Reason;
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::body::RequestError;
use super::client_body::ClientBody;
use super::connection::Connection;
use super::http1::{Http1Stream, refuse};
use super::http2;
use super::request::handle;
use super::timeouts::Timeouts;
use crate::server::address::acceptor::{Accepted, Stream};
use crate::server::address::address::Stage;
use crate::server::connection::stream::{
    LAST_LOOK, LINGER, Meter, MeteredStream, STRAGGLE, Transport, linger,
};
use crate::server::connection::tls::shake_hands;
use crate::server::generation::ClientFault;
use crate::server::worker::workers::ConnectionSlot;

/// Serves a connection to its end.
///
/// # Cancel safety
/// Dropping it closes the connection, and breaks off what is in flight.
pub(crate) async fn serve(accepted: Accepted, worker: usize, slot: ConnectionSlot) {
    let tls = accepted.address.routing().tls.clone();
    let (connection, stream, counted) = Connection::new(accepted, worker, tls.is_some());
    connection.address.idle.add(&connection.idleness);
    tokio::select! {
        biased;
        begun = begin(&connection, tls, stream) => if let Err(error) = begun {
            tracing::debug!(%error, "a connection cannot be served");
        },
        () = connection.evicted() => {}
    }
    connection.count_turned_away();
    drop(connection);
    // The order matters: the end of the last connection makes others count the worker's.
    drop(slot);
    drop(counted);
}

async fn begin(connection: &Arc<Connection>, tls: Option<TlsAcceptor>, stream: Stream) -> io::Result<()> {
    match stream {
        Stream::Tcp(stream) => greet(connection, tls, TcpStream::from_std(stream)?).await,
        Stream::Unix(stream) => greet(connection, tls, UnixStream::from_std(stream)?).await,
    }
    Ok(())
}

async fn greet<S: Transport>(connection: &Arc<Connection>, tls: Option<TlsAcceptor>, stream: S) {
    match tls {
        // Plain connections need less memory, and have it.
        Some(tls) => Box::pin(greet_tls(connection, &tls, stream)).await,
        None => converse(connection, stream, None).await,
    }
}

async fn greet_tls<S: Transport>(connection: &Arc<Connection>, tls: &TlsAcceptor, stream: S) {
    let meter = Arc::new(Meter::default());
    let stream = MeteredStream::new(stream, meter.clone());
    // A client that is at it when its address drains has a little time left; one that has not said a word has the time that its
    // first bytes need.
    let drains = async {
        let drained = drains(connection).await;
        sleep(LAST_LOOK).await;
        if meter.read() == 0 {
            connection.next_bytes_are_due(drained.into()).await;
        }
        if connection.idleness.is_fresh(drained) {
            connection.turn_away();
        }
        meter.read() > 0
    };
    if let Some(stream) = shake_hands(tls, stream, connection.limits.header_timeout, drains).await {
        connection.idleness.shook_hands(Instant::now());
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let version = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        converse(connection, stream, Some(version)).await;
    }
}

/// Returns once the address drains.
async fn drains(connection: &Connection) -> Instant {
    drop(connection.address.watch().wait_for(|stage| *stage >= Stage::Drain).await);
    Instant::now()
}

async fn converse<S: Transport>(connection: &Arc<Connection>, stream: S, mut version: Option<Version>) {
    let mut wire = MeteredStream::new(stream, connection.meter.clone());
    let mut timeouts = Timeouts::new(connection);
    if version.is_none() {
        version = sniff(connection, &mut wire, &mut timeouts).await;
    }
    match version {
        // HTTP/1 needs less memory, and has it.
        Some(Version::HTTP_2) => Box::pin(converse2(connection, wire, timeouts)).await,
        Some(_) => converse1(connection, wire, timeouts).await,
        None => {}
    }
}

/// Finds out what the client speaks; `None` when it has left, or was given up before it said a word. Requests that were sent
/// before the address drains are served.
async fn sniff<S: Transport>(
    connection: &Connection,
    wire: &mut MeteredStream<S>,
    timeouts: &mut Timeouts<'_>,
) -> Option<Version> {
    let first_bytes = async {
        let drained = drains(connection).await;
        // A new socket has to be looked at first.
        sleep(LAST_LOOK).await;
        if connection.meter.read() == 0 {
            connection.next_bytes_are_due(drained.into()).await;
        }
        drained
    };
    let drained = tokio::select! {
        biased;
        sniffed = wire.sniff() => return sniffed.ok().flatten(),
        _ = timeouts.give_up() => return None,
        drained = first_bytes => drained,
    };
    if connection.idleness.is_fresh(drained) {
        connection.turn_away();
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
    mut timeouts: Timeouts<'_>,
) {
    let shared = connection.clone();
    let service =
        service_fn(move |request: Request<Incoming>| handle(shared.clone(), request.map(ClientBody::Http1)));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(connection.limits.header_size).header_read_timeout(None).half_close(true);
    let serve = move |wire| builder.serve_connection(TokioIo::new(wire), service.clone());
    let (mut server, mut at_rest) = (Some(serve(Http1Stream::new(wire, connection.clone()))), None);
    let mut conversation = poll_fn(|context| {
        let is_last = connection.poll_takes_no_more(context);
        if let Some(resting) = server.take_if(|_| !is_last && connection.is_at_rest()) {
            // Without hyper's buffers of 16 KiB.
            at_rest = Some(Http1Stream::taken_back(resting.into_parts()));
        }
        if let Some(wire) = &mut at_rest {
            if !is_last {
                ready!(wire.poll_more(context));
            }
            server = at_rest.take().map(&serve);
        }
        let Some(server) = &mut server else { return Poll::Ready(Ok(())) };
        if is_last {
            Pin::new(&mut *server).graceful_shutdown();
        }
        Pin::new(server).poll(context)
    });
    let end = |_: Pin<&mut _>| connection.take_no_more();
    let ended = attend(connection, Pin::new(&mut conversation), end, &mut timeouts).await;
    let unfinished = connection.in_flight() > 0 || connection.meter.is_blocked();
    let Some(mut wire) = server.map(|server| Http1Stream::taken_back(server.into_parts())).or(at_rest) else {
        return;
    };
    let is_whole = matches!(ended, Some(Ok(())));
    let is_unread = wire.is_ahead();
    if is_unread || (connection.drains.load(SeqCst) && has_more(&mut wire.stream.stream)) {
        connection.leave_unread();
    }
    if connection.broke_off.load(SeqCst) || (unfinished && (ended.is_none() || wire.has_left)) {
        return wire.stream.stream.reset();
    }
    let refused = match &ended {
        Some(Err(error)) => unreadable(wire.refused, error),
        _ => None,
    };
    let mut stream = wire.stream.stream;
    if let Some(refused) = refused {
        let _left = timeout(STRAGGLE, refuse(connection, &mut stream, refused)).await;
    }
    if refused.is_some() || (is_whole && connection.bodies.load(SeqCst) > 0) {
        connection.release_intake();
        let most = if connection.drains.load(SeqCst) { STRAGGLE } else { LINGER };
        linger(&connection.address, most, stream).await;
    }
}

/// Returns whether the client has sent more than was read.
fn has_more(stream: &mut (impl Transport + ?Sized)) -> bool {
    stream.read(&mut [0; 1]).now_or_never().is_some_and(|read| read.is_ok_and(|read| read > 0))
}

/// Returns the answer to bytes that are no request. `status` is that of hyper's own answer; hyper has sent it where that was behind
/// another one in its buffers.
fn unreadable(status: Option<StatusCode>, error: &hyper::Error) -> Option<RequestError> {
    match status {
        Some(StatusCode::URI_TOO_LONG) => Some(RequestError::TargetTooLong),
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => Some(RequestError::HeadTooLarge),
        Some(_) => Some(RequestError::Malformed),
        None if error.is_parse() => Some(RequestError::Malformed),
        None => error.is_incomplete_message().then_some(RequestError::Incomplete),
    }
}

async fn converse2<S: Transport>(
    connection: &Arc<Connection>,
    wire: MeteredStream<S>,
    mut timeouts: Timeouts<'_>,
) {
    connection.serial.store(false, SeqCst);
    let mut conversation = http2::Http2Connection::new(connection.clone(), wire);
    let end = |conversation: Pin<&mut http2::Http2Connection<S>>| conversation.get_mut().graceful_shutdown();
    // Its requests are tasks of their own, which end with it.
    if let Some(Err(error)) = attend(connection, Pin::new(&mut conversation), end, &mut timeouts).await
        && !error.is_io()
        && error.reason() != Some(Reason::NO_ERROR)
    {
        connection.client_fault(ClientFault::BadRequest);
    }
}

/// Attends a conversation to its end; `None` when it was given up.
async fn attend<E, C: Future<Output = Result<(), E>>>(
    connection: &Connection,
    mut conversation: Pin<&mut C>,
    end: impl Fn(Pin<&mut C>),
    timeouts: &mut Timeouts<'_>,
) -> Option<Result<(), E>> {
    let mut stage = connection.address.watch();
    tokio::select! {
        biased;
        result = conversation.as_mut() => return Some(result),
        _ = stage.wait_for(|stage| *stage >= Stage::Drain) => {}
        was_idle = timeouts.give_up() => if !was_idle { return None; },
    }
    // Requests that were sent until now are served.
    tokio::select! {
        biased;
        result = conversation.as_mut() => return Some(result),
        () = connection.last_look() => {}
    }
    connection.drain();
    end(conversation.as_mut());
    timeouts.hurry();
    let late = async {
        sleep(STRAGGLE).await;
        // With a request under way an HTTP/2 connection stays, but no stop has to wait for another one.
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
