//! An HTTP/2 client with prior knowledge that tells what a connection says of its streams: answered, refused, cut off.

use std::future::Future;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Address, Answer, Trust, patience};

/// Runs a test with asynchronous clients, on this thread.
#[track_caller]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// The result in time, or the failure of the test.
#[track_caller]
pub fn in_time<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let at = std::panic::Location::caller();
    async move {
        let waited = tokio::time::timeout(patience(), future).await;
        waited.unwrap_or_else(|_| panic!("{at}: {what} never came"))
    }
}

/// Why there is no whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// The server says that it has not begun with it: it may be sent again.
    Unprocessed,
    /// The connection ended before its answer began.
    Unanswered,
    /// The answer began and was cut off.
    Aborted,
}

/// One connection.
pub struct H2 {
    pub send: SendRequest<Bytes>,
    /// Ends with the connection.
    pub connection: JoinHandle<Result<(), h2::Error>>,
    pings: PingPong,
    authority: String,
}

impl H2 {
    pub async fn connect(address: &Address) -> H2 {
        H2::try_connect(address).await.unwrap_or_else(|error| panic!("{address:?}: {error}"))
    }

    pub async fn try_connect(address: &Address) -> io::Result<H2> {
        let stream = TcpStream::connect(address.socket()).await?;
        stream.set_nodelay(true)?;
        H2::over(stream, address, "http").await
    }

    /// With TLS, HTTP/2 by ALPN.
    pub async fn connect_tls(address: &Address, trust: &Trust) -> H2 {
        let stream = TcpStream::connect(address.socket()).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(trust.config(&["h2", "http/1.1"]));
        let stream = connector.connect(name, stream).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(agreed.as_deref(), Some(b"h2".as_slice()), "the protocol that was agreed on");
        H2::over(stream, address, "https").await.unwrap()
    }

    async fn over<S>(stream: S, address: &Address, scheme: &str) -> io::Result<H2>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = h2::client::Builder::new();
        // As browsers do it, no more than this before the server has said how many it takes.
        builder.initial_window_size(1 << 20).initial_max_send_streams(100);
        let (send, mut connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
        let pings = connection.ping_pong().expect("it is taken once");
        let connection = tokio::spawn(connection);
        Ok(H2 { send, connection, pings, authority: format!("{scheme}://{}", address.authority()) })
    }

    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.authority))
    }

    /// Returns when the server has seen everything that was sent before.
    pub async fn ping(&mut self) {
        in_time("PONG", self.pings.ping(Ping::opaque())).await.unwrap();
    }

    /// Whether the server has said that the connection goes away.
    pub async fn is_going_away(&self) -> bool {
        self.send.clone().ready().await.is_err()
    }

    /// Waits until the server says so.
    pub async fn goes_away(&self) {
        let told = async {
            while !self.is_going_away().await {
                // Nothing tells a client of the frame as such.
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        in_time("GOAWAY", told).await;
    }

    /// Sends the head; the body follows in the stream unless it is empty.
    pub async fn open(
        &self,
        request: Request<()>,
        is_whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Lost> {
        let mut send = self.send.clone().ready().await.map_err(|_| Lost::Unprocessed)?;
        send.send_request(request, is_whole).map_err(|_| Lost::Unprocessed)
    }

    pub async fn try_get(&self, path: &str) -> Result<Answer, Lost> {
        let request = self.request("GET", path).body(()).unwrap();
        let (response, _) = self.open(request, true).await?;
        answer(response).await
    }

    /// GET and its whole answer.
    pub async fn get(&self, path: &str) -> Answer {
        in_time(path, self.try_get(path)).await.unwrap_or_else(|lost| panic!("{path}: {lost:?}"))
    }
}

/// The whole answer, or why there is none.
pub fn answer(response: ResponseFuture) -> Pin<Box<dyn Future<Output = Result<Answer, Lost>>>> {
    Box::pin(async move {
        let response = response.await.map_err(|error| unanswered(&error))?;
        let (head, body) = response.into_parts();
        let mut answer = Answer { status: head.status.as_u16(), ..Answer::default() };
        answer.version = "HTTP/2".to_string();
        answer.headers = fields(&head.headers);
        read_body(body, &mut answer).await.map_err(|_| Lost::Aborted)?;
        Ok(answer)
    })
}

async fn read_body(mut body: RecvStream, answer: &mut Answer) -> Result<(), h2::Error> {
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        answer.body.extend_from_slice(&piece);
    }
    if let Some(trailers) = body.trailers().await? {
        answer.trailers = fields(&trailers);
    }
    Ok(())
}

fn unanswered(error: &h2::Error) -> Lost {
    // A stream above the last one that GOAWAY names, or one that was refused, was not begun.
    let gone_away = error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
    if gone_away || error.reason() == Some(Reason::REFUSED_STREAM) {
        Lost::Unprocessed
    } else {
        Lost::Unanswered
    }
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// Sends bytes as fast as the windows of the server allow.
pub async fn send_all(stream: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let capacity = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(capacity) = capacity.transpose()? else { return Err(Reason::CANCEL.into()) };
        let piece = bytes.split_to(capacity.min(bytes.len()));
        stream.send_data(piece, false)?;
    }
    if end {
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}
