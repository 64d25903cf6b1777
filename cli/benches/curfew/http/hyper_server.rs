//! Plain hyper: what HTTP costs on this machine when no component answers. A thread with a runtime of its own
//! for each core, to which the connections are handed in turn: that was no slower than one runtime with many
//! threads, and is what curfew does.

use std::convert::Infallible;
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::Result;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The window of an HTTP/2 connection: as large as can be.
const WINDOW: u32 = (1 << 31) - 1;
/// What the `hello` guests answer with, too.
const HELLO: &[u8] = b"Hello";

type Answer = Response<Either<Full<Bytes>, Incoming>>;

/// Serves until it is killed.
#[expect(clippy::print_stderr, reason = "the servers that are measured tell their address so")]
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    eprintln!("serving hyper on http://{}", listener.local_addr()?);
    let mut lanes = Vec::new();
    for _ in 0..thread::available_parallelism()?.get() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (hand, connections) = unbounded_channel();
        thread::spawn(move || runtime.block_on(lane(connections)));
        lanes.push(hand);
    }
    for lane in lanes.iter().cycle() {
        lane.send(listener.accept()?.0)?;
    }
    Ok(())
}

async fn lane(mut connections: UnboundedReceiver<TcpStream>) -> Result<()> {
    while let Some(stream) = connections.recv().await {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        // A client that goes away is no failure of the server.
        tokio::spawn(converse(stream));
    }
    Ok(())
}

async fn converse(stream: tokio::net::TcpStream) -> Result<()> {
    let mut first = [0; 3];
    stream.peek(&mut first).await?;
    let (is_http2, stream, service) = (first == *b"PRI", TokioIo::new(stream), service_fn(answer));
    match is_http2 {
        true => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            // `h2` ends connections with many small frames that wait: the more the smaller the window.
            builder.initial_connection_window_size(WINDOW).serve_connection(stream, service).await?;
        }
        false => http1::Builder::new().serve_connection(stream, service).await?,
    }
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let mut answer = Response::new(match request.uri().path() {
        "/echo" => Either::Right(request.into_body()),
        _ => Either::Left(Full::new(Bytes::from_static(HELLO))),
    });
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(answer)
}
