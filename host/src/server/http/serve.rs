//! Serving one client's HTTP connection from its acceptance to its end, and how long the client may take. Requests
//! themselves are in `request`.
//!
//! Invariant (I8): when its address drains, an idle connection is closed at once, before a byte of another request is
//! read; one with requests in flight lives until they are answered; and no client holds the stop up by sending slowly.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http::{StatusCode, Version};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::body::RequestError;
use super::connection::Connection;
use super::http1::{Http1Stream, refuse};
use super::request::handle;
use crate::server::address::acceptor::{Accepted, Stream};
use crate::server::address::address::Stage;
use crate::server::connection::stream::{
    LAST_LOOK, LINGER, Meter, MeteredStream, STRAGGLE, Transport, linger,
};
use crate::server::connection::tls::shake_hands;
use crate::server::worker::workers::ConnectionSlot;

const HTTP2_STREAMS: u32 = 256;
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Least time between two looks at a client.
const LOOK: Duration = Duration::from_millis(50);

/// Serves a connection to its end.
///
/// # Cancel safety
/// Dropping it closes the connection, and breaks off what is in flight.
pub(crate) async fn serve(accepted: Accepted, worker: usize, slot: ConnectionSlot) {
    let tls = accepted.address.routing().tls.clone();
    let (connection, stream, counted) = Connection::new(accepted, worker, tls.is_some());
    if let Err(error) = begin(&connection, tls, stream).await {
        tracing::debug!(%error, "a connection cannot be served");
    }
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
    let Some(tls) = tls else { return converse(connection, stream, None).await };
    let meter = Arc::new(Meter::default());
    let stream = MeteredStream::new(stream, meter.clone());
    // A client that is at it when its address drains has a little time left; one that has not said a word has none.
    let drains = async {
        last_look(connection).await;
        let is_late = meter.read() > 0;
        connection.is_late.store(is_late, SeqCst);
        is_late
    };
    if let Some(stream) = shake_hands(&tls, stream, connection.limits.header_timeout, drains).await {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let version = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        converse(connection, stream, Some(version)).await;
    }
}

/// Returns once the address drains and the socket was looked at since: a new socket has to be looked at first.
async fn last_look(connection: &Connection) {
    drop(connection.address.watch().wait_for(|stage| *stage >= Stage::Drain).await);
    sleep(LAST_LOOK).await;
}

async fn converse<S: Transport>(connection: &Arc<Connection>, stream: S, mut version: Option<Version>) {
    let mut wire = MeteredStream::new(stream, connection.meter.clone());
    let mut timeouts = Timeouts::new(connection);
    if version.is_none() {
        version = sniff(connection, &mut wire, &mut timeouts).await;
    }
    match version {
        Some(Version::HTTP_2) => converse2(connection, wire, timeouts).await,
        Some(_) => converse1(connection, wire, timeouts).await,
        None => {}
    }
}

/// Finds out what the client speaks; `None` when it has left, or was given up before it said a word. Requests that have
/// come before the address drains are served.
async fn sniff<S: Transport>(
    connection: &Connection,
    wire: &mut MeteredStream<S>,
    timeouts: &mut Timeouts<'_>,
) -> Option<Version> {
    tokio::select! {
        biased;
        sniffed = wire.sniff() => return sniffed.ok().flatten(),
        _ = timeouts.give_up() => return None,
        () = last_look(connection) => {}
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
    let service = service_fn(move |request| handle(shared.clone(), request));
    let wire = Http1Stream::new(wire, connection.clone());
    let mut server = http1::Builder::new()
        .max_buf_size(connection.limits.header_size)
        .header_read_timeout(None)
        .half_close(true)
        .serve_connection(TokioIo::new(wire), service);
    let mut conversation = poll_fn(|context| {
        if connection.poll_takes_no_more(context) {
            Pin::new(&mut server).graceful_shutdown();
        }
        Pin::new(&mut server).poll(context)
    });
    let end = |_: Pin<&mut _>| connection.take_no_more();
    let ended = attend(connection, Pin::new(&mut conversation), end, &mut timeouts).await;
    let unfinished = connection.in_flight() > 0 || connection.meter.is_blocked();
    let wire = server.into_parts().io.into_inner();
    let is_whole = matches!(ended, Some(Ok(())));
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
    let shared = connection.clone();
    let service = service_fn(move |request| handle(shared.clone(), request));
    let conversation = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(u32::try_from(connection.limits.header_size).unwrap_or(u32::MAX))
        .keep_alive_interval(HTTP2_KEEP_ALIVE)
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
    timeouts: &mut Timeouts<'_>,
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

/// The time that a client has: for the head of a request, for its answer, and between two requests.
///
/// Invariant: a connection with a request in flight is never given up here, unless its client takes nothing of the
/// answer. There is one timer for each connection: one for each request would cost more than serving some of them.
#[derive(Debug)]
struct Timeouts<'a> {
    connection: &'a Connection,
    /// Since when it is as it is now.
    since: Instant,
    state: ClientState,
    hurried: bool,
    /// At the last look: bytes read, bytes read when the last request had ended, bytes written.
    seen: (u64, u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientState {
    Idle,
    /// Part of a head has come.
    Head,
    Busy,
    /// There is an answer that the client does not take.
    Blocked,
}

impl<'a> Timeouts<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self { connection, since: Instant::now(), state: ClientState::Idle, hurried: false, seen: (0, 0, 0) }
    }

    /// Gives the client little time: its address drains.
    fn hurry(&mut self) {
        self.hurried = true;
        self.since = Instant::now();
    }

    /// Returns when the client has taken too long: true if it was idle, with nothing begun.
    ///
    /// # Cancel safety
    /// Can be dropped and called again; it goes on where it was.
    async fn give_up(&mut self) -> bool {
        let (connection, limits) = (self.connection, self.connection.limits);
        loop {
            let meter = &connection.meter;
            let seen = (meter.read(), connection.mark.load(SeqCst), meter.written());
            let state = match (meter.is_blocked(), connection.in_flight() > 0) {
                (true, _) => ClientState::Blocked,
                (false, true) => ClientState::Busy,
                (false, false) if seen.0 > seen.1 && connection.is_serial() => ClientState::Head,
                (false, false) => ClientState::Idle,
            };
            // A head that comes byte by byte is not new with each byte; any byte between requests is.
            let moved = (seen.1, seen.2) != (self.seen.1, self.seen.2)
                || (seen.0 != self.seen.0 && state == ClientState::Idle);
            if state != self.state || moved {
                self.since = Instant::now();
            }
            (self.state, self.seen) = (state, seen);
            let limit = match state {
                ClientState::Busy => Duration::MAX,
                ClientState::Head | ClientState::Idle if self.hurried => STRAGGLE,
                ClientState::Head => limits.header_timeout,
                ClientState::Idle | ClientState::Blocked => limits.idle_timeout,
            };
            let left = limit.saturating_sub(self.since.elapsed());
            if left.is_zero() {
                return state == ClientState::Idle;
            }
            // Its state can change at any time: half the shortest limit is early enough to see that.
            let shortest = limits.header_timeout.min(limits.idle_timeout);
            let look = if self.hurried { shortest.min(STRAGGLE) } else { shortest } / 2;
            sleep(left.min(look).max(LOOK)).await;
        }
    }
}
