//! HTTP/1 below hyper: the stream that hyper reads and writes, and the answer to bytes that hyper cannot read as a request.
//!
//! hyper answers those by itself, with an empty body and nothing for the log. And it does not look for the end of a client that has
//! sent its request: it takes the end of its input for its departure, or hears of neither.
//!
//! Invariant: a client that has closed its writing half gets its whole answer, and one that has left is noticed as soon as the system
//! can tell, or by the end of its input if that comes long after its request.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::admission::{REQUEST_ID, new_id};
use super::body::RequestError;
use super::connection::Connection;
use crate::server::connection::stream::{MeteredStream, Transport};

/// Most bytes that are read before hyper asks for them, to see the end of the input.
const AHEAD: usize = 512;
/// A client that closes its writing half later than this after its request does not wait for the answer: one that only has no
/// more to say closes it at once, as far as its machine and the network let it.
const HALF_CLOSE: Duration = Duration::from_secs(5);
/// Time for which the answer of such a client must not move before it is taken for gone.
const STILL: Duration = Duration::from_secs(1);
/// Time between two looks at a client whose input has ended.
const LOOK: Duration = Duration::from_millis(100);

/// The stream below hyper.
pub(super) struct Http1Stream<S> {
    pub(super) stream: MeteredStream<S>,
    connection: Arc<Connection>,
    ahead: BytesMut,
    /// The time of the last bytes, and how many had been written then.
    last_read: (Instant, u64),
    last_byte: u8,
    /// The input was seen to be open after that.
    is_open_late: bool,
    finished: Option<Finished>,
    /// Number of requests that had begun when all of their answers were written: what hyper writes without another one is its own.
    answered: Option<u64>,
    /// Its client has left in the middle of a request's service.
    pub(super) has_left: bool,
    /// Status of hyper's own answer, which was not sent.
    pub(super) refused: Option<StatusCode>,
}

/// A client whose input has ended in the middle of a request's service.
struct Finished {
    look: Pin<Box<Sleep>>,
    /// It is taken for gone when its answer does not move any more.
    is_late: bool,
    /// Bytes written at the last move, and its time.
    moved: (u64, Instant),
}

impl<S: Transport> Http1Stream<S> {
    pub(super) fn new(stream: MeteredStream<S>, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            connection,
            ahead: BytesMut::new(),
            last_read: (Instant::now(), 0),
            last_byte: 0,
            is_open_late: false,
            finished: None,
            answered: Some(0),
            has_left: false,
            refused: None,
        }
    }

    /// Returns the stream of a connection that hyper serves no more, with the bytes that it has read and not used.
    pub(super) fn taken_back<V>(parts: http1::Parts<TokioIo<Self>, V>) -> Self {
        let mut stream = parts.io.into_inner();
        if !parts.read_buf.is_empty() {
            let mut unused = BytesMut::from(parts.read_buf);
            unused.extend_from_slice(&stream.ahead);
            stream.ahead = unused;
        }
        stream
    }

    /// Is ready when more has come from the client, or its input has ended.
    pub(super) fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let ends = if self.ahead.is_empty() { self.input_ends(context) } else { Ok(false) };
        if matches!(ends, Ok(false)) && self.ahead.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Returns whether there are bytes that hyper has not asked for.
    pub(super) fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Looks whether the client of a request in flight has left.
    ///
    /// # Errors
    /// It has.
    fn look(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.connection.in_flight() == 0 {
            // hyper reads.
            return Ok(());
        }
        if self.finished.is_none() && self.ahead.is_empty() {
            if !self.input_ends(context)? {
                // Looked at anew at each turn of the connection, whose clock is one: no timer of its own.
                self.is_open_late = self.is_open_late || self.last_read.0.elapsed() >= HALF_CLOSE;
                return Ok(());
            }
            let now = self.connection.meter.written();
            if self.is_open_late && now == self.last_read.1 {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let (is_late, moved) = (self.is_open_late, (now, Instant::now()));
            self.finished = Some(Finished { look: Box::pin(sleep(Duration::ZERO)), is_late, moved });
        }
        let Some(finished) = &mut self.finished else { return Ok(()) };
        while finished.look.as_mut().poll(context).is_ready() {
            let now = self.connection.meter.written();
            if now != finished.moved.0 {
                finished.moved = (now, Instant::now());
            }
            let is_still = finished.is_late && finished.moved.1.elapsed() > STILL;
            if is_still || is_gone(&self.stream) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            finished.look.as_mut().reset(Instant::now() + LOOK);
        }
        Ok(())
    }

    /// Reads ahead; returns whether the input has ended.
    fn input_ends(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut bytes = [MaybeUninit::uninit(); AHEAD];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(())) => {
                self.ahead.extend_from_slice(buffer.filled());
                Ok(buffer.filled().is_empty())
            }
            // TLS without its closing word. All of the request has come.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// Returns whether what is written is hyper's own answer.
    fn is_refusal(&self) -> bool {
        self.answered == Some(self.connection.begun.load(SeqCst))
    }

    /// Keeps the status of hyper's own answer instead of sending it.
    fn refuse(&mut self, bytes: &[u8]) {
        let status = bytes.get(9..12).and_then(|status| StatusCode::from_bytes(status).ok());
        self.refused = self.refused.or(status);
    }
}

/// Returns whether the system knows that both directions have ended: by a reset, or because a unix socket was closed.
fn is_gone(stream: &impl Transport) -> bool {
    let mut socket = [PollFd::new(stream.socket(), PollFlags::empty())];
    let ended = PollFlags::POLLERR | PollFlags::POLLHUP;
    let _ready = poll(&mut socket, PollTimeout::ZERO);
    socket.iter().any(|socket| socket.revents().is_some_and(|events| events.intersects(ended)))
}

/// Answers bytes that hyper could not read as a request, and logs and counts that.
///
/// # Errors
/// The client has left.
pub(super) async fn refuse(
    connection: &Connection,
    stream: &mut (impl AsyncWrite + Unpin),
    refused: RequestError,
) -> io::Result<()> {
    let id = new_id();
    let ((status, _), body) = (refused.answer(), refused.text());
    connection.unreadable(refused, &id);
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         {REQUEST_ID}: {}\r\ndate: {}\r\n\r\n",
        body.len(),
        id.to_str().unwrap_or_default(),
        httpdate::fmt_http_date(SystemTime::now()),
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.flush().await
}

impl<S: Transport> AsyncRead for Http1Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.ahead.is_empty() {
            std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            let most = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(most));
        }
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        if let Some(last) = bytes.last() {
            let is_idle = self.connection.in_flight() == 0;
            self.connection.framing.read(self.last_byte, bytes, is_idle);
            self.last_byte = *last;
            self.last_read = (Instant::now(), self.connection.meter.written());
            self.is_open_late = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> AsyncWrite for Http1Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_refusal() {
            self.refuse(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_refusal() {
            self.refuse(slices.first().map_or(&[], |slice| slice));
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes only what it has written: no answer is left in its buffers.
        std::task::ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.connection.in_flight() == 0 {
            self.answered = Some(self.connection.begun.load(SeqCst));
        }
        let looked = self.look(context);
        self.has_left = looked.is_err();
        Poll::Ready(looked)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.refused {
            // The answer is still to come.
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut self.stream).poll_shutdown(context),
        }
    }
}
