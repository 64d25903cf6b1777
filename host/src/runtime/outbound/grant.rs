//! The check of each request against the `outbound-http` of its component. Each refused origin is logged once; made-up origins
//! fill neither the memory nor the log.

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
        let (https, host, port) = origin(request.uri())?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if self.allowed.iter().any(|origin| origin.allows(https, bare, port)) {
            return Ok(());
        }
        self.log_refusal(https, host, port);
        Err(Error::HttpRequestDenied)
    }

    fn log_refusal(&self, https: bool, host: &str, port: u16) {
        let scheme = if https { "https" } else { "http" };
        let mut origin = format!("{scheme}://{}", host.to_ascii_lowercase());
        if port != default_port(https) {
            origin += &format!(":{port}");
        }
        let origin: String = origin.chars().take(ORIGIN_CHARS).collect();
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

/// Returns the origin of a request: whether it is `https`, the host (an IPv6 address has its brackets), and the port.
fn origin(uri: &Uri) -> Result<(bool, &str, u16), Error> {
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
    match (port, authority.port_u16()) {
        ("", _) => Ok((https, host, default_port(https))),
        (_, Some(port)) => Ok((https, host, port)),
        (_, None) => Err(Error::HttpRequestUriInvalid),
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}
