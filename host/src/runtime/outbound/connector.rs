//! Making a connection: look-up, TCP, TLS, all within the time of the request that asks for it.
//!
//! Invariant: an error says which of the steps failed.

use std::future::ready;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::tls::Tls;

/// How long a connection is idle before the system asks whether its other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

tokio::task_local! {
    /// The request that is being sent: the client hands its connector the address only.
    pub(super) static DIAL: Arc<Dial>;
}

/// State shared by a request and the connection that is made for it.
#[derive(Debug)]
pub(super) struct Dial {
    timeout: Duration,
    dialled: AtomicBool,
    looking_up: AtomicBool,
}

impl Dial {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, dialled: AtomicBool::new(false), looking_up: AtomicBool::new(false) }
    }

    /// Returns whether a connection was begun for this request: if not, it was given one that had served before.
    pub(super) fn has_dialled(&self) -> bool {
        self.dialled.load(Ordering::Relaxed)
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the name cannot be looked up: {0}")]
    Name(io::Error),
    #[error("the look-up took too long")]
    NameTimeout,
    #[error("the connection took too long")]
    Timeout,
    #[error("no root certificates: {0}")]
    NoRoots(&'static str),
}

#[derive(Clone, Debug)]
pub(super) struct Connector {
    http: HttpConnector<Resolver>,
    tls: Tls,
}

impl Connector {
    pub(super) fn new(tls: Tls) -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        Self { http, tls }
    }

    fn connect(&mut self, uri: Uri) -> BoxFuture<'static, Result<Stream, BoxError>> {
        if uri.scheme() != Some(&Scheme::HTTPS) {
            let connecting = self.http.call(uri);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) });
        }
        match self.tls.config() {
            Ok(config) => HttpsConnector::from((self.http.clone(), config)).call(uri),
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

    /// Called within the request's own task, the first time that it is polled: `DIAL` is set. The connection may go on
    /// without the request, when another one became free first.
    fn call(&mut self, uri: Uri) -> Self::Future {
        let Ok(dial) = DIAL.try_with(Arc::clone) else {
            return self.connect(uri);
        };
        dial.dialled.store(true, Ordering::Relaxed);
        let connecting = DIAL.scope(dial.clone(), self.connect(uri));
        Box::pin(async move {
            match tokio::time::timeout(dial.timeout, connecting).await {
                Ok(result) => result,
                Err(_) if dial.looking_up.load(Ordering::Relaxed) => Err(DialError::NameTimeout.into()),
                Err(_) => Err(DialError::Timeout.into()),
            }
        })
    }
}

/// The system's resolver, on the runtime's blocking threads. A look-up cannot be cancelled: the end of the runtime must
/// not wait for those threads for ever, and counts them as leaked.
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
