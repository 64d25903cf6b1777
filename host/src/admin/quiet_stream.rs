//! The stream under a connection, which keeps quiet until there is a request.
//!
//! Invariant: once somebody was asked, bytes pass unchanged and in order. Before, hyper could only send its own
//! answers to what is no request; they say nothing, so they are left out, and the connection sends better ones.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module's documentation.
#[derive(Debug)]
pub struct QuietStream<S> {
    stream: S,
    asked: Arc<AtomicBool>,
}

impl<S> QuietStream<S> {
    /// Wraps a stream that keeps quiet until `asked` is true.
    pub fn new(stream: S, asked: Arc<AtomicBool>) -> Self {
        Self { stream, asked }
    }

    /// Returns the stream.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for QuietStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for QuietStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.asked.load(Relaxed) {
            Pin::new(&mut self.stream).poll_write(context, bytes)
        } else {
            Poll::Ready(Ok(bytes.len()))
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
