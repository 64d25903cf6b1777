//! One request: whose it is, whether it may pass, what its guest is told of it, and what its client gets when the
//! guest has no answer. Invariant: each request gets one answer, or its connection breaks off visibly.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::channel::oneshot;
use http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, UPGRADE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use wasmtime_wasi_http::{Error, WasiBody};

use super::answer::{Refused, refusal};
use super::body::{AnswerBody, of_guest};
use super::call::{Claim, Interest, Job};
use super::component::Component;
use super::connection::Connection;
use super::entry::{Entry, Seen};
use super::instance::Why;
use super::pool::Refusal;
use crate::plan::Forwarded;

/// The header that carries a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that a client may give.
const LONGEST_ID: usize = 128;
/// What proxies say of a client. A client could say it, too: it is believed only where the manifest says so.
const CLAIMS: [HeaderName; 5] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Returns what guests are told of a client at this address.
pub fn forwarded_for(client: &str, tls: bool) -> HeaderValue {
    let proto = if tls { "https" } else { "http" };
    // RFC 7239: what has colons stands in brackets and quotes, who has no address is unknown.
    let node = match client.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => address.to_string(),
        Ok(std::net::IpAddr::V6(address)) => format!("\"[{address}]\""),
        Err(_) => "unknown".to_owned(),
    };
    HeaderValue::try_from(format!("for={node};proto={proto}"))
        .unwrap_or_else(|_| HeaderValue::from_static("for=unknown"))
}

/// Serves one request.
///
/// # Errors
/// None: what goes wrong is an answer, or in its body.
///
/// # Cancel safety
/// Dropping it is how a client that leaves is noticed: its guest's call goes on, with nobody listening.
pub async fn handle(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let version = request.version();
    let bodiless = request.method() == Method::HEAD;
    let id = request_id(request.headers());
    let seen = connection.group.access.is_some().then(|| seen(&request, &id));
    let component = route(&connection, &request).cloned();
    let mut entry = Entry::begin(component.clone(), connection.clone(), seen);
    let answered = match component {
        Some(component) => pass(&connection, &component, request, &id).await,
        None => Err(Refused::NoRoute),
    };
    let mut response = match answered {
        Ok((response, instance, interest)) => {
            let (parts, body) = response.into_parts();
            let bodiless = bodiless || matches!(parts.status.as_u16(), 100..=199 | 204 | 304);
            entry.answered(parts.status.as_u16(), bodiless);
            let sink = !instance.is_async;
            let body = of_guest(body, instance, interest, entry, sink).await;
            Response::from_parts(parts, body)
        }
        Err(refused) => {
            entry.answered(refused.status().as_u16(), bodiless);
            refusal(refused, entry)
        }
    };
    response.headers_mut().insert(REQUEST_ID, id);
    if version < Version::HTTP_2 && connection.winds_down() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Returns who serves a request.
fn route<'a>(connection: &'a Connection, request: &Request<Incoming>) -> Option<&'a Arc<Component>> {
    let named = request.uri().host();
    let host = named.or_else(|| request.headers().get(HOST)?.to_str().ok());
    connection.group.routes.find(host, request.uri().path())
}

fn seen(request: &Request<Incoming>, id: &HeaderValue) -> Seen {
    let target = request.uri().path_and_query().map_or_else(|| "*".to_owned(), ToString::to_string);
    let agent = request.headers().get(USER_AGENT).cloned();
    Seen { method: request.method().clone(), target, version: request.version(), id: id.clone(), agent }
}

type Passed = (wasmtime_wasi_http::handler::Response, Arc<super::instance::Instance>, Interest);

/// Has the guest answer.
async fn pass(
    connection: &Arc<Connection>,
    component: &Arc<Component>,
    request: Request<Incoming>,
    id: &HeaderValue,
) -> Result<Passed, Refused> {
    let admitted = admit(connection, component, request, id);
    let (reply, answer) = oneshot::channel();
    let claim = Arc::new(Claim::default());
    let interest = Interest(claim.clone());
    let submitted = admitted.and_then(|(request, too_large)| {
        let home = connection.group.is_hosted_by(component).then_some(connection.lane);
        component.pool.submit(home, Job { request, reply, claim }).map_err(|refusal| match refusal {
            Refusal::QueueFull => Refused::Busy,
            Refusal::Stopped => Refused::Stopping,
        })?;
        Ok(too_large)
    });
    connection.request_taken();
    let too_large = submitted?;
    let limit = component.plan.http.request_timeout;
    let answer = tokio::time::timeout(limit, answer).await;
    let Some(instance) = interest.0.taker().cloned() else {
        return Err(match answer {
            Err(_late) => Refused::Busy,
            Ok(_) if component.pool.takes_none() => Refused::Stopping,
            Ok(_) => Refused::NoInstance,
        });
    };
    match answer {
        Ok(Ok(Ok(response))) => Ok((response, instance, interest)),
        Ok(_) if too_large.as_ref().is_some_and(|over| over.load(Ordering::Acquire)) => {
            Err(Refused::TooLarge)
        }
        Ok(Ok(Err(error))) if !instance.is_dead() && is_error_code(&error) => Err(Refused::GuestError),
        Ok(_) if instance.link.must_trap() => Err(Refused::Stopping),
        Ok(_) => Err(Refused::Failed),
        Err(_late) => {
            component.pool.close(&instance, Why::Timeout);
            Err(Refused::Timeout)
        }
    }
}

/// Returns whether the guest answered with an error, as it may.
fn is_error_code(error: &wasmtime::Error) -> bool {
    use wasmtime_wasi_http::{p2, p3};
    error.downcast_ref::<p3::bindings::http::types::ErrorCode>().is_some()
        || error.downcast_ref::<p2::bindings::http::types::ErrorCode>().is_some()
}

type Admitted = (Request<WasiBody>, Option<Arc<AtomicBool>>);

/// Returns the request as the guest will see it, and where it is noted when its body is too large.
fn admit(
    connection: &Arc<Connection>,
    component: &Component,
    request: Request<Incoming>,
    id: &HeaderValue,
) -> Result<Admitted, Refused> {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::CONNECT || wants_upgrade(&parts.headers) {
        return Err(Refused::Upgrade);
    }
    let most = component.plan.http.limits.body_size.unwrap_or(u64::MAX);
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > most) {
        return Err(Refused::TooLarge);
    }
    parts.uri = full_uri(connection, std::mem::take(&mut parts.uri), &parts.headers)?;
    describe_client(connection, component, &mut parts.headers);
    parts.headers.insert(REQUEST_ID, id.clone());
    if body.is_end_stream() {
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        return Ok((Request::from_parts(parts, empty), None));
    }
    let too_large = Arc::new(AtomicBool::new(false));
    connection.body_began();
    let body =
        RequestBody { body, left: most, over: too_large.clone(), connection: Some(connection.clone()) };
    Ok((Request::from_parts(parts, body.boxed_unsync()), Some(too_large)))
}

/// An upgrade cannot be passed on: `wasi:http` has none. An offer of h2c may be ignored.
fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(UPGRADE).iter().any(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

/// Puts together what HTTP/1 says in several places.
fn full_uri(connection: &Connection, uri: Uri, headers: &HeaderMap) -> Result<Uri, Refused> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Refused::BadRequest);
    }
    let mut parts = uri.into_parts();
    if parts.authority.is_none() {
        let authority = match host {
            Some(host) => Authority::try_from(host.as_bytes()),
            None => Ok(Authority::from_static("localhost")),
        };
        parts.authority = Some(authority.map_err(|_| Refused::BadRequest)?);
    }
    parts.scheme = Some(if connection.group.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|_| Refused::BadRequest)
}

fn describe_client(connection: &Connection, component: &Component, headers: &mut HeaderMap) {
    let own = connection.forwarded.clone();
    match component.plan.http.forwarded {
        Forwarded::Append => {
            headers.append(FORWARDED, own);
        }
        Forwarded::Replace => {
            for claim in &CLAIMS {
                headers.remove(claim);
            }
            headers.insert(FORWARDED, own);
        }
    }
}

/// Returns the client's id of a request if it can be used in a log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        !bytes.is_empty() && bytes.len() <= LONGEST_ID && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers.get(&REQUEST_ID).filter(usable).cloned().unwrap_or_else(new_id)
}

/// Returns an id that no other request has: a part by chance for the process, and a number.
fn new_id() -> HeaderValue {
    use std::hash::{BuildHasher, RandomState};
    static PROCESS: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let process = PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut text = [b'0'; 24];
    let value = (u128::from(*process) << 32) | u128::from(number & u64::from(u32::MAX));
    for (at, digit) in text.iter_mut().rev().enumerate() {
        let nibble = (value >> (4 * at)) & 0xf;
        *digit = b"0123456789abcdef".get(nibble as usize).copied().unwrap_or(b'0');
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// A client's body on its way to the guest.
struct RequestBody {
    body: Incoming,
    left: u64,
    over: Arc<AtomicBool>,
    connection: Option<Arc<Connection>>,
}

impl RequestBody {
    fn ended(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.body_ended();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let size = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            Some(Err(_)) => 0,
            None => {
                self.ended();
                0
            }
        };
        match self.left.checked_sub(size) {
            Some(left) => self.left = left,
            None => {
                self.over.store(true, Ordering::Release);
                return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
