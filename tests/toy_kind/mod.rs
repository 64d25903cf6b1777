//! A kind that is no part of the host. Its part of the general tests is in `kinds`; here is what only this kind does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{Host, app, assert_within, component};

/// `cargo test` builds examples in a folder next to the binary. With `--test integration` alone it does not.
fn binary() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_curfew")).with_file_name("examples").join("curfew-toy");
    assert!(path.is_file(), "{} is missing: `cargo build -p curfew --examples` builds it", path.display());
    path
}

/// A host that knows the kind.
pub fn host(manifest: &str) -> Host {
    Host::of(&binary(), manifest)
}

/// A component of kind `tick` with a hook; `tick` and `hook` are the code of its functions.
pub fn guest(tick: &str, hook: &str) -> Vec<u8> {
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

/// The code of a function that ends well, or is told to `trap` or `spin`.
pub fn code(end: &str) -> &'static str {
    match end {
        "" => "",
        "trap" => "unreachable",
        "spin" => "(loop (br 0))",
        other => panic!("no code for {other}"),
    }
}

fn ticking(app_keys: &str, keys: &str, tick: &str) -> Host {
    host(&(app(app_keys) + &component("clock", "clock.wasm", keys))).file("clock.wasm", guest(code(tick), ""))
}

#[test]
fn its_tick_is_in_flight_until_it_is_asked_to_stop() {
    let output = ticking("", "", "").start_ready().stop();
    output.expect_code(0);
    let row = output.row("clock");
    assert_eq!((row.number("in_flight_asked"), row.number("in_flight_ended")), (1.0, 0.0));
    assert!(row.counts().is_null(), "it has no requests:\n{}", output.said());
}

#[test]
fn check_says_what_it_is() {
    let output = ticking("", "", "").call(&["check"]);
    output.expect_code(0);
    for text in ["sync tick", "the hook is called when the last tick has returned"] {
        assert!(output.said().contains(text), "{text} is missing:\n{}", output.said());
    }
}

#[test]
fn a_host_without_the_kind_does_not_know_it() {
    let manifest = app("") + &component("clock", "clock.wasm", "");
    Host::manifest(&manifest).file("clock.wasm", guest("", "")).run().expect_refused(78, &["clock.wasm"]);
}

#[test]
fn a_tick_that_does_not_end_is_cut_off() {
    let app = ticking("grace = \"300ms\"", "", "spin").start_ready();
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    assert_within(output.after(asked), Duration::from_millis(550), "the cut-off");
    output.expect_code(124).expect_outcome("clock", "cut-off");
    assert_eq!(output.row("clock").detail(), "its `tick` overran the grace", "{}", output.said());
}

#[test]
fn a_tick_that_traps_fails_and_is_restarted() {
    let restart = "restart = { max = 2, within = \"1m\", backoff = [\"20ms\", \"50ms\"] }";
    let output = ticking("", &format!("on-failure = \"restart\"\n{restart}"), "trap").run();
    output.expect_code(75).expect_cause("failure", "clock").expect_outcome("clock", "gave-up");
    assert_eq!(output.records("component restarts", "clock").len(), 2, "{}", output.said());
    let output = ticking("", "", "trap").run();
    output.expect_code(1).expect_cause("failure", "clock").expect_outcome("clock", "failed");
}
