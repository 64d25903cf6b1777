//! Bodies both ways: whole, with trailers, with back-pressure, and never short without an error.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::super::Outbound;
use super::harness::{answer_raw, fetch, get, hooks, on_runtime, read_head, scripted, send, serve};

const CHUNK: usize = 64 << 10;

/// A body of this many chunks, which counts those that were asked for.
fn chunks(count: usize, made: &Arc<AtomicUsize>) -> WasiBody {
    let made = made.clone();
    let frames = (0..count).map(move |n| {
        made.fetch_add(1, Ordering::SeqCst);
        Ok(Frame::data(Bytes::from(vec![n as u8; CHUNK])))
    });
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

#[test]
fn trailers_pass_both_ways() {
    on_runtime(async {
        let server = serve(|request: Request<hyper::body::Incoming>| async move {
            let got = request.into_body().collect().await.unwrap();
            let mut trailers = got.trailers().unwrap().clone();
            trailers.insert("x-back", HeaderValue::from_static("b"));
            let frames = [Ok(Frame::data(got.to_bytes())), Ok(Frame::trailers(trailers))];
            let mut answer = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
            answer.headers_mut().insert("trailer", HeaderValue::from_static("x-there, x-back"));
            answer
        })
        .await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-there", HeaderValue::from_static("a"));
        let frames = [Ok(Frame::data(Bytes::from("body"))), Ok(Frame::trailers(trailers))];
        let request = Request::post(server.url("/"))
            .header("te", "trailers")
            .header("trailer", "x-there")
            .body(StreamBody::new(stream::iter(frames)).boxed_unsync())
            .unwrap();
        let mut hooks = hooks(&Outbound::default());
        let (answer, io) = send(&mut hooks, request, None).await.unwrap();
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-there"], "a");
        assert_eq!(body.trailers().unwrap()["x-back"], "b");
        io.await.unwrap();
    });
}

#[test]
fn ten_megabytes_pass_both_ways() {
    on_runtime(async {
        let server = serve(|request: Request<hyper::body::Incoming>| async move {
            let body = request.into_body().map_err(Error::from);
            Response::new(body.boxed_unsync())
        })
        .await;
        let made = Arc::default();
        let request = Request::post(server.url("/")).body(chunks(160, &made)).unwrap();
        let mut hooks = hooks(&Outbound::default());
        let (answer, io) = send(&mut hooks, request, None).await.unwrap();
        let mut body = answer.into_body();
        let (mut length, mut largest) = (0, 0);
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.iter().all(|byte| usize::from(*byte) <= 160));
            length += data.len();
            largest = largest.max(data.len());
        }
        assert_eq!(length, CHUNK * 160);
        assert!(largest <= 512 << 10, "{largest}");
        io.await.unwrap();
    });
}

#[test]
fn a_server_that_does_not_read_stops_the_guest_from_writing() {
    on_runtime(async {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let server = scripted(move |_, mut stream| {
            read_head(&mut stream);
            let _ = wait.recv();
        });
        let made = Arc::default();
        let request = Request::post(server.url("/")).body(chunks(2000, &made)).unwrap();
        let first_byte_timeout = Some(Duration::from_millis(300));
        let options = RequestOptions { first_byte_timeout, ..RequestOptions::default() };
        let answer = send(&mut hooks(&Outbound::default()), request, Some(options)).await;
        assert!(matches!(answer.err().unwrap(), Error::ConnectionReadTimeout));
        let made = made.load(Ordering::SeqCst);
        assert!(made < 500, "{made} of 2000: what fits into the sockets' buffers");
        drop(done);
    });
}

#[test]
fn a_guest_that_does_not_read_stops_the_server_from_writing() {
    on_runtime(async {
        let made: Arc<AtomicUsize> = Arc::default();
        let count = made.clone();
        let server = serve(move |_| {
            let body = chunks(2000, &count);
            async move { Response::new(body) }
        })
        .await;
        let (answer, _io) =
            send(&mut hooks(&Outbound::default()), get(&server.url("/")), None).await.unwrap();
        let mut body = answer.into_body();
        body.frame().await.unwrap().unwrap();
        // However long it is left alone.
        let _ = tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await;
        let before = made.load(Ordering::SeqCst);
        assert!(before < 500, "{before} of 2000");
        let rest = body.collect().await.unwrap().to_bytes();
        assert!(rest.len() > CHUNK * 1990);
    });
}

#[test]
fn a_server_that_dies_makes_an_error_not_a_short_body() {
    on_runtime(async {
        for head in ["content-length: 100", "transfer-encoding: chunked"] {
            let server = scripted(move |_, stream| {
                drop(answer_raw(stream, &format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n")));
            });
            let error = fetch(&mut hooks(&Outbound::default()), get(&server.url("/"))).await.unwrap_err();
            assert!(matches!(error, Error::HttpResponseIncomplete), "{head}: {error:?}");
        }
        let garbled = scripted(|_, stream| {
            drop(answer_raw(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"));
        });
        let error = fetch(&mut hooks(&Outbound::default()), get(&garbled.url("/"))).await.unwrap_err();
        assert!(matches!(error, Error::HttpProtocolError), "{error:?}");
    });
}

#[test]
fn a_guest_that_fails_to_make_its_body_learns_its_own_error() {
    on_runtime(async {
        let (heard, hear) = std::sync::mpsc::channel();
        let server = scripted(move |_, mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            heard.send(all).unwrap();
        });
        let frames = [Ok(Frame::data(Bytes::from("part"))), Err(Error::HttpRequestBodySize(Some(4)))];
        let body: WasiBody = StreamBody::new(stream::iter(frames)).boxed_unsync();
        let request = Request::put(server.url("/")).body(body).unwrap();
        let error = fetch(&mut hooks(&Outbound::default()), request).await.unwrap_err();
        assert!(matches!(error, Error::HttpRequestBodySize(Some(4))), "{error:?}");
        let all = String::from_utf8(hear.recv().unwrap()).unwrap();
        assert!(!all.contains("\r\n0\r\n"), "no last chunk: {all:?}");
        assert_eq!(server.connections(), 1, "not sent again");
    });
}

#[test]
fn an_early_answer_ends_the_upload_and_the_guest_learns_it() {
    on_runtime(async {
        let server = scripted(|_, mut stream| {
            read_head(&mut stream);
            let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).unwrap();
        });
        let frames = stream::iter([Ok(Frame::data(Bytes::from("part")))]);
        let never = stream::pending::<Result<Frame<Bytes>, Error>>();
        let body = StreamBody::new(futures::StreamExt::chain(frames, never)).boxed_unsync();
        let request = Request::post(server.url("/")).body(body).unwrap();
        let mut hooks = hooks(&Outbound::default());
        let (answer, io) = send(&mut hooks, request, None).await.unwrap();
        assert_eq!(answer.status(), 413);
        assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
        assert!(matches!(io.await, Err(Error::ConnectionTerminated)));
    });
}
