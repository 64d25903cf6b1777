//! One client's connection: one request, one answer, and a clear error for whatever is no request.
//!
//! Invariant: bounded in time and memory, whatever the client sends, does not send, or does not read. Only the answer
//! to an order may be waited for longer, for as long as the client stays.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::quiet_stream::QuietStream;
use super::router::{Router, Scope, error};

/// How long the head of a request may take to come in.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Most bytes of it.
const HEAD_BYTES: usize = 16 << 10;
/// How long the client may take to read its answer.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long, and how much, is read of a client that still sends when it has its answer: closing at once would make
/// the system take the answer back.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1 << 20;

/// A client, as whoever needs its place sees it.
#[derive(Debug, Default)]
pub struct ClientSlot {
    asked: Arc<AtomicBool>,
    leaves: Notify,
}

impl ClientSlot {
    /// Returns whether it has asked something: it is not sent away then.
    pub fn has_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// Has it leave, unless it asks something first.
    pub fn send_away(&self) {
        self.leaves.notify_one();
    }

    async fn sent_away(&self) {
        self.leaves.notified().await;
        if self.has_asked() {
            std::future::pending::<()>().await;
        }
    }
}

/// Serves a connection to its end.
pub async fn serve<S>(
    stream: S,
    router: Arc<Router>,
    scope: Scope,
    mut closing: watch::Receiver<bool>,
    guest: Arc<ClientSlot>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asked = guest.asked.clone();
    let answered = Notify::new();
    let service = service_fn(|request| {
        asked.store(true, Relaxed);
        let (router, answered) = (&router, &answered);
        Box::pin(async move {
            let reply = router.answer(request, scope).await;
            answered.notify_one();
            Ok::<_, std::convert::Infallible>(reply)
        })
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(HEAD_BYTES);
    // A client that has sent all it has to say still gets its answer.
    builder.keep_alive(false).half_close(true);
    let mut connection =
        builder.serve_connection(TokioIo::new(QuietStream::new(stream, asked.clone())), service);
    let result = tokio::select! {
        biased;
        result = poll_fn(|context| Pin::new(&mut connection).poll_without_shutdown(context)) => result,
        () = unread(&answered) => return,
        () = nothing_asked(&mut closing, &asked) => return,
        () = guest.sent_away() => return,
    };
    let mut stream = connection.into_parts().io.into_inner().into_inner();
    if let Err(cause) = &result
        && !asked.load(Relaxed)
    {
        let refused = timeout(LINGER, refuse(&mut stream, cause)).await;
        if !matches!(refused, Ok(Ok(()))) {
            return;
        }
    }
    // A client that is gone is no error.
    let _gone = timeout(LINGER, linger(&mut stream)).await;
}

/// Returns when the client had its time to read the answer.
async fn unread(answered: &Notify) {
    answered.notified().await;
    sleep(READ_LIMIT).await;
}

/// Returns when the listener closes while the client has not asked anything.
async fn nothing_asked(closing: &mut watch::Receiver<bool>, asked: &AtomicBool) {
    // Only the value is wanted: what is returned with it keeps the sender waiting.
    let _closed = closing.wait_for(|closes| *closes).await.is_ok();
    if asked.load(Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Answers what hyper could not make a request of.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin), cause: &hyper::Error) -> std::io::Result<()> {
    let (status, told) = if cause.is_timeout() {
        (StatusCode::REQUEST_TIMEOUT, "the head of the request did not come within 5s")
    } else if cause.is_parse_too_large() {
        (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is larger than 16 KiB")
    } else if cause.is_incomplete_message() {
        (StatusCode::BAD_REQUEST, "the request breaks off")
    } else if cause.is_parse() {
        (StatusCode::BAD_REQUEST, "this is no HTTP/1.1 request")
    } else {
        return Err(std::io::ErrorKind::ConnectionAborted.into());
    };
    let (head, body) = error(status, told).into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in &head.headers {
        bytes.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    bytes.push_str("\r\n");
    stream.write_all(bytes.as_bytes()).await?;
    stream.write_all(&body).await
}

/// Closes our side, and reads what the client still sends.
async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut buffer = vec![0; 4096];
    let mut read = 0;
    while read < LINGER_BYTES {
        match stream.read(&mut buffer).await? {
            0 => break,
            more => read += more,
        }
    }
    Ok(())
}
