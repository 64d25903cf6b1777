//! The samples in all languages, hosted by one manifest: all greet, all stop together, and each tells its count in
//! its hook.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Fate, Host, Wire, app, assert_within, sample, samples, web};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-components/languages.toml");

/// The manifest that is in the repository, on a free port, with the samples where they are.
fn manifest(samples: &[(String, PathBuf)]) -> String {
    let text = std::fs::read_to_string(MANIFEST).unwrap();
    let folder = samples[0].1.parent().unwrap().to_str().unwrap();
    text.replace("../target/guests", folder).replace("127.0.0.1:8090", "127.0.0.1:0")
}

#[test]
fn all_languages_are_one_app_and_stop_together() {
    let Some(samples) = samples() else { return };
    let text = manifest(&samples);
    let all: Vec<&String> = samples.iter().map(|(name, _)| name).collect();
    assert!(all.len() >= 6, "six languages: {all:?}");
    // Compiled once: the next start is warm.
    Host::manifest(&text).start_ready().stop().expect_code(0);

    let app = Host::manifest(&text).start_ready();
    let ready = app.wait_for_log("app started", "");
    let greeters = || all.iter().filter(|name| name.starts_with("say-hello-"));
    for greeter in greeters() {
        let language = greeter.trim_start_matches("say-hello-");
        for number in 1..=3 {
            let answer = Wire::connect(&app.address(greeter)).get(&format!("/{language}"));
            assert_eq!(answer.status, 200, "{greeter}");
            assert_eq!(answer.text(), format!("Hello, you are number {number}\n"), "{greeter}");
        }
    }
    let asked = app.signal(Signal::SIGTERM);
    let output = app.wait();
    output.expect_code(0);
    for name in &all {
        output.expect_outcome(name, "stopped").expect_hook(name, "ok");
    }
    for greeter in greeters() {
        output.expect_line(&format!("{greeter} | said hello 3 times"));
    }
    // Issue 5: with a warm cache the app of six languages is ready within a second.
    assert_within(ready.at - output.started, Duration::from_secs(1), "warm start");
    assert_within(output.after(asked), Duration::from_secs(1), "the stop of all");
}

/// Issue 5: a stop while a JavaScript component is compiled, which takes a dozen seconds, ends at once.
#[test]
fn a_stop_while_javascript_is_compiled_ends_at_once() {
    let Some(file) = sample("tick-tock/js") else { return };
    let app = Host::files(&[file]).flags(&["--log-level", "debug"]).empty_cache().start();
    app.wait_for_log("compiling", "");
    let asked = app.signal(Signal::SIGTERM);
    let output = app.wait();
    output.expect_code(0);
    assert_within(output.after(asked), Duration::from_millis(250), "exit while compiling");
}

/// `addEventListener('fetch', …)` answers only the first request of an instance. One that is kept gives the second no answer,
/// and is replaced: the third has a fresh one.
#[test]
fn a_javascript_fetch_event_has_a_fresh_instance_when_it_needs_one() {
    let Some(file) = sample("hostile/fetch-js") else { return };
    let web = |name, keys| web(name, file.to_str().unwrap(), keys);
    let manifest = app("")
        + &web("fresh", "instances = { max = 2, requests = 1 }")
        + &web("kept", "instances = { max = 1, requests = 0 }");
    let app = Host::manifest(&manifest).start_ready();
    let mut wire = Wire::connect(&app.address("fresh"));
    for _ in 0..1000 {
        assert_eq!(wire.get("/").expect(200).text(), "hi");
    }
    let mut wire = Wire::connect(&app.address("kept"));
    for _ in 0..10 {
        assert_eq!(wire.get("/").expect(200).text(), "hi");
        wire.get("/").expect(500);
    }
    let failed = app.wait_for_log("request failed", "kept");
    assert!(failed.text("error").contains("requests = 1"), "no remedy: {}", failed.text("error"));
    let output = app.stop();
    output.expect_code(0).expect_outcome("fresh", "stopped").expect_outcome("kept", "stopped");
}

/// The answer that the JavaScript engine itself gives when the handler throws has no end: its client hung.
#[test]
fn a_javascript_handler_that_throws_does_not_hang_its_client() {
    let Some(file) = sample("hostile/fetch-js") else { return };
    for keys in ["instances = { max = 1, requests = 1 }", "instances = { max = 1, requests = 0 }"] {
        let manifest = app("grace = \"60s\"") + &web("lab", file.to_str().unwrap(), keys);
        let app = Host::manifest(&manifest).start_ready();
        for _ in 0..20 {
            let mut wire = Wire::connect(&app.address("lab"));
            wire.send_get("/throw");
            match wire.fate() {
                Fate::Answered(answer) => assert!(answer.status >= 500, "{answer:?}"),
                Fate::Aborted { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let asked = app.signal(Signal::SIGTERM);
        let output = app.wait();
        output.expect_code(0).expect_outcome("lab", "stopped");
        assert_within(output.after(asked), Duration::from_secs(5), "the stop");
    }
}
