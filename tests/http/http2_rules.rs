//! What HTTP/2 does differently from HTTP/1.1: answers without a body, cookies, small frames, with real clients.

use std::process::Command;

use artifacts::HELLO_HTTP;
use bytes::Bytes;

use super::lab::{LABS, serve};
use crate::harness::{H2, Host, answer, app, block_on, in_time, web};

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
