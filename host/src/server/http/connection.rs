//! One client's connection from its acceptance to its end.
//!
//! Invariant (I8): when its address drains, an idle connection is closed at once, before a byte of another request is
//! read; one with requests in flight lives until they are answered; and nobody who sends a request slowly, or not
//! at all, holds the stop up. What a request is and who answers it is not here.

use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::group::{Counted, Group, Intake, Stage};
use super::pace::Pace;
use super::request::{forwarded_for, handle};
use super::wire::{Meter, Protocol, Wire};

/// How long, and how much, is read of a client that still sends when it has its answer: closing at once would
/// make the system take the answer back. nginx calls it `lingering_close`.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;
/// Streams at a time on one HTTP/2 connection.
const STREAMS: u32 = 256;
/// How often an HTTP/2 client is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A stream as it was accepted.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over a unix socket.
    Unix(std::os::unix::net::UnixStream),
}

/// A connection on its way to the thread that serves it.
#[derive(Debug)]
pub struct Accepted {
    /// Its stream, which does not block.
    pub stream: Stream,
    /// The client's address.
    pub client: String,
    /// Where it came in.
    pub group: Arc<Group>,
    /// It can bring requests.
    pub intake: Intake,
    /// It is there.
    pub counted: Counted,
}

/// What is known of a connection by its requests.
#[derive(Debug)]
pub struct Connection {
    /// Where it came in.
    pub group: Arc<Group>,
    /// The client's address.
    pub client: String,
    /// The thread it is served on: a slot of the group's host.
    pub lane: usize,
    /// What guests are told of the client.
    pub forwarded: HeaderValue,
    pub(super) meter: Arc<Meter>,
    in_flight: AtomicUsize,
    /// Read when the last request ended.
    pub(super) mark: AtomicUsize,
    broke_off: AtomicBool,
    bodies: AtomicUsize,
    serial: AtomicBool,
    drains: AtomicBool,
    intake: Mutex<Option<Intake>>,
}

impl Connection {
    /// Notes that a request has arrived.
    pub(super) fn request_began(&self) {
        self.in_flight.fetch_add(1, SeqCst);
    }

    /// Notes that a request has its answer, or never will.
    pub(super) fn request_ended(&self) {
        self.mark.store(usize::try_from(self.meter.read()).unwrap_or(usize::MAX), SeqCst);
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// Notes that an answer breaks off.
    pub(super) fn answer_broke_off(&self) {
        self.broke_off.store(true, SeqCst);
    }

    /// Notes that a request's body begins, or ends.
    pub(super) fn body_began(&self) {
        self.bodies.fetch_add(1, SeqCst);
    }

    pub(super) fn body_ended(&self) {
        self.bodies.fetch_sub(1, SeqCst);
    }

    /// Returns the requests without their whole answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Returns whether clients are told to come back on another connection.
    pub(super) fn winds_down(&self) -> bool {
        self.group.stage() >= Stage::Delay
    }

    /// Notes that its address drains. An HTTP/1 connection brings no more requests when it has one: the answer
    /// to that will be its last.
    fn drain(&self) {
        self.drains.store(true, SeqCst);
        if self.in_flight() > 0 {
            self.request_taken();
        }
    }

    /// Returns whether it brings one request at a time.
    pub(super) fn is_serial(&self) -> bool {
        self.serial.load(SeqCst)
    }

    /// Notes that a request was handed over.
    pub(super) fn request_taken(&self) {
        if self.drains.load(SeqCst) && self.is_serial() {
            drop(self.intake.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// A stream whose closing can be made visible to a client that takes any end for the end of an answer.
trait Peer: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Has the stream reset when it is dropped.
    fn reset(&self);
}

impl Peer for TcpStream {
    fn reset(&self) {
        // Without it the client sees an end, as it would of a whole answer: nothing better can be done.
        let _best_effort = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Peer for UnixStream {
    fn reset(&self) {
        let _best_effort = socket2::SockRef::from(self).shutdown(Shutdown::Read);
    }
}

impl<S: Peer> Peer for TlsStream<S> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

/// Serves a connection to its end.
///
/// # Cancel safety
/// Dropping it closes the connection, and breaks off what is in flight.
pub async fn serve(accepted: Accepted, lane: usize) {
    let Accepted { stream, client, group, intake, counted } = accepted;
    let forwarded = forwarded_for(&client, group.tls.is_some());
    let connection = Arc::new(Connection {
        group,
        client,
        lane,
        forwarded,
        meter: Arc::default(),
        in_flight: AtomicUsize::new(0),
        mark: AtomicUsize::new(0),
        broke_off: AtomicBool::new(false),
        bodies: AtomicUsize::new(0),
        serial: AtomicBool::new(false),
        drains: AtomicBool::new(false),
        intake: Mutex::new(Some(intake)),
    });
    let stream = match stream {
        Stream::Tcp(stream) => TcpStream::from_std(stream).map(|stream| (Some(stream), None)),
        Stream::Unix(stream) => UnixStream::from_std(stream).map(|stream| (None, Some(stream))),
    };
    match stream {
        Ok((Some(stream), _)) => begin(&connection, stream).await,
        Ok((None, Some(stream))) => begin(&connection, stream).await,
        Ok((None, None)) => {}
        Err(error) => tracing::debug!(%error, "a connection cannot be served"),
    }
    drop(connection);
    drop(counted);
}

async fn begin<S: Peer>(connection: &Arc<Connection>, stream: S) {
    match &connection.group.tls {
        None => converse(connection, stream, None).await,
        Some(tls) => {
            let limit = connection.group.limits.header_timeout;
            let mut stage = connection.group.watch();
            let greeted = tokio::select! {
                greeted = timeout(limit, tls.accept(stream)) => greeted,
                _ = stage.wait_for(|stage| *stage >= Stage::Drain) => return,
            };
            if let Ok(Ok(stream)) = greeted {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let protocol = if is_http2 { Protocol::Http2 } else { Protocol::Http1 };
                converse(connection, stream, Some(protocol)).await;
            }
        }
    }
}

async fn converse<S: Peer>(connection: &Arc<Connection>, stream: S, protocol: Option<Protocol>) {
    let mut wire = Wire::new(stream, connection.meter.clone());
    let mut pace = Pace::new(connection.clone());
    let protocol = match protocol {
        Some(protocol) => protocol,
        None => match sniff(connection, &mut wire, &mut pace).await {
            Some(protocol) => protocol,
            None => return,
        },
    };
    match protocol {
        Protocol::Http1 => converse1(connection, wire, pace).await,
        Protocol::Http2 => converse2(connection, wire, pace).await,
    }
}

/// Finds out what the client speaks; `None` when it has left, or was given up before it said a word.
async fn sniff<S: Peer>(connection: &Connection, wire: &mut Wire<S>, pace: &mut Pace) -> Option<Protocol> {
    let mut stage = connection.group.watch();
    tokio::select! {
        biased;
        sniffed = wire.sniff() => return sniffed.ok().flatten(),
        () = pace.give_up() => return None,
        _ = stage.wait_for(|stage| *stage >= Stage::Drain) => {}
    }
    // What has come until now is served. A socket that is new here has to be looked at before that is known.
    tokio::select! {
        biased;
        sniffed = wire.sniff() => return sniffed.ok().flatten(),
        () = tokio::task::yield_now() => {}
    }
    if connection.meter.read() == 0 {
        return None;
    }
    pace.hurry();
    tokio::select! {
        biased;
        sniffed = wire.sniff() => sniffed.ok().flatten(),
        () = pace.give_up() => None,
    }
}

async fn converse1<S: Peer>(connection: &Arc<Connection>, wire: Wire<S>, mut pace: Pace) {
    connection.serial.store(true, SeqCst);
    let limits = connection.group.limits;
    let shared = connection.clone();
    let service = service_fn(move |request| handle(shared.clone(), request));
    let mut conversation = http1::Builder::new()
        .max_buf_size(limits.header_size)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(wire), service);
    let end = |conversation: Pin<&mut _>| http1::Connection::graceful_shutdown(conversation);
    let ended = attend(connection, Pin::new(&mut conversation), end, &mut pace).await;
    let Some(result) = ended else { return };
    let stream = conversation.into_parts().io.into_inner().into_inner();
    if connection.broke_off.load(SeqCst) {
        // HTTP/1.0 has no other sign that an answer is whole than the end of its connection.
        stream.reset();
    } else if result.is_ok() && connection.bodies.load(SeqCst) > 0 {
        linger(stream).await;
    }
}

async fn converse2<S: Peer>(connection: &Arc<Connection>, wire: Wire<S>, mut pace: Pace) {
    let limits = connection.group.limits;
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
    let _ended = attend(connection, pin!(conversation), end, &mut pace).await;
}

/// Attends a conversation to its end; `None` when it was given up.
async fn attend<C: Future<Output = hyper::Result<()>>>(
    connection: &Connection,
    mut conversation: Pin<&mut C>,
    end: impl Fn(Pin<&mut C>),
    pace: &mut Pace,
) -> Option<hyper::Result<()>> {
    let mut stage = connection.group.watch();
    tokio::select! {
        biased;
        result = conversation.as_mut() => return Some(result),
        _ = stage.wait_for(|stage| *stage >= Stage::Drain) => {}
        () = pace.give_up() => return None,
    }
    // What has come until now is served: one more look at the socket, then no more.
    tokio::select! {
        biased;
        result = conversation.as_mut() => return Some(result),
        () = tokio::task::yield_now() => {}
    }
    connection.drain();
    end(conversation.as_mut());
    pace.hurry();
    tokio::select! {
        biased;
        result = conversation => Some(result),
        _ = stage.wait_for(|stage| *stage == Stage::Cut) => None,
        () = pace.give_up() => None,
    }
}

/// Reads what the client still sends, so that it gets its answer.
async fn linger(mut stream: impl Peer) {
    let _over = timeout(LINGER, async {
        let mut waste = vec![0; 16 << 10];
        let mut read = 0;
        while let Ok(some @ 1..) = stream.read(&mut waste).await {
            read += some;
            if read > LINGER_BYTES {
                return;
            }
        }
    })
    .await;
}
