//! H6 (axum#2673, grpc-go#2448): an endless stream → its component is told, and cut off at the end of its grace.

use std::time::{Duration, Instant};

use artifacts::{EVENTS, HTTP_LAB, HTTP_LAB_CLASSIC};
use nix::sys::signal::Signal::{SIGINT, SIGTERM};

use super::lab::{MS, connect, serve};
use crate::harness::{App, Cut, Fate, Host, Wire, answer, app, assert_within, block_on, in_time, web};

/// An endless answer that has begun.
fn endless(app: &App, path: &str) -> Wire {
    let mut wire = Wire::connect(&app.address("lab"));
    wire.send_get(path);
    assert_eq!(wire.head().status, 200);
    wire.piece().unwrap().expect("it is endless");
    wire
}

fn events(keys: &str) -> App {
    Host::manifest(&(app(keys) + &web("lab", EVENTS, ""))).start_ready()
}

/// A component that hears of the stop ends its streams itself, with a last event; nobody waits for the grace.
#[test]
fn a_component_that_is_told_ends_its_streams_itself() {
    let app = events("grace = \"60s\"");
    let mut clients: Vec<Wire> = (0..10).map(|_| endless(&app, "/?every=20")).collect();
    let asked = app.signal(SIGTERM);
    for wire in &mut clients {
        let text = wire.rest().answered().text();
        assert!(text.ends_with("event: stop\ndata: signal SIGTERM\n\n"), "{text}");
        assert_eq!(wire.end(), Cut::End);
    }
    let output = app.wait();
    output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
    output.expect_line("hook: served ");
    assert_within(output.after(asked), 300 * MS, "the stop");
    assert_eq!(output.row("lab").number("in_flight_asked"), 10.0);
}

/// The same over HTTP/2.
#[test]
fn streams_over_http2_end_themselves_too() {
    let app = events("grace = \"60s\"");
    block_on(async {
        let mut client = crate::harness::H2::connect(&app.address("lab")).await;
        let mut streams = Vec::new();
        for _ in 0..10 {
            let request = client.request("GET", "/?every=20").body(()).unwrap();
            streams.push(answer(client.open(request, true).await.unwrap().0));
        }
        client.ping().await;
        app.signal(SIGTERM);
        for answer in in_time("the last events", futures::future::join_all(streams)).await {
            assert!(answer.unwrap().text().ends_with("event: stop\ndata: signal SIGTERM\n\n"));
        }
    });
    app.wait().expect_code(0).expect_outcome("lab", "stopped");
}

/// One that is not ended is told by its hook at half the grace, when the instance can be entered, and cut off at the
/// end; its client sees an answer that was aborted. A sync instance gets no hook.
#[test]
fn an_endless_stream_is_told_at_half_the_grace_and_cut_off_at_the_end() {
    let cases = [(HTTP_LAB, "/endless"), (HTTP_LAB, "/park-mid"), (HTTP_LAB_CLASSIC, "/endless")];
    crate::in_parallel(3, cases.into(), |(source, path)| {
        let app = serve(source, "grace = \"30s\"", "grace = \"2s\"\ninstances = { max = 1 }");
        let mut wire = endless(&app, path);
        let asked = app.signal(SIGTERM);
        let told = (source == HTTP_LAB).then(|| app.wait_for_log("hook started", "lab").at - asked);
        let fate = wire.rest();
        let ended = asked.elapsed();
        assert!(matches!(fate, Fate::Aborted { .. }), "{source} {path}: {fate:?}");
        let output = app.wait();
        output.expect_code(124).expect_outcome("lab", "cut-off");
        output.expect_hook("lab", if source == HTTP_LAB { "ok" } else { "not-called" });
        if let Some(told) = told {
            assert!(told >= 990 * MS, "its hook came after {told:?}");
            assert_within(told, Duration::from_secs(1), "its hook");
        }
        assert!(ended >= 1990 * MS, "cut off after {ended:?}");
        assert_within(output.after(asked), 2250 * MS, "exit");
        assert_eq!(output.row("lab").number("in_flight_asked"), 1.0);
        assert_eq!(output.row("lab").number("in_flight_ended"), 1.0);
    });
}

/// Design 3.7, I8: also an answer whose end is the end of the connection, and one over HTTP/2, is visibly cut.
#[test]
fn no_cut_off_answer_looks_whole() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let app = serve(source, "grace = \"300ms\"", "instances = { max = 4 }");
        let address = app.address("lab");
        let mut old = connect(&app);
        old.send("GET /endless HTTP/1.0\r\n\r\n");
        assert_eq!(old.head().status, 200);
        let mut chunked = endless(&app, "/endless");
        let lost = block_on(async {
            let mut client = crate::harness::H2::connect(&address).await;
            let request = client.request("GET", "/endless").body(()).unwrap();
            let answer = answer(client.open(request, true).await.unwrap().0);
            client.ping().await;
            app.signal(SIGTERM);
            in_time("the end", answer).await
        });
        assert_eq!(lost.map(|answer| answer.text()), Err(crate::harness::Lost::Aborted));
        chunked.rest().aborted();
        let fate = old.rest();
        assert!(matches!(fate, Fate::Aborted { reset: true, .. }), "{source}: {fate:?}");
        app.wait().expect_code(124).expect_outcome("lab", "cut-off");
    }
}

/// S1 for requests: a second INT cuts them off at once.
#[test]
fn a_second_interrupt_cuts_streams_off_at_once() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let app = serve(source, "grace = \"60s\"", "");
        let mut wire = endless(&app, "/endless");
        app.signal(SIGINT);
        // The same signal within 500 ms would count once.
        std::thread::sleep(600 * MS);
        let asked = app.signal(SIGINT);
        wire.rest().aborted();
        let output = app.wait();
        output.expect_code(130).expect_outcome("lab", "cut-off");
        assert_within(output.after(asked), 500 * MS, "the exit");
    }
}

/// A slow client of a long answer gets all of it when it is done in time: a stop is no reason to hurry it.
#[test]
fn a_slow_reader_gets_its_whole_answer_during_the_stop() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let app = serve(source, "grace = \"30s\"", "");
        let mut wire = connect(&app);
        wire.send_get("/big?bytes=20000000");
        assert_eq!(wire.head().status, 200);
        app.signal(SIGTERM);
        app.wait_for_log("listener closed", "lab");
        let begun = Instant::now();
        let mut read = 0;
        while let Some(piece) = wire.piece().unwrap() {
            read += piece.len();
            // The reader is slow: that is what this is about.
            if begun.elapsed() < Duration::from_secs(1) {
                std::thread::sleep(10 * MS);
            }
        }
        assert_eq!(read, 20_000_000);
        app.wait().expect_code(0).expect_outcome("lab", "stopped");
    }
}
