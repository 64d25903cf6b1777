//! Whether a request may pass, and what its guest is told of it and of its client.
//!
//! Invariant: what a guest reads of its client's address, and of its request's id, a client cannot have made up, unless
//! the manifest trusts whoever is in front.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, FORWARDED, HOST, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use wasmtime_wasi_http::{Error, WasiBody};

use super::connection::Connection;
use super::error_response::RequestError;
use crate::plan::Forwarded;
use crate::server::generation::generation::Generation;

/// The header that carries a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that a client may give.
const LONGEST_ID: usize = 128;
/// What proxies say of a client begins so, or is called so. A client could say it, too: it is believed only where the
/// manifest says so.
const CLAIM: &str = "x-forwarded-";
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

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

/// A request as its guest will see it, and what becomes of its body, if it has one.
pub type Admitted = (Request<WasiBody>, Option<Arc<Upload>>);

/// What became of a request's body.
#[derive(Debug, Default)]
pub struct Upload {
    /// It is larger than allowed.
    pub too_large: AtomicBool,
    /// The client has sent all of it.
    pub ended: AtomicBool,
}

/// Lets a request pass, or not.
///
/// # Errors
/// Why it may not.
pub fn admit(
    connection: &Arc<Connection>,
    generation: &Generation,
    request: Request<Incoming>,
    id: &HeaderValue,
) -> Result<Admitted, RequestError> {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::CONNECT || wants_upgrade(&parts.headers) {
        return Err(RequestError::Upgrade);
    }
    let most = generation.plan.http.limits.body_size.unwrap_or(u64::MAX);
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > most) {
        return Err(RequestError::TooLarge);
    }
    let uri = std::mem::take(&mut parts.uri);
    parts.uri = full_uri(connection, uri, &parts.headers, parts.version)?;
    describe_client(connection, generation, &mut parts.headers);
    parts.headers.insert(REQUEST_ID, id.clone());
    if body.is_end_stream() {
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        return Ok((Request::from_parts(parts, empty), None));
    }
    let upload = Arc::new(Upload::default());
    connection.body_began();
    let body = RequestBody { body, left: most, upload: upload.clone(), connection: Some(connection.clone()) };
    Ok((Request::from_parts(parts, body.boxed_unsync()), Some(upload)))
}

/// WebSocket cannot be passed on: `wasi:http` has no upgrades. Other offers may be ignored, and some clients make
/// them with each request.
fn wants_upgrade(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(UPGRADE).iter().filter_map(|offers| offers.to_str().ok());
    offers.flat_map(|offers| offers.split(',')).any(|offer| offer.trim().eq_ignore_ascii_case("websocket"))
}

/// Puts together what HTTP/1 says in several places.
fn full_uri(
    connection: &Connection,
    uri: Uri,
    headers: &HeaderMap,
    version: Version,
) -> Result<Uri, RequestError> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(RequestError::BadRequest);
    }
    let mut parts = uri.into_parts();
    if parts.authority.is_none() {
        let authority = match host {
            Some(host) => Authority::try_from(host.as_bytes()),
            // HTTP/1.0 had no hosts.
            None if version < Version::HTTP_11 => Ok(Authority::from_static("localhost")),
            None => return Err(RequestError::BadRequest),
        };
        parts.authority = Some(authority.map_err(|_| RequestError::BadRequest)?);
    }
    parts.scheme = Some(if connection.is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|_| RequestError::BadRequest)
}

fn describe_client(connection: &Connection, generation: &Generation, headers: &mut HeaderMap) {
    let own = connection.forwarded.clone();
    match generation.plan.http.forwarded {
        Forwarded::Append => {
            headers.append(FORWARDED, own);
        }
        Forwarded::Replace => {
            let claims = |name: &&HeaderName| name.as_str().starts_with(CLAIM) || *name == REAL_IP;
            let claimed: Vec<_> = headers.keys().filter(claims).cloned().collect();
            for name in claimed {
                headers.remove(name);
            }
            headers.insert(FORWARDED, own);
        }
    }
}

/// Returns the client's id of a request if it can be used in a log, else a new one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
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
    upload: Arc<Upload>,
    connection: Option<Arc<Connection>>,
}

impl RequestBody {
    fn ended(&mut self) {
        self.upload.ended.store(true, Ordering::Release);
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
                self.upload.too_large.store(true, Ordering::Release);
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
