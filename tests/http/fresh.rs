//! A component in WASI 0.2 that cannot hear of a stop gets a fresh instance for each request, as on `wasmtime serve`: what one
//! request does to its instance concerns no other.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use artifacts::{HTTP_LAB_CLASSIC, HTTP_LAB_PLAIN};
use serde_json::Value;

use super::lab::{MS, State, connect, serve, state, text_of};
use crate::harness::{CONTROL, Host, Wire, app, assert_within, component, until, web};

/// The default, what the manifest can say instead, and what `check` says of both.
#[test]
fn a_component_that_knows_nothing_of_curfew_gets_a_fresh_instance_for_each_request() {
    let app = serve(HTTP_LAB_PLAIN, "", "");
    let mut wire = connect(&app);
    let seen: Vec<_> = (0..50).map(|_| State::parse(&wire.get("/state").expect(200).text())).collect();
    assert!(seen.iter().all(|state| state.count == 1), "{seen:?}");
    assert_eq!(seen.iter().map(|state| &state.id).collect::<BTreeSet<_>>().len(), 50);
    app.stop().expect_code(0).expect_outcome("lab", "stopped");

    let app = serve(HTTP_LAB_PLAIN, "", "instances = { max = 1, requests = 0 }");
    let first = state(&app);
    assert_eq!(state(&app), State { count: 2, ..first });
    app.stop().expect_code(0);
}

#[test]
fn check_tells_which_instances_a_component_gets_and_why() {
    let case = |name: &str, source: &str, requests: &str| {
        component(name, source, &format!("listen = [\"127.0.0.1:0\"]\n{requests}"))
    };
    let manifest = app("")
        + &case("plain", HTTP_LAB_PLAIN, "")
        + &case("kept", HTTP_LAB_PLAIN, "instances = { requests = 0 }")
        + &case("hook", HTTP_LAB_CLASSIC, "");
    let output = Host::manifest(&manifest).call(&["check", "--json"]);
    let value: Value = serde_json::from_str(&output.expect_code(0).stdout_text()).unwrap();
    let requests = |at: usize| value["components"][at]["instances"]["requests"].as_u64();
    assert_eq!([0, 1, 2].map(requests), [Some(1), Some(0), Some(0)], "{value}");
    let text = Host::manifest(&manifest).call(&["check"]).stdout_text();
    assert!(text.contains("a fresh one for each of its requests, at most 32 at a time, since it"), "{text}");
    let text = Host::files(&[HTTP_LAB_PLAIN]).call(&["inspect", HTTP_LAB_PLAIN]).stdout_text();
    assert!(text.contains("a fresh one for each of its requests"), "{text}");
}

/// Each trap is one request's: no pause, no restart, no other request that fails.
#[test]
fn a_request_that_fails_fails_alone() {
    let manifest = app(CONTROL) + &web("lab", HTTP_LAB_PLAIN, "") + &web("other", HTTP_LAB_CLASSIC, "");
    let app = Host::manifest(&manifest).start_ready();
    let mut held = connect(&app);
    held.hold();
    let mut mid = connect(&app);
    mid.send_get("/trap-mid?bytes=1000");
    let partial = mid.fate().aborted();
    assert_eq!((partial.status, partial.body.len()), (200, 1000));
    let mut other = Wire::connect(&app.address("other"));
    let paths = ["/trap", "/panic", "/exit?code=0", "/exit?code=3"];
    for path in paths.into_iter().cycle().take(40) {
        let text = connect(&app).get(path).expect(502).text();
        assert!(text.starts_with("502"), "{text:?}");
        assert_eq!(text_of(&app, "/"), "Hello 1");
        other.get("/").expect(200);
    }
    held.release();
    until("all failures are counted", || (app.component("lab").number("failures") == 41).then_some(()));
    let failure = app.wait_for_log("instance failed", "lab");
    assert!(failure.text("error").contains("deep_trap"), "{failure:?}");
    let output = app.stop();
    output.expect_code(0).expect_outcome("lab", "stopped").expect_outcome("other", "stopped");
    assert_eq!(output.row("lab").number("restarts"), 0.0);
}

/// `on-failure = "stop-app"` is what it says.
#[test]
fn a_request_that_fails_stops_the_app_if_the_manifest_says_so() {
    let app = serve(HTTP_LAB_PLAIN, "", "on-failure = \"stop-app\"");
    connect(&app).get("/trap").expect(502);
    app.wait().expect_code(1).expect_outcome("lab", "failed");
}

/// The host cannot cancel a call, but it can drop the instance: with the 504 nothing of it is left.
#[test]
fn a_request_that_overruns_its_time_is_ended_with_its_instance() {
    for path in ["/park", "/spin"] {
        let app =
            serve(HTTP_LAB_PLAIN, "grace = \"60s\"", "request-timeout = \"300ms\"\ninstances = { max = 1 }");
        connect(&app).get(path).expect(504);
        // It holds the only place no longer.
        assert_eq!(text_of(&app, "/"), "Hello 1");
        let asked = Instant::now();
        app.stop().expect_code(0).expect_outcome("lab", "stopped");
        assert_within(asked.elapsed(), Duration::ZERO, "the stop");
    }
}

/// One that computes for long shares its thread with others.
#[test]
fn a_request_that_computes_holds_up_no_other() {
    let app = serve(HTTP_LAB_PLAIN, "grace = \"500ms\"", "");
    let mut spinning: Vec<_> = (0..4).map(|_| connect(&app)).collect();
    spinning.iter_mut().for_each(|wire| wire.begin_get("/spin"));
    for _ in 0..20 {
        assert_eq!(text_of(&app, "/"), "Hello 1");
    }
    app.stop().expect_code(124).expect_outcome("lab", "cut-off");
}

/// `instances.max` bounds the instances of all threads together.
#[test]
fn there_are_never_more_fresh_instances_than_allowed() {
    for max in [1_u32, 3] {
        let app = serve(HTTP_LAB_PLAIN, CONTROL, &format!("instances = {{ max = {max} }}"));
        let mut wires: Vec<_> = (0..max).map(|_| connect(&app)).collect();
        wires.iter_mut().for_each(Wire::hold);
        let mut late = connect(&app);
        late.begin_get("/");
        let all = u64::from(max) + 1;
        until("the request waits", || (app.component("lab").number("in_flight") == all).then_some(()));
        let release = Instant::now();
        wires[0].release();
        late.fate().answered().expect(200);
        assert_within(release.elapsed(), Duration::ZERO, "a place");
        wires[1..].iter_mut().for_each(Wire::release);
        app.stop().expect_code(0);
    }
}

/// What would fill a kept instance: its memory, and its handles.
#[test]
fn what_a_request_leaves_behind_goes_with_its_instance() {
    let keys = "memory = \"64MiB\"\ndirs = [{ host = \".\", guest = \"/data\" }]";
    let app = serve(HTTP_LAB_PLAIN, "", keys);
    let mut wire = connect(&app);
    for _ in 0..40 {
        assert_eq!(wire.get("/grow?mib=40").expect(200).text(), "40 MiB taken");
        assert_eq!(wire.get("/leak?path=/data/curfew.toml").expect(200).text(), "leaked");
    }
    app.stop().expect_code(0);
}

/// H1 and H12: what is in flight at the stop is answered; what does not end is cut off.
#[test]
fn a_stop_waits_for_the_requests_in_flight_and_cuts_off_the_others() {
    let app = serve(HTTP_LAB_PLAIN, "grace = \"60s\"", "");
    let mut wires: Vec<_> = (0..8).map(|_| connect(&app)).collect();
    wires.iter_mut().for_each(Wire::hold);
    app.signal(nix::sys::signal::Signal::SIGTERM);
    app.wait_for_log("listener closed", "lab");
    wires.iter_mut().for_each(Wire::release);
    app.wait().expect_code(0).expect_outcome("lab", "stopped");

    let app = serve(HTTP_LAB_PLAIN, "grace = \"300ms\"", "");
    let mut wires = ["/park", "/park-mid", "/endless"].map(|path| {
        let mut wire = connect(&app);
        wire.begin_get(path);
        wire
    });
    assert_eq!(wires[1].head().status, 200);
    assert_eq!(wires[2].head().status, 200);
    let output = app.stop();
    wires[0].fate().answered().expect(503);
    wires[1..].iter_mut().for_each(|wire| drop(wire.rest().aborted()));
    output.expect_code(124).expect_outcome("lab", "cut-off");
}

/// R1 and I9: two generations share the pool of one component while the old one drains.
#[test]
fn a_restart_under_load_loses_no_request() {
    let app = serve(HTTP_LAB_PLAIN, CONTROL, "instances = { max = 4 }");
    let mut held: Vec<_> = (0..4).map(|_| connect(&app)).collect();
    for generation in 2..6 {
        held.iter_mut().for_each(Wire::hold);
        app.order("/restart?component=lab").expect(200);
        assert_eq!(app.component("lab").number("generation"), generation);
        for _ in 0..50 {
            text_of(&app, "/sleep?ms=1");
        }
        held.iter_mut().for_each(Wire::release);
    }
    app.stop().expect_code(0);
}

/// No client can prevent a start: starts that fail cost the budget, and a component that cannot start is not ready.
#[test]
fn a_component_whose_instances_can_no_longer_start_goes_out_of_service() {
    let keys = "dirs = [{ host = \"d\", guest = \"/d\" }]\nrestart = { max = 1, within = \"5m\" }";
    let manifest = app(CONTROL) + &web("lab", HTTP_LAB_PLAIN, keys) + &web("other", HTTP_LAB_CLASSIC, "");
    let host = Host::manifest(&manifest);
    let (here, there) = (host.path().join("d"), host.path().join("e"));
    std::fs::create_dir(&here).unwrap();
    let app = host.start_ready();
    std::fs::rename(&here, &there).unwrap();
    // The instances that were made ahead have the folder.
    let answer =
        until("a start fails", || Some(connect(&app).get("/")).filter(|answer| answer.status != 200));
    assert!(answer.expect(502).text().contains("could not be started"));
    until("it is out of service", || (connect(&app).get("/").status == 503).then_some(()));
    assert_eq!(app.component("lab").text("state"), "out of service");
    Wire::connect(&app.address("other")).get("/").expect(200);
    std::fs::rename(&there, &here).unwrap();
    app.order("/restart?component=lab").expect(200);
    connect(&app).get("/").expect(200);
    app.wait_for_generation("lab", 2);
    app.stop().expect_code(0);
}

/// R4: as many generations as there can be, each with all its places taken.
#[test]
fn restarts_with_all_places_taken_lose_no_request() {
    let app = serve(HTTP_LAB_PLAIN, CONTROL, "instances = { max = 4 }");
    let mut held = Vec::new();
    for generation in 1..=3 {
        let mut wires: Vec<_> = (0..4).map(|_| connect(&app)).collect();
        wires.iter_mut().for_each(Wire::hold);
        held.extend(wires);
        if generation < 3 {
            app.order("/restart?component=lab").expect(200);
        }
    }
    held.iter_mut().for_each(Wire::release);
    app.stop().expect_code(0);
}

/// H13: the client of an answer that has begun leaves, and the guest hangs: its place is free after `request-timeout`.
#[test]
fn a_guest_that_hangs_behind_its_head_does_not_keep_the_place_of_a_client_that_left() {
    let keys = "request-timeout = \"300ms\"\ninstances = { max = 1 }";
    for source in [HTTP_LAB_PLAIN, HTTP_LAB_CLASSIC] {
        let app = serve(source, "grace = \"1s\"", keys);
        for _ in 0..3 {
            let mut wire = connect(&app);
            wire.send_get("/park-mid");
            assert_eq!(wire.head().status, 200);
            wire.leave();
            until("the place is free", || (connect(&app).get("/").status == 200).then_some(()));
        }
        app.stop().expect_code(0).expect_outcome("lab", "stopped");
    }
}

/// A sync guest that is slow to read or write holds its own instance only.
#[test]
fn slow_clients_are_served_beside_each_other() {
    let app = serve(HTTP_LAB_PLAIN, "", "instances = { max = 16 }");
    let mut slow: Vec<_> = (0..16).map(|_| connect(&app)).collect();
    slow.iter_mut().for_each(|wire| wire.send_get("/sleep?ms=400"));
    let begun = Instant::now();
    slow.iter_mut().for_each(|wire| drop(wire.fate().answered().expect(200)));
    assert_within(begun.elapsed(), 400 * MS, "sixteen at a time");
    app.stop().expect_code(0);
}
