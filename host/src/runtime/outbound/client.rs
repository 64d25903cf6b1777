//! The client for requests of guests, one for each thread: its pool of connections, and the steps to a new one (look-up, TCP,
//! TLS), all within the time of the request that asks for it. An error says which step failed.

use std::future::ready;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};
use tokio::net::TcpStream;
use tower_service::Service;

use super::bodies::UploadBody;
use super::fault::DialError;
use super::quota::{OpenConnection, Place};

const IDLE: Duration = Duration::from_secs(90);
const IDLE_PER_ORIGIN: usize = 32;
/// Idle time of a connection after which the system asks whether its other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Largest header section of an answer over HTTP/2; over HTTP/1.1 hyper stops at about 400 KiB and 100 headers.
const HEADER_BYTES: u32 = 64 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type TlsOrTcp = MaybeHttpsStream<TokioIo<TcpStream>>;
type Tls = Arc<ClientConfig>;
pub(super) type OutboundClient = legacy::Client<Connector, UploadBody>;

/// The client of all instances on one thread. Cheap to clone, and free until the first request.
///
/// Use it on one runtime only: its connections are tasks of that. Dropping the runtime drops every connection, and waits only
/// for a look-up of a name under way: end it with `shutdown_timeout`.
#[derive(Clone, Default)]
pub(crate) struct Outbound(Arc<OnceLock<OutboundClient>>);

opaque_debug!(Outbound);

impl Outbound {
    #[cfg(test)]
    pub(super) fn with_tls(config: ClientConfig) -> Self {
        Self(Arc::new(build(Some(offer_protocols(config))).into()))
    }

    pub(super) fn client(&self) -> &OutboundClient {
        self.0.get_or_init(|| build(None))
    }
}

fn build(tls: Option<Tls>) -> OutboundClient {
    let mut http = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(KEEPALIVE));
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
        .build(Connector { http, tls })
}

/// The system's certificates, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. The first `https` request reads them.
static SYSTEM: LazyLock<Result<Tls, String>> = LazyLock::new(|| {
    let loaded = tls_builder()
        .map_err(|error| error.to_string())
        .and_then(|builder| builder.with_native_roots().map_err(|error| error.to_string()));
    loaded.map(|builder| offer_protocols(builder.with_no_client_auth())).inspect_err(|error| {
        let hint = "install the system's ca-certificates, or set SSL_CERT_FILE";
        tracing::error!(error, hint, "no root certificates: guests cannot send https requests");
    })
});

/// Names the crypto provider: a build with another one beside it would have no default.
pub(super) fn tls_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
}

fn offer_protocols(mut config: ClientConfig) -> Tls {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

tokio::task_local! {
    /// The request that is being sent. (The client hands its connector the address only.)
    pub(super) static DIAL: Arc<Dial>;
}

/// State shared by a request and the connection that is made for it.
#[derive(Debug)]
pub(super) struct Dial {
    timeout: Duration,
    place: Arc<Place>,
    /// A connection was begun for this request. If not, it got one that had served before.
    pub(super) dialled: AtomicBool,
    looking_up: AtomicBool,
}

impl Dial {
    pub(super) fn new(timeout: Duration, place: Arc<Place>) -> Self {
        Self { timeout, place, dialled: AtomicBool::new(false), looking_up: AtomicBool::new(false) }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Connector {
    http: HttpConnector<Resolver>,
    /// `None`: with the certificates of the system.
    tls: Option<Tls>,
}

impl Connector {
    fn connect(&mut self, uri: Uri) -> BoxFuture<'static, Result<TlsOrTcp, BoxError>> {
        if uri.scheme() != Some(&Scheme::HTTPS) {
            let connecting = self.http.call(uri);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) });
        }
        match self.tls.as_ref().map_or_else(|| SYSTEM.as_ref(), Ok) {
            Ok(config) => HttpsConnector::from((self.http.clone(), config.clone())).call(uri),
            Err(error) => Box::pin(ready(Err(DialError::NoRoots(error).into()))),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    /// Runs at the first poll of the request, in its task: `DIAL` is set. The connection may outlive the request, if another one
    /// becomes free first.
    fn call(&mut self, uri: Uri) -> Self::Future {
        let Ok(dial) = DIAL.try_with(Arc::clone) else {
            let connecting = self.connect(uri);
            return Box::pin(async move { Ok(Stream { stream: connecting.await?, _open: None }) });
        };
        dial.dialled.store(true, Ordering::Relaxed);
        let open = Some(dial.place.open());
        let connecting = DIAL.scope(dial.clone(), self.connect(uri));
        Box::pin(async move {
            match tokio::time::timeout(dial.timeout, connecting).await {
                Ok(result) => Ok(Stream { stream: result?, _open: open }),
                Err(_) if dial.looking_up.load(Ordering::Relaxed) => Err(DialError::NameTimeout.into()),
                Err(_) => Err(DialError::Timeout.into()),
            }
        })
    }
}

/// A connection, with its place in the count of its component.
#[derive(Debug)]
pub(super) struct Stream {
    stream: TlsOrTcp,
    _open: Option<OpenConnection>,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The system's resolver, on the runtime's blocking threads. A look-up cannot be cancelled: the end of the runtime must not wait
/// for those threads for ever.
#[derive(Clone, Debug)]
pub(super) struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = <GaiResolver as Service<Name>>::Response;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        self.0.poll_ready(context).map_err(DialError::Name)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let looking_up = self.0.call(name);
        Box::pin(async move {
            let tell = |now| DIAL.try_with(|dial| dial.looking_up.store(now, Ordering::Relaxed)).ok();
            tell(true);
            let found = looking_up.await.map_err(DialError::Name);
            tell(false);
            found
        })
    }
}
