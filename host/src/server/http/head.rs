//! Checks of a request's head, before it is routed: its target, its authority, and how its body is framed.
//!
//! Invariant: the URI of a head that passes has its authority, and `host` has no other one: routing and the guest see the same.

use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::{self, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, request};

use super::body::RequestError;
use crate::text::authority::Authority;

/// Authority of a request of HTTP/1.0, which had no hosts.
const NO_HOST: &str = "localhost";

/// Checks the head of a request, and puts together the parts of its URI that HTTP/1 has in several places.
///
/// # Errors
/// The reason for which it is refused.
pub(super) fn check(request: &mut request::Parts, is_tls: bool) -> Result<(), RequestError> {
    if !is_framed_plainly(&request.headers) {
        return Err(RequestError::TransferCoding);
    }
    let is_known = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
    if !has_form(request) || !request.uri.scheme().is_none_or(is_known) {
        return Err(RequestError::BadTarget);
    }
    let authority = authority(request, is_tls)?;
    if request.headers.get(HOST).is_some_and(|host| host.as_bytes() != authority.as_str().as_bytes()) {
        request.headers.remove(HOST);
    }
    let mut parts = std::mem::take(&mut request.uri).into_parts();
    parts.authority = Some(authority);
    parts.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    request.uri = Uri::from_parts(parts).map_err(|_| RequestError::BadTarget)?;
    Ok(())
}

/// Returns whether its body has no transfer coding but `chunked`. hyper looks only at the last one.
fn is_framed_plainly(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    codings.next().is_none_or(is_chunked) && codings.next().is_none()
}

/// Returns whether its target has a form that its method may have (RFC 9112, 3.2): an authority alone is for CONNECT, `*` for
/// OPTIONS.
fn has_form(request: &request::Parts) -> bool {
    let uri = &request.uri;
    match (&request.method, uri.scheme(), uri.authority()) {
        (&Method::CONNECT, _, _) => true,
        (_, None, Some(_)) => false,
        (&Method::OPTIONS, _, _) => uri.path() == "*" || is_path(uri.path()),
        _ => is_path(uri.path()),
    }
}

fn is_path(path: &str) -> bool {
    path.is_empty() || path.starts_with('/')
}

/// Returns the authority that a request names. That of its target wins over `host`, which must be right all the same.
fn authority(request: &request::Parts, is_tls: bool) -> Result<uri::Authority, RequestError> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_second)) => return Err(RequestError::BadHost),
        (Some(host), None) => Some(read(host.as_bytes())?),
        (None, None) => None,
    };
    let named = request.uri.authority().map(|named| read(named.as_str().as_bytes())).transpose()?;
    let default_port = if is_tls { 443 } else { 80 };
    let text = match (named, host) {
        // RFC 9113, 8.3.1. In HTTP/1 they may differ: a client tells a proxy of another host so.
        (Some(named), Some(host))
            if request.version >= Version::HTTP_2 && !named.is_same(&host, default_port) =>
        {
            return Err(RequestError::BadHost);
        }
        // RFC 9112, 3.2: also beside an authority in the target.
        (_, None) if request.version == Version::HTTP_11 => return Err(RequestError::BadHost),
        (Some(named), _) => named.text,
        (None, Some(host)) => host.text,
        (None, None) if request.version < Version::HTTP_11 => NO_HOST,
        (None, None) => return Err(RequestError::BadHost),
    };
    uri::Authority::try_from(text).map_err(|_| RequestError::BadHost)
}

fn read(text: &[u8]) -> Result<Authority<'_>, RequestError> {
    str::from_utf8(text).ok().and_then(Authority::parse).ok_or(RequestError::BadHost)
}

#[cfg(test)]
mod tests;
