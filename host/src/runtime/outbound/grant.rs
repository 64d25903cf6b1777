//! The check of each request against the `outbound-http` of its component, and the log of refused ones.
//!
//! Invariant: each refused origin is logged once, and a guest that makes origins up fills neither the memory nor the log.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use http::uri::Scheme;
use http::{Method, Request, Uri};
use wasmtime_wasi_http::Error;

use crate::plan::Origin;

/// Number of refused origins that are remembered and logged; all others are refused in silence.
const REFUSED_ORIGINS: usize = 32;
/// Characters of a refused origin that are logged: a guest can ask for hosts of any length.
const ORIGIN_CHARS: usize = 255;

#[derive(Debug)]
pub(in crate::runtime) struct Grant {
    pub(super) component: String,
    allowed: Arc<[Origin]>,
    refused: Mutex<HashSet<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RequestOrigin<'a> {
    https: bool,
    /// As in the request: an IPv6 address has its brackets.
    host: &'a str,
    port: u16,
}

impl Grant {
    pub(in crate::runtime) fn new(component: &str, allowed: impl Into<Arc<[Origin]>>) -> Self {
        Self { component: component.to_owned(), allowed: allowed.into(), refused: Mutex::default() }
    }

    pub(in crate::runtime) fn is_empty(&self) -> bool {
        self.allowed.is_empty()
    }

    /// Checks that a request may be sent.
    ///
    /// # Errors
    /// `HttpRequestDenied` when its origin is not granted; another one when the request makes no sense.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Error> {
        // A tunnel would reach whatever its other end reaches.
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let target = RequestOrigin::of(request.uri())?;
        let host = target.host.trim_start_matches('[').trim_end_matches(']');
        if self.allowed.iter().any(|origin| origin.allows(target.https, host, target.port)) {
            return Ok(());
        }
        self.log_refusal(target);
        Err(Error::HttpRequestDenied)
    }

    fn log_refusal(&self, target: RequestOrigin<'_>) {
        let origin: String = target.to_string().chars().take(ORIGIN_CHARS).collect();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= REFUSED_ORIGINS || !refused.insert(origin.clone()) {
            return;
        }
        drop(refused);
        let component = self.component.as_str();
        let hint = format!("add {origin:?} to outbound-http");
        tracing::warn!(component, origin, hint, "outbound request refused");
    }
}

impl<'a> RequestOrigin<'a> {
    fn of(uri: &'a Uri) -> Result<Self, Error> {
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(Error::HttpProtocolError),
        };
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        let host = authority.host();
        // A `user@` would end up in HTTP/2's `:authority`.
        let port = authority.as_str().strip_prefix(host).ok_or(Error::HttpRequestUriInvalid)?;
        if host.is_empty() {
            return Err(Error::HttpRequestUriInvalid);
        }
        let port = match (port, authority.port_u16()) {
            ("", _) if https => 443,
            ("", _) => 80,
            (_, Some(port)) => port,
            (_, None) => return Err(Error::HttpRequestUriInvalid),
        };
        Ok(Self { https, host, port })
    }
}

/// In the form of a manifest.
impl std::fmt::Display for RequestOrigin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, default) = if self.https { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host.to_ascii_lowercase())?;
        if self.port == default { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}
