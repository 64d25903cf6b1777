//! The times that a guest sets.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, RequestOptions};

use super::super::Outbound;
use super::harness::{
    LONG, answer_raw, fetch, full, get, hooks, hooks_with_most, on_runtime, read_head, scripted, send, serve,
};

const SHORT: Option<Duration> = Some(Duration::from_millis(30));

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    on_runtime(async {
        let server = scripted(|_, mut stream| {
            read_head(&mut stream);
            // Until the client has closed the connection.
            read_head(&mut stream);
        });
        let options = RequestOptions { first_byte_timeout: SHORT, ..RequestOptions::default() };
        let answer = send(&mut hooks(&Outbound::default()), get(&server.url("/")), Some(options)).await;
        assert!(matches!(answer.err().unwrap(), Error::ConnectionReadTimeout));
    });
}

#[test]
fn a_pause_in_an_answer_is_limited() {
    on_runtime(async {
        let server = scripted(|_, stream| {
            let mut stream = answer_raw(stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf ");
            read_head(&mut stream);
        });
        let options = RequestOptions { between_bytes_timeout: SHORT, ..RequestOptions::default() };
        let mut hooks = hooks(&Outbound::default());
        let (answer, _io) = send(&mut hooks, get(&server.url("/")), Some(options)).await.unwrap();
        let mut body = answer.into_body();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "half ");
        let error = tokio::time::timeout(LONG, body.frame()).await.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");
    });
}

#[test]
fn a_connection_that_is_not_made_is_given_up() {
    on_runtime(async {
        // A TLS handshake that nobody answers is part of it.
        let server = scripted(|_, mut stream| drop(read_head(&mut stream)));
        let options = RequestOptions { connect_timeout: SHORT, ..RequestOptions::default() };
        let url = format!("https://{}/", server.address);
        let answer = send(&mut hooks(&Outbound::default()), get(&url), Some(options)).await;
        assert!(matches!(answer.err().unwrap(), Error::ConnectionTimeout));
    });
}

#[test]
fn times_of_any_length_are_accepted() {
    on_runtime(async {
        let server = scripted(|_, stream| {
            let mut stream = answer_raw(stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf ");
            read_head(&mut stream);
        });
        let forever = Some(Duration::MAX);
        let options = RequestOptions {
            connect_timeout: forever,
            first_byte_timeout: forever,
            between_bytes_timeout: forever,
        };
        let mut hooks = hooks(&Outbound::default());
        let (answer, _io) = send(&mut hooks, get(&server.url("/")), Some(options)).await.unwrap();
        let mut body = answer.into_body();
        body.frame().await.unwrap().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(5), body.frame()).await.is_err(), "it waits");

        let none = Some(Duration::ZERO);
        let options =
            RequestOptions { connect_timeout: none, first_byte_timeout: none, between_bytes_timeout: none };
        let answer = send(&mut hooks, get(&server.url("/")), Some(options)).await;
        assert!(matches!(answer.err().unwrap(), Error::ConnectionTimeout | Error::ConnectionReadTimeout));
    });
}

/// `limits.outbound`: a request has its place until its response has its end, or is dropped.
#[test]
fn a_request_that_finds_no_place_is_given_up() {
    on_runtime(async {
        let server = scripted(|_, stream| {
            let mut stream = answer_raw(stream, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalf");
            read_head(&mut stream);
        });
        let mut hooks = hooks_with_most(&Outbound::default(), 1);
        let options = Some(RequestOptions { connect_timeout: SHORT, ..RequestOptions::default() });
        let (unread, _io) = send(&mut hooks, get(&server.url("/")), None).await.unwrap();
        let late = send(&mut hooks, get(&server.url("/")), options).await;
        assert!(matches!(late.err().unwrap(), Error::ConnectionLimitReached));
        assert_eq!(server.connections(), 1, "it waited before it made a connection");
        drop(unread);
        assert_eq!(fetch(&mut hooks, get(&server.url("/"))).await.unwrap().0, 200);
        assert_eq!(fetch(&mut hooks, get(&server.url("/"))).await.unwrap().0, 200);
    });
}

/// Connections that are kept for later take no more descriptors than requests may.
#[test]
fn no_more_connections_are_kept_than_requests_are_allowed() {
    on_runtime(async {
        for (most, expected) in [(8, 4), (2, 6)] {
            let mut servers = Vec::new();
            for _ in 0..4 {
                servers.push(serve(|_| async { Response::new(full("ok")) }).await);
            }
            let mut hooks = hooks_with_most(&Outbound::default(), most);
            for _ in 0..2 {
                for server in &servers {
                    assert_eq!(fetch(&mut hooks, get(&server.url("/"))).await.unwrap().0, 200);
                }
            }
            let connections: usize = servers.iter().map(|server| server.connections()).sum();
            assert_eq!(connections, expected, "for 2 requests to each of 4 servers");
        }
    });
}
