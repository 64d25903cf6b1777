//! Answers on their way to the client: a guest's, and those that the host gives itself when no guest does.
//!
//! Invariant: an answer that was cut short never looks complete: it ends in an error, and its connection visibly
//! breaks off. wasmtime ends both kinds in the same way; what tells them apart is whether the call is broken off.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use wasmtime_wasi_http::WasiBody;

use super::connection::RequestInFlight;
use crate::server::instance::handle::InstanceHandle;
use crate::server::pool::Interest;

/// Largest answer that is held back until it is whole, to be sent in one write.
const ONE_WRITE: usize = 16 << 10;
/// Most turns that an answer gets to become whole while its instance is at work.
const TURNS: usize = 64;
/// Bound of what a sync guest may still write when its client has left: without it the instance would trap.
const SINK_BYTES: usize = 1 << 20;
const SINK_TIME: std::time::Duration = std::time::Duration::from_secs(1);
/// Seconds after which a client may try again.
const RETRY_SECONDS: &str = "1";

/// Reason for an answer that is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    BadRequest,
    NoRoute,
    TooLarge,
    Upgrade,
    GuestError,
    Failed,
    NoInstance,
    Busy,
    Stopping,
    /// No answer came in time, and the client had not sent all of its request.
    SlowClient,
    Timeout,
}

impl RequestError {
    /// Returns the status of the answer, and the reason in words for the client: nothing of the inside.
    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "its host is missing, doubled or no host"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "no component is routed here"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than allowed"),
            Self::Upgrade => {
                (StatusCode::NOT_IMPLEMENTED, "upgrades (as for WebSocket) and CONNECT are not supported")
            }
            Self::GuestError => (StatusCode::INTERNAL_SERVER_ERROR, "the component answered with an error"),
            Self::Failed => (StatusCode::BAD_GATEWAY, "the component failed"),
            Self::NoInstance => (StatusCode::BAD_GATEWAY, "the component could not be started"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "all instances are busy"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "the component stops"),
            Self::SlowClient => (StatusCode::REQUEST_TIMEOUT, "the request was not sent in time"),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "the component took too long"),
        }
    }

    fn text(self) -> String {
        let (status, reason) = self.answer();
        format!("{status}: {reason}\n")
    }
}

/// Returns the answer of the host. `bodiless`: it ends with its head.
pub(crate) fn error_response(
    refused: RequestError,
    mut entry: RequestInFlight,
    bodiless: bool,
) -> Response<ResponseBody> {
    let (status, _) = refused.answer();
    entry.answered(status.as_u16(), bodiless);
    let mut response = Response::new(whole(refused.text().into(), entry));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
    }
    response
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the instance ended before its answer")]
    CutShort,
    /// The guest ended it with an error, or it has not the length that it said.
    #[error("{0}")]
    Guest(wasmtime_wasi_http::Error),
}

/// The body of any answer: its first bytes, then the rest.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    head: Option<Bytes>,
    /// The first bytes are all there are. The guest may still do something behind them.
    is_whole: bool,
    rest: Option<Box<GuestStream>>,
    /// Tells how the request ended when the body is dropped.
    entry: RequestInFlight,
}

/// The part of an answer that a guest is still writing.
#[derive(Debug)]
struct GuestStream {
    next: Option<Result<Frame<Bytes>, BodyError>>,
    body: Option<WasiBody>,
    instance: Arc<InstanceHandle>,
    /// Dropped last: the request is live until the body is gone.
    interest: Interest,
}

impl GuestStream {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(next));
        }
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(match frame {
            Some(frame) => Some(frame.map_err(BodyError::Guest)),
            None if self.interest.0.is_broken() => Some(Err(BodyError::CutShort)),
            None => None,
        })
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        // A sync guest cannot stand it when its client leaves.
        if let Some(body) =
            self.body.take().filter(|_| !self.instance.is_async && !self.interest.0.is_broken())
        {
            tokio::spawn(sink(body));
        }
    }
}

/// Reads an answer whose client has left, up to a bound.
pub(crate) async fn sink(mut body: WasiBody) {
    let _over = tokio::time::timeout(SINK_TIME, async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > SINK_BYTES {
                return;
            }
        }
    })
    .await;
}

fn whole(bytes: Bytes, entry: RequestInFlight) -> ResponseBody {
    ResponseBody { head: Some(bytes), is_whole: true, rest: None, entry }
}

/// Returns the body of a guest's answer: in one piece, and so in one write, where it is small and comes at once; else as
/// the guest writes it. An answer that has the `length` it announced is whole, whatever the guest does behind it.
pub(crate) async fn of_guest(
    mut body: WasiBody,
    length: Option<u64>,
    instance: Arc<InstanceHandle>,
    interest: Interest,
    entry: RequestInFlight,
) -> ResponseBody {
    let (mut head, mut size) = (None, 0);
    let mut turns = 0;
    let next = loop {
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) if frame.is_data() && size < ONE_WRITE => {
                let bytes = frame.into_data().unwrap_or_default();
                size += bytes.len();
                head = Some(joined(head, bytes));
                if length == Some(size as u64) {
                    break None;
                }
            }
            Some(Some(frame)) => break Some(frame.map_err(BodyError::Guest)),
            Some(None) if interest.0.is_broken() => break Some(Err(BodyError::CutShort)),
            Some(None) => return whole(head.unwrap_or_default(), entry),
            None if turns < TURNS && !instance.turn.waits() => {
                turns += 1;
                turn().await;
            }
            None => break None,
        }
    };
    let is_whole = next.is_none() && head.is_some() && length == Some(size as u64);
    let body = (!matches!(next, Some(Err(_)))).then_some(body);
    let rest = Some(Box::new(GuestStream { next, body, instance, interest }));
    ResponseBody { head, is_whole, rest, entry }
}

/// Returns the bytes of an answer so far; copies only if they come in several pieces.
fn joined(before: Option<Bytes>, bytes: Bytes) -> Bytes {
    let Some(before) = before.filter(|before| !before.is_empty()) else { return bytes };
    let mut all = BytesMut::from(before);
    all.extend_from_slice(&bytes);
    all.freeze()
}

/// Lets all other tasks of the thread run once.
async fn turn() {
    poll_fn(|context| Poll::Ready(context.waker().clone())).await.wake();
    futures::pending!();
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match (this.head.take(), &mut this.rest) {
            (Some(head), _) if !this.is_whole || !head.is_empty() => Poll::Ready(Some(Ok(Frame::data(head)))),
            (_, Some(rest)) if !this.is_whole => rest.poll(context),
            _ => Poll::Ready(None),
        };
        match &frame {
            Poll::Ready(Some(Ok(frame))) => this.entry.bytes += frame.data_ref().map_or(0, Bytes::len) as u64,
            Poll::Ready(Some(Err(_))) => this.entry.cut_short(),
            Poll::Ready(None) => this.entry.complete(),
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole && self.head.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_whole {
            return SizeHint::with_exact(self.head.as_ref().map_or(0, Bytes::len) as u64);
        }
        match (&self.head, self.rest.as_deref()) {
            (None, Some(GuestStream { next: None, body: Some(body), .. })) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body in one piece goes out with the head, and hyper does not ask for an empty one.
        if self.is_end_stream() {
            self.entry.complete();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_begins_with_its_status() {
        use RequestError::*;
        let all = [
            BadRequest, NoRoute, TooLarge, Upgrade, GuestError, Failed, NoInstance, Busy, Stopping,
            SlowClient, Timeout,
        ];
        for refused in all {
            let (status, _) = refused.answer();
            let head = format!("{} {}: ", status.as_u16(), status.canonical_reason().unwrap());
            assert!(refused.text().starts_with(&head), "{refused:?}");
            assert!(refused.text().ends_with('\n'), "{refused:?}");
        }
    }
}
