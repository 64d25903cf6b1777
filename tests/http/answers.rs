//! Answers that a guest leaves behind, forgets or does not give at all: their clients are told at once, and the next request has
//! a good instance. Each beside a loaded sibling that notices nothing.

use std::time::Duration;

use artifacts::{HELLO_HTTP, HTTP_LAB, HTTP_LAB_CLASSIC, HTTP_LAB_PLAIN};
use nix::sys::signal::Signal::SIGTERM;

use super::lab::{LABS, MS, connect, serve, state, text_of};
use crate::harness::{
    App, Fate, H2, Host, Load, Lost, Output, Target, app, assert_within, block_on, in_time, until, web,
};

/// One instance that is kept.
const KEPT: &str = "instances = { max = 1, requests = 0 }";

/// A lab beside a sibling that has requests all the time.
fn beside_a_sibling(source: &str, app_keys: &str, keys: &str, work: impl FnOnce(&App)) -> Output {
    let manifest = app(app_keys) + &web("lab", source, keys) + &web("sibling", HELLO_HTTP, "");
    let app = Host::manifest(&manifest).start_ready();
    let load = Load::start(100, &[Target::new("sibling", app.address("sibling"), "/")]);
    load.wait_for_answers(10);
    work(&app);
    let tally = load.end();
    assert_eq!(tally.others(&[]), Vec::<String>::new(), "the sibling noticed");
    let output = app.stop();
    output.expect_code(0).expect_outcome("sibling", "stopped");
    output
}

/// How many instances of the lab have ended for this reason.
fn ended(output: &Output, why: &str) -> usize {
    output.records("instance ended", "lab").iter().filter(|record| record.text("why") == why).count()
}

/// HTTP/1.1, HTTP/1.0 whose end is the end of the connection, and HTTP/2.
#[test]
fn a_body_that_its_guest_forgets_is_visibly_broken_off() {
    let output = beside_a_sibling(HTTP_LAB_CLASSIC, "grace = \"60s\"", KEPT, |app| {
        let mut wire = connect(app);
        wire.send_get("/forget-body?bytes=1000");
        assert_eq!(wire.fate().aborted().body.len(), 1000);
        let mut old = connect(app);
        old.send("GET /forget-body?bytes=1000 HTTP/1.0\r\n\r\n");
        let fate = old.fate();
        assert!(matches!(fate, Fate::Aborted { reset: true, .. }), "{fate:?}");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let lost = in_time("the end", client.try_get("/forget-body?bytes=1000")).await;
            assert_eq!(lost.map(|answer| answer.text()), Err(Lost::Aborted));
            client.get("/").await.expect(200);
        });
    });
    output.expect_outcome("lab", "stopped").expect_hook("lab", "ok");
    assert_eq!(ended(&output, "bad-answer"), 3, "{}", output.said());
    let failed = &output.records("request failed", "lab")[0];
    assert_eq!(failed.text("reason"), "its answer broke off");
    assert!(failed.text("error").contains("without an end"), "{}", output.said());
}

/// All of the announced length was written: the answer is whole, and the instance is as good as before.
#[test]
fn a_forgotten_body_of_the_announced_length_is_whole() {
    for bytes in [10, 1000, 3_000_000] {
        let output = beside_a_sibling(HTTP_LAB_CLASSIC, "access-log = \"text\"", KEPT, |app| {
            let before = state(app);
            let path = format!("/forget-sized-body?bytes={bytes}");
            assert_eq!(connect(app).get(&path).expect(200).body.len(), bytes);
            block_on(async {
                let client = H2::connect(&app.address("lab")).await;
                let answer = in_time("the answer", client.try_get(&path)).await.unwrap();
                assert_eq!(answer.body.len(), bytes);
            });
            assert_eq!(state(app).id, before.id);
        });
        let lines: Vec<&String> =
            output.lines.iter().filter(|line| line.contains("/forget-sized-body")).collect();
        assert_eq!(lines.len(), 2, "{}", output.said());
        assert!(lines.iter().all(|line| line.contains(" complete ")), "{lines:?}");
    }
}

#[test]
fn an_answer_whose_body_was_never_taken_is_complete() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC, HTTP_LAB_PLAIN] {
        let output = beside_a_sibling(source, "access-log = \"text\"", "", |app| {
            assert_eq!(connect(app).get("/no-body").expect(200).body.len(), 0);
            block_on(async {
                let client = H2::connect(&app.address("lab")).await;
                let answer = in_time("the answer", client.try_get("/no-body")).await.unwrap();
                assert_eq!(answer.body.len(), 0);
            });
        });
        let lines: Vec<&String> = output.lines.iter().filter(|line| line.contains("/no-body")).collect();
        assert_eq!(lines.len(), 2, "{}", output.said());
        assert!(lines.iter().all(|line| line.contains(" complete ")), "{lines:?}");
    }
}

/// Nothing of the answer was sent: the client can have a better one.
#[test]
fn a_forgotten_body_without_a_byte_is_an_error_of_the_host() {
    let output = beside_a_sibling(HTTP_LAB_CLASSIC, "", KEPT, |app| {
        let answer = connect(app).get("/forget-body?bytes=0").expect(500);
        assert_eq!(answer.text(), "500 Internal Server Error: the component did not finish its answer\n");
        let mut wire = connect(app);
        wire.send(wire.head_of("HEAD", "/forget-body?bytes=0", ""));
        wire.fate_of("HEAD").answered().expect(200);
    });
    let failed = &output.records("request failed", "lab")[0];
    assert_eq!(
        (failed.text("status"), failed.text("reason")),
        ("500".into(), "the component did not finish its answer".into())
    );
}

/// A slow client gets all that was written before the call returned.
#[test]
fn a_slow_reader_of_a_forgotten_body_gets_all_that_was_written() {
    beside_a_sibling(HTTP_LAB_CLASSIC, "", KEPT, |app| {
        let mut wire = connect(app);
        wire.send_get("/forget-body?bytes=8000000");
        assert_eq!(wire.head().status, 200);
        let mut read = 0;
        let end = loop {
            match wire.piece() {
                Ok(Some(piece)) => read += piece.len(),
                Ok(None) => panic!("it looks whole"),
                Err(cut) => break cut,
            }
            if read < 200_000 {
                // The reader is slow: that is what this is about.
                std::thread::sleep(10 * MS);
            }
        };
        assert_eq!(read, 8_000_000, "{end:?}");
    })
    .expect_outcome("lab", "stopped");
}

/// Each had its instance for a whole grace.
#[test]
fn forgotten_bodies_hold_neither_instances_nor_the_stop() {
    let keys = "instances = { max = 4, requests = 1 }";
    beside_a_sibling(HTTP_LAB_CLASSIC, "grace = \"60s\"", keys, |app| {
        let begun = std::time::Instant::now();
        for _ in 0..20 {
            let mut wire = connect(app);
            wire.send_get("/forget-body?bytes=1000");
            wire.fate().aborted();
        }
        text_of(app, "/");
        assert_within(begun.elapsed(), Duration::from_secs(20), "twenty forgotten bodies");
    })
    .expect_outcome("lab", "stopped");
    let app = serve(HTTP_LAB_CLASSIC, "grace = \"60s\"", KEPT);
    let mut wire = connect(&app);
    wire.begin_get("/forget-body?bytes=1000");
    let asked = app.signal(SIGTERM);
    wire.fate().aborted();
    let output = app.wait();
    output.expect_code(0).expect_outcome("lab", "stopped");
    assert_within(output.after(asked), Duration::from_secs(5), "the stop");
}

/// With `requests = 1` a client that reads slowly, or not at all, has its answer but not the instance.
#[test]
fn a_client_that_does_not_read_holds_no_instance_whose_call_has_returned() {
    let app = serve(HTTP_LAB_CLASSIC, "grace = \"60s\"", "instances = { max = 1, requests = 1 }");
    let mut slow = connect(&app);
    // More than a socket takes, in pieces that the host keeps.
    slow.begin_get("/unread?bytes=120000");
    for _ in 0..3 {
        text_of(&app, "/");
    }
    assert_eq!(slow.fate().answered().expect(200).body.len(), 120_000);
    app.stop().expect_code(0);
}

/// The answer had its end: what the guest does behind it is not its client's business.
#[test]
fn a_trap_behind_a_whole_answer_leaves_the_answer_whole() {
    for (source, after) in [(HTTP_LAB_CLASSIC, 0), (HTTP_LAB, 30)] {
        for bytes in [0, 1000, 100_000] {
            let path = format!("/trap-behind?bytes={bytes}&after={after}");
            let keys = format!("{KEPT}\non-failure = \"ignore\"");
            let output = beside_a_sibling(source, "", &keys, |app| {
                let answer = connect(app).get(&path).expect(200);
                assert_eq!(answer.body.len(), bytes, "{source}");
                app.wait_for_log("instance failed", "lab");
                block_on(async {
                    let client = H2::connect(&app.address("lab")).await;
                    let answer = in_time("the answer", client.try_get(&path)).await.unwrap();
                    assert_eq!(answer.expect(200).body.len(), bytes, "{source}");
                });
                app.wait_for_logs("instance failed", "lab", 2);
            });
            assert!(output.records("request failed", "lab").is_empty(), "{}", output.said());
        }
    }
}

/// A bad instance answers fastest: it must not draw the load of the good ones to it.
#[test]
fn an_instance_that_gives_no_answer_is_replaced() {
    let output = beside_a_sibling(HTTP_LAB_CLASSIC, "", KEPT, |app| {
        let before = state(app);
        let answer = connect(app).get("/no-response").expect(500);
        assert_eq!(answer.text(), "500 Internal Server Error: the component gave no answer\n");
        let fresh = state(app);
        assert!(fresh.id != before.id && fresh.count == 1, "{fresh:?}");
    });
    output.expect_hook("lab", "ok");
    assert_eq!(ended(&output, "bad-answer"), 1, "{}", output.said());
    assert_eq!(output.row("lab").counts()["failed_instances"], 0, "it is no failure: {}", output.report);
    let failed = &output.records("request failed", "lab")[0];
    assert_eq!(failed.text("reason"), "the component gave no answer");
}

/// Each 5xx of the host's own is told, and many of them in one line.
#[test]
fn many_errors_of_the_host_are_one_line_and_a_count() {
    for source in LABS {
        let keys = "instances = { max = 1, concurrency = 1, queue = 0, requests = 0 }";
        let output = beside_a_sibling(source, "", keys, |app| {
            let mut busy = connect(app);
            busy.begin_get("/sleep?ms=1500");
            let mut wire = connect(app);
            until("the first refusal", || (wire.get("/").status == 503).then_some(()));
            for _ in 1..50 {
                wire.get("/").expect(503);
            }
            busy.fate().answered().expect(200);
        });
        let shown = output.records("request failed", "lab");
        let counted = output.records("requests failed", "lab");
        let more: u64 = counted.iter().map(|record| record.text("more").parse::<u64>().unwrap()).sum();
        assert_eq!(shown.len() as u64 + more, 50, "{}", output.said());
        assert!(shown.len() + counted.len() < 10, "{}", output.said());
        assert_eq!(shown[0].text("reason"), "all instances are busy");
    }
}

/// An instance that keeps more and more of the host's things is replaced before it has too many, and no request is lost.
#[test]
fn an_instance_is_replaced_before_a_table_is_full() {
    let cases = [
        (HTTP_LAB_CLASSIC, "/forget-fields?count=400", "handles to resources of the host"),
        (HTTP_LAB, "/forget-fields?count=400", "handles to resources of the host"),
        (HTTP_LAB, "/forget-streams?count=100", "handles to tasks, streams and futures"),
    ];
    for (source, path, what) in cases {
        let output = beside_a_sibling(source, "", KEPT, |app| {
            let mut wire = connect(app);
            for _ in 0..100 {
                wire.get(path).expect(200);
            }
        });
        assert!(ended(&output, "full") > 0, "{path}:\n{}", output.said());
        assert!(output.records("instance failed", "").is_empty(), "{path}:\n{}", output.said());
        let full = &output.records("instance is nearly full: it is replaced", "lab")[0];
        assert!(full.text("what").starts_with(what), "{path}:\n{}", output.said());
        assert_eq!(full.text("limit"), "10000");
    }
}

#[test]
fn an_instance_is_replaced_before_its_memory_is_full() {
    for source in LABS {
        let keys = format!("memory = \"64MiB\"\n{KEPT}");
        let output = beside_a_sibling(source, "", &keys, |app| {
            let mut wire = connect(app);
            for _ in 0..100 {
                wire.get("/grow?mib=2").expect(200);
            }
        });
        assert!(ended(&output, "full") > 0, "{}", output.said());
        let full = &output.records("instance is nearly full: it is replaced", "lab")[0];
        assert_eq!((full.text("what"), full.text("limit")), ("memory".into(), "64MiB".into()));
    }
}

/// The limit, its number and the remedy, in one wording, without the backtrace of the one who came last.
#[test]
fn a_limit_that_is_reached_is_named() {
    let cases = [
        ("/forget-fields?count=11000", "10000 handles to resources of the host", false),
        ("/huge-call?mib=9", "8MiB in one call to the host: pass less at a time", false),
        ("/exhaust", "64MiB of memory: raise `memory`", true),
    ];
    for source in LABS {
        let keys = format!("memory = \"64MiB\"\non-failure = \"ignore\"\n{KEPT}");
        let output = beside_a_sibling(source, "", &keys, |app| {
            for (number, (path, limit, has_backtrace)) in cases.iter().enumerate() {
                connect(app).get(path).expect(502);
                let error = app.wait_for_logs("instance failed", "lab", number + 1)[number].text("error");
                assert!(error.contains(&format!("reached the host's limit of {limit}")), "{path}: {error}");
                assert_eq!(error.contains("backtrace"), *has_backtrace, "{path}: {error}");
            }
        });
        assert_eq!(output.row("lab").counts()["failed_instances"], 3);
    }
}
