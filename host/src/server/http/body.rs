//! Answers on their way to the client: a guest's, and those that the host gives itself when no guest does.
//!
//! Invariant: an answer that was cut short never looks complete: it ends in an error, and its connection visibly
//! breaks off.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::connection::RequestInFlight;
use super::departure::{Unread, read_behind, read_on};
use crate::server::generation::ClientFault;
use crate::server::instance::{BodyError, GuestBody, InstanceHandle};
use crate::server::pool::Interest;

/// Largest answer that is held back until it is whole, to be sent in one write.
const ONE_WRITE: usize = 16 << 10;
/// Most turns that an answer gets to become whole while its instance is at work.
const TURNS: usize = 64;
/// Seconds after which a client may try again.
const RETRY_SECONDS: &str = "1";

/// Reason for an answer that is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// It has no host, several, or one that is none.
    BadHost,
    /// The target has a form that is not for its method, or another scheme.
    BadTarget,
    /// The bytes are no request of HTTP/1.
    Malformed,
    /// The head breaks off.
    Incomplete,
    /// The end of the body before it is in doubt.
    BadFraming,
    HeadTooLarge,
    TargetTooLong,
    /// Its body has another transfer coding than `chunked`.
    TransferCoding,
    NoRoute,
    TooLarge,
    Upgrade,
    GuestError,
    /// The call returned without one.
    NoAnswer,
    /// The call returned in the middle of it, and before a byte of it was sent.
    Unfinished,
    Failed,
    NoInstance,
    /// The machine, or the app's limit, is too small for its instance.
    Short,
    Busy,
    Stopping,
    /// It has spent its restart budget.
    OutOfService,
    /// No answer came in time, and the client had not sent all of its request.
    SlowClient,
    Timeout,
}

impl RequestError {
    /// Returns the status of the answer, and the reason in words for the client: nothing of the inside.
    pub(super) fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::BadHost => (StatusCode::BAD_REQUEST, "its host is missing, doubled or no host"),
            Self::BadTarget => (StatusCode::BAD_REQUEST, "its target is not one for its method"),
            Self::Malformed => (StatusCode::BAD_REQUEST, "this is no request of HTTP/1"),
            Self::Incomplete => (StatusCode::BAD_REQUEST, "the head of the request breaks off"),
            Self::BadFraming => (StatusCode::BAD_REQUEST, "the end of the request before it is in doubt"),
            Self::HeadTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is larger than allowed")
            }
            Self::TargetTooLong => {
                (StatusCode::URI_TOO_LONG, "the target of the request is longer than 64 KiB")
            }
            Self::TransferCoding => {
                (StatusCode::NOT_IMPLEMENTED, "no transfer coding but `chunked` is supported")
            }
            Self::NoRoute => (StatusCode::NOT_FOUND, "no component is routed here"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than allowed"),
            Self::Upgrade => {
                (StatusCode::NOT_IMPLEMENTED, "upgrades (as for WebSocket) and CONNECT are not supported")
            }
            Self::GuestError => (StatusCode::INTERNAL_SERVER_ERROR, "the component answered with an error"),
            Self::NoAnswer => (StatusCode::INTERNAL_SERVER_ERROR, "the component gave no answer"),
            Self::Unfinished => {
                (StatusCode::INTERNAL_SERVER_ERROR, "the component did not finish its answer")
            }
            Self::Failed => (StatusCode::BAD_GATEWAY, "the component failed"),
            Self::NoInstance => (StatusCode::BAD_GATEWAY, "the component could not be started"),
            Self::Short => (StatusCode::SERVICE_UNAVAILABLE, "the machine is short of memory or threads"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "all instances are busy"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "the component stops"),
            Self::OutOfService => (StatusCode::SERVICE_UNAVAILABLE, "the component is out of service"),
            Self::SlowClient => (StatusCode::REQUEST_TIMEOUT, "the request was not sent in time"),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "the component took too long"),
        }
    }

    /// Returns the fault of its client, if it is one.
    pub(super) fn client_fault(self) -> Option<ClientFault> {
        match self {
            Self::BadHost | Self::BadTarget | Self::Malformed | Self::Incomplete | Self::BadFraming => {
                Some(ClientFault::BadRequest)
            }
            Self::HeadTooLarge | Self::TargetTooLong => Some(ClientFault::HeadTooLarge),
            Self::TransferCoding => Some(ClientFault::TransferCoding),
            Self::TooLarge => Some(ClientFault::BodyTooLarge),
            Self::Upgrade => Some(ClientFault::Upgrade),
            Self::SlowClient => Some(ClientFault::SlowRequest),
            Self::NoRoute
            | Self::GuestError
            | Self::NoAnswer
            | Self::Unfinished
            | Self::Failed
            | Self::NoInstance
            | Self::Short
            | Self::Busy
            | Self::Stopping
            | Self::OutOfService
            | Self::Timeout => None,
        }
    }

    /// Returns whether an HTTP/1 connection ends with the answer: the bytes behind the request may mean anything.
    pub(crate) fn ends_connection(self) -> bool {
        matches!(
            self,
            Self::BadHost | Self::BadTarget | Self::BadFraming | Self::TransferCoding | Self::Upgrade
        )
    }

    pub(super) fn text(self) -> String {
        let (status, reason) = self.answer();
        format!("{status}: {reason}\n")
    }
}

/// Returns the answer of the host, and logs it if the client is not to blame; `error` is what the guest said. `bodiless`: it
/// ends with its head.
pub(crate) fn error_response(
    refused: RequestError,
    error: Option<String>,
    mut entry: RequestInFlight,
    bodiless: bool,
) -> Response<ResponseBody> {
    let (status, reason) = refused.answer();
    entry.answered(status.as_u16(), bodiless);
    match refused.client_fault() {
        Some(fault) => entry.client_fault(fault),
        None if status.is_server_error() => entry.report(reason, error),
        None => {}
    }
    let mut response = Response::new(whole(refused.text().into(), entry));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
    }
    response
}

/// The body of any answer: its first bytes, then the rest.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    head: Option<Bytes>,
    /// The first bytes are all there are. The guest may still do something behind them.
    is_whole: bool,
    /// The length that its client is told: hyper asks for no more.
    length: Option<u64>,
    rest: Option<Box<GuestStream>>,
    /// Its bad end. hyper throws away what it has not written when it hears of one.
    broken: Option<BodyError>,
    /// Tells how the request ended when the body is dropped.
    entry: RequestInFlight,
}

/// The part of an answer that a guest is still writing.
#[derive(Debug)]
struct GuestStream {
    next: Option<Result<Frame<Bytes>, BodyError>>,
    body: Option<GuestBody>,
    /// Its client does not have the whole answer.
    is_left: bool,
    /// Longest time for its call from the departure of its client on.
    limit: Duration,
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
        self.interest.0.moved();
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        match self.is_left {
            // The call can go on and hold its place, as before the head.
            true => {
                self.interest.0.abandon();
                read_on(Unread::Rest(body), &self.interest.0, Instant::now() + self.limit);
            }
            // Most have their end already.
            false if body.is_sealed() || matches!(body.frame().now_or_never(), Some(None | Some(Err(_)))) => {
            }
            false => read_behind(body),
        }
    }
}

fn whole(bytes: Bytes, entry: RequestInFlight) -> ResponseBody {
    ResponseBody { head: Some(bytes), is_whole: true, length: None, rest: None, broken: None, entry }
}

/// Returns the body of a guest's answer: in one piece, and so in one write, where it is small and comes at once; else as
/// the guest writes it. An answer that has the `length` it announced is whole, whatever the guest does behind it.
///
/// # Errors
/// When the guest has left it without an end before a byte of it was written, and it is not `bodiless`: then its client can
/// have another one.
pub(crate) async fn of_guest(
    body: GuestBody,
    length: Option<u64>,
    bodiless: bool,
    instance: Arc<InstanceHandle>,
    interest: Interest,
    entry: RequestInFlight,
) -> Result<ResponseBody, (RequestError, RequestInFlight)> {
    let announced = length.or(body.size_hint().exact());
    let limit =
        entry.generation.as_ref().map_or(Duration::ZERO, |generation| generation.plan.http.request_timeout);
    let mut rest = GuestStream { next: None, body: Some(body), is_left: true, limit, interest };
    let (mut head, mut size) = (None, 0);
    let mut turns = 0;
    while let Some(body) = rest.body.as_mut() {
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) if frame.is_data() && size < ONE_WRITE => {
                let bytes = frame.into_data().unwrap_or_default();
                size += bytes.len();
                head = Some(joined(head, bytes));
                if length == Some(size as u64) {
                    break;
                }
            }
            Some(None) => {
                rest.body = None;
                return Ok(whole(head.unwrap_or_default(), entry));
            }
            Some(Some(Err(error))) => {
                rest.body = None;
                match error {
                    BodyError::Unfinished if bodiless => return Ok(whole(Bytes::new(), entry)),
                    BodyError::Unfinished if head.is_none() => return Err((RequestError::Unfinished, entry)),
                    error => rest.next = Some(Err(error)),
                }
            }
            Some(Some(Ok(frame))) => {
                rest.next = Some(Ok(frame));
                break;
            }
            None if turns < TURNS && !instance.turn.waits() => {
                turns += 1;
                turn().await;
            }
            None => break,
        }
    }
    let is_whole = rest.next.is_none() && head.is_some() && length == Some(size as u64);
    Ok(ResponseBody { head, is_whole, length: announced, rest: Some(Box::new(rest)), broken: None, entry })
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

impl ResponseBody {
    /// Returns whether its end waits for its client to take what is written.
    pub(super) fn waits_for_client(&self) -> bool {
        self.broken.is_some()
    }

    /// Notes that its client takes it too slowly: it is dropped now.
    pub(super) fn time_out(&mut self) {
        self.entry.time_out();
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.broken.is_some() {
            std::task::ready!(this.entry.connection.meter.poll_unblocked(context));
        }
        if let Some(error) = this.broken.take() {
            this.entry.broke_off(this.rest.as_ref().and_then(|rest| rest.interest.0.upset_by()));
            return Poll::Ready(Some(Err(error)));
        }
        let frame = match (this.head.take(), &mut this.rest) {
            (Some(head), _) if !this.is_whole || !head.is_empty() => Poll::Ready(Some(Ok(Frame::data(head)))),
            (_, Some(rest)) if !this.is_whole => rest.poll(context),
            _ => Poll::Ready(None),
        };
        match &frame {
            // Nothing is asked for behind trailers.
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => this.entry.complete(),
            Poll::Ready(Some(Ok(frame))) => this.entry.bytes += frame.data_ref().map_or(0, Bytes::len) as u64,
            Poll::Ready(None) => this.entry.complete(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        if let Poll::Ready(Some(Err(error))) = frame {
            // The end of an instance is logged by itself.
            let is_upset = this.rest.as_ref().is_some_and(|rest| rest.interest.0.upset_by().is_some());
            if !is_upset && !matches!(error, BodyError::CutShort) {
                this.entry.report("its answer broke off", Some(error.to_string()));
            }
            this.broken = Some(error);
            context.waker().wake_by_ref();
            return Poll::Pending;
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
        // A body in one piece goes out with the head. hyper does not ask for an empty one, nor for the end behind the last
        // byte of the announced length.
        if self.is_end_stream() || self.length == Some(self.entry.bytes) || self.entry.is_complete() {
            self.entry.complete();
            if let Some(rest) = &mut self.rest {
                rest.is_left = false;
            }
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
            BadHost,
            BadTarget,
            Malformed,
            Incomplete,
            BadFraming,
            HeadTooLarge,
            TargetTooLong,
            TransferCoding,
            NoRoute,
            TooLarge,
            Upgrade,
            GuestError,
            NoAnswer,
            Unfinished,
            Failed,
            NoInstance,
            Short,
            Busy,
            Stopping,
            OutOfService,
            SlowClient,
            Timeout,
        ];
        for refused in all {
            let (status, _) = refused.answer();
            let head = format!("{} {}: ", status.as_u16(), status.canonical_reason().unwrap());
            assert!(refused.text().starts_with(&head), "{refused:?}");
            assert!(refused.text().ends_with('\n'), "{refused:?}");
        }
    }
}
