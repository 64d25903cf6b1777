//! The load: clients that send a request, wait for the complete answer, and send the next one; half of them over one
//! connection, half over a new one each time.
//!
//! Invariant: when the app has closed its address or the load ends, clients hold the drill up for a bounded time only.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, HOST};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{
    Endpoint, RejectionWindow, RequestCounts, RequestLog, RequestOutcome, SentRequest, Target, event_loop,
    spawn,
};
use crate::error::CliError;

/// Time between an answer and the next request: it keeps the app busy, and the machine from running out of ports.
const PAUSE: Duration = Duration::from_millis(2);
/// The same for a client that opens a new connection each time.
const PAUSE_RECONNECT: Duration = Duration::from_millis(10);
const LONGEST_STAGGER: Duration = Duration::from_secs(2);
/// Longest time of a request after the load ends, if the app is stopping.
const LAST_ANSWER: Duration = Duration::from_secs(3);
/// The same if only the load ends.
const LAST_ANSWER_RUNNING: Duration = Duration::from_millis(300);
const END_POLL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct LoadGenerator {
    load: Arc<Load>,
    ended: mpsc::Receiver<()>,
}

#[derive(Debug, Default)]
struct Load {
    targets: Vec<LoadTarget>,
    is_ending: AtomicBool,
    /// The app is stopping: a refused connection is final.
    is_stopping: AtomicBool,
}

#[derive(Debug)]
struct LoadTarget {
    target: Target,
    log: Mutex<RequestLog>,
}

impl LoadTarget {
    fn log(&self) -> MutexGuard<'_, RequestLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoadGenerator {
    /// Starts so many clients for each target, half of them with a new connection for each request.
    pub(super) fn start(targets: &[Target], clients: usize) -> Result<Self, CliError> {
        let targets =
            targets.iter().map(|target| LoadTarget { target: target.clone(), log: Mutex::default() });
        let load = Arc::new(Load { targets: targets.collect(), ..Load::default() });
        let (end, ended) = mpsc::channel();
        let (runtime, work) = (event_loop()?, load.clone());
        spawn("drill-load", move || {
            let local = LocalSet::new();
            for number in 0..work.targets.len() {
                for client in 0..clients.max(1) {
                    let offset = client as f64 / clients.max(1) as f64;
                    local.spawn_local(run_client(work.clone(), number, client % 2 == 0, offset));
                }
            }
            runtime.block_on(local);
            let _gone = end.send(());
        })?;
        Ok(Self { load, ended })
    }

    pub(super) fn targets_where(&self, condition: impl Fn(&RequestLog) -> bool) -> Vec<&Target> {
        let targets = self.load.targets.iter().filter(|target| condition(&target.log()));
        targets.map(|target| &target.target).collect()
    }

    /// Returns the number of complete answers.
    pub(super) fn answers(&self) -> usize {
        self.load.targets.iter().map(|target| target.log().answers()).sum()
    }

    /// Marks the app as stopping: from now on a refused connection ends a client.
    pub(super) fn set_stopping(&self) {
        self.load.is_stopping.store(true, SeqCst);
    }

    /// Ends the clients and counts their requests.
    pub(super) fn counts(self, window: impl Fn(&Target) -> RejectionWindow) -> Vec<(Target, RequestCounts)> {
        self.load.is_ending.store(true, SeqCst);
        // Longer than any client takes; a client that hangs all the same loses its last request.
        let _late = self.ended.recv_timeout(LAST_ANSWER * 2);
        let count = |of: &LoadTarget| of.log().counts(window(&of.target), of.target.is_shared);
        self.load.targets.iter().map(|of| (of.target.clone(), count(of))).collect()
    }
}

struct ClientConnection {
    sender: SendRequest<Empty<Bytes>>,
    traffic: Arc<Traffic>,
    is_used: bool,
}

/// Runs one client. `keeps_alive`: it keeps its connection; `offset`: its place, from 0 to 1, among the clients.
async fn run_client(load: Arc<Load>, number: usize, keeps_alive: bool, offset: f64) {
    let Some(of) = load.targets.get(number) else { return };
    let add = |request| of.log().requests.push(request);
    let mut kept: Option<ClientConnection> = None;
    let mut is_first = true;
    while !load.is_ending.load(SeqCst) {
        let sent = Instant::now();
        let connection = match unless_late(&load, connected(kept.take(), &of.target)).await {
            Ok(connection) => connection,
            Err(late) => {
                let took = sent.elapsed();
                return late
                    .into_iter()
                    .for_each(|outcome| add(SentRequest { sent, took, reused: false, outcome }));
            }
        };
        let Ok(mut connection) = connection else {
            let is_final = load.is_stopping.load(SeqCst);
            let (took, outcome) = (sent.elapsed(), RequestOutcome::Refused);
            add(SentRequest { sent, took, reused: false, outcome });
            if is_final {
                return;
            }
            tokio::time::sleep(PAUSE_RECONNECT).await;
            continue;
        };
        let sent = Instant::now();
        let outcome = send_request(&load, of, &mut connection, keeps_alive).await;
        if let Some(outcome) = outcome {
            let ended = Instant::now();
            // The request was sent when its bytes were, and never if the connection was closed before.
            let sent = connection.traffic.last_sent().filter(|last| *last >= sent).unwrap_or(ended);
            add(SentRequest { sent, took: ended - sent, reused: connection.is_used, outcome });
        }
        connection.is_used = true;
        let is_reusable = keeps_alive && matches!(outcome, Some(RequestOutcome::Answered(_)));
        kept = Some(connection).filter(|_| is_reusable);
        // After the first answer the clients are spread out: at each moment there are young requests and old ones.
        let stagger = sent.elapsed().mul_f64(offset).min(LONGEST_STAGGER);
        let pause = if keeps_alive { PAUSE } else { PAUSE_RECONNECT };
        tokio::time::sleep(if is_first { pause + stagger } else { pause }).await;
        is_first = false;
    }
}

/// Returns the connection if it can take one more request, else a new one.
async fn connected(kept: Option<ClientConnection>, target: &Target) -> io::Result<ClientConnection> {
    if let Some(mut kept) = kept
        && kept.sender.ready().await.is_ok()
    {
        return Ok(kept);
    }
    let stream = ClientStream::connect(&target.endpoint).await?;
    let traffic = stream.traffic.clone();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(connection);
    Ok(ClientConnection { sender, traffic, is_used: false })
}

/// Sends one request and returns its outcome; `None` if the load ended meanwhile.
async fn send_request(
    load: &Load,
    of: &LoadTarget,
    connection: &mut ClientConnection,
    keeps_alive: bool,
) -> Option<RequestOutcome> {
    let mut request = Request::builder().uri(&*of.target.path).header(HOST, &*of.target.host);
    if !keeps_alive {
        request = request.header(CONNECTION, "close");
    }
    let Ok(request) = request.body(Empty::new()) else { return Some(RequestOutcome::Refused) };
    let before = connection.traffic.received();
    let exchange = async {
        let answer = connection.sender.send_request(request).await.ok()?;
        of.log().answers_begun += 1;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame.ok()?;
        }
        Some(status)
    };
    match unless_late(load, exchange).await {
        Ok(Some(status)) => Some(RequestOutcome::Answered(status)),
        Ok(None) if connection.traffic.received() == before => Some(RequestOutcome::Unanswered),
        Ok(None) => Some(RequestOutcome::CutShort),
        Err(late) => late,
    }
}

/// Awaits the work, unless it still goes on some time after the load ended; then its outcome is the error.
async fn unless_late<T>(load: &Load, work: impl Future<Output = T>) -> Result<T, Option<RequestOutcome>> {
    let mut work = std::pin::pin!(work);
    let mut ended = None;
    loop {
        if let Ok(done) = timeout(END_POLL, work.as_mut()).await {
            return Ok(done);
        }
        if !load.is_ending.load(SeqCst) {
            continue;
        }
        let ended: Instant = *ended.get_or_insert_with(Instant::now);
        let is_stopping = load.is_stopping.load(SeqCst);
        // An endless stream is no fault while the app is not stopping.
        if ended.elapsed() > if is_stopping { LAST_ANSWER } else { LAST_ANSWER_RUNNING } {
            return Err(is_stopping.then_some(RequestOutcome::Hung));
        }
    }
}

trait Transport: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

struct ClientStream {
    inner: Box<dyn Transport>,
    traffic: Arc<Traffic>,
}

#[derive(Debug, Default)]
struct Traffic {
    received: AtomicU64,
    last_sent: Mutex<Option<Instant>>,
}

impl Traffic {
    fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Returns when the last bytes were sent, if any were.
    fn last_sent(&self) -> Option<Instant> {
        *self.last_sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientStream {
    async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
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
        Ok(Self { inner, traffic: Arc::default() })
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

type Verified = Result<HandshakeSignatureValid, rustls::Error>;

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
    ) -> Verified {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Verified {
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
        self.traffic.received.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        *self.traffic.last_sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
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
    use std::net::TcpListener;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// The system accepts connections before the app does: a handshake can go on for ever.
    #[test]
    fn a_handshake_without_an_end_is_counted_and_holds_nothing_up() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::parse(&format!("https://{}", silent.local_addr().unwrap())).unwrap();
        for (stops, lost) in [(false, None), (true, Some(&2))] {
            let load = LoadGenerator::start(std::slice::from_ref(&target), 2).unwrap();
            let _connected = [silent.accept().unwrap(), silent.accept().unwrap()];
            if stops {
                load.set_stopping();
            }
            let began = Instant::now();
            let (_, counts) = load.counts(|_| RejectionWindow::Never).remove(0);
            assert!(began.elapsed() < LAST_ANSWER * 2, "the load took too long to end");
            assert_eq!(counts.lost.get(&RequestOutcome::Hung), lost);
        }
    }

    /// A request is sent when its bytes are, and not when the connection is made.
    #[tokio::test]
    async fn the_time_of_the_last_bytes_is_recorded() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::Tcp(server.local_addr().unwrap().to_string());
        let mut stream = ClientStream::connect(&endpoint).await.unwrap();
        let traffic = stream.traffic.clone();
        assert_eq!(traffic.last_sent(), None, "a connection alone is no request");
        let before = Instant::now();
        stream.write_all(b"GET").await.unwrap();
        let first = traffic.last_sent().unwrap();
        assert!(first >= before);
        stream.write_all(b" /").await.unwrap();
        assert!(traffic.last_sent().unwrap() > first, "the last ones count");
    }
}
