//! The least pace of a client: one that holds it has its whole answer, whatever the other limits are; gRPC may be silent.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::Signal::SIGTERM;

use super::lab::{LABS, serve};
use crate::harness::{App, CONTROL, H2, block_on, in_time, until};

/// Windows that are over long before the transfers of these tests.
const LIMITS: &str = "limits = { rate-window = \"3s\", idle-timeout = \"1s\", header-timeout = \"1s\" }";

/// Starts a download of 20 MB with curl at 4 MB/s.
fn curl(app: &App, flags: &[&str]) -> std::process::Child {
    let url = format!("http://{}/big?bytes=20000000", app.address("lab").authority());
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--limit-rate", "4M", "-o", "/dev/null", "-w", "%{size_download}"])
        .args(flags)
        .arg(url);
    command.stdout(std::process::Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn expect_whole(child: std::process::Child) {
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "20000000", "{output:?}");
    assert!(output.status.success());
}

/// A steady slow reader gets all of it, over both protocols, also from a host that stops.
#[test]
fn a_slow_reader_that_reads_is_never_cut() {
    for source in LABS {
        let app = serve(source, &format!("grace = \"60s\"\n{CONTROL}"), LIMITS);
        let [one, two] = [&["--http1.1"][..], &["--http2-prior-knowledge"]].map(|flags| curl(&app, flags));
        expect_whole(one);
        expect_whole(two);
        let [one, two] = [&["--http1.1"][..], &["--http2-prior-knowledge"]].map(|flags| curl(&app, flags));
        until("two downloads", || (app.component("lab").number("in_flight") == 2).then_some(()));
        app.signal(SIGTERM);
        expect_whole(one);
        expect_whole(two);
        app.wait().expect_code(0);
    }
}

/// A call of gRPC has something to say when something happens; a stop waits for it no longer than for others.
#[test]
fn a_call_of_grpc_may_be_silent_until_the_app_stops() {
    for source in LABS {
        let app = serve(source, "grace = \"60s\"", LIMITS);
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let request =
                client.request("POST", "/echo").header("content-type", "application/grpc").body(()).unwrap();
            let (answer, mut stream) = client.open(request, false).await.unwrap();
            let mut body = in_time("a head", answer).await.unwrap().into_body();
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(4000)).await;
                stream.send_data(Bytes::from_static(b"message"), false).unwrap();
                let piece = in_time("an echo", body.data()).await.unwrap().unwrap();
                assert_eq!(piece, "message");
            }
            app.signal(SIGTERM);
            let end = in_time("an end", body.data()).await;
            assert!(end.is_none_or(|piece| piece.is_err()));
        });
        app.wait().expect_code(0);
    }
}
