//! S11, S12, S15, S16, I6: the first cause is the cause, and everybody hears of it at once.

use std::time::Duration;

use artifacts::{HOSTILE_ASYNC, HOSTILE_CLASSIC, NO_HOOK, SERVER, SERVER_CLASSIC, TIMER};
use nix::sys::signal::Signal::{SIGQUIT, SIGTERM};

use crate::harness::{Host, app, assert_within, component, keys};

const MS: Duration = Duration::from_millis(1);

/// S11 (gloo-mesh#1468): A traps, B and C return errors when stopped → the cause is always A. The machine's
/// own tests run the 10,000 schedules; these are real ones.
#[test]
fn the_first_failure_is_the_cause_whatever_fails_later() {
    let manifest = app("fail-grace = \"2s\"")
        + &component("b", HOSTILE_ASYNC, &keys(&["run=error-on-stop"]))
        + &component("a", HOSTILE_ASYNC, &keys(&["run=trap"]))
        + &component("c", HOSTILE_CLASSIC, &keys(&["run=trap-on-stop"]));
    crate::in_parallel(3, (0..40).collect(), |_run: u32| {
        let output = Host::manifest(&manifest).run();
        output.expect_code(1).expect_cause("failure", "a").expect_outcome("a", "failed");
    });
}

/// S12 (golang#53757): A traps while B never stops → A's trap is logged within 10 ms, not after B's grace,
/// with the guest's backtrace.
#[test]
fn a_failure_is_told_when_it_happens_with_the_functions_of_the_guest() {
    for guest in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        // It may trap before the other one has been started; then there is nothing to see.
        let seen = (0..20).any(|_| a_trap_beside_a_spinning_one(guest));
        assert!(seen, "the spinning one was never started first");
    }
}

fn a_trap_beside_a_spinning_one(guest: &str) -> bool {
    let manifest = app("fail-grace = \"2s\"")
        + &component("b", HOSTILE_CLASSIC, &keys(&["run=spin"]))
        + &component("a", guest, &keys(&["run=trap"]));
    let app = Host::manifest(&manifest).start();
    app.wait_for_line("a | run entered");
    let failed = app.wait_for_log("failed", "a");
    let error = failed.text("error");
    assert!(error.contains("deep_trap"), "no names of guest functions in {error}");
    let output = app.wait();
    output.expect_code(1).expect_cause("failure", "a");
    if output.row("b").outcome() == "not-started" {
        return false;
    }
    output.expect_outcome("b", "cut-off");
    let first = output.records("failed", "").first().map(|record| record.text("component"));
    assert_eq!(first.as_deref(), Some("a"));
    let waited = output.ended - failed.at;
    assert!(waited >= 1700 * MS, "the failure was logged only {waited:?} before the exit");
    assert_within(waited, 2250 * MS, "exit after the failure");
    true
}

/// S15 (fx#930): TERM, a failure and another stop in the same millisecond → each hook once.
#[test]
fn a_signal_and_a_failure_at_once_call_each_hook_once() {
    crate::in_parallel(3, (0..24).collect(), |run: u64| {
        let manifest = app("grace = \"5s\"")
            + &component("a", SERVER, "")
            + &component("b", SERVER_CLASSIC, "")
            + &component("t", TIMER, &keys(&["0.5", "fail", "it broke"]))
            + &component("r", HOSTILE_ASYNC, &keys(&["run=good", "hook=request-stop"]));
        let app = Host::manifest(&manifest).start_ready();
        std::thread::sleep(Duration::from_millis(485 + run));
        app.signal(SIGTERM);
        app.signal(SIGQUIT);
        let output = app.wait();
        let kind = output.report["cause"]["kind"].as_str().unwrap_or_default().to_string();
        assert!(kind == "signal" || kind == "failure", "cause {kind}\n{}", output.said());
        for name in ["a", "b", "r"] {
            let hooks = output.records("hook started", name).len();
            assert_eq!(hooks, 1, "hooks of {name} after {kind}:\n{}", output.said());
            output.expect_hook(name, "ok");
        }
    });
}

/// S16 (kubernetes#64715): a peer's failure → `fail-grace`, not `grace`.
#[test]
fn a_failure_uses_fail_grace() {
    for (grace, fail_grace) in [("60s", "400ms"), ("200ms", "1500ms")] {
        let manifest = app(&format!("grace = {grace:?}\nfail-grace = {fail_grace:?}\ndrain-delay = \"30s\""))
            + &component("stuck", HOSTILE_ASYNC, &keys(&["run=good", "hook=park"]))
            + &component("timer", TIMER, &keys(&["0.3", "fail", "it broke"]));
        let app = Host::manifest(&manifest).start();
        let failed = app.wait_for_log("failed", "timer");
        let output = app.wait();
        output.expect_code(1).expect_cause("failure", "timer").expect_outcome("stuck", "cut-off");
        let took = output.ended - failed.at;
        let expected = if fail_grace == "400ms" { 400 * MS } else { 1500 * MS };
        assert!(took + 50 * MS >= expected, "cut off after {took:?}, fail-grace is {fail_grace}");
        assert_within(took, expected + 250 * MS, "exit after the failure");
    }
}

/// Design 3: on a normal end the default is "one leaves, all leave"; `ignore` lets the others go on.
#[test]
fn a_normal_end_stops_the_app_unless_it_is_ignored() {
    let end = keys(&["0.1", "end"]);
    let manifest = app("") + &component("a", SERVER, "") + &component("timer", TIMER, &end);
    let output = Host::manifest(&manifest).run();
    output.expect_code(0).expect_cause("finished", "timer");
    output.expect_outcome("timer", "finished").expect_outcome("a", "stopped").expect_hook("a", "ok");

    let ignored = format!("{end}\non-exit = \"ignore\"");
    let manifest = app("") + &component("a", SERVER, "") + &component("timer", TIMER, &ignored);
    let app = Host::manifest(&manifest).start_ready();
    app.wait_for_log("component ended", "timer");
    let output = app.stop();
    output.expect_code(0).expect_cause("signal", "SIGTERM").expect_outcome("timer", "finished");
}

/// Design 3: `on-failure = "ignore"` lets the others go on; the exit status tells of the failure.
#[test]
fn an_ignored_failure_does_not_stop_the_app_but_shows_in_its_exit_status() {
    let keys = format!("{}\non-failure = \"ignore\"", keys(&["0.1", "fail"]));
    let manifest = app("") + &component("a", SERVER, "") + &component("timer", TIMER, &keys);
    let app = Host::manifest(&manifest).start_ready();
    app.wait_for_log("failed", "timer");
    let output = app.stop();
    output.expect_code(1).expect_cause("signal", "SIGTERM").expect_outcome("timer", "failed");
    output.expect_outcome("a", "stopped");
}

/// When everybody has left there is nothing to wait for, also when every end is ignored.
#[test]
fn the_app_ends_when_its_last_component_has_ended() {
    let manifest = app("") + &component("a", NO_HOOK, &(keys(&["return"]) + "\non-exit = \"ignore\""));
    Host::manifest(&manifest).run().expect_code(0).expect_outcome("a", "finished");
}

/// S9, as far as there are requests: a component asks for the stop from its `run`, twice, and from its hook.
#[test]
fn a_component_can_ask_for_the_stop() {
    for guest in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let manifest = app("")
            + &component("asks", guest, &keys(&["run=request-stop", "hook=request-stop"]))
            + &component("a", SERVER, "");
        let output = Host::manifest(&manifest).run();
        output.expect_code(0).expect_cause("request", "asks");
        output.expect_hook("asks", "ok");
        assert_eq!(output.records("hook started", "asks").len(), 1, "{}", output.said());
        // It may ask before the other one has been started.
        if output.row("a").outcome() != "not-started" {
            output.expect_hook("a", "ok").expect_line("a | stop: asked by asks");
        }
    }
}

/// The notice tells the cause to every component.
#[test]
fn each_component_is_told_the_cause() {
    let manifest = app("") + &component("a", SERVER, "") + &component("t", TIMER, &keys(&["0.1", "fail"]));
    Host::manifest(&manifest).run().expect_code(1).expect_line("a | stop: t failed");
    let manifest = app("") + &component("a", SERVER, "") + &component("t", TIMER, &keys(&["0.1", "end"]));
    Host::manifest(&manifest).run().expect_code(0).expect_line("a | stop: t finished");
    let manifest = app("grace = \"7s\"") + &component("a", SERVER, "");
    let output = Host::manifest(&manifest).start_ready().stop();
    output.expect_code(0).expect_line("a | stop: signal SIGTERM");
    assert!(output.has_line("a | hook: at most 6") || output.has_line("at most 7000"), "{}", output.said());
}
