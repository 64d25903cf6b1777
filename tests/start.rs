//! S5: a signal at any time of the start.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use artifacts::{
    HOSTILE_ASYNC, HOSTILE_CLASSIC, SERVER, SERVER_CLASSIC, SPIN_AT_START, TCP_ECHO, TRAP_AT_START,
};
use nix::sys::signal::{SigSet, Signal};

use crate::harness::{Host, Output, app, assert_within, component, keys, patience};

fn five() -> String {
    app("grace = \"10s\"")
        + &component("a", SERVER, "")
        + &component("b", SERVER_CLASSIC, "")
        + &component("c", HOSTILE_ASYNC, &keys(&["run=good"]))
        + &component("d", HOSTILE_CLASSIC, &keys(&["run=good"]))
        + &component("e", TCP_ECHO, "args = [\"127.0.0.1:0\"]\nnetwork = { listen = [\"127.0.0.1:0\"] }")
}

/// Starts it and sends TERM so much later. The signal is blocked across the exec, as a supervisor may do it:
/// before `main` is reached nobody could take it.
fn term_after(delay: Duration, empty_cache: bool) -> Output {
    let host = Host::manifest(&five());
    let host = if empty_cache { host.empty_cache() } else { host };
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTERM);
    blocked.thread_block().unwrap();
    let app = host.start();
    let started = Instant::now();
    blocked.thread_unblock().unwrap();
    // The scenario is about this time.
    std::thread::sleep((started + delay).saturating_duration_since(Instant::now()));
    app.stop()
}

/// Checks one run and tells how many of the five had been started.
fn check_run(delay: Duration, empty_cache: bool) -> usize {
    let output = term_after(delay, empty_cache);
    output.expect_code(0);
    if output.report.is_null() {
        // It came before the manifest was read, which takes a while on a busy machine: there is nothing to tell.
        assert!(output.records("component started", "").is_empty(), "{delay:?}\n{}", output.said());
        return 0;
    }
    let mut all_started = 0;
    for name in ["a", "b", "c", "d", "e"] {
        let started = output.records("component started", name).len();
        let hooks = output.records("hook started", name).len();
        // Exactly once for each one that was started, never for another.
        assert_eq!(hooks, started, "{delay:?}: hooks of {name}\n{}", output.said());
        if started == 0 {
            output.expect_outcome(name, "not-started");
        }
        all_started += started;
    }
    all_started
}

/// Runs one for each millisecond and fails when the times missed what they are about.
fn check_runs(millis: u64, width: usize, empty_cache: bool) {
    let (none, all) = (AtomicUsize::new(0), AtomicUsize::new(0));
    crate::in_parallel(width, (0..millis).collect(), |delay| {
        match check_run(Duration::from_millis(delay), empty_cache) {
            0 => none.fetch_add(1, Relaxed),
            5 => all.fetch_add(1, Relaxed),
            _ => 0,
        };
    });
    assert!(none.into_inner() > 0, "no TERM came before the first component was started");
    // On a busy machine a start takes longer: later moments, until one is behind it.
    let mut delay = Duration::from_millis(millis);
    while !empty_cache && all.load(Relaxed) == 0 {
        delay *= 2;
        assert!(delay < patience(), "no TERM came after the last component was started");
        all.fetch_add(check_run(delay, false) / 5, Relaxed);
    }
}

/// S5 (caduceus#278): TERM at 0…200 ms after `main` begins in 1 ms steps, five components compiling → exit 0,
/// hooks only for what was started.
#[test]
fn term_at_any_moment_of_a_first_start_is_a_clean_stop() {
    check_runs(200, 4, true);
}

/// The same with compiled components, where instances come up in these moments.
#[test]
fn term_at_any_moment_of_a_warm_start_is_a_clean_stop() {
    Host::manifest(&five()).start_ready().stop().expect_code(0);
    check_runs(80, 3, false);
}

/// Issue 2, loading: five components that were never compiled start, and the second start finds them compiled.
#[test]
fn five_components_start_with_an_empty_cache() {
    let output = Host::manifest(&five()).empty_cache().start_ready().stop();
    output.expect_code(0);
    for name in ["a", "b", "c", "d", "e"] {
        output.expect_outcome(name, "stopped").expect_hook(name, "ok");
    }
}

/// Issue 2, loading: a signal while components are compiled ends it at once.
#[test]
fn a_signal_while_compiling_ends_it_at_once() {
    let big = big_component(4000);
    let manifest = app("") + &component("big", "big.wasm", "") + &component("a", SERVER, "");
    let app = Host::manifest(&manifest).file("big.wasm", &big).empty_cache().start();
    std::thread::sleep(Duration::from_millis(300));
    let asked = app.signal(Signal::SIGTERM);
    let output = app.wait();
    output.expect_code(0);
    assert_within(output.after(asked), Duration::from_millis(250), "exit while compiling");
}

/// A component that takes long to compile: many functions with many instructions.
fn big_component(functions: usize) -> Vec<u8> {
    let step =
        "(local.set 0 (i64.mul (i64.add (local.get 0) (i64.const 7)) (i64.xor (local.get 0) (local.get 1))))";
    let function = format!("(func (param i64 i64) (result i64) {} (local.get 0))\n", step.repeat(200));
    let text = format!(
        r#"(component
  (core module $m {} (func (export "run") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli)))"#,
        function.repeat(functions)
    );
    wat::parse_str(&text).unwrap()
}

/// G, spin while instantiating: its start-timeout, or a signal, ends it; nobody waits for it for ever.
#[test]
fn a_component_that_spins_while_it_starts_fails_at_its_start_timeout() {
    let manifest = app("")
        + &component("spin", SPIN_AT_START, "start-timeout = \"500ms\"")
        + &component("a", SERVER, "");
    let output = Host::manifest(&manifest).run();
    output.expect_code(1).expect_cause("failure", "spin").expect_outcome("spin", "failed");
    assert_within(output.after(output.started), Duration::from_millis(1500), "the whole run");
}

#[test]
fn a_signal_ends_a_component_that_spins_while_it_starts() {
    let manifest =
        app("grace = \"500ms\"") + &component("spin", SPIN_AT_START, "") + &component("a", SERVER, "");
    let app = Host::manifest(&manifest).start();
    app.wait_for_line("a | start");
    let asked = app.signal(Signal::SIGTERM);
    let output = app.wait();
    output.expect_outcome("a", "stopped").expect_hook("spin", "none");
    assert_within(output.after(asked), Duration::from_millis(750), "exit");
    let code = output.code();
    assert!(code == 0 || code == 124, "exit status {code}\n{}", output.said());
}

#[test]
fn a_component_that_traps_while_it_starts_has_failed() {
    let manifest = app("") + &component("bad", TRAP_AT_START, "") + &component("a", SERVER, "");
    let output = Host::manifest(&manifest).run();
    output.expect_code(1).expect_cause("failure", "bad").expect_hook("bad", "none");
    assert!(output.said().contains("trap_in_start"), "no guest backtrace:\n{}", output.said());
}
