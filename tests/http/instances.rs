//! How many instances there are, how long they live, and that each gets its hook.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use super::lab::{
    LABS, MS, SINGLE, State, connect, expect_one_hook_each, other_state, serve, served, state, text_of,
};
use crate::harness::{App, H2, Wire, block_on, in_time, until};

/// The states that so many requests at once see, over one HTTP/2 connection.
fn states(app: &App, count: usize) -> Vec<State> {
    block_on(async {
        let client = H2::connect(&app.address("lab")).await;
        let answers = in_time("states", join_all((0..count).map(|_| client.try_get("/state")))).await;
        answers.into_iter().map(|answer| State::parse(&answer.unwrap().expect(200).text())).collect()
    })
}

fn ids(states: &[State]) -> BTreeSet<String> {
    states.iter().map(|state| state.id.clone()).collect()
}

/// Issue 3: long-lived by default, state kept between requests.
#[test]
fn an_instance_keeps_its_state() {
    for source in LABS {
        let app = serve(source, "", SINGLE);
        let first = state(&app);
        for count in 2..20 {
            assert_eq!(state(&app), State { id: first.id.clone(), count });
        }
        let output = app.stop();
        output.expect_code(0);
        assert_eq!(output.records("instance started", "lab").len(), 1);
        expect_one_hook_each(&output, "lab");
    }
}

/// `instances.max` is strict, also when many come at once; with enough to do all of them are used.
#[test]
fn there_are_never_more_instances_than_allowed() {
    for source in LABS {
        let app = serve(source, "", "instances = { max = 2, concurrency = 1 }");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let slow = join_all((0..40).map(|_| client.try_get("/sleep?ms=10")));
            for answer in in_time("answers", slow).await {
                answer.unwrap().expect(200);
            }
        });
        let seen = ids(&states(&app, 200));
        assert!(seen.len() <= 2, "{} instances have answered", seen.len());
        let output = app.stop();
        output.expect_code(0);
        assert_eq!(output.records("instance started", "lab").len(), 2, "{}", output.said());
        assert_eq!(served(&output, "lab"), 240);
        expect_one_hook_each(&output, "lab");
    }
}

/// `concurrency`: so many requests share an async instance at a time, and no more.
#[test]
fn an_instance_takes_as_many_requests_as_allowed() {
    let app = serve(LABS[0], "", "instances = { max = 1, concurrency = 3 }");
    let mut wires: Vec<Wire> = (0..3).map(|_| connect(&app)).collect();
    let begun = std::time::Instant::now();
    for wire in &mut wires {
        wire.begin_get("/sleep?ms=1500");
    }
    assert_eq!(text_of(&app, "/"), "Hello 4");
    assert!(begun.elapsed() >= 1500 * MS, "a fourth request was let in after {:?}", begun.elapsed());
    for wire in &mut wires {
        wire.fate().answered().expect(200);
    }
    app.stop().expect_code(0);
}

/// A sync instance serves one at a time, whatever the manifest says of concurrency.
#[test]
fn a_sync_instance_serves_one_request_at_a_time() {
    let app = serve(LABS[1], "", "instances = { max = 1, concurrency = 1 }");
    let begun = std::time::Instant::now();
    let mut wires: Vec<Wire> = (0..4).map(|_| connect(&app)).collect();
    wires.iter_mut().for_each(|wire| wire.send_get("/sleep?ms=150"));
    for wire in &mut wires {
        wire.fate().answered().expect(200);
    }
    assert!(begun.elapsed() >= 600 * MS, "four took {:?}", begun.elapsed());
    app.stop().expect_code(0);
}

/// `instances = { requests = 1 }`: a fresh one for each request, and the hook of each.
#[test]
fn each_request_can_have_a_fresh_instance() {
    for source in LABS {
        let app = serve(source, "", "instances = { max = 2, requests = 1 }");
        let seen: Vec<State> = (0..8).map(|_| state(&app)).chain(states(&app, 12)).collect();
        assert!(seen.iter().all(|state| state.count == 1), "{seen:?}");
        assert_eq!(ids(&seen).len(), 20);
        // Long before the stop.
        app.wait_for_logs("hook ended", "lab", 18);
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped");
        assert_eq!(served(&output, "lab"), 20, "{}", output.said());
        expect_one_hook_each(&output, "lab");
    }
}

/// `instances = { requests = N }`: replaced after so many, with its hook, and no request is lost in between.
#[test]
fn an_instance_is_replaced_after_its_requests() {
    for source in LABS {
        let app = serve(source, "", "instances = { max = 2, concurrency = 1, requests = 7 }");
        let mut counts = BTreeMap::new();
        for state in states(&app, 100) {
            *counts.entry(state.id).or_insert(0) += 1;
        }
        assert!(counts.values().all(|count| *count <= 7), "{counts:?}");
        assert!(counts.len() >= 100 / 7, "{counts:?}");
        app.wait_for_logs("instance ended", "lab", counts.len() - 2);
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
        assert_eq!(served(&output, "lab"), 100, "{}", output.said());
        expect_one_hook_each(&output, "lab");
    }
}

/// One that is to be replaced finishes what it has begun, next to its successor.
#[test]
fn an_instance_that_is_replaced_finishes_its_requests() {
    let app = serve(LABS[0], "", "instances = { max = 2, concurrency = 4, requests = 2 }");
    let mut wires: Vec<Wire> = (0..4).map(|_| connect(&app)).collect();
    for wire in &mut wires {
        wire.begin_get("/sleep?ms=600");
    }
    for wire in &mut wires {
        assert_eq!(wire.fate().answered().expect(200).text(), "slept 600 ms");
    }
    state(&app);
    let output = app.stop();
    output.expect_code(0);
    assert_eq!(served(&output, "lab"), 5);
    expect_one_hook_each(&output, "lab");
}

/// Idle surplus instances end after a time, with their hook; one stays, and serves.
#[test]
fn surplus_instances_end_when_they_are_idle() {
    for source in LABS {
        let app = serve(source, "", "instances = { max = 3, concurrency = 1, idle = \"300ms\" }");
        let mut wires: Vec<Wire> = (0..3).map(|_| connect(&app)).collect();
        wires.iter_mut().for_each(Wire::hold);
        app.wait_for_logs("instance started", "lab", 3);
        wires.iter_mut().for_each(Wire::release);
        app.wait_for_logs("instance ended", "lab", 2);
        assert_eq!(app.records("hook ended", "lab").len(), 2);
        let last = state(&app);
        // The last one stays however long nobody asks: the scenario is about this time.
        std::thread::sleep(700 * MS);
        assert_eq!(state(&app).id, last.id);
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped");
        assert_eq!(served(&output, "lab"), 5, "{}", output.said());
        expect_one_hook_each(&output, "lab");
    }
}

/// I12: instances that come and go leave no thread and no descriptor behind.
#[test]
fn instances_that_have_gone_leave_nothing_behind() {
    for source in LABS {
        let app = serve(source, "", "instances = { max = 2, requests = 1 }");
        let mut last = state(&app);
        for _ in 0..10 {
            last = other_state(&app, &[&last]);
        }
        let (descriptors, threads, memory) = (app.descriptors(), app.threads(), app.resident_mib());
        for _ in 0..150 {
            last = other_state(&app, &[&last]);
        }
        until("as many threads as before", || (app.threads() <= threads + 2).then_some(()));
        until("as many descriptors as before", || (app.descriptors() <= descriptors + 4).then_some(()));
        let grown = app.resident_mib() - memory;
        assert!(grown < 20.0, "{source}: 150 instances cost {grown:.1} MiB");
        app.stop().expect_code(0);
    }
}
