//! One request: its generation, its guest's answer, and what its client gets when the guest has none.
//!
//! Invariant: each request gets one answer, or its connection breaks off visibly.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures::channel::oneshot;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use tokio::time::error::Elapsed;
use tokio::time::timeout_at;
use wasmtime_wasi_http::WasiBody;

use super::admission::{REQUEST_ID, Upload, admit, request_id};
use super::body::{RequestError, ResponseBody, error_response, of_guest};
use super::call::NoAnswer;
use super::client_body::ClientBody;
use super::connection::{Connection, RequestInFlight};
use super::departure::{Unread, read_on};
use super::head;
use super::kind::HTTP;
use crate::runtime::is_shortage;
use crate::server::address::address::Stage;
use crate::server::connection::access_log::LoggedRequest;
use crate::server::generation::generation::Generation;
use crate::server::instance::{CouldNotStart, GuestBody, InstanceHandle, content_length};
use crate::server::pool::{Claim, GuestResponse, Interest, Job, SubmitError, Work};

/// Serves one request. A failure is an answer, or in its body.
///
/// # Cancel safety
/// It is dropped when its client leaves: the guest's call goes on, and its answer is dropped.
pub(crate) async fn handle(
    connection: Arc<Connection>,
    request: Request<ClientBody>,
) -> Result<Response<ResponseBody>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let version = parts.version;
    let bodiless = parts.method == Method::HEAD;
    let id = request_id(&parts.headers);
    let logged = connection.address.access.is_some().then(|| LoggedRequest {
        method: parts.method.clone(),
        target: parts.uri.path_and_query().map_or_else(|| "*".to_owned(), ToString::to_string),
        version,
        id: id.clone(),
        agent: parts.headers.get(USER_AGENT).cloned(),
    });
    let is_chunked = connection.is_serial() && parts.headers.contains_key(TRANSFER_ENCODING);
    let routed = head::check(&mut parts, connection.is_tls)
        .and_then(|()| route(&connection, &parts.uri).ok_or(RequestError::NoRoute));
    let mut entry = RequestInFlight::begin(routed.clone().ok(), connection.clone(), version, logged);
    let answered = match routed {
        Ok(_) if !connection.framing.is_sure().await => Err(RequestError::BadFraming.into()),
        Ok(generation) => {
            pass(&connection, generation, Request::from_parts(parts, body), &id, &mut entry).await
        }
        Err(refused) => {
            // hyper drops the body unread, and the end of its chunks is in doubt.
            if is_chunked {
                connection.lose_framing();
            }
            Err(refused.into())
        }
    };
    if connection.is_serial() && matches!(&answered, Err(refused) if refused.what.ends_connection()) {
        connection.lose_framing();
    }
    let mut response = match answered {
        Ok((response, instance, interest)) => {
            let (mut parts, body) = response.into_parts();
            if parts.status == StatusCode::NO_CONTENT {
                // RFC 9110 section 8.6.
                parts.headers.remove(CONTENT_LENGTH);
            }
            let bodiless = bodiless || matches!(parts.status.as_u16(), 100..=199 | 204 | 304);
            entry.answered(parts.status.as_u16(), bodiless);
            entry.answered_by_guest();
            let length = content_length(&parts.headers);
            match of_guest(body, length, bodiless, instance, interest, entry).await {
                Ok(body) => Response::from_parts(parts, body),
                Err((broken, entry)) => error_response(broken, None, entry, bodiless),
            }
        }
        Err(Refused { what, error }) => error_response(what, error, entry, bodiless),
    };
    response.headers_mut().insert(REQUEST_ID, id);
    let is_last = connection.address.stage() >= Stage::Delay || connection.takes_no_more();
    if version < Version::HTTP_2 && is_last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Returns the generation that serves a request.
fn route(connection: &Connection, uri: &Uri) -> Option<Arc<Generation>> {
    let routing = connection.address.routing();
    let generation = routing.routes.find(uri.host(), uri.path());
    // A component of another kind can have taken the address over.
    generation.filter(|generation| generation.loaded.kind == &HTTP).cloned()
}

type Passed = (Response<GuestBody>, Arc<InstanceHandle>, Interest);

/// Reason for an answer of the host instead of the guest's, and the guest's own words for it.
struct Refused {
    what: RequestError,
    error: Option<String>,
}

impl Refused {
    fn with(what: RequestError, error: impl fmt::Display) -> Self {
        Self { what, error: Some(error.to_string()) }
    }
}

impl From<RequestError> for Refused {
    fn from(what: RequestError) -> Self {
        Self { what, error: None }
    }
}

async fn pass(
    connection: &Arc<Connection>,
    generation: Arc<Generation>,
    request: Request<ClientBody>,
    id: &HeaderValue,
    entry: &mut RequestInFlight,
) -> Result<Passed, Refused> {
    let submitted = admit(connection, &generation, request, id)
        .and_then(|(request, upload)| Ok((submit(connection, generation, request, entry, false)?, upload)));
    connection.request_taken();
    let (mut waiting, upload) = submitted?;
    let answer = loop {
        waiting.watch(upload.as_deref());
        let answer = waiting.answer().await;
        // It waited in vain: another generation has taken over.
        match waiting.returned() {
            Some(request) => waiting = submit(connection, waiting.generation.clone(), request, entry, true)?,
            None => break answer,
        }
    };
    let generation = waiting.generation.clone();
    let Some((instance, interest, unread)) = waiting.end() else {
        return Err(Refused::from(match answer {
            Err(_late) => RequestError::Busy,
            Ok(_) if generation.pool.takes_none() => RequestError::Stopping,
            Ok(_) => RequestError::NoInstance,
        }));
    };
    Err(Refused::from(match answer {
        Ok(Ok(Ok(response))) if !response.status().is_informational() => {
            return Ok((response, instance, interest));
        }
        Ok(_) if upload.as_ref().is_some_and(|upload| upload.too_large.load(Ordering::Acquire)) => {
            RequestError::TooLarge
        }
        Ok(_) if upload.as_ref().is_some_and(|upload| upload.too_slow.load(Ordering::Acquire)) => {
            RequestError::SlowClient
        }
        // Only a server that speaks the protocol itself can send these.
        Ok(Ok(Ok(response))) => {
            let status = response.status().as_u16();
            return Err(Refused::with(RequestError::GuestError, format_args!("it has the status {status}")));
        }
        Ok(Ok(Err(error))) if error.is::<NoAnswer>() => {
            return Err(Refused::with(RequestError::NoAnswer, error));
        }
        Ok(Ok(Err(error))) if error.is::<CouldNotStart>() => RequestError::NoInstance,
        Ok(Ok(Err(error))) if is_shortage(&error) => {
            return Err(Refused::with(RequestError::Short, format_args!("{error:#}")));
        }
        Ok(Ok(Err(error))) if !instance.is_dead() && is_error_code(&error) => {
            return Err(Refused::with(RequestError::GuestError, error));
        }
        Ok(_) if instance.link.orders.must_trap() => RequestError::Stopping,
        Ok(_) => RequestError::Failed,
        Err(_late) => {
            let (what, until) = match upload.filter(|upload| !upload.ended.load(Ordering::Acquire)) {
                // The guest may be waiting for its client. If it goes on without it for as long, it is the guest.
                Some(upload) => {
                    upload.time_out();
                    (RequestError::SlowClient, Instant::now() + generation.plan.http.request_timeout)
                }
                None => (RequestError::Timeout, Instant::now()),
            };
            read_on(unread, &interest.0, until);
            what
        }
    }))
}

/// Hands a request in. If its generation takes no more, it goes to the one that has taken over meanwhile.
fn submit(
    connection: &Connection,
    mut generation: Arc<Generation>,
    mut request: Request<WasiBody>,
    entry: &mut RequestInFlight,
    has_waited: bool,
) -> Result<Waiting, RequestError> {
    let (mut reply, answer) = oneshot::channel();
    loop {
        let holder = connection.holder(&generation.pool, generation.plan.http.forwarded);
        let claim = Claim::new(&generation.pool, holder);
        let interest = Interest(claim.clone());
        let home = Arc::ptr_eq(&connection.host, &generation.workers).then_some(connection.worker);
        let job = Job { work: Work::Request(request, reply), claim, has_waited };
        let (refused, job) = match generation.pool.submit(home, job) {
            Ok(()) => return Ok(Waiting { generation, answer, interest: Some(interest) }),
            Err((SubmitError::QueueFull, _)) => return Err(RequestError::Busy),
            Err((SubmitError::Stopped, job)) => (RequestError::Stopping, job),
            Err((SubmitError::OutOfService, job)) => (RequestError::OutOfService, job),
        };
        let Work::Request(again, asked) = job.work else { return Err(RequestError::Stopping) };
        (request, reply) = (again, asked);
        let other = route(connection, request.uri()).filter(|other| !Arc::ptr_eq(other, &generation));
        generation = other.ok_or(refused)?;
        entry.move_to(&generation);
    }
}

/// A request whose answer has not begun. Dropping it is how a client leaves.
struct Waiting {
    generation: Arc<Generation>,
    answer: oneshot::Receiver<GuestResponse>,
    interest: Option<Interest>,
}

impl Waiting {
    /// Returns the answer, or that it did not come in time: the queue and the guest have the same time each.
    async fn answer(&mut self) -> Result<Result<GuestResponse, oneshot::Canceled>, Elapsed> {
        let limit = self.generation.plan.http.request_timeout;
        let mut waits_until = Instant::now() + limit;
        loop {
            let late = match timeout_at(waits_until.into(), &mut self.answer).await {
                Ok(answer) => return Ok(answer),
                Err(late) => late,
            };
            let taken = self.interest.as_ref().and_then(|interest| interest.0.taken_at());
            let until = taken.map(|taken| taken + limit).filter(|until| *until > waits_until);
            waits_until = until.ok_or(late)?;
        }
    }

    /// Has the claim hear when the upload breaks off.
    fn watch(&self, upload: Option<&Upload>) {
        if let (Some(upload), Some(interest)) = (upload, &self.interest) {
            upload.belongs_to(&interest.0);
        }
    }

    /// Returns the request if no instance took it and it was given back.
    fn returned(&self) -> Option<Request<WasiBody>> {
        self.interest.as_ref()?.0.returned()
    }

    /// Returns the instance that took it, if one did, and the answer that may still come.
    fn end(mut self) -> Option<(Arc<InstanceHandle>, Interest, Unread)> {
        let interest = self.interest.take()?;
        Some((interest.0.taker()?.clone(), interest, self.unread()))
    }

    fn unread(&mut self) -> Unread {
        Unread::All(std::mem::replace(&mut self.answer, oneshot::channel().1))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(interest) = self.interest.take()
            && let Some(taken) = interest.0.taken_at()
        {
            interest.0.abandon();
            // The client is gone, but the call goes on and holds its place for as long.
            read_on(self.unread(), &interest.0, taken + self.generation.plan.http.request_timeout);
        }
    }
}

/// Returns true if the guest answered with an error, as it may.
fn is_error_code(error: &wasmtime::Error) -> bool {
    use wasmtime_wasi_http::{p2, p3};
    error.downcast_ref::<p3::bindings::http::types::ErrorCode>().is_some()
        || error.downcast_ref::<p2::bindings::http::types::ErrorCode>().is_some()
}
