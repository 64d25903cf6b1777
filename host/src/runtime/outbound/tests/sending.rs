//! What goes out, on which connection, and what an error is called.

use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::net::TcpSocket;
use wasmtime_wasi_http::{Error, WasiBody};

use super::super::Outbound;
use super::harness::{
    answer_raw, empty, fetch, full, get, hooks, on_runtime, read_head, scripted, send, serve,
};

fn echo_target(request: Request<Incoming>) -> impl Future<Output = http::Response<WasiBody>> {
    let host = request.headers().get_all("host").iter().map(|host| host.to_str().unwrap().to_owned());
    let text = format!("{} {} {}", request.method(), request.uri(), host.collect::<Vec<_>>().join("+"));
    async move { http::Response::new(full(text)) }
}

#[test]
fn a_connection_is_used_again_also_by_the_next_instance() {
    on_runtime(async {
        let server = serve(echo_target).await;
        let outbound = Outbound::default();
        for _ in 0..3 {
            let mut hooks = hooks(&outbound);
            for _ in 0..3 {
                let (status, body) = fetch(&mut hooks, get(&server.url("/a?b=1"))).await.unwrap();
                assert_eq!(status, 200);
                assert_eq!(
                    body,
                    format!("GET /a?b=1 {}", server.address),
                    "one host header, no absolute URI"
                );
            }
        }
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn a_redirect_is_the_guests_to_follow() {
    on_runtime(async {
        let server = scripted(|_, stream| {
            answer_raw(
                stream,
                "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            );
        });
        let (status, _) = fetch(&mut hooks(&Outbound::default()), get(&server.url("/"))).await.unwrap();
        assert_eq!((status, server.connections()), (302, 1));
    });
}

/// What becomes of a request when its kept connection dies under it, of which the client cannot know.
fn on_a_connection_that_dies(request: fn(&str) -> Request<WasiBody>) -> (Result<u16, Error>, usize) {
    let mut result = (Ok(0), 0);
    on_runtime(async {
        let server = scripted(|connection, stream| {
            let mut stream = answer_raw(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            let next = read_head(&mut stream);
            assert!(!next.is_empty() || connection > 0);
            // Dropped without an answer: the request is lost.
        });
        let mut hooks = hooks(&Outbound::default());
        fetch(&mut hooks, get(&server.url("/"))).await.unwrap();
        let answer = fetch(&mut hooks, request(&server.url("/"))).await;
        result = (answer.map(|(status, _)| status), server.connections());
    });
    result
}

#[test]
fn what_is_safe_is_sent_again_when_a_kept_connection_dies() {
    assert!(matches!(on_a_connection_that_dies(get), (Ok(200), 2)));
}

#[test]
fn a_post_is_never_sent_twice() {
    let post = |url: &str| Request::post(url).body(empty()).unwrap();
    assert!(matches!(on_a_connection_that_dies(post), (Err(Error::ConnectionTerminated), 1)));
}

#[test]
fn a_body_that_was_begun_is_never_sent_twice() {
    let put = |url: &str| Request::put(url).body(full("body")).unwrap();
    assert!(matches!(on_a_connection_that_dies(put), (Err(Error::ConnectionTerminated), 1)));
}

#[test]
fn a_fresh_connection_that_dies_is_an_error_at_once() {
    on_runtime(async {
        let server = scripted(|_, mut stream| drop(read_head(&mut stream)));
        let error = fetch(&mut hooks(&Outbound::default()), get(&server.url("/"))).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionTerminated), "{error:?}");
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn errors_have_their_own_names() {
    on_runtime(async {
        let mut hooks = hooks(&Outbound::default());
        // Bound, so that nobody else gets the port, and not listening.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let closed = socket.local_addr().unwrap();
        let error = fetch(&mut hooks, get(&format!("http://{closed}/"))).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionRefused), "{error:?}");

        let error = fetch(&mut hooks, get("http://no-such-host.invalid/")).await.unwrap_err();
        assert!(matches!(error, Error::DnsError { .. }), "{error:?}");

        let babble = scripted(|_, stream| drop(answer_raw(stream, "SSH-2.0-OpenSSH\r\n\r\n")));
        let error = fetch(&mut hooks, get(&babble.url("/"))).await.unwrap_err();
        assert!(matches!(error, Error::HttpProtocolError), "{error:?}");

        let endless = scripted(|_, stream| {
            let head = format!("HTTP/1.1 200 OK\r\n{}", format!("x: {}\r\n", "y".repeat(9000)).repeat(90));
            drop(answer_raw(stream, &head));
        });
        let error = fetch(&mut hooks, get(&endless.url("/"))).await.unwrap_err();
        assert!(matches!(error, Error::HttpResponseHeaderSectionSize(None)), "{error:?}");

        let not_tls =
            scripted(|_, mut stream| drop(std::io::Write::write_all(&mut stream, b"HTTP/1.1 400\r\n\r\n")));
        let url = format!("https://{}/", not_tls.address);
        let error = fetch(&mut hooks, get(&url)).await.unwrap_err();
        assert!(matches!(error, Error::TlsProtocolError), "{error:?}");
    });
}

#[test]
fn all_methods_pass_but_connect() {
    on_runtime(async {
        let server = serve(echo_target).await;
        let mut hooks = hooks(&Outbound::default());
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
            let request = Request::builder().method(method).uri(server.url("/")).body(empty()).unwrap();
            let (_, body) = fetch(&mut hooks, request).await.unwrap();
            assert!(body.starts_with(method.as_bytes()), "{body:?}");
        }
        let connect = Request::builder().method(Method::CONNECT).uri(server.url("/")).body(empty()).unwrap();
        let error = send(&mut hooks, connect, None).await.err().unwrap();
        assert!(matches!(error, Error::HttpRequestMethodInvalid), "{error:?}");
        let head = Request::head(server.url("/")).body(empty()).unwrap();
        let (answer, io) = send(&mut hooks, head, None).await.unwrap();
        assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
        io.await.unwrap();
        assert_eq!(server.connections(), 1);
    });
}
