//! A client's connection over TCP, TLS or a Unix socket, which records its traffic.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::target::Endpoint;

trait Transport: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

pub(super) struct ClientStream {
    inner: Box<dyn Transport>,
    stats: Arc<StreamStats>,
}

/// The traffic of a connection.
#[derive(Debug, Default)]
pub(super) struct StreamStats {
    received: AtomicU64,
    last_sent: Mutex<Option<Instant>>,
}

impl StreamStats {
    /// Returns the number of bytes received.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Returns when the last bytes were sent, if any were.
    pub(super) fn last_sent(&self) -> Option<Instant> {
        *self.last_sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientStream {
    pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        let inner: Box<dyn Transport> = match endpoint {
            Endpoint::Tcp(address) => Box::new(tcp(address).await?),
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Endpoint::Tls(address) => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
                let name = name.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                Box::new(connector()?.connect(name, tcp(address).await?).await?)
            }
        };
        Ok(Self { inner, stats: Arc::default() })
    }

    /// Returns its traffic, which is updated as bytes pass.
    pub(super) fn stats(&self) -> Arc<StreamStats> {
        self.stats.clone()
    }
}

async fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn connector() -> io::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let any_certificate = Arc::new(AnyCertificate(provider.clone()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(any_certificate)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts any certificate: the drill started the app itself, and sends no secrets.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.stats.received.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        *self.stats.last_sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// A request is sent when its bytes are, and not when the connection is made.
    #[tokio::test]
    async fn the_time_of_the_last_bytes_is_recorded() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::Tcp(server.local_addr().unwrap().to_string());
        let mut stream = ClientStream::connect(&endpoint).await.unwrap();
        let stats = stream.stats();
        assert_eq!(stats.last_sent(), None, "a connection alone is no request");
        let before = Instant::now();
        stream.write_all(b"GET").await.unwrap();
        let first = stats.last_sent().unwrap();
        assert!(first >= before);
        stream.write_all(b" /").await.unwrap();
        assert!(stats.last_sent().unwrap() > first, "the last ones count");
    }
}
