//! A connection of the load: TCP, TLS or a Unix socket, and what is known of its bytes.

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

use super::target::At;

/// Whatever a request goes over.
trait Transport: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// An open connection.
pub struct Stream {
    inner: Box<dyn Transport>,
    traffic: Arc<Traffic>,
}

/// What is known of the bytes of a connection.
#[derive(Debug, Default)]
pub struct Traffic {
    came: AtomicU64,
    went: Mutex<Option<Instant>>,
}

impl Traffic {
    /// Returns how many bytes have come.
    pub fn came(&self) -> u64 {
        self.came.load(Relaxed)
    }

    /// Returns when the last bytes went out, if any did.
    pub fn went(&self) -> Option<Instant> {
        *self.went.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// Connects.
    ///
    /// # Errors
    /// When nobody accepts.
    pub async fn connect(at: &At) -> io::Result<Self> {
        let inner: Box<dyn Transport> = match at {
            At::Tcp(address) => Box::new(tcp(address).await?),
            At::Unix(path) => Box::new(UnixStream::connect(path).await?),
            At::Tls(address) => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
                let name = name.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                Box::new(connector()?.connect(name, tcp(address).await?).await?)
            }
        };
        Ok(Self { inner, traffic: Arc::default() })
    }

    /// Returns what is known of its bytes, which goes on.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }
}

async fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn connector() -> io::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let anyone = Arc::new(Anyone(provider.clone()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(anyone)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Takes every certificate: the drill started the app itself, and sends nothing that is secret.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
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

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.traffic.came.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        *self.traffic.went.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
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

    /// What is asked over a connection was not sent when that was made, but when its bytes went.
    #[tokio::test]
    async fn it_is_known_when_bytes_went() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = At::Tcp(server.local_addr().unwrap().to_string());
        let mut stream = Stream::connect(&at).await.unwrap();
        let traffic = stream.traffic();
        assert_eq!(traffic.went(), None, "a connection alone is no request");
        let before = Instant::now();
        stream.write_all(b"GET").await.unwrap();
        let first = traffic.went().unwrap();
        assert!(first >= before);
        stream.write_all(b" /").await.unwrap();
        assert!(traffic.went().unwrap() > first, "the last ones count");
    }
}
