//! The `wasi:http` of one store: sending of requests, and names of errors.
//!
//! Invariant: after it is dropped, with its store, bodies under way count as incomplete.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, Response};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode as CodeP2;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode as CodeP3;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::client::Outbound;
use super::fault::Lost;
use super::grant::Grant;
use super::send::{Waits, send};
use super::upload::Fate;

#[derive(Debug)]
pub(in crate::runtime) struct HttpHooks {
    grant: Arc<Grant>,
    outbound: Outbound,
    store_gone: Arc<AtomicBool>,
}

/// The end of sending a request's body.
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
        // The guest's end of reading the response, which only the server could want to know.
        _answer_read: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, BodySent), Error>> + Send> {
        let checked = self.grant.check(&request);
        let (grant, outbound) = (self.grant.clone(), self.outbound.clone());
        let store_gone = self.store_gone.clone();
        Box::new(async move {
            checked?;
            let host = request.uri().authority().map(ToString::to_string);
            let sent = send(outbound.client(), request, Waits::new(options), &store_gone).await;
            let (answer, fate) = sent.map_err(|(error, cause)| {
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

    fn p2_error_from_connect(&mut self, _error: &io::Error) -> CodeP2 {
        CodeP2::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, _error: &io::Error) -> CodeP2 {
        CodeP2::TlsProtocolError
    }

    fn p3_error_from_hyper(&mut self, error: &hyper::Error) -> CodeP3 {
        match Lost::of(error) {
            Lost::Closed => CodeP3::ConnectionTerminated,
            Lost::Late => CodeP3::ConnectionReadTimeout,
            Lost::Malformed => CodeP3::HttpProtocolError,
        }
    }

    fn p3_error_from_connect(&mut self, _error: &io::Error) -> CodeP3 {
        CodeP3::ConnectionRefused
    }

    fn p3_error_from_tls(&mut self, _error: &io::Error) -> CodeP3 {
        CodeP3::TlsProtocolError
    }
}
