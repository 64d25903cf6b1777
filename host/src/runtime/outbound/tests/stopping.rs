//! What is left when a store, or the runtime, is dropped in the midst of it.

use std::io::Read;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpHooks};

use super::super::Outbound;
use super::harness::{LONG, answer_raw, get, hooks, on_runtime, read_head, scripted, send};

/// A body as wasmtime makes it for a guest: it ends when its channel closes, whoever closed it.
fn channel() -> (mpsc::Sender<Bytes>, WasiBody) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let frames = stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|bytes| (Ok::<_, Error>(Frame::data(bytes)), receiver))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

#[test]
fn a_store_that_is_dropped_cuts_its_upload_visibly() {
    on_runtime(async {
        let (heard, mut hear) = mpsc::unbounded_channel();
        let server = scripted(move |_, stream| {
            // The head is out before the body is in, as with a stream both ways.
            let mut stream = answer_raw(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            heard.send(String::from_utf8(all).unwrap()).unwrap();
        });
        let outbound = Outbound::default();
        let mut hooks = hooks(&outbound);
        let (guest, body) = channel();
        let request = Request::post(server.url("/")).body(body).unwrap();
        let (answer, io) = send(&mut hooks, request, None).await.unwrap();
        guest.send(Bytes::from("part")).await.unwrap();
        // The store goes with all that is in it.
        drop((hooks, guest));
        let all = tokio::time::timeout(LONG, hear.recv()).await.unwrap().unwrap();
        assert!(!all.contains("0\r\n\r\n"), "it looks complete: {all:?}");
        assert!(matches!(io.await, Err(Error::ConnectionTerminated)));
        drop(answer);
    });
}

#[test]
fn a_request_that_is_dropped_closes_its_connection() {
    on_runtime(async {
        let (heard, mut hear) = mpsc::unbounded_channel();
        let server = scripted(move |_, mut stream| {
            read_head(&mut stream);
            heard.send(()).unwrap();
            read_head(&mut stream);
            heard.send(()).unwrap();
        });
        let mut hooks = hooks(&Outbound::default());
        let sent = hooks.send_request(get(&server.url("/")), None, Box::new(async { Ok(()) }));
        tokio::select! {
            _ = Box::into_pin(sent) => panic!("nobody answers"),
            _ = hear.recv() => {}
        }
        tokio::time::timeout(LONG, hear.recv()).await.expect("the connection is still open").unwrap();
    });
}

#[test]
fn nothing_holds_the_end_of_a_runtime() {
    let outbound = Outbound::default();
    let silent = scripted(|_, mut stream| {
        read_head(&mut stream);
        read_head(&mut stream);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (answer, guest) = runtime.block_on(async {
        let streaming = scripted(|_, stream| {
            let mut stream = answer_raw(stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf ");
            read_head(&mut stream);
        });
        let mut hooks = hooks(&outbound);
        let (guest, body) = channel();
        let request = Request::post(streaming.url("/")).body(body).unwrap();
        let (answer, _io) = send(&mut hooks, request, None).await.unwrap();
        // Under way, idle and half-connected ones are there when it ends.
        for url in [silent.url("/"), format!("https://{}/", silent.address)] {
            let sent = hooks.send_request(get(&url), None, Box::new(async { Ok(()) }));
            tokio::spawn(Box::into_pin(sent));
        }
        tokio::task::yield_now().await;
        (answer, guest)
    });
    let started = Instant::now();
    drop(runtime);
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(guest.is_closed(), "its connection is gone");
    drop((answer, outbound));
}
