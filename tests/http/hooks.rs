//! S9 (wazuh#38065): a component asks for the stop from inside a request, from its hook, and twice → no deadlock, its
//! hook runs once. And what its hook does, for each way in which it can end.

use artifacts::{HELLO_HTTP, SERVER};
use nix::sys::signal::Signal::{SIGINT, SIGTERM};

use super::lab::{LABS, MS, connect, expect_one_hook_each, serve, served};
use crate::harness::{App, Host, Wire, app, assert_within, component, web};

const HOOKS: &str = "env = { HOOK = \"request-stop\" }\ninstances = { max = 1 }";

#[test]
fn a_component_can_ask_for_the_stop_from_inside_a_request() {
    for source in LABS {
        let manifest = app("grace = \"30s\"")
            + &web("lab", source, HOOKS)
            + &web("other", HELLO_HTTP, "")
            + &component("service", SERVER, "");
        let app = Host::manifest(&manifest).start_ready();
        // Twice at once, over connections that were there before.
        let mut wires: Vec<Wire> = (0..2).map(|_| connect(&app)).collect();
        for wire in &mut wires {
            wire.send_get("/stop");
        }
        let asked = std::time::Instant::now();
        let answered = wires.iter_mut().filter_map(|wire| match wire.fate() {
            crate::harness::Fate::Answered(answer) => Some(answer.expect(200)),
            _ => None,
        });
        let answered = answered.inspect(|answer| assert_eq!(answer.text(), "asked for the stop")).count();
        assert!(answered > 0, "the request that asks is answered");
        let output = app.wait();
        output.expect_code(0).expect_cause("request", "lab");
        assert_within(output.after(asked), 300 * MS, "the stop");
        for name in ["lab", "other", "service"] {
            output.expect_outcome(name, "stopped").expect_hook(name, "ok");
        }
        assert_eq!(served(&output, "lab"), answered as u64);
        expect_one_hook_each(&output, "lab");
        expect_one_hook_each(&output, "other");
    }
}

/// It does not wait for the answer of the request that asked: that one is in flight like any other.
#[test]
fn other_requests_are_finished_when_one_asks_for_the_stop() {
    for source in LABS {
        let app = serve(source, "grace = \"30s\"", "instances = { max = 2 }");
        let mut slow = connect(&app);
        slow.begin_get("/sleep?ms=700");
        assert_eq!(connect(&app).get("/stop").expect(200).text(), "asked for the stop");
        assert_eq!(slow.fate().answered().expect(200).text(), "slept 700 ms");
        let output = app.wait();
        output.expect_code(0).expect_cause("request", "lab").expect_outcome("lab", "stopped");
    }
}

fn with_hook(source: &str, hook: &str) -> App {
    let keys = format!("env = {{ HOOK = {hook:?} }}\ninstances = {{ max = 1 }}");
    let app = serve(source, "grace = \"500ms\"", &keys);
    connect(&app).get("/").expect(200);
    app
}

/// How a hook can end, the outcome of its component and the exit code.
const ENDS: &[(&str, &str, &str, i32)] = &[
    ("ok", "ok", "stopped", 0),
    ("slow:100", "ok", "stopped", 0),
    ("request-stop", "ok", "stopped", 0),
    ("error", "error", "hook-failed", 3),
    ("trap", "trapped", "hook-failed", 3),
    ("exit", "trapped", "hook-failed", 3),
    ("spin", "cut-off", "cut-off", 124),
    ("park", "cut-off", "cut-off", 124),
];

#[test]
fn each_end_of_a_hook_has_its_outcome() {
    let cells: Vec<_> =
        LABS.into_iter().flat_map(|source| ENDS.iter().map(move |end| (source, end))).collect();
    crate::in_parallel(4, cells, |(source, (hook, result, outcome, code))| {
        let app = with_hook(source, hook);
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        output.expect_outcome("lab", outcome).expect_hook("lab", result).expect_code(*code);
        assert_within(output.after(asked), 750 * MS, "the exit");
        if *hook == "error" {
            let detail = output.row("lab").detail().to_string();
            assert!(detail.contains("the hook failed on purpose"), "{detail:?}");
        }
        expect_one_hook_each(&output, "lab");
    });
}

/// I1 with several instances: each gets its hook, at once, and one that fails is in the outcome.
#[test]
fn every_instance_gets_its_hook_in_parallel() {
    for source in LABS {
        let keys = "env = { HOOK = \"slow:600\" }\ninstances = { max = 4, concurrency = 1 }";
        let app = serve(source, "grace = \"30s\"", keys);
        let mut wires: Vec<Wire> = (0..4).map(|_| connect(&app)).collect();
        wires.iter_mut().for_each(Wire::hold);
        app.wait_for_logs("instance started", "lab", 4);
        wires.iter_mut().for_each(Wire::release);
        app.signal(SIGTERM);
        let output = app.wait();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
        expect_one_hook_each(&output, "lab");
        let (started, ended) = (output.records("hook started", "lab"), output.records("hook ended", "lab"));
        assert_eq!((started.len(), ended.len()), (4, 4), "{}", output.said());
        assert!(started[3].at < ended[0].at, "one after the other:\n{}", output.said());
    }
}

/// Design 3.5: the hook of a component without requests comes at once; with some, when they are done.
#[test]
fn the_hook_comes_when_the_requests_are_done() {
    for source in LABS {
        let app = serve(source, "grace = \"30s\"", "instances = { max = 1 }");
        let mut slow = connect(&app);
        slow.hold();
        app.signal(SIGINT);
        app.wait_for_log("asked to stop", "lab");
        // The scenario is about this time.
        std::thread::sleep(300 * MS);
        assert!(app.records("hook started", "lab").is_empty(), "the hook came before the answer");
        slow.release();
        app.wait().expect_code(0).expect_hook("lab", "ok");
    }
}

/// Design 2, `hook = "at-start"`: an async instance gets it beside its requests, which are finished all the same.
#[test]
fn a_hook_at_start_comes_beside_the_requests() {
    let app = serve(LABS[0], "grace = \"30s\"", "hook = \"at-start\"\ninstances = { max = 1 }");
    let mut slow = connect(&app);
    slow.begin_get("/sleep?ms=1500");
    let asked = app.signal(SIGTERM);
    let hook = app.wait_for_log("hook started", "lab").at - asked;
    assert_within(hook, 50 * MS, "the hook");
    assert_eq!(slow.fate().answered().expect(200).text(), "slept 1500 ms");
    let output = app.wait();
    output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
    expect_one_hook_each(&output, "lab");
}
