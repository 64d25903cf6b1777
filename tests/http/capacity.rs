//! H11 (spin#1934): more requests than instances → they wait in a bounded queue, then 503 with `Retry-After`; never an
//! error, never unbounded memory.

use futures::future::join_all;

use super::lab::{LABS, SINGLE, connect, serve, served, text_of};
use crate::harness::{Answer, H2, Wire, block_on, in_time, until};

const QUEUE: &str = "instances = { max = 1, concurrency = 1, queue = 2 }";

fn expect_turned_away(answer: Answer) {
    let retry = answer.header("retry-after").map(str::parse::<u64>);
    assert!(matches!(retry, Some(Ok(_))), "no Retry-After in {:?}", answer.headers);
    let text = answer.expect(503).text();
    assert!(text.starts_with("503"), "{text:?}");
}

/// One is served, two wait, the others are turned away at once.
#[test]
fn requests_wait_in_a_bounded_queue_and_are_then_turned_away() {
    for source in LABS {
        let app = serve(source, "", QUEUE);
        let mut accepted: Vec<Wire> = Vec::new();
        // One by one, so that it is known which ones are in the queue.
        for _ in 0..3 {
            let mut wire = connect(&app);
            wire.begin_get("/sleep?ms=2000");
            accepted.push(wire);
        }
        let mut late: Vec<Wire> = (0..3).map(|_| connect(&app)).collect();
        for wire in &mut late {
            let begun = std::time::Instant::now();
            wire.send_get("/");
            expect_turned_away(wire.fate().answered());
            assert!(begun.elapsed().as_millis() < 1500, "it had to wait {:?} for the 503", begun.elapsed());
        }
        for wire in &mut accepted {
            assert_eq!(wire.fate().answered().expect(200).text(), "slept 2000 ms");
        }
        // They can come again over the same connection.
        for wire in &mut late {
            wire.get("/").expect(200);
        }
        let output = app.stop();
        output.expect_code(0).expect_hook("lab", "ok");
        assert_eq!(served(&output, "lab"), 6, "{}", output.said());
    }
}

/// Those that a client takes back out of the queue make room.
#[test]
fn a_client_that_goes_leaves_its_place_in_the_queue() {
    for source in LABS {
        let app = serve(source, "", QUEUE);
        let mut at_work = connect(&app);
        at_work.begin_get("/sleep?ms=4000");
        let waiting: Vec<Wire> = (0..2)
            .map(|_| {
                let mut wire = connect(&app);
                wire.begin_get("/");
                wire
            })
            .collect();
        let mut late = connect(&app);
        expect_turned_away(late.get("/"));
        waiting.into_iter().for_each(Wire::leave);
        // Again and again, until the host has seen that they have gone. Then it waits and is served.
        let answer = until("a place in the queue", || {
            let answer = connect(&app).get("/");
            (answer.status == 200).then_some(answer)
        });
        assert_eq!(answer.text(), "Hello 2", "those that had gone were not served");
        assert_eq!(at_work.fate().answered().expect(200).text(), "slept 4000 ms");
        app.stop().expect_code(0);
    }
}

/// Memory is bounded under 2,000 requests at once, and each of them gets an answer.
#[test]
fn two_thousand_requests_at_once_cost_bounded_memory() {
    for source in LABS {
        let keys = "instances = { max = 1, concurrency = 1, queue = 50 }";
        let app = serve(source, "", keys);
        text_of(&app, "/");
        let before = app.resident_mib();
        let (mut served_to, mut turned_away) = (1, 0);
        block_on(async {
            let mut clients = Vec::new();
            for _ in 0..20 {
                clients.push(H2::connect(&app.address("lab")).await);
            }
            let requests = clients.iter().flat_map(|client| (0..100).map(|_| client.try_get("/sleep?ms=2")));
            for answer in in_time("2,000 answers", join_all(requests)).await {
                match answer.expect("an answer") {
                    answer if answer.status == 200 => served_to += 1,
                    answer => {
                        expect_turned_away(answer);
                        turned_away += 1;
                    }
                }
            }
        });
        let grown = app.resident_mib() - before;
        assert!(served_to >= 51 && turned_away > 0, "{served_to} were served, {turned_away} turned away");
        assert!(grown < 40.0, "{source}: the host grew by {grown:.1} MiB");
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped");
        assert_eq!(served(&output, "lab"), served_to, "{}", output.said());
    }
}

/// Without limits of its own an app answers them all.
#[test]
fn nobody_is_turned_away_by_the_defaults() {
    for source in LABS {
        let app = serve(source, "", "");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            for answer in in_time("answers", join_all((0..500).map(|_| client.try_get("/sleep?ms=5")))).await
            {
                answer.expect("an answer").expect(200);
            }
        });
        app.stop().expect_code(0);
    }
}

/// A stop finds the queue full: what waits in it was accepted.
#[test]
fn a_full_queue_is_served_during_the_stop() {
    for source in LABS {
        let app = serve(source, "grace = \"30s\"", SINGLE);
        let mut wires: Vec<Wire> = (0..40).map(|_| connect(&app)).collect();
        for wire in &mut wires {
            wire.begin_get("/sleep?ms=20");
        }
        app.signal(nix::sys::signal::Signal::SIGTERM);
        for wire in &mut wires {
            wire.fate().answered().expect(200);
        }
        let output = app.wait();
        output.expect_code(0);
        assert_eq!(served(&output, "lab"), 40);
    }
}
