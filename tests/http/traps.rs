//! H13: one trap fails all requests on a shared instance → those get 502, or an aborted connection once the head is
//! out, never a complete-looking short answer; the next ones a fresh instance. And what a failure means for the app.

use artifacts::{HELLO_HTTP, HTTP_LAB, HTTP_LAB_CLASSIC};

use super::lab::{LABS, connect, expect_one_hook_each, other_state, serve, state, text_of};
use crate::harness::{Fate, H2, Host, Lost, Trust, Wire, app, block_on, in_time, until, web};

const SHARED: &str = "instances = { max = 1 }";

/// The number of the request on its instance.
fn hello(text: &str) -> u64 {
    text.strip_prefix("Hello ").unwrap().parse().unwrap()
}

fn expect_502(fate: Fate) {
    let text = fate.answered().expect(502).text();
    assert!(text.starts_with("502"), "{text:?}");
}

/// Every way in which an instance can die in a handler before the head is out.
#[test]
fn a_request_that_kills_its_instance_gets_502_and_the_next_one_a_fresh_instance() {
    for source in LABS {
        let app = serve(source, "", SHARED);
        let mut last = state(&app);
        let paths = ["/trap", "/panic", "/exit?code=0", "/exit?code=3"];
        for path in paths {
            let mut wire = connect(&app);
            wire.send_get(path);
            expect_502(wire.fate());
            let fresh = state(&app);
            assert!(fresh.id != last.id && fresh.count == 1, "{path}: {fresh:?}");
            last = fresh;
        }
        let failures = app.wait_for_logs("instance failed", "lab", paths.len());
        let error = failures[0].text("error");
        assert!(error.contains("deep_trap"), "no names of guest functions in {error}");
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
        assert_eq!(output.records("hook started", "lab").len(), 1, "only what still lives gets its hook");
    }
}

/// The same in the middle of a body: HTTP/1.1, HTTP/1.0 whose end is the end of the connection, HTTP/2.
#[test]
fn an_answer_that_is_trapped_in_its_middle_never_looks_whole() {
    for source in LABS {
        let app = serve(source, "", SHARED);
        let mut wire = connect(&app);
        wire.send_get("/trap-mid?bytes=1000");
        let partial = wire.fate().aborted();
        assert_eq!((partial.status, partial.body.len()), (200, 1000));
        let mut old = connect(&app);
        old.send("GET /trap-mid?bytes=1000 HTTP/1.0\r\n\r\n");
        let fate = old.fate();
        assert!(matches!(fate, Fate::Aborted { reset: true, .. }), "{source}: {fate:?}");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let lost = in_time("the end", client.try_get("/trap-mid?bytes=1000")).await;
            assert_eq!(lost.map(|answer| answer.text()), Err(Lost::Aborted));
            // Its connection is not to blame.
            client.get("/").await.expect(200);
        });
        app.stop().expect_code(0).expect_outcome("lab", "stopped");
    }
}

/// The same with TLS, where an end without the closing word is no end either.
#[test]
fn an_answer_over_tls_that_is_trapped_never_looks_whole() {
    for source in LABS {
        let keys = format!("tls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n{SHARED}");
        let (host, trust) = Trust::install(Host::manifest(&(app("") + &web("lab", source, &keys))));
        let app = host.start_ready();
        for version in ["1.0", "1.1"] {
            let mut wire = Wire::connect_tls(&app.address("lab"), &trust, &["http/1.1"]);
            wire.send(format!("GET /trap-mid?bytes=1000 HTTP/{version}\r\nhost: a\r\n\r\n"));
            wire.fate().aborted();
            // A good answer to such a client ends as it should.
            let mut wire = Wire::connect_tls(&app.address("lab"), &trust, &["http/1.1"]);
            wire.send(format!("GET /big?bytes=1000 HTTP/{version}\r\nhost: a\r\n\r\n"));
            assert_eq!(wire.fate().answered().expect(200).body.len(), 1000);
        }
        app.stop().expect_code(0);
    }
}

/// A shared async instance: all requests that are in flight on it fail, each in its way, and no others.
#[test]
fn a_trap_fails_the_requests_in_flight_on_its_instance() {
    let manifest = app("") + &web("lab", HTTP_LAB, SHARED) + &web("other", HTTP_LAB, SHARED);
    let app = Host::manifest(&manifest).start_ready();
    let others = Wire::connect(&app.address("other")).get("/state").expect(200).text();
    let mut other = Wire::connect(&app.address("other"));
    other.begin_get("/sleep?ms=800");
    let mut without_head: Vec<Wire> = (0..10).map(|_| connect(&app)).collect();
    for wire in &mut without_head {
        wire.begin_get("/sleep?ms=60000");
    }
    let mut with_head: Vec<Wire> = (0..3).map(|_| connect(&app)).collect();
    with_head[0].send_get("/endless");
    with_head[1].send("GET /endless HTTP/1.0\r\n\r\n");
    with_head[2].send_get("/park-mid");
    for wire in &mut with_head {
        assert_eq!(wire.head().status, 200);
    }
    // The instance has all of them when its own count says so.
    until("fourteen requests", || (hello(&text_of(&app, "/")) >= 14).then_some(()));
    let mut trap = connect(&app);
    trap.send_get("/trap");
    expect_502(trap.fate());
    for wire in &mut without_head {
        expect_502(wire.fate());
    }
    for (number, wire) in with_head.iter_mut().enumerate() {
        let fate = wire.rest();
        let reset_when_needed = matches!(fate, Fate::Aborted { reset, .. } if reset || number != 1);
        assert!(reset_when_needed, "{number}: {fate:?}");
    }
    assert_eq!(text_of(&app, "/"), "Hello 1");
    assert_eq!(other.fate().answered().expect(200).text(), "slept 800 ms");
    let again = Wire::connect(&app.address("other")).get("/state").expect(200).text();
    assert_eq!(again.split(' ').nth(1), others.split(' ').nth(1), "its neighbour is the same instance");
    let output = app.stop();
    output.expect_code(0).expect_outcome("lab", "stopped").expect_outcome("other", "stopped");
    assert_eq!(output.records("instance failed", "").len(), 1, "{}", output.said());
}

/// A handler that ends without a response: an answer of the host. An async instance said so itself, and lives on; a sync one is
/// replaced.
#[test]
fn a_guest_that_gives_no_response_gets_an_error_for_its_client() {
    for source in LABS {
        let app = serve(source, "", SHARED);
        let before = state(&app);
        let mut wire = connect(&app);
        wire.send_get("/no-response");
        wire.fate().answered().expect(500);
        assert_eq!(state(&app).id == before.id, source == HTTP_LAB, "{source}");
        let output = app.stop();
        output.expect_code(0).expect_hook("lab", "ok");
        expect_one_hook_each(&output, "lab");
    }
}

/// One trap after the other does not stop the app, and does not slow it down for ever: a client could do it.
#[test]
fn many_traps_do_not_stop_the_app() {
    for source in LABS {
        // Replaced at once, and as often as need be.
        let app = serve(source, "", "instances = { max = 2 }\non-failure = \"ignore\"");
        let threads = app.threads();
        for _ in 0..60 {
            let mut wire = connect(&app);
            wire.send_get("/trap");
            expect_502(wire.fate());
        }
        text_of(&app, "/");
        let bound = threads + 4;
        until("as many threads as before", || (app.threads() <= bound).then_some(()));
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped");
        assert_eq!(output.report["components"][0]["http"]["failed_instances"], 60, "{}", output.report);
    }
}

/// `on-failure = "stop-app"`: then a trap is a failure of the component, with `fail-grace` for the others.
#[test]
fn a_trap_stops_the_app_when_the_manifest_says_so() {
    for source in LABS {
        let manifest = app("fail-grace = \"20s\"")
            + &web("lab", source, "on-failure = \"stop-app\"")
            + &web("fine", HELLO_HTTP, "");
        let app = Host::manifest(&manifest).start_ready();
        Wire::connect(&app.address("fine")).get("/").expect(200);
        let mut wire = connect(&app);
        wire.send_get("/trap");
        expect_502(wire.fate());
        let output = app.wait();
        output.expect_code(1).expect_cause("failure", "lab").expect_outcome("lab", "failed");
        output.expect_outcome("fine", "stopped").expect_hook("fine", "ok");
        assert!(output.said().contains("deep_trap"), "no backtrace:\n{}", output.said());
    }
}

/// A trap during the stop: its requests are told, the instance gets no hook, the stop goes on.
#[test]
fn a_trap_during_the_stop_is_told_and_does_not_hold_it() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let app = serve(source, "grace = \"60s\"", SHARED);
        let mut wire = connect(&app);
        wire.send_get("/trap-mid?bytes=1000&after=700");
        assert_eq!(wire.head().status, 200);
        app.signal(nix::sys::signal::Signal::SIGTERM);
        wire.rest().aborted();
        let output = app.wait();
        output.expect_cause("signal", "SIGTERM").expect_hook("lab", "not-called");
        assert_eq!(output.records("instance failed", "lab").len(), 1, "{}", output.said());
        let (outcome, code) = (output.row("lab").outcome().to_string(), output.code());
        assert!(matches!((outcome.as_str(), code), ("failed", 1) | ("stopped", 0)), "{outcome}, {code}");
    }
}

/// Over HTTP/2 a shared instance fails only its own streams of a connection.
#[test]
fn a_trap_ends_the_streams_of_its_requests() {
    let app = serve(HTTP_LAB, "", SHARED);
    let first = state(&app);
    block_on(async {
        let mut client = H2::connect(&app.address("lab")).await;
        let mut sleeping = Vec::new();
        for _ in 0..10 {
            let request = client.request("GET", "/sleep?ms=60000").body(()).unwrap();
            sleeping.push(crate::harness::answer(client.open(request, true).await.unwrap().0));
        }
        client.ping().await;
        // The instance has all of them when its own count says so.
        in_time("twelve requests", async { while hello(&client.get("/").await.text()) < 12 {} }).await;
        client.get("/trap").await.expect(502);
        for answer in in_time("their ends", futures::future::join_all(sleeping)).await {
            answer.expect("an answer").expect(502);
        }
        client.get("/").await.expect(200);
    });
    other_state(&app, &[&first]);
    app.stop().expect_code(0);
}
