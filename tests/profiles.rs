//! The times and profiles of a stop: `drain-delay`, `grace × 4`, nginx, and the flags over the manifest.

use std::time::Duration;

use artifacts::{HOSTILE_ASYNC, TIMER};
use nix::sys::signal::Signal::*;

use crate::harness::{Host, app, assert_within, component, keys};
use crate::signals::{servers, stuck_and_server};

const MS: Duration = Duration::from_millis(1);

/// Design, signals: QUIT stops without delay and with four times the grace.
#[test]
fn quit_gives_four_times_the_grace_and_no_delay() {
    let app = stuck_and_server("grace = \"500ms\"\ndrain-delay = \"30s\"").start_ready();
    let asked = app.signal(SIGQUIT);
    let output = app.wait();
    output.expect_code(124).expect_cause("signal", "SIGQUIT");
    assert!(output.after(asked) >= 1990 * MS, "it left after {:?}", output.after(asked));
    assert_within(output.after(asked), 2250 * MS, "exit after QUIT");
}

/// Design, signals: TERM waits for `drain-delay`, INT does not; QUIT while stopping ends the delay.
#[test]
fn only_term_waits_for_the_delay_and_quit_ends_it() {
    let app = servers("drain-delay = \"700ms\"").start_ready();
    let asked = app.signal(SIGTERM);
    let stopping = app.wait_for_log("stopping", "");
    assert_eq!(stopping.text("stop"), "delay");
    let output = app.wait();
    output.expect_code(0);
    assert!(output.after(asked) >= 695 * MS, "it left after {:?}", output.after(asked));

    let app = servers("drain-delay = \"60s\"").start_ready();
    let asked = app.signal(SIGINT);
    let output = app.wait();
    output.expect_code(0);
    assert_within(output.after(asked), 100 * MS, "exit after INT");

    let app = servers("drain-delay = \"60s\"").start_ready();
    app.signal(SIGTERM);
    app.wait_for_log("stopping", "");
    let ended = app.signal(SIGQUIT);
    let output = app.wait();
    output.expect_code(0).expect_cause("signal", "SIGTERM");
    assert_within(output.after(ended), 100 * MS, "exit after QUIT ended the delay");
}

/// Design, signals, `nginx` profile: TERM and INT cut off now, QUIT is the graceful stop.
#[test]
fn the_nginx_profile_cuts_off_on_term_and_int_and_stops_on_quit() {
    for (signal, code) in [(SIGTERM, 143), (SIGINT, 130)] {
        for profile in ["signals = \"nginx\"\ngrace = \"60s\"", "grace = \"60s\""] {
            let flags: &[&str] = if profile.contains("nginx") { &[] } else { &["--signals", "nginx"] };
            let app = stuck_and_server(profile).flags(flags).start_ready();
            let asked = app.signal(signal);
            let output = app.wait();
            output.expect_code(code).expect_outcome("stuck", "cut-off");
            assert_within(output.after(asked), 500 * MS, "exit");
        }
    }
    let app = servers("signals = \"nginx\"").start_ready();
    app.signal(SIGQUIT);
    app.wait().expect_code(0).expect_cause("signal", "SIGQUIT").expect_hook("a", "ok");
}

/// The flags win over the manifest.
#[test]
fn flags_override_the_times_of_the_manifest() {
    let app = stuck_and_server("grace = \"60s\"").flags(&["--grace", "300ms"]).start_ready();
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_code(124);
    assert_within(output.after(asked), 550 * MS, "exit");

    let timer = component("timer", TIMER, &keys(&["0.2", "fail"]));
    let stuck = component("stuck", HOSTILE_ASYNC, &keys(&["run=good", "hook=park"]));
    let host = Host::manifest(&(app_of(&timer, &stuck))).flags(&["--fail-grace", "200ms"]);
    let output = host.run();
    output.expect_code(1).expect_cause("failure", "timer");
    assert_within(output.after(output.started), 1500 * MS, "the whole run");
}

fn app_of(one: &str, two: &str) -> String {
    app("grace = \"60s\"\nfail-grace = \"60s\"") + one + two
}

/// Manifest: a component's own `grace` is shorter than that of the app: it alone is cut off then.
#[test]
fn a_component_has_a_grace_of_its_own() {
    let manifest = app("grace = \"20s\"")
        + &component("stuck", HOSTILE_ASYNC, &(keys(&["hook=park"]) + "\ngrace = \"300ms\""))
        + &component("slow", HOSTILE_ASYNC, &keys(&["hook=slow", "ms=900"]));
    let app = Host::manifest(&manifest).start_ready();
    let asked = app.signal(SIGTERM);
    let cut = app.wait_for_log("cut off", "stuck");
    assert_within(cut.at - asked, 300 * MS, "the cut-off");
    let output = app.wait();
    output.expect_code(124).expect_outcome("stuck", "cut-off");
    output.expect_outcome("slow", "stopped").expect_hook("slow", "ok");
    assert!(output.after(asked) >= 895 * MS, "the slow one had its time");
}
