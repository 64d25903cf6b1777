//! Whether a request may pass, and what its guest is told of it and of its client.
//!
//! Invariant: what a guest reads of its client's address, and of its request's id, a client cannot have made up, unless
//! the manifest trusts whoever is in front.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use wasmtime_wasi_http::{Error, WasiBody};

use super::connection::Connection;
use super::error_response::RequestError;
use super::forwarded::describe_client;
use super::request_id::REQUEST_ID;
use crate::server::generation::generation::Generation;

/// A request as its guest will see it, and what becomes of its body, if it has one.
pub(crate) type Admitted = (Request<WasiBody>, Option<Arc<Upload>>);

/// Progress of a request's body.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    /// It is larger than allowed.
    pub(crate) too_large: AtomicBool,
    /// The client has sent all of it.
    pub(crate) ended: AtomicBool,
}

/// Lets a request pass, or not.
///
/// # Errors
/// Why it may not.
pub(crate) fn admit(
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
    describe_client(connection.forwarded.clone(), generation.plan.http.forwarded, &mut parts.headers);
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
