//! The check of each request against the `outbound-http` of its component, and its place among those of the component. Each refused
//! origin is logged once.

use std::borrow::Cow;
use std::sync::Arc;

use http::uri::Scheme;
use http::{Method, Request, Uri};
use wasmtime_wasi_http::Error;

use super::quota::{Place, Quota};
use crate::plan::Origin;
use crate::runtime::refused_once::RefusedOnce;
use crate::text::authority::Authority;

#[derive(Debug)]
pub(in crate::runtime) struct Grant {
    allowed: Arc<[Origin]>,
    refused: RefusedOnce,
    quota: Arc<Quota>,
    /// Most requests at a time.
    most: usize,
}

impl Grant {
    pub(in crate::runtime) fn new(
        component: &str,
        allowed: impl Into<Arc<[Origin]>>,
        quota: Arc<Quota>,
        most: usize,
    ) -> Self {
        Self { allowed: allowed.into(), refused: RefusedOnce::new(component), quota, most }
    }

    /// Returns the place of a request, once there is one; `None` at once if too many wait. Cancel safe.
    pub(super) async fn place(&self) -> Option<Place> {
        self.quota.place(self.most).await
    }

    pub(super) fn component(&self) -> &str {
        &self.refused.component
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
        self.log_refusal(https, &host, port);
        Err(Error::HttpRequestDenied)
    }

    /// Logs once that a request has found no place.
    pub(super) fn log_full(&self) {
        if self.refused.first("limits.outbound").is_some() {
            let (component, limit) = (self.component(), self.most);
            let hint = "raise limits.outbound, or have the component ask for less at a time";
            tracing::warn!(
                component,
                limit,
                hint,
                "outbound request refused: as many are under way as may be"
            );
        }
    }

    fn log_refusal(&self, https: bool, host: &str, port: u16) {
        let scheme = if https { "https" } else { "http" };
        let mut origin = format!("{scheme}://{host}");
        if port != default_port(https) {
            origin += &format!(":{port}");
        }
        let Some(origin) = self.refused.first(&origin) else { return };
        let component = self.component();
        let hint = format!("add {origin:?} to outbound-http");
        tracing::warn!(component, origin, hint, "outbound request refused");
    }
}

/// Returns the origin of a request: whether it is `https`, the host (an IPv6 address has its brackets), and the port.
fn origin(uri: &Uri) -> Result<(bool, Cow<'_, str>, u16), Error> {
    let https = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return Err(Error::HttpProtocolError),
    };
    let text = uri.authority().ok_or(Error::HttpRequestUriInvalid)?.as_str();
    // A `user@` would end up in HTTP/2's `:authority`. An empty port is one that the guest has forgotten.
    let authority = Authority::parse(text).filter(|authority| authority.text == text);
    let Authority { host, port, .. } = authority.ok_or(Error::HttpRequestUriInvalid)?;
    Ok((https, host, port.unwrap_or(default_port(https))))
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}
