//! HTTP/2 on one connection: its streams, and their answers on the way to the client.
//!
//! Invariant: a stream whose client stands still is reset, and no other. Each request's place is free when its answer is
//! written, reset, or its client has left. A client that gives up requests faster than they end loses its connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::{Builder, Handshake, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, COOKIE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::body::ResponseBody;
use super::client_body::{ClientBody, Http2Body, Http2Source};
use super::connection::Connection;
use super::outgoing::{Outgoing, Piece};
use super::request::handle;
use crate::server::connection::pace::PaceTimer;
use crate::server::connection::stream::{MeteredStream, Transport};
use crate::server::generation::ClientFault;
use crate::server::instance::content_length;

/// Most streams at a time.
const STREAMS: u32 = 256;
/// Bytes of a request's body that may come before its guest reads them, and the same of all requests of a connection: some that are
/// not read hold up no other.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// Bytes of one answer that may wait in its connection.
const SEND_BUFFER: usize = 64 << 10;
/// Most bytes of an answer that are handed over at once. A client's window makes the pieces smaller.
const PIECE: usize = 16 << 10;
/// Bound of what small frames cost that come in one go. They are put together right after that.
const FRAME_BUDGET: usize = 8 << 20;
/// Calls of one connection that may go on although the client has given the requests up.
const ORPHANS: usize = 32;
/// Time without a byte after which the client is asked whether it is there, and the time that it has for an answer.
const PING_AFTER: Duration = Duration::from_secs(30);

/// Headers of HTTP/1 that concern one connection (RFC 9113 section 8.2.2).
const CONNECTION_HEADERS: [HeaderName; 6] = [
    http::header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
    http::header::TE,
];

enum State<S> {
    Handshake(Handshake<MeteredStream<S>, Piece>),
    Open(h2::server::Connection<MeteredStream<S>, Piece>, Option<PingPong>),
}

/// The conversation with one client. Dropping it drops its requests.
pub(super) struct Http2Connection<S> {
    connection: Arc<Connection>,
    state: State<S>,
    ends: bool,
    /// It is told to calm down, and takes no more requests.
    is_calmed: bool,
    outgoing: Arc<Outgoing>,
    streams: JoinSet<()>,
    liveness: Interval,
    /// Bytes read and taken at the last look, and whether a ping is under way since.
    seen: (u64, u64, bool),
}

impl<S: Transport> Http2Connection<S> {
    pub(super) fn new(connection: Arc<Connection>, mut stream: MeteredStream<S>) -> Self {
        stream.follow_frames();
        // A head that is somewhat too large gets an answer that says so.
        let most = connection.limits.header_size.saturating_mul(2);
        let handshake = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(most).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(FRAME_BUDGET)
            .handshake(stream);
        let mut liveness = interval_at(tokio::time::Instant::now() + PING_AFTER, PING_AFTER);
        liveness.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            connection,
            state: State::Handshake(handshake),
            ends: false,
            is_calmed: false,
            outgoing: Arc::default(),
            streams: JoinSet::new(),
            liveness,
            seen: (0, 0, false),
        }
    }

    /// Takes no more streams than have come when the client has heard of it.
    pub(super) fn graceful_shutdown(&mut self) {
        self.ends = true;
        if let State::Open(open, _) = &mut self.state {
            open.graceful_shutdown();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if let State::Handshake(handshake) = &mut self.state {
            let mut open = ready!(Pin::new(handshake).poll(context))?;
            if self.ends {
                open.graceful_shutdown();
            }
            let pings = open.ping_pong();
            self.state = State::Open(open, pings);
        }
        while let Poll::Ready(Some(ended)) = self.streams.poll_join_next(context) {
            if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
                std::panic::resume_unwind(panic);
            }
        }
        let Self { connection, outgoing, streams, .. } = self;
        let State::Open(open, _) = &mut self.state else { return Poll::Pending };
        while let Poll::Ready(next) = open.poll_accept(context) {
            let Some(next) = next else { return Poll::Ready(Ok(())) };
            let (request, respond) = next?;
            if self.is_calmed {
                continue;
            }
            streams.spawn(serve(connection.clone(), outgoing.clone(), request, respond));
            if connection.orphans() > ORPHANS {
                connection.client_fault(ClientFault::Resets);
                open.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                streams.abort_all();
                self.is_calmed = true;
            }
        }
        match self.poll_liveness(context) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Is ready when the client is gone: it has neither sent nor taken a byte, and not answered a ping.
    fn poll_liveness(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let State::Open(_, Some(pings)) = &mut self.state else { return Poll::Pending };
        let _pong = pings.poll_pong(context);
        while self.liveness.poll_tick(context).is_ready() {
            let (read, taken, is_asked) = self.seen;
            let meter = &self.connection.meter;
            let now = (meter.read(), meter.taken());
            let is_quiet = now == (read, taken);
            if is_quiet && is_asked {
                return Poll::Ready(());
            }
            if is_quiet {
                // One that is under way does as well.
                let _under_way = pings.send_ping(Ping::opaque());
            }
            self.seen = (now.0, now.1, is_quiet);
        }
        Poll::Pending
    }
}

impl<S: Transport> Future for Http2Connection<S> {
    type Output = Result<(), h2::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll(context)
    }
}

/// Serves one stream to its end.
async fn serve(
    connection: Arc<Connection>,
    outgoing: Arc<Outgoing>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Piece>,
) {
    let behind = connection.clone();
    let (request, mut source) = receive(request);
    let is_head = request.method() == Method::HEAD;
    let answered = {
        let mut handled = pin!(handle(connection.clone(), request));
        poll_fn(|context| {
            poll_source(&mut source, context);
            if respond.poll_reset(context).is_ready() {
                // The client has left.
                return Poll::Ready(None);
            }
            handled.as_mut().poll(context).map(Result::ok)
        })
        .await
    };
    let Some((head, body)) = answered.map(|response| head_of(response, is_head)) else { return };
    let length = content_length(head.headers());
    let Ok(stream) = respond.send_response(head, body.is_none()) else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    if let Some(body) = body {
        let pace = PaceTimer::default();
        let answer = Answer { connection, outgoing, stream, source, body, length, pace };
        source = answer.send().await;
    }
    // The guest can read on behind its answer.
    let _behind = source.as_ref().map(|_| behind.upload_behind());
    poll_fn(|context| {
        poll_source(&mut source, context);
        match source {
            Some(_) => respond.poll_reset(context).map(drop),
            None => Poll::Ready(()),
        }
    })
    .await;
}

/// Returns the request as its guest's side reads it, and the source of its body.
fn receive(request: Request<RecvStream>) -> (Request<ClientBody>, Option<Http2Source>) {
    let (mut parts, body) = request.into_parts();
    join_cookies(&mut parts.headers);
    let length = content_length(&parts.headers);
    let (body, source) = Http2Body::new(body, length);
    let mut source = Some(source);
    // An empty one ends with its head.
    poll_source(&mut source, &mut Context::from_waker(std::task::Waker::noop()));
    (Request::from_parts(parts, ClientBody::Http2(body)), source)
}

/// Joins the fields into which a client has split its cookies (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_some() && cookies.next().is_some() {
        let all = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let all: Vec<&[u8]> = all.filter(|cookie| !cookie.is_empty()).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Returns the head of an answer as HTTP/2 has it, and its body, if it has one.
fn head_of(response: Response<ResponseBody>, is_head: bool) -> (Response<()>, Option<ResponseBody>) {
    let (mut parts, body) = response.into_parts();
    for name in &CONNECTION_HEADERS {
        parts.headers.remove(name);
    }
    parts.headers.entry(DATE).or_insert_with(date);
    let is_bodiless = is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(length) = body.size_hint().exact()
        && parts.status != StatusCode::NO_CONTENT
        && !(is_bodiless && length == 0)
    {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    let body = Some(body).filter(|body| !is_bodiless && !body.is_end_stream());
    (Response::from_parts(parts, ()), body)
}

fn date() -> HeaderValue {
    HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn poll_source(source: &mut Option<Http2Source>, context: &mut Context<'_>) {
    if source.as_mut().is_some_and(|open| open.poll(context).is_ready()) {
        *source = None;
    }
}

/// An answer on its way.
struct Answer {
    connection: Arc<Connection>,
    outgoing: Arc<Outgoing>,
    stream: SendStream<Piece>,
    source: Option<Http2Source>,
    body: ResponseBody,
    /// Bytes that are left of the length that its head announces.
    length: Option<u64>,
    pace: PaceTimer,
}

/// The reason for which an answer was not sent to its end.
enum Broken {
    /// The client has left.
    Left,
    /// The stream is to be reset.
    Reset(Reason),
}

impl Answer {
    /// Sends it to its end, and returns what is left of the request's body.
    async fn send(mut self) -> Option<Http2Source> {
        if let Err(Broken::Reset(reason)) = self.send_frames().await {
            self.stream.send_reset(reason);
        }
        self.source
    }

    async fn send_frames(&mut self) -> Result<(), Broken> {
        loop {
            match poll_fn(|context| self.poll_frame(context)).await? {
                None if self.length.is_some_and(|left| left > 0) => {
                    return Err(Broken::Reset(Reason::INTERNAL_ERROR));
                }
                None => return self.write(Bytes::new(), true),
                Some(frame) => match frame.into_data() {
                    Ok(mut bytes) => {
                        if let Some(left) = &mut self.length {
                            // As over HTTP/1: what is behind the announced length is not asked for.
                            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                            *left -= bytes.len() as u64;
                        }
                        let is_last = self.length == Some(0) || self.body.is_end_stream();
                        self.send_bytes(bytes, is_last).await?;
                        if is_last {
                            return Ok(());
                        }
                    }
                    Err(_) if self.length.is_some_and(|left| left > 0) => {
                        return Err(Broken::Reset(Reason::INTERNAL_ERROR));
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return self.stream.send_trailers(trailers).map_err(|_gone| Broken::Left);
                    }
                },
            }
        }
    }

    async fn send_bytes(&mut self, mut bytes: Bytes, is_last: bool) -> Result<(), Broken> {
        if bytes.is_empty() && is_last {
            return self.write(bytes, true);
        }
        while !bytes.is_empty() {
            let room = poll_fn(|context| self.poll_room(context, bytes.len().min(PIECE))).await?;
            let piece = bytes.split_to(room.min(bytes.len()));
            self.write(piece, is_last && bytes.is_empty())?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: Bytes, is_last: bool) -> Result<(), Broken> {
        let piece = if bytes.is_empty() { Piece::EMPTY } else { self.outgoing.piece(bytes) };
        self.stream.send_data(piece, is_last).map_err(|_gone| Broken::Left)
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<http_body::Frame<Bytes>>, Broken>> {
        self.poll_client(context)?;
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            return match self.body.waits_for_client() {
                true => self.poll_pace(context).map(Err),
                false => Poll::Pending,
            };
        };
        match frame {
            Some(Err(_)) => Poll::Ready(Err(Broken::Reset(Reason::INTERNAL_ERROR))),
            frame => Poll::Ready(Ok(frame.and_then(Result::ok))),
        }
    }

    /// Looks whether the client has left, and lets its body in.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Result<(), Broken> {
        poll_source(&mut self.source, context);
        if self.stream.poll_reset(context).is_ready() { Err(Broken::Left) } else { Ok(()) }
    }

    /// Returns how many bytes the client and the connection can take now.
    fn poll_room(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Broken>> {
        self.poll_client(context)?;
        if let Poll::Ready(room) = self.poll_window(context, wanted) {
            if let Ok(room) = &room {
                self.pace.moved(*room as u64);
            }
            return Poll::Ready(room);
        }
        self.poll_pace(context).map(Err)
    }

    /// Is ready when the client does not take what waits for it.
    fn poll_pace(&mut self, context: &mut Context<'_>) -> Poll<Broken> {
        let Self { connection, pace, .. } = self;
        // The window of the client can be open while its socket is full: what it takes of that counts as well.
        let taken = || connection.meter.is_blocked().then(|| connection.meter.taken());
        ready!(pace.poll_overdue(context, || Some(connection.min_rate()), taken));
        connection.client_fault(ClientFault::SlowReader);
        self.body.time_out();
        Poll::Ready(Broken::Reset(Reason::CANCEL))
    }

    fn poll_window(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Broken>> {
        ready!(self.outgoing.poll_room(context));
        self.stream.reserve_capacity(wanted);
        loop {
            let capacity = self.stream.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity));
            }
            match ready!(self.stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Broken::Left)),
            }
        }
    }
}
