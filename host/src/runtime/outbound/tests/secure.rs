//! TLS: who is trusted, which protocol is spoken, and what the errors are called.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use wasmtime_wasi_http::{Error, WasiBody};

use super::super::Outbound;
use super::super::client::tls_builder;
use super::harness::{fetch, full, get, hooks, on_runtime, send};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A client that trusts this authority and nobody else.
    fn outbound(&self) -> Outbound {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Outbound::with_tls(tls_builder().unwrap().with_root_certificates(roots).with_no_client_auth())
    }

    /// What a server of this name, or address, presents.
    fn server(&self, name: &str, alpn: &[&str]) -> rustls::ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = config.with_single_cert(vec![cert.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// Serves what ALPN says over TLS; answers with version and `host`.
async fn serve(config: rustls::ServerConfig) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(stream);
            if h2 {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::task::spawn(server.serve_connection(io, service_fn(answer)));
            } else {
                let server = hyper::server::conn::http1::Builder::new();
                tokio::task::spawn(server.serve_connection(io, service_fn(answer)));
            }
        }
    });
    (address, connections)
}

async fn answer(request: Request<Incoming>) -> Result<Response<WasiBody>, Infallible> {
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let text = format!("{:?} {:?} {:?}", request.version(), request.uri().authority(), host);
    let trailers = request.into_body().collect().await.unwrap().trailers().cloned();
    let body = full(text);
    Ok(Response::new(body.with_trailers(async move { trailers.map(Ok) }).boxed_unsync()))
}

#[test]
fn http_2_where_the_server_speaks_it() {
    on_runtime(async {
        let authority = Authority::new();
        let (address, connections) = serve(authority.server("127.0.0.1", &["h2", "http/1.1"])).await;
        let mut hooks = hooks(&authority.outbound());
        let url = format!("https://{address}/");
        for _ in 0..3 {
            let (_, body) = fetch(&mut hooks, get(&url)).await.unwrap();
            assert_eq!(body, format!("HTTP/2.0 Some({address}) None"));
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);

        // As gRPC does it: a body, then trailers.
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        let body = full("body").with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync();
        let (answer, io) = send(&mut hooks, Request::post(&url).body(body).unwrap(), None).await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        io.await.unwrap();
    });
}

#[test]
fn http_1_1_where_it_does_not() {
    on_runtime(async {
        let authority = Authority::new();
        let (address, connections) = serve(authority.server("localhost", &[])).await;
        let mut hooks = hooks(&authority.outbound());
        for _ in 0..3 {
            let url = format!("https://localhost:{}/", address.port());
            let (_, body) = fetch(&mut hooks, get(&url)).await.unwrap();
            assert_eq!(body, format!("HTTP/1.1 None Some(\"localhost:{}\")", address.port()));
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_certificate_must_be_trusted_and_for_this_name() {
    on_runtime(async {
        let authority = Authority::new();
        let (address, _) = serve(authority.server("localhost", &[])).await;
        let stranger = Authority::new();
        let by_name = format!("https://localhost:{}/", address.port());
        let by_address = format!("https://{address}/");
        for (outbound, url) in [(stranger.outbound(), &by_name), (authority.outbound(), &by_address)] {
            let error = fetch(&mut hooks(&outbound), get(url)).await.unwrap_err();
            assert!(matches!(error, Error::TlsCertificateError), "{url}: {error:?}");
        }
    });
}

#[test]
fn an_alert_is_passed_on() {
    on_runtime(async {
        let authority = Authority::new();
        let (address, _) = serve(authority.server("127.0.0.1", &["imap"])).await;
        let url = format!("https://{address}/");
        let error = fetch(&mut hooks(&authority.outbound()), get(&url)).await.unwrap_err();
        assert!(matches!(error, Error::TlsAlertReceived { alert_id: Some(120), .. }), "{error:?}");
    });
}
