//! Servers on loopback, real and scripted, and a guest's side of a request. Invariant: nothing here sleeps.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::super::{Grant, HttpHooks, Outbound};
use crate::plan::{Origin, OriginHost, OriginPort};

/// An answer with the future that tells how the sending ended.
pub type Answer = (Response<WasiBody>, std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>);

/// Longer than any test takes, so that a test that hangs fails.
pub const LONG: Duration = Duration::from_secs(20);

/// A server and how many connections it has accepted.
pub struct Server {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Serves HTTP/1.1 with keep-alive on this runtime.
pub async fn serve<F, A>(answer: F) -> Server
where
    F: Fn(Request<Incoming>) -> A + Clone + 'static,
    A: Future<Output = Response<WasiBody>> + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::task::spawn_local(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    Server { address, connections }
}

/// Accepts connections on a thread and hands each to `script`, with its number.
pub fn scripted(script: impl Fn(usize, TcpStream) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            script(count.fetch_add(1, Ordering::SeqCst), stream.unwrap());
        }
    });
    Server { address, connections }
}

/// Reads the head of a request, or all that comes before the end of the stream.
pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Reads a request's head, answers with these bytes, and returns the connection.
pub fn answer_raw(mut stream: TcpStream, answer: &str) -> TcpStream {
    read_head(&mut stream);
    stream.write_all(answer.as_bytes()).unwrap();
    stream
}

/// Hooks of a store that may go anywhere.
pub fn hooks(outbound: &Outbound) -> HttpHooks {
    hooks_with_most(outbound, 256)
}

/// The same with so many requests at a time.
pub fn hooks_with_most(outbound: &Outbound, most: usize) -> HttpHooks {
    let any = |https| Origin { https, host: OriginHost::Any, port: OriginPort::Any };
    let grant = Grant::new("web", [any(false), any(true)], Arc::default(), most);
    HttpHooks::new(Arc::new(grant), outbound.clone())
}

pub fn empty() -> WasiBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub fn full(bytes: impl Into<Bytes>) -> WasiBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn get(url: &str) -> Request<WasiBody> {
    Request::get(url).body(empty()).unwrap()
}

/// Sends a request as `wasi:http` does.
pub async fn send(
    hooks: &mut HttpHooks,
    request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<Answer, Error> {
    let sent = hooks.send_request(request, options, Box::new(async { Ok(()) }));
    let (answer, io) = tokio::time::timeout(LONG, Box::into_pin(sent)).await.expect("it hangs")?;
    Ok((answer, Box::into_pin(io)))
}

/// Sends a request and returns the status and the whole body.
pub async fn fetch(hooks: &mut HttpHooks, request: Request<WasiBody>) -> Result<(u16, Bytes), Error> {
    let (answer, _io) = send(hooks, request, None).await?;
    let status = answer.status().as_u16();
    let body = tokio::time::timeout(LONG, answer.into_body().collect()).await.expect("it hangs")?;
    Ok((status, body.to_bytes()))
}

/// Runs a test on a thread of its own with a current-thread runtime, as an instance has it.
pub fn on_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
    runtime.shutdown_timeout(Duration::ZERO);
}
