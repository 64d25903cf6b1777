//! The stream under a connection: its byte counts, how it is reset, and how it is read when its answer is sent.
//!
//! Invariant: bytes pass unchanged and in order; the meter is right, also for what hyper reads and writes.

use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::Version;
use nix::libc::{TIOCOUTQ, c_int, ioctl};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::frames::Frames;
use crate::server::address::address::{Address, Stage};

/// Time that a connection without a request in flight has when its address drains.
pub(crate) const STRAGGLE: Duration = Duration::from_secs(1);
/// Longest look at a socket when its address drains. The thread then asks the system once more, so it knows all that has
/// come. A timer fires after that; a task that only yields can be woken earlier.
pub(crate) const LAST_LOOK: Duration = Duration::from_millis(1);
/// Time for which a client that still sends is read, unless the app drains.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// Most bytes that are read of it.
const LINGER_BYTES: u64 = 64 << 20;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const AHEAD: usize = 4096;
/// Bytes of an HTTP/2 client after which its other tasks have a turn: `h2` reads as long as there is something, and keeps each
/// small frame in more memory than it has bytes.
const READ_TURN: usize = 64 << 10;
const NO_SOCKET: RawFd = -1;

/// A stream whose closing can be made visible to a client that takes any end for the end of an answer.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Has the stream reset when it is dropped.
    fn reset(&self);

    /// Returns its socket.
    fn socket(&self) -> BorrowedFd<'_>;
}

impl Transport for TcpStream {
    fn reset(&self) {
        // Without it the client sees an end, as it would of a whole answer: nothing better can be done.
        let _best_effort = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Transport for UnixStream {
    fn reset(&self) {
        let _best_effort = socket2::SockRef::from(self).shutdown(Shutdown::Read);
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl<S: Transport> Transport for MeteredStream<S> {
    fn reset(&self) {
        self.stream.reset();
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.socket()
    }
}

impl<S: Transport> Transport for TlsStream<S> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.get_ref().0.socket()
    }
}

/// Ends the answer, and reads what the client still sends, for so long at most: closing at once would make the system take the answer
/// back. nginx calls it `lingering_close`. It ends with its address at the latest.
pub(crate) async fn linger(address: &Address, most: Duration, mut stream: impl Transport) {
    let mut stage = address.watch();
    let rest = async {
        // hyper does not do so behind an upgrade that it was asked for.
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    tokio::select! {
        _over = timeout(most, rest) => {}
        _ = stage.wait_for(|stage| *stage == Stage::Cut) => {}
    }
}

/// Byte counts of a connection.
#[derive(Debug)]
pub(crate) struct Meter {
    read: AtomicU64,
    written: AtomicU64,
    blocked: AtomicBool,
    /// An HTTP/2 frame has begun and not ended.
    in_frame: AtomicBool,
    /// No more is written, and the client is read to its end.
    is_shut: AtomicBool,
    /// The socket, while its stream exists. It is asked only on the thread that also drops the stream.
    socket: AtomicI32,
    /// Woken when nothing waits any more, or when something begins to.
    waiting: Mutex<Vec<Waker>>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            in_frame: AtomicBool::new(false),
            is_shut: AtomicBool::new(false),
            socket: AtomicI32::new(NO_SOCKET),
            waiting: Mutex::default(),
        }
    }
}

impl Meter {
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Returns the bytes that the client's system has taken: what waits in the queue of the socket is not among them. With TLS it
    /// is less by the overhead of the records that wait.
    pub(crate) fn taken(&self) -> u64 {
        self.written().saturating_sub(self.unsent())
    }

    /// Returns the bytes that the client's system has not taken yet.
    pub(crate) fn unsent(&self) -> u64 {
        unsent_bytes(self.socket.load(Relaxed))
    }

    /// Returns whether no more is written.
    pub(crate) fn is_shut(&self) -> bool {
        self.is_shut.load(Relaxed)
    }

    /// Returns whether an HTTP/2 client is in the middle of a frame, or of a head.
    pub(crate) fn is_in_frame(&self) -> bool {
        self.in_frame.load(Relaxed)
    }

    /// Returns true while something waits to be written that the client does not take.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    /// Is ready when nothing waits to be written that the client does not take.
    pub(crate) fn poll_unblocked(&self, context: &Context<'_>) -> Poll<()> {
        if !self.is_blocked() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_blocked<T>(&self, poll: Poll<T>) -> Poll<T> {
        if poll.is_pending() != self.is_blocked() {
            self.blocked.store(poll.is_pending(), Relaxed);
            self.waiting().drain(..).for_each(Waker::wake);
        }
        poll
    }

    fn note_written(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &poll {
            self.written.fetch_add(*written as u64, Relaxed);
        }
        self.note_blocked(poll)
    }
}

/// Returns the bytes in the queue of a socket that its peer's system has not acknowledged; of a unix socket those that its peer has
/// not read. 0 if it is no socket.
#[expect(unsafe_code, reason = "no library wraps this request of ioctl(2)")]
fn unsent_bytes(socket: RawFd) -> u64 {
    let mut unsent: c_int = 0;
    // SAFETY: the request writes one `int` to the address, as tcp(7) and unix(7) have it. With a descriptor that is no socket, or is
    // not open, it fails and writes nothing.
    let _failed = unsafe { ioctl(socket, TIOCOUTQ, &raw mut unsent) };
    u64::try_from(unsent).unwrap_or(0)
}

/// A stream with its meter.
#[derive(Debug)]
pub(crate) struct MeteredStream<S> {
    /// Before its stream: the socket is not asked any more when it closes.
    meter: OpenMeter,
    pub(crate) stream: S,
    ahead: BytesMut,
    /// The frames of an HTTP/2 client, and the bytes that were read since the last pause.
    frames: Option<(Frames, usize)>,
}

/// The meter of a stream that exists.
#[derive(Debug)]
struct OpenMeter(Arc<Meter>);

impl Drop for OpenMeter {
    fn drop(&mut self) {
        self.0.socket.store(NO_SOCKET, Relaxed);
    }
}

impl<S: Transport> MeteredStream<S> {
    pub(crate) fn new(stream: S, meter: Arc<Meter>) -> Self {
        meter.socket.store(stream.socket().as_raw_fd(), Relaxed);
        Self { meter: OpenMeter(meter), stream, ahead: BytesMut::new(), frames: None }
    }

    /// Follows the frames of an HTTP/2 client from here on: before the first byte is read by others.
    pub(crate) fn follow_frames(&mut self) {
        self.frames = Some((Frames::new(), 0));
    }

    /// Reads ahead until it is clear whether the client speaks HTTP/1 or HTTP/2. `None`: it has left.
    ///
    /// # Errors
    /// When the stream breaks.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub(crate) async fn sniff(&mut self) -> io::Result<Option<Version>> {
        loop {
            let known = self.ahead.len().min(PREFACE.len());
            let is_http2 = self.ahead.get(..known) == PREFACE.get(..known);
            if !is_http2 || known == PREFACE.len() {
                return Ok(Some(if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 }));
            }
            self.ahead.reserve(AHEAD);
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Ok(None);
            }
            self.meter.0.read.store(self.ahead.len() as u64, Relaxed);
        }
    }
}

impl<S> MeteredStream<S> {
    /// Returns whether so much was read in one go that others have a turn first.
    fn pauses(&mut self, context: &Context<'_>) -> bool {
        let pauses = self.frames.as_ref().is_some_and(|(_, read)| *read >= READ_TURN);
        if pauses {
            self.begin_turn();
            context.waker().wake_by_ref();
        }
        pauses
    }

    /// Reads and discards what an HTTP/2 client still sends. It says what it has taken to the end: if the stream closed before that, the
    /// system would reset the connection, and the client would lose what it has not read.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<()>
    where
        S: AsyncRead + Unpin,
    {
        let mut bytes = [MaybeUninit::uninit(); AHEAD];
        loop {
            let mut rest = ReadBuf::uninit(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut rest));
            if read.is_err() || rest.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }

    fn begin_turn(&mut self) {
        if let Some((_, read)) = &mut self.frames {
            *read = 0;
        }
    }

    fn follow(&mut self, bytes: &[u8]) {
        if let Some((frames, read)) = &mut self.frames {
            frames.advance(bytes);
            *read += bytes.len();
            self.meter.0.in_frame.store(frames.is_partial(), Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.has_remaining() {
            let most = self.ahead.len().min(buffer.remaining());
            let ahead = self.ahead.split_to(most);
            self.follow(&ahead);
            buffer.put_slice(&ahead);
            return Poll::Ready(Ok(()));
        }
        if self.pauses(context) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        if read.is_empty() {
            self.begin_turn();
        } else {
            self.meter.0.read.fetch_add(read.len() as u64, Relaxed);
            self.follow(read);
        }
        result
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.meter.0.note_written(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.meter.0.note_written(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.meter.0.note_blocked(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.meter.0.is_shut() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.meter.0.is_shut.store(true, Relaxed);
        }
        if self.frames.is_some() {
            ready!(self.poll_rest(context));
        }
        Poll::Ready(Ok(()))
    }
}
