//! One client's connection: one request, one answer, and a clear error for bytes that are no request.
//!
//! Invariant: bounded in time and memory, whatever the client does. Only the answer to an order may take longer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::router::{AccessScope, Router, discard, error_response};

const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 << 10;
/// Time for the client to read its answer.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Bounds on reading a client that still sends when it has its answer. If the host closed at once, the system would reset
/// the connection, and the answer would be lost.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: u64 = 1 << 20;

/// A client's place among the connections of one listener.
#[derive(Debug, Default)]
pub(super) struct ClientSlot {
    has_head: AtomicBool,
    is_waiting: AtomicBool,
    /// Notified, it ends the connection unless the client waits for its answer.
    pub(super) evicted: Notify,
}

impl ClientSlot {
    fn has_head(&self) -> bool {
        self.has_head.load(Relaxed)
    }

    /// Returns whether the client has sent its whole request, and the app has not answered yet. It keeps its place then: before,
    /// and behind, it is the client that takes its time.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Relaxed)
    }

    /// Returns when the client is evicted, or the listener closes before it has sent a request.
    async fn ends(&self, mut closing: watch::Receiver<bool>) {
        let stays = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => self.has_head(),
            () = self.evicted.notified() => self.is_waiting(),
        };
        if stays {
            std::future::pending::<()>().await;
        }
    }
}

/// Serves a client to its end, or until it is evicted.
pub(super) async fn serve<S>(stream: S, router: Arc<Router>, scope: AccessScope, slot: Arc<ClientSlot>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        biased;
        () = converse(stream, &router, scope, &slot) => {}
        () = slot.ends(router.closing.clone()) => {}
    }
}

async fn converse<S>(stream: S, router: &Router, scope: AccessScope, slot: &Arc<ClientSlot>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answered = Notify::new();
    let service = service_fn(|request: Request<Incoming>| {
        slot.has_head.store(true, Relaxed);
        let answered = &answered;
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = discard(body).await;
            slot.is_waiting.store(true, Relaxed);
            let response = router.answer(&head, body, scope).await;
            slot.is_waiting.store(false, Relaxed);
            answered.notify_one();
            Ok::<_, std::convert::Infallible>(response)
        })
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    // A client that has closed its sending side still gets its answer.
    builder.keep_alive(false).half_close(true);
    let quiet = QuietStream { stream, slot: slot.clone() };
    let mut connection = builder.serve_connection(TokioIo::new(quiet), service);
    let unread = async {
        answered.notified().await;
        sleep(READ_TIMEOUT).await;
    };
    let result = tokio::select! {
        biased;
        result = poll_fn(|context| Pin::new(&mut connection).poll_without_shutdown(context)) => result,
        () = unread => return,
    };
    let mut stream = connection.into_parts().io.into_inner().stream;
    if let Err(cause) = &result
        && !slot.has_head()
        && !matches!(timeout(LINGER, refuse(&mut stream, cause)).await, Ok(Ok(())))
    {
        return;
    }
    let linger = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    let _gone = timeout(LINGER, linger).await;
}

/// Answers bytes that hyper could not read as a request.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin), cause: &hyper::Error) -> io::Result<()> {
    let (status, message) = if cause.is_timeout() {
        (StatusCode::REQUEST_TIMEOUT, "the head of the request did not come within 5s")
    } else if cause.is_parse_too_large() {
        (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is larger than 16 KiB")
    } else if cause.is_incomplete_message() {
        (StatusCode::BAD_REQUEST, "the request breaks off")
    } else if cause.is_parse() {
        (StatusCode::BAD_REQUEST, "this is no HTTP/1.1 request")
    } else {
        return Err(io::ErrorKind::ConnectionAborted.into());
    };
    let (head, body) = error_response(status, message).into_parts();
    let mut bytes = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in &head.headers {
        bytes.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    stream.write_all(format!("{bytes}\r\n{body}").as_bytes()).await
}

/// The stream under a connection. It discards writes until there is a request: they are hyper's answers to malformed
/// requests, without a body and without an option against them. [`refuse`] sends better ones.
struct QuietStream<S> {
    stream: S,
    slot: Arc<ClientSlot>,
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
        if self.slot.has_head() {
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
