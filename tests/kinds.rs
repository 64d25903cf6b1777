//! The general tests: what the host gives to every kind of component. A kind takes part with one entry of [`KINDS`];
//! `toy_kind` is no part of the host, and takes part like the others.

use std::time::Duration;

use artifacts::{HOSTILE_ASYNC, HTTP_LAB, TCP_LAB};
use nix::sys::signal::Signal::{SIGTERM, SIGUSR1};

use crate::harness::{Address, App, CONTROL, Host, Wire, app, assert_within, component, keys, web};
use crate::toy_kind;

/// A kind, and a well-behaved component of it whose hook ends well, or is told to `trap` or `spin`.
struct KindCase {
    /// Its name in `check`, status and metrics.
    name: &'static str,
    /// The table of the component `guest`, with these further keys.
    component: fn(hook: &str, keys: &str) -> String,
    /// A host that knows the kind, and has the component's file.
    host: fn(manifest: &str, hook: &str) -> Host,
}

const KINDS: [KindCase; 4] = [
    KindCase {
        name: "service",
        component: |hook, more| {
            let hook = format!("hook={}", if hook.is_empty() { "good" } else { hook });
            component("guest", HOSTILE_ASYNC, &format!("{}\n{more}", keys(&["run=good", &hook])))
        },
        host: |manifest, _| Host::manifest(manifest),
    },
    KindCase {
        name: "http",
        component: |hook, more| web("guest", HTTP_LAB, &format!("{more}\nenv.HOOK = {hook:?}")),
        host: |manifest, _| Host::manifest(manifest),
    },
    KindCase {
        name: "tcp",
        component: |hook, more| web("guest", TCP_LAB, &format!("{more}\nenv.HOOK = {hook:?}")),
        host: |manifest, _| Host::manifest(manifest),
    },
    KindCase {
        name: "tick",
        component: |_, more| component("guest", "guest.wasm", more),
        host: |manifest, hook| {
            toy_kind::host(manifest).file("guest.wasm", toy_kind::guest("", toy_kind::code(hook)))
        },
    },
];

impl KindCase {
    fn manifest(&self, app_keys: &str, hook: &str, more: &str) -> String {
        app(app_keys) + &(self.component)(hook, more)
    }

    #[track_caller]
    fn start(&self, app_keys: &str, hook: &str) -> App {
        (self.host)(&self.manifest(app_keys, hook, ""), hook).start_ready()
    }
}

#[test]
fn every_kind_starts_is_ready_and_stops_with_its_hook() {
    for kind in &KINDS {
        let app = kind.start("", "");
        app.wait_for_log("component started", "guest");
        let output = app.stop();
        output.expect_code(0).expect_cause("signal", "SIGTERM");
        output.expect_outcome("guest", "stopped").expect_hook("guest", "ok");
        assert_eq!(output.row("guest").number("in_flight_ended"), 0.0);
    }
}

#[test]
fn a_hook_that_traps_is_in_the_outcome_of_every_kind() {
    for kind in &KINDS {
        let output = kind.start("", "trap").stop();
        output.expect_code(3).expect_outcome("guest", "hook-failed").expect_hook("guest", "trapped");
    }
}

#[test]
fn a_hook_without_an_end_is_cut_off_in_every_kind() {
    for kind in &KINDS {
        let app = kind.start("grace = \"300ms\"", "spin");
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        assert_within(output.after(asked), Duration::from_millis(550), "the cut-off");
        output.expect_code(124).expect_outcome("guest", "cut-off");
        assert_eq!(output.row("guest").detail(), "its hook overran the grace", "{}", output.said());
    }
}

#[test]
fn every_kind_is_restarted_reloaded_and_seen_by_operators() {
    for kind in &KINDS {
        let app = kind.start(CONTROL, "");
        let state = app.component("guest");
        assert_eq!((state.text("kind"), state.text("state")), (kind.name, "running"));
        assert_eq!((state.number("instances"), state.number("generation")), (1, 1));
        app.order("/restart?component=guest").expect(200);
        app.wait_for_generation("guest", 2);
        app.reload(&kind.manifest(CONTROL, "", "memory = \"64MiB\""));
        app.wait_for_generation("guest", 3);
        app.signal(SIGUSR1);
        app.wait_for_log("status", "guest");
        let output = app.stop();
        output.expect_code(0).expect_outcome("guest", "stopped").expect_hook("guest", "ok");
        assert_eq!(output.records("hook started", "guest").len(), 3, "{}", output.said());
    }
}

#[test]
fn every_kind_has_its_metrics() {
    for kind in &KINDS {
        let app = kind.start("admin = \"127.0.0.1:0\"", "");
        let admin = Address::parse(&app.wait_for_log("admin listener open", "").text("address"));
        let text = Wire::connect(&admin).get("/metrics").expect(200).text();
        for line in [
            format!("curfew_component_info{{component=\"guest\",kind=\"{}\"}} 1", kind.name),
            "curfew_instances_started_total{component=\"guest\"} 1".to_owned(),
            "curfew_in_flight{component=\"guest\"} ".to_owned(),
            "curfew_waiting{component=\"guest\"} 0".to_owned(),
            "process_resident_memory_bytes ".to_owned(),
            "process_open_fds ".to_owned(),
            "process_threads ".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is missing:\n{text}");
        }
        app.stop().expect_code(0);
    }
}

#[test]
fn check_says_the_kind() {
    for kind in &KINDS {
        let output = (kind.host)(&kind.manifest("", "", ""), "").call(&["check"]);
        output.expect_code(0);
        assert!(output.said().contains(kind.name), "{} is missing:\n{}", kind.name, output.said());
    }
}
