//! The standard input of a component that cannot hear of a stop: it ends with the notice. A program that reads its input to the
//! end, and then has nothing left to do, so ends by itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, stdin};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use super::Link;

/// The process's own standard input, until the instance is asked to stop.
pub(super) struct StdinUntilAsked(pub(super) Arc<Link>);

impl IsTerminal for StdinUntilAsked {
    fn is_terminal(&self) -> bool {
        stdin().is_terminal()
    }
}

impl StdinStream for StdinUntilAsked {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        let link = self.0.clone();
        let asked = Box::pin(async move { drop(link.orders.asked().await) });
        Box::new(AsyncUntilAsked {
            stdin: Box::into_pin(StdinStream::async_stream(&stdin())),
            asked: Some(asked),
        })
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(PollUntilAsked { stdin: stdin().p2_stream(), link: self.0.clone() })
    }
}

struct AsyncUntilAsked {
    stdin: Pin<Box<dyn AsyncRead + Send + Sync>>,
    /// `None` once it was asked.
    asked: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl AsyncRead for AsyncUntilAsked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.asked.as_mut().is_none_or(|asked| asked.as_mut().poll(context).is_ready()) {
            self.asked = None;
            return Poll::Ready(Ok(()));
        }
        self.stdin.as_mut().poll_read(context, buffer)
    }
}

struct PollUntilAsked {
    stdin: Box<dyn InputStream>,
    link: Arc<Link>,
}

#[async_trait]
impl Pollable for PollUntilAsked {
    async fn ready(&mut self) {
        tokio::select! {
            _notice = self.link.orders.asked() => {}
            () = self.stdin.ready() => {}
        }
    }
}

impl InputStream for PollUntilAsked {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.link.orders.is_asked() {
            return Err(StreamError::Closed);
        }
        self.stdin.read(size)
    }
}
