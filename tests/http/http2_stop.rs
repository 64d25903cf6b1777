//! H9 (linkerd2-proxy's shutdown suite): what a stop says on HTTP/2 connections, and what it finishes.

use bytes::Bytes;
use futures::future::join_all;
use h2::SendStream;
use h2::client::ResponseFuture;
use nix::sys::signal::Signal::SIGTERM;

use super::lab::{LABS, serve, served};
use crate::harness::{App, H2, Lost, answer, assert_within, block_on, in_time, send_all};

const BODIES: usize = 50;

/// Fifty requests over one connection, each with the first half of its body.
async fn half_sent(client: &H2) -> Vec<(ResponseFuture, SendStream<Bytes>)> {
    let mut streams = Vec::new();
    for number in 0..BODIES {
        let request = client.request("POST", "/echo").body(()).unwrap();
        let (response, mut stream) = client.open(request, false).await.unwrap();
        send_all(&mut stream, Bytes::from(format!("first half of {number}, ")), false).await.unwrap();
        streams.push((response, stream));
    }
    streams
}

async fn stop_and_finish(app: &App) {
    let mut client = H2::connect(&app.address("lab")).await;
    let streams = half_sent(&client).await;
    // The host knows all of them when it has answered what was sent behind them.
    client.ping().await;
    app.signal(SIGTERM);
    client.goes_away().await;
    let finished = streams.into_iter().enumerate().map(|(number, (response, mut stream))| async move {
        send_all(&mut stream, Bytes::from("second half"), true).await.unwrap();
        (number, answer(response).await)
    });
    for (number, answer) in in_time("fifty answers", join_all(finished)).await {
        let answer = answer.unwrap_or_else(|lost| panic!("body {number}: {lost:?}")).expect(200);
        assert_eq!(answer.text(), format!("first half of {number}, second half"));
    }
    let ended = in_time("the end of the connection", &mut client.connection).await.unwrap();
    assert!(ended.is_ok(), "{ended:?}");
}

/// HTTP/2: GOAWAY, fifty half-sent bodies all complete. Then the connection ends, and the host at once.
#[test]
fn half_sent_bodies_complete_after_goaway() {
    for source in LABS {
        let app = serve(source, "grace = \"30s\"", &format!("instances = {{ max = {BODIES} }}"));
        block_on(async {
            stop_and_finish(&app).await;
        });
        let output = app.wait();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
        assert_eq!(served(&output, "lab"), BODIES as u64, "{}", output.said());
    }
}

/// RFC 9113 §6.8: a stream that is opened while GOAWAY is on its way is served, or its client is told that it was
/// not begun. Many, so that some cross it.
#[test]
fn streams_that_cross_goaway_are_served_or_told() {
    for source in LABS {
        crate::in_parallel(2, (0..10).collect(), |_run: u32| {
            let app = serve(source, "grace = \"30s\"", "");
            let answered = block_on(async {
                let client = H2::connect(&app.address("lab")).await;
                client.get("/").await.expect(200);
                app.signal(SIGTERM);
                let mut answered = 1;
                loop {
                    match in_time("an end", client.try_get("/")).await {
                        Ok(answer) => drop(answer.expect(200)),
                        Err(Lost::Unprocessed) => return answered,
                        Err(lost) => panic!("{lost:?}"),
                    }
                    answered += 1;
                }
            });
            let output = app.wait();
            output.expect_code(0);
            assert_eq!(served(&output, "lab"), answered, "what was not begun was not served");
        });
    }
}

/// A client that ignores GOAWAY and leaves its connection open holds nothing up.
#[test]
fn a_client_that_stays_after_goaway_does_not_hold_the_stop() {
    for source in LABS {
        let app = serve(source, "grace = \"30s\"", "");
        let asked = block_on(async {
            let mut client = H2::connect(&app.address("lab")).await;
            let slow = client.request("GET", "/sleep?ms=300").body(()).unwrap();
            let (slow, _) = client.open(slow, true).await.unwrap();
            client.ping().await;
            app.signal(SIGTERM);
            assert_eq!(in_time("the answer", answer(slow)).await.unwrap().expect(200).text(), "slept 300 ms");
            let asked = std::time::Instant::now();
            // It does not close its half: only the host can end the connection.
            let _ = in_time("the end", client.connection).await;
            asked
        });
        let output = app.wait();
        output.expect_code(0);
        assert_within(output.after(asked), std::time::Duration::from_millis(100), "the exit");
    }
}
