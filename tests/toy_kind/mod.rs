//! A kind that is no part of the host has all that the host gives to kinds: start, readiness, stop, hook, cut-off, restart,
//! reload, status, metrics and report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal::{SIGTERM, SIGUSR1};

use crate::harness::{Address, App, CONTROL, Fate, Host, Wire, app, assert_within, component, until};

/// `cargo test` builds examples in a folder next to the binary. With `--test integration` alone it does not.
fn binary() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_curfew")).with_file_name("examples").join("curfew-toy");
    assert!(path.is_file(), "{} is missing: `cargo build -p curfew --examples` builds it", path.display());
    path
}

/// A component of kind `tick` with a hook; `tick` and `hook` are what they do.
fn guest(tick: &str, hook: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m
                (func (export "tick") {tick})
                (func (export "shutdown") {hook}))
            (core instance $i (instantiate $m))
            (func $tick (canon lift (core func $i "tick")))
            (instance $clock (export "tick" (func $tick)))
            (export "toy:clock/tick@0.1.0" (instance $clock))
            (func $shutdown (canon lift (core func $i "shutdown")))
            (export "shutdown" (func $shutdown)))"#
    );
    wat::parse_str(text).unwrap()
}

fn manifest(app_keys: &str, keys: &str) -> String {
    app(app_keys) + &component("clock", "clock.wasm", keys)
}

fn host(app_keys: &str, keys: &str, tick: &str, hook: &str) -> Host {
    Host::of(&binary(), &manifest(app_keys, keys)).file("clock.wasm", guest(tick, hook))
}

fn status(app: &App, key: &str) -> serde_json::Value {
    app.status()["components"][0][key].clone()
}

#[test]
fn it_starts_is_ready_and_stops_with_its_hook() {
    let output = host("", "", "", "").start_ready().stop();
    output.expect_code(0).expect_cause("signal", "SIGTERM");
    output.expect_outcome("clock", "stopped").expect_hook("clock", "ok");
    let row = output.row("clock");
    assert_eq!((row.number("in_flight_asked"), row.number("in_flight_ended")), (1.0, 0.0));
    assert!(row.counts().is_null(), "it has no requests:\n{}", output.said());
}

#[test]
fn check_says_what_it_is() {
    let output = host("", "", "", "").call(&["check"]);
    output.expect_code(0);
    for text in ["tick", "sync tick", "the hook is called when the last tick has returned"] {
        assert!(output.said().contains(text), "{text} is missing:\n{}", output.said());
    }
}

#[test]
fn a_host_without_the_kind_does_not_know_it() {
    let host = Host::manifest(&manifest("", "")).file("clock.wasm", guest("", ""));
    host.run().expect_refused(78, &["clock.wasm"]);
}

#[test]
fn a_tick_or_a_hook_that_does_not_end_is_cut_off() {
    let spin = "(loop (br 0))";
    for (tick, hook, detail) in
        [(spin, "", "its `tick` overran the grace"), ("", spin, "its hook overran the grace")]
    {
        let app = host("grace = \"300ms\"", "", tick, hook).start_ready();
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        assert_within(output.after(asked), Duration::from_millis(550), "the cut-off");
        output.expect_code(124).expect_outcome("clock", "cut-off");
        assert_eq!(output.row("clock").detail(), detail, "{}", output.said());
    }
}

#[test]
fn a_tick_that_traps_fails_and_is_restarted() {
    let restart = "restart = { max = 2, within = \"1m\", backoff = [\"20ms\", \"50ms\"] }";
    let keys = format!("on-failure = \"restart\"\n{restart}");
    let output = host("", &keys, "unreachable", "").run();
    output.expect_code(75).expect_cause("failure", "clock").expect_outcome("clock", "gave-up");
    assert_eq!(output.records("component restarts", "clock").len(), 2, "{}", output.said());
    let output = host("", "", "unreachable", "").run();
    output.expect_code(1).expect_cause("failure", "clock").expect_outcome("clock", "failed");
}

#[test]
fn a_trap_in_the_hook_is_the_hooks() {
    let output = host("", "", "", "unreachable").start_ready().stop();
    output.expect_code(3).expect_outcome("clock", "hook-failed").expect_hook("clock", "trapped");
}

#[test]
fn a_reload_replaces_it_and_operators_see_it() {
    let app = host(CONTROL, "", "", "").start_ready();
    assert_eq!((status(&app, "kind"), status(&app, "in_flight")), ("tick".into(), 1.into()));
    assert_eq!((status(&app, "instances"), status(&app, "generation")), (1.into(), 1.into()));
    app.reload(&manifest(CONTROL, "env = { V = \"2\" }"));
    until("the second generation", || (status(&app, "generation") == 2).then_some(()));
    app.signal(SIGUSR1);
    app.wait_for_log("status", "clock");
    let output = app.stop();
    output.expect_code(0).expect_outcome("clock", "stopped").expect_hook("clock", "ok");
    assert_eq!(output.records("hook started", "clock").len(), 2, "{}", output.said());
}

#[test]
fn its_metrics_are_those_of_any_kind() {
    let app = host("admin = \"127.0.0.1:0\"", "", "", "").start_ready();
    let admin = Address::parse(&app.wait_for_log("admin listener open", "").text("address"));
    let mut wire = Wire::connect(&admin);
    wire.send(wire.head_of("GET", "/metrics", ""));
    let Fate::Answered(answer) = wire.fate() else { panic!("no answer") };
    let text = answer.text();
    for line in [
        "curfew_component_info{component=\"clock\",kind=\"tick\"} 1",
        "curfew_instances_started_total{component=\"clock\"} 1",
        "curfew_in_flight{component=\"clock\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    app.stop().expect_code(0);
}
