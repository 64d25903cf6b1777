//! The stream under a connection: what was read ahead of it, and how much went through.
//!
//! Invariant: bytes pass unchanged and in order; the meter is right whoever drives the stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How an HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most bytes that are read ahead at once.
const AHEAD: usize = 4096;

/// Byte counts of a connection.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    read: AtomicU64,
    written: AtomicU64,
    blocked: AtomicBool,
}

impl Meter {
    /// Returns how many bytes came in.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Returns how many bytes went out.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Returns whether something waits to be written that the client does not take.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }
}

/// The protocols that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A stream with its meter.
#[derive(Debug)]
pub(crate) struct MeteredStream<S> {
    stream: S,
    ahead: BytesMut,
    meter: Arc<Meter>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> MeteredStream<S> {
    /// Wraps a stream.
    pub(crate) fn new(stream: S, meter: Arc<Meter>) -> Self {
        Self { stream, ahead: BytesMut::new(), meter }
    }

    /// Reads ahead until it is clear which protocol the client speaks. `None`: it has left.
    ///
    /// # Errors
    /// When the stream breaks.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub(crate) async fn sniff(&mut self) -> io::Result<Option<HttpVersion>> {
        loop {
            let known = self.ahead.len().min(PREFACE.len());
            let is_http2 = self.ahead.get(..known) == PREFACE.get(..known);
            if !is_http2 || known == PREFACE.len() {
                return Ok(Some(if is_http2 { HttpVersion::Http2 } else { HttpVersion::Http1 }));
            }
            self.ahead.reserve(AHEAD);
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Ok(None);
            }
            self.meter.read.store(self.ahead.len() as u64, Relaxed);
        }
    }

    /// Returns the stream as it is under it.
    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the stream.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.has_remaining() {
            let most = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead.split_to(most));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 {
            this.meter.read.fetch_add(read as u64, Relaxed);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> MeteredStream<S> {
    fn note_written(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &poll {
            self.meter.written.fetch_add(*written as u64, Relaxed);
        }
        self.note(poll)
    }

    fn note<T>(&self, poll: Poll<T>) -> Poll<T> {
        if poll.is_pending() != self.meter.is_blocked() {
            self.meter.blocked.store(poll.is_pending(), Relaxed);
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_written(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_written(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.note(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
