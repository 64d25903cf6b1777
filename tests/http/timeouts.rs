//! `request-timeout`: an answer that does not begin in time is given by the host. What cannot be cancelled retires its
//! instance: no new requests, drained, cut off at the end.

use std::time::{Duration, Instant};

use super::lab::{LABS, MS, connect, expect_one_hook_each, other_state, serve, state, text_of};
use crate::harness::{Fate, Wire, assert_within};

const TIMEOUT: Duration = Duration::from_millis(500);

fn keys(instances: &str) -> String {
    format!("request-timeout = \"500ms\"\ngrace = \"500ms\"\ninstances = {{ {instances} }}")
}

/// 504 when the time is over; the instance ends, with its hook, when its request does, and another one serves.
#[test]
fn a_slow_answer_gets_504_and_retires_its_instance() {
    for source in LABS {
        // The grace must be longer than the request, which is waited for.
        let app = serve(source, "", &keys("max = 1").replace("grace = \"500ms\"", "grace = \"20s\""));
        let first = state(&app);
        let begun = Instant::now();
        let answer = connect(&app).get("/sleep?ms=1200");
        assert_within(begun.elapsed(), TIMEOUT, "the answer");
        assert!(begun.elapsed() >= TIMEOUT - 5 * MS);
        let text = answer.expect(504).text();
        assert!(text.starts_with("504"), "{text:?}");
        let second = other_state(&app, &[&first]);
        assert_eq!(second.count, 1);
        let ended = app.wait_for_log("instance ended", "lab");
        assert_eq!(ended.text("instance"), "1", "{ended:?}");
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
        expect_one_hook_each(&output, "lab");
    }
}

/// One that never ends is cut off when its instance has had its grace: the component serves again, on one instance.
#[test]
fn an_instance_that_never_ends_its_request_is_replaced() {
    let cases: Vec<_> =
        LABS.into_iter().flat_map(|source| ["/park", "/spin"].map(|path| (source, path))).collect();
    crate::in_parallel(2, cases, |(source, path)| {
        let app = serve(source, "", &keys("max = 1"));
        let first = state(&app);
        eprintln!("{source}: {path}");
        connect(&app).get(path).expect(504);
        let second = other_state(&app, &[&first]);
        assert_eq!(state(&app).id, second.id);
        app.wait_for_log("instance ended", "lab");
        let output = app.stop();
        output.expect_outcome("lab", "stopped").expect_hook("lab", "ok").expect_code(0);
        let started = output.records("instance started", "lab").len();
        assert_eq!(started, 2, "{source} {path}: {}", output.said());
    });
}

/// A retired instance gets no new requests, also from connections that were there before.
#[test]
fn a_retired_instance_gets_no_new_requests() {
    for source in LABS {
        let keys = keys("max = 2").replace("grace = \"500ms\"", "grace = \"20s\"");
        let app = serve(source, "", &keys);
        let mut kept: Vec<Wire> = (0..4).map(|_| connect(&app)).collect();
        let mut ids = Vec::new();
        for wire in &mut kept {
            ids.push(super::lab::State::parse(&wire.get("/state").expect(200).text()).id);
        }
        let slow = connect(&app).get("/sleep?ms=3000");
        slow.expect(504);
        // It is one of two instances that sleeps on; whoever answers now does it at once.
        for wire in &mut kept {
            for _ in 0..5 {
                let begun = Instant::now();
                wire.get("/state").expect(200);
                assert_within(begun.elapsed(), 100 * MS, "an answer beside a retired instance");
            }
        }
        app.stop().expect_code(0);
    }
}

/// A request that never reached an instance gets 503: it can be sent again. A sync instance is busy to its end; an
/// async one need not be waited for when nobody waits for it.
#[test]
fn a_request_that_waited_in_vain_gets_503() {
    let keys = keys("max = 1").replace("grace = \"500ms\"", "grace = \"20s\"");
    let app = serve(LABS[1], "", &keys);
    let mut slow = connect(&app);
    slow.begin_get("/sleep?ms=1800");
    let begun = Instant::now();
    let answer = connect(&app).get("/");
    assert!(begun.elapsed() >= TIMEOUT - 5 * MS, "after {:?}", begun.elapsed());
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    assert!(answer.expect(503).text().starts_with("503"));
    slow.fate().answered().expect(504);
    app.stop().expect_code(0);
}

/// It holds until the response begins: a long answer is not cut.
#[test]
fn an_answer_that_has_begun_may_take_its_time() {
    for source in LABS {
        let app = serve(source, "", "request-timeout = \"300ms\"");
        let mut wire = connect(&app);
        wire.send_get("/endless");
        assert_eq!(wire.head().status, 200);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) {
            wire.piece().unwrap().expect("it goes on");
        }
        drop(wire);
        assert!(app.records("instance ended", "lab").is_empty());
        app.stop().expect_code(0);
    }
}

/// The answer is final: what the guest says after it reaches nobody, and the connection goes on.
#[test]
fn what_comes_after_the_timeout_is_not_sent() {
    for source in LABS {
        let app = serve(source, "", "request-timeout = \"1s\"\ninstances = { max = 2 }");
        let mut wire = connect(&app);
        wire.send_get("/sleep?ms=1400");
        let answer = wire.fate().answered();
        let closes = answer.closes();
        answer.expect(504);
        if !closes {
            assert_eq!(wire.get("/sized?bytes=3").expect(200).body, b"xxx");
            wire.send_get("/sleep?ms=500");
            match wire.fate() {
                Fate::Answered(answer) => assert_eq!(answer.expect(200).text(), "slept 500 ms"),
                other => panic!("{other:?}"),
            }
        }
        assert!(text_of(&app, "/").starts_with("Hello "));
        app.stop().expect_code(0);
    }
}
