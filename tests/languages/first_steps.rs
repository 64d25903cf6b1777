//! A new user's first five minutes: what the documentation of each toolchain builds, run by one command without a manifest.
//! Each program answers a thousand times, and stops at once with 0.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{App, Host, LineClient, Output, Wire, assert_within, sample};
use crate::in_parallel;

const CLIENTS: usize = 4;
const ANSWERS_EACH: usize = 250;

/// Runs an HTTP program, and asks it a thousand times: each second client connects for each request.
#[track_caller]
fn serves(name: &str, ask: impl Fn(&mut Wire) -> String + Sync, expected: &str) {
    let Some(file) = sample(&format!("first-steps/{name}")) else { return };
    let app = Host::files(&[file]).flags(&["--listen", "127.0.0.1:0", "--log-level", "info"]).start();
    let address = app.address(name);
    in_parallel(CLIENTS, (0..CLIENTS).collect(), |client| {
        let mut wire = Wire::connect(&address);
        for number in 0..ANSWERS_EACH {
            if client % 2 == 1 {
                wire = Wire::connect(&address);
            }
            assert_eq!(ask(&mut wire), expected, "answer {number} of client {client}");
        }
    });
    stops_at_once(app);
}

#[track_caller]
fn stops_at_once(app: App) {
    let asked = app.signal(Signal::SIGTERM);
    ended_at_once(&app.wait(), asked);
}

#[track_caller]
fn ended_at_once(output: &Output, asked: Instant) {
    output.expect_code(0);
    assert_within(output.after(asked), Duration::from_millis(250), "the stop");
}

#[test]
fn hono() {
    let ask = |wire: &mut Wire| wire.get("/hello").expect(200).text();
    serves("hono", ask, "{\"message\":\"Hello WASM!\"}");
}

#[test]
fn the_http_example_of_componentize_py() {
    let ask = |wire: &mut Wire| wire.post("/echo", b"'Twas brillig").expect(200).text();
    serves("python-http", ask, "'Twas brillig");
}

#[test]
fn a_wstd_server() {
    serves("wstd", |wire| wire.get("/").expect(200).text(), "Hello!\n");
}

#[test]
fn a_std_net_echo_server() {
    let Some(file) = sample("first-steps/std-echo") else { return };
    let flags = ["--allow-net", "--log-level", "info"];
    let app = Host::files(&[file]).flags(&flags).guest_args(&["127.0.0.1:0"]).start();
    let line = app.wait_for_line("listening on 127.0.0.1:");
    let port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
    for client in 0..CLIENTS {
        let mut connection = LineClient::connect(port);
        for number in 0..ANSWERS_EACH {
            let line = format!("{client} says {number}");
            connection.send(&line);
            assert_eq!(connection.receive(), Some(line));
        }
        connection.finish();
        assert_eq!(connection.receive(), None);
    }
    // It cannot hear of the stop. The client that it has is served to its end.
    let mut last = LineClient::connect(port);
    last.send("before");
    assert_eq!(last.receive().as_deref(), Some("before"));
    app.signal(Signal::SIGTERM);
    app.wait_for_log("asked to stop", "");
    last.send("after");
    assert_eq!(last.receive().as_deref(), Some("after"));
    let left = Instant::now();
    last.finish();
    ended_at_once(&app.wait(), left);
}

/// It cannot hear of the stop, and reads its input to the end.
#[test]
fn a_go_program() {
    let Some(file) = sample("first-steps/go-lines") else { return };
    let mut app = Host::files(&[file]).stdin(Stdio::piped()).start();
    let mut stdin = app.take_stdin();
    for number in 0..CLIENTS * ANSWERS_EACH {
        writeln!(stdin, "line {number}").unwrap();
        app.wait_for_line(&format!("Hello, line {number}!"));
    }
    // Its input stays open: the stop ends it.
    stops_at_once(app);
    drop(stdin);
}
