//! H12 (spin#3541): the client goes away → the guest is told (its writes end, without a trap), the request no longer
//! holds the drain; its slot stays busy until it ends.

use nix::sys::signal::Signal::SIGTERM;

use super::lab::{LABS, MS, SINGLE, connect, expect_one_hook_each, serve, text_of};
use crate::harness::{H2, assert_within, block_on, in_time, until};

/// An endless answer is begun, and its client goes away.
#[test]
fn a_guest_is_told_that_its_client_has_gone() {
    for source in LABS {
        let app = serve(source, "", "instances = { max = 1 }");
        for round in 1..=3 {
            let mut wire = connect(&app);
            wire.send_get("/endless");
            assert_eq!(wire.head().status, 200);
            wire.piece().unwrap().expect("it is endless");
            drop(wire);
            until("the guest's notice of it", || (text_of(&app, "/gone") == round.to_string()).then_some(()));
        }
        // It was told, not trapped: it is the same instance that has counted, and the hook runs on it.
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
        assert!(output.records("instance failed", "lab").is_empty(), "{}", output.said());
        assert_eq!(output.records("instance started", "lab").len(), 1, "{}", output.said());
        expect_one_hook_each(&output, "lab");
    }
}

/// The same by a reset of one HTTP/2 stream, whose connection goes on.
#[test]
fn a_guest_is_told_that_its_stream_was_cancelled() {
    for source in LABS {
        let app = serve(source, "", "instances = { max = 1 }");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let request = client.request("GET", "/endless").body(()).unwrap();
            let (response, _) = client.open(request, true).await.unwrap();
            let mut body = in_time("the head", response).await.unwrap().into_body();
            in_time("its first piece", body.data()).await.unwrap().unwrap();
            drop(body);
            let told = async {
                while client.get("/gone").await.expect(200).text() != "1" {
                    tokio::time::sleep(5 * MS).await;
                }
            };
            in_time("the guest's notice of it", told).await;
        });
        app.stop().expect_code(0).expect_hook("lab", "ok");
    }
}

/// A long answer, in the middle of which the client goes, and one whose client never reads a byte of it.
#[test]
fn an_answer_that_nobody_reads_to_its_end_leaves_its_instance_in_order() {
    for source in LABS {
        let app = serve(source, "", "instances = { max = 1 }");
        let mut half = connect(&app);
        half.send_get("/big?bytes=100000000");
        assert_eq!(half.head().status, 200);
        drop(half);
        let mut none = connect(&app);
        none.send_get("/big?bytes=100000000");
        drop(none);
        // What it sends while it goes: half a body that the guest reads.
        let mut sender = connect(&app);
        let head = sender.head_of("POST", "/echo", "content-length: 1000000\r\n");
        sender.send(head + "only this");
        assert_eq!(sender.head().status, 200);
        drop(sender);
        assert!(text_of(&app, "/").starts_with("Hello "));
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
        assert!(output.records("instance failed", "lab").is_empty(), "{}", output.said());
    }
}

/// The request no longer holds the drain: the stop does not wait for what nobody will read.
#[test]
fn a_request_without_a_client_does_not_hold_the_stop() {
    let app = serve(LABS[0], "grace = \"60s\"", "instances = { max = 1 }");
    for path in ["/park", "/park-mid", "/sleep?ms=3600000"] {
        let mut wire = connect(&app);
        wire.begin_get(path);
        if path == "/park-mid" {
            assert_eq!(wire.head().status, 200);
        }
        wire.leave();
    }
    // It can be entered beside them.
    assert!(text_of(&app, "/").starts_with("Hello "));
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_outcome("lab", "stopped").expect_hook("lab", "ok").expect_code(0);
    assert_within(output.after(asked), 500 * MS, "the stop without clients");
}

/// The same when the client goes during the stop.
#[test]
fn a_client_that_goes_during_the_stop_ends_the_wait_for_it() {
    for (source, path) in [(LABS[0], "/park"), (LABS[0], "/endless"), (LABS[1], "/endless")] {
        let app = serve(source, "grace = \"60s\"", "instances = { max = 1 }");
        let mut wire = connect(&app);
        wire.begin_get(path);
        if path == "/endless" {
            assert_eq!(wire.head().status, 200);
        }
        app.signal(SIGTERM);
        app.wait_for_log("listener closed", "lab");
        let gone = std::time::Instant::now();
        wire.leave();
        let output = app.wait();
        output.expect_outcome("lab", "stopped").expect_hook("lab", "ok").expect_code(0);
        assert_within(output.after(gone), 500 * MS, "the exit");
    }
}

/// Its slot stays busy until it ends: a request that is asked again and again by clients that go does not get
/// more instances than there may be, and others are served when it has ended.
#[test]
fn a_request_without_a_client_keeps_its_slot_until_it_ends() {
    for source in LABS {
        let app = serve(source, "", SINGLE);
        let mut wire = connect(&app);
        wire.begin_get("/sleep?ms=400");
        drop(wire);
        assert_eq!(text_of(&app, "/"), "Hello 2", "the next request waited for the same instance");
        let output = app.stop();
        output.expect_code(0);
        assert_eq!(output.records("instance started", "lab").len(), 1, "{}", output.said());
    }
}
