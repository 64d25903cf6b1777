//! The pool of connections for requests of guests, one for each thread.
//!
//! Invariant: a client lives on one runtime. Its connections are tasks of the runtime that first used it; on another one,
//! requests would wait for tasks that are not polled any more.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connector::Connector;
use super::tls::Tls;
use super::upload::UploadBody;

const IDLE: Duration = Duration::from_secs(90);
const IDLE_PER_ORIGIN: usize = 32;
/// Largest header section of an answer over HTTP/2; over HTTP/1.1 hyper stops at about 400 KiB and 100 headers.
const HEADER_BYTES: u32 = 64 << 10;

pub(super) type OutboundClient = legacy::Client<Connector, UploadBody>;

/// The client of all instances on one thread. Cheap to clone, and free until the first request.
///
/// It must be used on one runtime only. Dropping the runtime drops every connection, and waits only for a look-up of a name
/// under way: end it with `shutdown_timeout`.
#[derive(Clone, Default)]
pub struct Outbound {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    client: OnceLock<OutboundClient>,
    tls: Tls,
}

opaque_debug!(Outbound);

impl Outbound {
    #[cfg(test)]
    pub(super) fn with_tls(config: rustls::ClientConfig) -> Self {
        let tls = Tls::Given(Arc::new(super::tls::offer_protocols(config)));
        Self { shared: Arc::new(Shared { client: OnceLock::new(), tls }) }
    }

    pub(super) fn client(&self) -> &OutboundClient {
        self.shared.client.get_or_init(|| build(self.shared.tls.clone()))
    }
}

fn build(tls: Tls) -> OutboundClient {
    legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_ORIGIN)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http2_max_header_list_size(HEADER_BYTES)
        // Without the request's own `host` header: from its address, for HTTP/1.1 only.
        .set_host(true)
        // Of any method: the connection was found closed before a byte of the request was written to it.
        .retry_canceled_requests(true)
        .build(Connector::new(tls))
}
