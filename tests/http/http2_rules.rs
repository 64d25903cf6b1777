//! What HTTP/2 does differently from HTTP/1.1: answers without a body, cookies, small frames, with real clients.

use std::process::Command;

use artifacts::HELLO_HTTP;
use bytes::Bytes;

use super::lab::{LABS, connect, serve};
use crate::harness::{H2, Host, answer, app, block_on, in_time, send_all, web};

/// HEAD, 204 and 304 end with their head: a DATA frame is an error for clients that look (curl, node).
#[test]
fn answers_without_a_body_have_no_data_frames() {
    for source in LABS {
        let app = serve(source, "", "");
        let authority = app.address("lab").authority();
        for path in ["/", "/big?bytes=100000", "/sized?bytes=100000", "/endless"] {
            let url = format!("http://{authority}{path}");
            let output =
                Command::new("curl").args(["-sSI", "-m", "20", "--http2-prior-knowledge", &url]).output();
            let output = output.unwrap();
            assert!(output.status.success(), "HEAD {path}: {output:?}");
            assert!(output.stdout.starts_with(b"HTTP/2 200"), "{output:?}");
        }
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let path = "/sized?bytes=1000";
            let request = client.request("HEAD", path).body(()).unwrap();
            let (response, _) = client.open(request, true).await.unwrap();
            let response = in_time(path, response).await.unwrap();
            assert!(response.body().is_end_stream());
            assert_eq!(response.headers()["content-length"], "1000");
        });
        app.stop().expect_code(0);
    }
}

/// RFC 9113 section 8.2.3: the guest sees one field, as it does over HTTP/1.1.
#[test]
fn cookies_that_came_apart_are_joined() {
    for source in LABS {
        let app = serve(source, "", "");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let request = client.request("GET", "/headers").header("cookie", "a=1").header("cookie", "b=2");
            let (response, _) = client.open(request.body(()).unwrap(), true).await.unwrap();
            let text = in_time("an answer", answer(response)).await.unwrap().expect(200).text();
            assert!(text.contains("cookie: a=1; b=2\n"), "{text}");
        });
        app.stop().expect_code(0);
    }
}

/// 20,000 small messages that come faster than they are read end nothing: they cost no more memory than their bytes.
#[test]
fn small_frames_that_are_not_read_yet_are_no_flood() {
    const MESSAGES: usize = 20_000;
    for source in LABS {
        let app = serve(source, "", "");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            // It answers when it has read: at its end.
            let request = client.request("POST", "/echo").body(()).unwrap();
            let (response, mut stream) = client.open(request, false).await.unwrap();
            let echo = tokio::spawn(async move { answer_length(response).await });
            for _ in 0..MESSAGES {
                stream.reserve_capacity(10);
                let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
                assert!(room.is_some_and(|room| room.is_ok()));
                stream.send_data(Bytes::from_static(b"0123456789"), false).unwrap();
            }
            stream.send_data(Bytes::new(), true).unwrap();
            assert_eq!(in_time("the echo", echo).await.unwrap(), MESSAGES * 10);
        });
        app.stop().expect_code(0);
    }
}

async fn answer_length(response: h2::client::ResponseFuture) -> usize {
    let mut body = response.await.unwrap().into_body();
    let mut length = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        length += piece.len();
    }
    length
}

/// RFC 9110 section 8.6: a 204 has no length, whatever its guest says.
#[test]
fn an_answer_with_204_has_no_length() {
    for source in LABS {
        let app = serve(source, "", "");
        let answer = connect(&app).get("/status-line?code=204").expect(204);
        assert_eq!(answer.header("content-length"), None);
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            assert_eq!(client.get("/status-line?code=204").await.expect(204).header("content-length"), None);
        });
        app.stop().expect_code(0);
    }
}

/// Bodies that are not read hold up no other upload of their connection while the guests still answer: those that guests have
/// dropped, and some that a sync guest keeps to the end of its call.
#[test]
fn bodies_that_are_not_read_hold_up_no_other_upload() {
    for (source, unread) in LABS.into_iter().zip([10, 4]) {
        let app = serve(source, "", "");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let mut open = Vec::new();
            for _ in 0..unread {
                let request = client.request("POST", "/big?bytes=100000000").body(()).unwrap();
                let (response, mut stream) = client.open(request, false).await.unwrap();
                let body = tokio::spawn(async move {
                    // The window of the stream is full then, unless its guest has dropped it before.
                    let _left = send_all(&mut stream, vec![b'x'; 500_000].into(), false).await;
                    stream
                });
                open.push((in_time("a head", response).await.unwrap(), body));
            }
            let request = client.request("POST", "/read").body(()).unwrap();
            let (response, mut stream) = client.open(request, false).await.unwrap();
            in_time("the upload", send_all(&mut stream, vec![b'x'; 600_000].into(), true)).await.unwrap();
            // The client has no room for more than a head.
            assert_eq!(in_time("a head", response).await.unwrap().status(), 200);
        });
        app.stop().expect_outcome("lab", "stopped");
    }
}

/// node's client is stricter than others.
#[test]
fn node_reads_answers_without_a_body() {
    let Some(node) = crate::harness::tool("node") else { return };
    let app = Host::manifest(&(app("") + &web("web", HELLO_HTTP, ""))).start_ready();
    let script = format!(
        "const c = require('http2').connect('http://{}');\
         const r = c.request({{ ':method': 'HEAD', ':path': '/' }});\
         r.on('response', h => {{ process.stdout.write(String(h[':status'])) }});\
         r.on('error', e => {{ console.error(e); process.exit(1) }});\
         r.on('end', () => c.close()); r.resume();",
        app.address("web").authority()
    );
    let output = Command::new(node).args(["-e", &script]).output().unwrap();
    assert!(output.status.success() && output.stdout == b"200", "{output:?}");
    app.stop().expect_code(0);
}
