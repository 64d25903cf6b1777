//! The `wasi:http` of one store: sending a request.
//!
//! Invariants: after a store is dropped, bodies under way count as incomplete. A request is sent again only if no server can have
//! acted on it, or if its method allows that and a kept connection was closed: a server may do so at the moment of its use.

use std::error::Error as StdError;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, capture_connection};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode as CodeP2;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode as CodeP3;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::bodies::{DownloadBody, Fate, UploadBody};
use super::client::{DIAL, Dial, Outbound, OutboundClient};
use super::fault::{self, Lost};
use super::grant::Grant;
use super::quota::Place;

/// Default of the longest making of a connection.
const CONNECT: Duration = Duration::from_secs(60);
/// Default of the longest wait for the head of a response, and for each piece of it; as in wasmtime.
const ANSWER: Duration = Duration::from_secs(600);
/// Longest wait of all, whatever the guest says: clocks cannot add longer ones.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Number of repetitions of a request when kept connections turn out to be closed.
const RETRIES: usize = 3;

#[derive(Debug)]
pub(in crate::runtime) struct HttpHooks {
    grant: Arc<Grant>,
    outbound: Outbound,
    store_gone: Arc<AtomicBool>,
}

type BodySent = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl HttpHooks {
    pub(in crate::runtime) fn new(grant: Arc<Grant>, outbound: Outbound) -> Self {
        Self { grant, outbound, store_gone: Arc::default() }
    }
}

impl Drop for HttpHooks {
    fn drop(&mut self) {
        self.store_gone.store(true, Ordering::Release);
    }
}

impl WasiHttpHooks for HttpHooks {
    /// The client sets it, for HTTP/1.1; HTTP/2 has `:authority`.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _answer_read: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, BodySent), Error>> + Send> {
        let checked = self.grant.check(&request);
        let (grant, outbound) = (self.grant.clone(), self.outbound.clone());
        let store_gone = self.store_gone.clone();
        Box::new(async move {
            checked?;
            let host = request.uri().authority().map(ToString::to_string);
            let sent = async {
                let (place, waits) = place(&grant, Waits::new(options)).await?;
                send(outbound.client(), request, waits, &store_gone, &place).await
            };
            let (answer, fate) = sent.await.map_err(|(error, cause)| {
                tracing::debug!(component = grant.component(), host, cause, "outbound request failed");
                error
            })?;
            let sent: BodySent = Box::new(async move { fate.await.map_or(Ok(()), Fate::into_result) });
            Ok((answer, sent))
        })
    }

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> CodeP2 {
        match Lost::of(error) {
            Lost::Closed => CodeP2::ConnectionTerminated,
            Lost::Late => CodeP2::ConnectionReadTimeout,
            Lost::Malformed => CodeP2::HttpProtocolError,
        }
    }

    fn p3_error_from_hyper(&mut self, error: &hyper::Error) -> CodeP3 {
        match Lost::of(error) {
            Lost::Closed => CodeP3::ConnectionTerminated,
            Lost::Late => CodeP3::ConnectionReadTimeout,
            Lost::Malformed => CodeP3::HttpProtocolError,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Waits {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Waits {
    fn new(options: Option<RequestOptions>) -> Self {
        let options = options.unwrap_or_default();
        let wait = |asked: Option<Duration>, default| asked.unwrap_or(default).min(LONGEST);
        Self {
            connect: wait(options.connect_timeout, CONNECT),
            first_byte: wait(options.first_byte_timeout, ANSWER),
            between_bytes: wait(options.between_bytes_timeout, ANSWER),
        }
    }
}

/// Waits for the place of a request, within the time for its connection. Returns also the times that are left.
///
/// # Errors
/// When as many others of its component are under way all the time, or too many wait already.
async fn place(grant: &Grant, waits: Waits) -> Result<(Arc<Place>, Waits), (Error, String)> {
    let begun = Instant::now();
    match timeout(waits.connect, grant.place()).await {
        Ok(Some(place)) => {
            let connect = waits.connect.saturating_sub(begun.elapsed());
            Ok((Arc::new(place), Waits { connect, ..waits }))
        }
        Ok(None) | Err(_) => {
            grant.log_full();
            let cause = "as many requests as `limits.outbound` allows are under way".to_owned();
            Err((Error::ConnectionLimitReached, cause))
        }
    }
}

/// A response, and the channel for the fate of the request's body, which may still be under way.
type Answered = (Response<WasiBody>, oneshot::Receiver<Fate>);

struct Unanswered {
    error: Error,
    cause: String,
    /// The body, when the request may be sent again with it.
    again: Option<WasiBody>,
}

/// Sends a request and returns the response, with its body under way; or the error, and its cause for the log.
///
/// # Cancel safety
/// Dropping the future closes the connection (HTTP/1.1) or resets the stream (HTTP/2).
async fn send(
    client: &OutboundClient,
    request: Request<WasiBody>,
    waits: Waits,
    store_gone: &Arc<AtomicBool>,
    place: &Arc<Place>,
) -> Result<Answered, (Error, String)> {
    let (mut parts, mut body) = request.into_parts();
    let mut retries = if parts.method.is_idempotent() { RETRIES } else { 0 };
    loop {
        let kept = (retries > 0).then(|| parts.clone());
        let length = announced_length(&parts.headers);
        let (upload, fate) = UploadBody::new(body, length, store_gone.clone(), place.clone());
        let request = Request::from_parts(parts, upload);
        let unanswered = match attempt(client, request, waits, fate, place).await {
            Ok(answer) => return Ok(answer),
            Err(unanswered) => unanswered,
        };
        match (kept, unanswered.again) {
            (Some(kept), Some(untouched)) => (parts, body) = (kept, untouched),
            _ => return Err((unanswered.error, unanswered.cause)),
        }
        retries -= 1;
    }
}

async fn attempt(
    client: &OutboundClient,
    mut request: Request<UploadBody>,
    waits: Waits,
    mut fate: oneshot::Receiver<Fate>,
    place: &Arc<Place>,
) -> Result<Answered, Unanswered> {
    let connection = capture_connection(&mut request);
    let dial = Arc::new(Dial::new(waits.connect, place.clone()));
    let used = connection.clone();
    let mut answer = pin!(DIAL.scope(dial.clone(), client.request(request)));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => Ok(answer),
        // Until then the connector watches the time.
        () = connected(connection) => timeout(waits.first_byte, answer).await,
    };
    let error: Box<dyn StdError + Send + Sync> = match answer {
        Ok(Ok(answer)) => {
            if !place.may_keep() {
                used.connection_metadata().iter().for_each(Connected::poison);
            }
            let download = |body| DownloadBody::new(body, waits.between_bytes, place.clone()).boxed_unsync();
            return Ok((answer.map(download), fate));
        }
        Ok(Err(error)) => Box::new(error),
        Err(late) => {
            let cause = late.to_string();
            return Err(Unanswered { error: Error::ConnectionReadTimeout, cause, again: None });
        }
    };
    let (cause, error) = (fault::describe(&*error), fault::of_request(&*error));
    let not_dialled = !dial.dialled.load(Ordering::Relaxed);
    let (error, again) = match fate.try_recv() {
        // The guest's own failure is why the connection was given up.
        Ok(Fate::Failed(error)) => (error, None),
        Ok(Fate::Untouched(body)) if not_dialled && matches!(error, Error::ConnectionTerminated) => {
            (error, Some(body))
        }
        _ => (error, None),
    };
    Err(Unanswered { error, cause, again })
}

async fn connected(mut connection: CaptureConnection) {
    if connection.wait_for_connection_metadata().await.is_none() {
        // The request has failed before it had a connection, and returns its error.
        std::future::pending::<()>().await;
    }
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
