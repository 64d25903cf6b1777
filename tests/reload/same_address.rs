//! R2 (sozu#1362, granian#567), I9: reloads under load with the same addresses → 0 refused, 0 reset, 0 wrong answers, and not one
//! request is served twice or by nobody.

use artifacts::{HELLO_HTTP, HELLO_HTTP_CLASSIC, HTTP_LAB, HTTP_LAB_CLASSIC};

use super::shop::seen;
use crate::harness::{
    Address, App, CONTROL, Host, Load, Output, Tally, Target, Wire, app, component, free_address, web,
};
use crate::http::lab::served;

/// Requests a second, over new connections, kept ones and HTTP/2 in turn.
const PER_SECOND: u32 = 240;
/// Answers between two reloads.
const BETWEEN: u64 = 40;

fn reloads() -> u32 {
    std::env::var("CURFEW_RELOADS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// Reloads to one version after the other while the clients go on.
fn reload_under_load(app: &App, targets: &[Target], manifest: impl Fn(u32) -> String) -> Tally {
    let load = Load::start(PER_SECOND, targets);
    for version in 2..reloads() + 2 {
        load.wait_for_answers(u64::from(version - 1) * BETWEEN);
        app.reload(&manifest(version));
    }
    load.wait_for_answers(u64::from(reloads() + 1) * BETWEEN);
    load.end()
}

/// Every request was answered well, over the first connection it was tried on, and the hooks of all generations have counted
/// exactly these.
#[track_caller]
fn expect_nothing_lost(output: &Output, tally: &Tally, names: &[&str]) {
    let failures = tally.others(&[]);
    assert!(failures.is_empty(), "{failures:?}\n{}", output.said());
    assert_eq!(tally.sent_again, 0, "a connection was closed while its client was sure of it: {tally:?}");
    output.expect_code(0);
    for name in names {
        let answered = tally.answered(name, 200);
        assert!(answered > 0, "{name} had no load");
        assert_eq!(served(output, name), answered, "{name}: {tally:?}\n{}", output.said());
    }
}

#[test]
fn reloads_under_load_lose_nothing() {
    let names = ["modern", "classic", "slow-modern", "slow-classic"];
    let sources = [HELLO_HTTP, HELLO_HTTP_CLASSIC, HTTP_LAB, HTTP_LAB_CLASSIC];
    let manifest = |version: u32| {
        // In every other version instances are replaced again and again.
        let keys = if version.is_multiple_of(2) { "instances = { max = 3, requests = 7 }\n" } else { "" };
        let table = |(name, source)| web(name, source, &format!("{keys}env = {{ V = \"{version}\" }}"));
        app(&format!("grace = \"20s\"\n{CONTROL}"))
            + &names.into_iter().zip(sources).map(table).collect::<String>()
    };
    let app = Host::manifest(&manifest(1)).start_ready();
    let path = |name: &str| if name.starts_with("slow") { "/sleep?ms=40" } else { "/" };
    let targets = names.map(|name| Target::new(name, app.address(name), path(name)));
    let listeners = app.listeners();
    let tally = reload_under_load(&app, &targets, manifest);
    assert_eq!(app.listeners(), listeners, "the same sockets to the end");
    for name in names {
        app.wait_for_generation(name, u64::from(reloads()) + 1);
    }
    expect_nothing_lost(&app.stop(), &tally, &names);
}

/// Only one of two on the same address changes, and they take turns at it.
#[test]
fn reloads_of_one_of_two_on_an_address_lose_nothing() {
    let address = free_address();
    let manifest = |version: u32| {
        let table = |name, source, version: u32, routes: &str| {
            let keys = format!("listen = [\"{address}\"]\nenv = {{ V = \"{version}\" }}\n{routes}");
            component(name, source, &keys)
        };
        app("grace = \"20s\"")
            + &table("modern", HELLO_HTTP, version / 2, "routes = [\"/modern\"]")
            + &table("classic", HELLO_HTTP_CLASSIC, version.div_ceil(2), "")
    };
    let app = Host::manifest(&manifest(1)).start_ready();
    let address = Address::Tcp(address);
    let targets = [("modern", "/modern/x"), ("classic", "/")]
        .map(|(name, path)| Target::new(name, address.clone(), path));
    let listeners = app.listeners();
    let tally = reload_under_load(&app, &targets, manifest);
    assert_eq!(app.listeners(), listeners, "the same socket to the end");
    expect_nothing_lost(&app.stop(), &tally, &["modern", "classic"]);
}

/// A kept connection stays open, and its next request goes to the new generation; one on its way is answered by the old one.
#[test]
fn a_kept_connection_goes_over_to_the_new_generation() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let manifest = |version: u32| {
            let keys = format!("instances = {{ max = 1 }}\nenv = {{ V = \"{version}\" }}");
            app(CONTROL) + &web("lab", source, &keys)
        };
        let app = Host::manifest(&manifest(1)).start_ready();
        let mut kept = Wire::connect(&app.address("lab"));
        let mut ids = vec![seen(&mut kept).id];
        for version in 2..6 {
            let mut slow = Wire::connect(&app.address("lab"));
            slow.begin_get("/sleep?ms=300");
            app.reload(&manifest(version));
            let now = seen(&mut kept);
            assert!(!ids.contains(&now.id), "an old generation answers after the reload");
            assert_eq!(now.count, 1, "it is a fresh instance");
            ids.push(now.id);
            assert_eq!(slow.fate().answered().expect(200).text(), "slept 300 ms");
            // Its connection has moved, too.
            assert_eq!(seen(&mut slow).id, *ids.last().unwrap());
        }
        app.wait_for_generation("lab", 5);
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
        assert_eq!(output.records("hook started", "lab").len(), 5, "one hook for each:\n{}", output.said());
    }
}
