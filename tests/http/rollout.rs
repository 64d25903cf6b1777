//! The rollout: stops under open-loop load, over new and kept connections and HTTP/2, lose nothing.
//!
//! `CURFEW_ROLLOUTS=50` makes the fifty stops in a row of issue 3.

use std::collections::BTreeMap;

use artifacts::{HELLO_HTTP, HELLO_HTTP_CLASSIC, HTTP_LAB, HTTP_LAB_CLASSIC};
use nix::sys::signal::Signal::SIGTERM;

use super::lab::{MS, served};
use crate::harness::{App, End, Host, Load, Output, Tally, Target, app, component, free_address, web};

const NAMES: [&str; 4] = ["modern", "classic", "slow-modern", "slow-classic"];

/// So many requests, and an instance is replaced.
const RETIRE_AFTER: u64 = 7;

/// Requests a second for each of the components.
const EACH_PER_SECOND: u32 = 75;

fn rollouts() -> u64 {
    std::env::var("CURFEW_ROLLOUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Two components that answer at once and two that take a while. In every other run their instances are replaced
/// again and again.
fn start(run: u64, app_keys: &str) -> (App, Vec<Target>) {
    let keys = if run.is_multiple_of(2) {
        ""
    } else {
        &format!("instances = {{ max = 3, requests = {RETIRE_AFTER} }}")
    };
    let manifest = app(app_keys)
        + &web(NAMES[0], HELLO_HTTP, keys)
        + &web(NAMES[1], HELLO_HTTP_CLASSIC, keys)
        + &web(NAMES[2], HTTP_LAB, keys)
        + &web(NAMES[3], HTTP_LAB_CLASSIC, keys);
    let app = Host::manifest(&manifest).start_ready();
    let path = |name: &str| if name.starts_with("slow") { "/sleep?ms=40" } else { "/" };
    let targets = NAMES.map(|name| Target::new(name, app.address(name), path(name)));
    (app, targets.into())
}

fn load(targets: &[Target]) -> Load {
    Load::start(EACH_PER_SECOND * u32::try_from(targets.len()).unwrap(), targets)
}

/// The hooks have counted what the clients have: no answer was lost, nothing was done that nobody was told of.
#[track_caller]
fn expect_same_counts(output: &Output, tally: &Tally) {
    output.expect_code(0).expect_cause("signal", "SIGTERM");
    for name in NAMES {
        output.expect_outcome(name, "stopped");
        let counts = output.row(name).counts();
        // All of its instances can just have been replaced, and each had its hook then.
        let between =
            counts["requests"].as_u64() == counts["instances"].as_u64().map(|count| count * RETIRE_AFTER);
        if !between {
            output.expect_hook(name, "ok");
        }
        let answered = tally.answered(name, 200);
        assert!(answered > 0, "{name} had no load");
        assert_eq!(served(output, name), answered, "{name}: {tally:?}\n{}", output.said());
        assert_eq!(output.row(name).number("in_flight_ended"), 0.0);
    }
}

/// Issue 3, the rollout test, with a delay: no failure at all, stop after stop.
#[test]
fn stops_with_a_delay_lose_nothing() {
    let (mut run, mut late) = (0, 0);
    while run < rollouts() {
        let (app, targets) = start(run, "drain-delay = \"1s\"\ngrace = \"20s\"");
        let load = load(&targets);
        load.wait_for_answers(60 + run * 7 % 50);
        app.signal(SIGTERM);
        app.wait_for_log("app not ready", "");
        // The scenario is about this time.
        std::thread::sleep(300 * MS);
        let tally = load.end();
        let too_late = !app.records("listener closed", "").is_empty();
        let output = app.wait();
        if too_late {
            // This machine held the clients up for as long as the delay: the run tells nothing.
            late += 1;
            assert!(late <= rollouts(), "the clients are never in time");
            continue;
        }
        let failures = tally.others(&[]);
        assert!(failures.is_empty(), "stop {run}: {failures:?}\n{}", output.said());
        expect_same_counts(&output, &tally);
        run += 1;
    }
}

/// The same without a delay, when clients learn of the stop from their connections: every client that has connected is
/// answered; new connections are refused.
#[test]
fn stops_without_a_delay_answer_what_was_accepted() {
    let mut ends = BTreeMap::new();
    for run in 0..rollouts() {
        let (app, targets) = start(run, "grace = \"20s\"");
        let load = load(&targets);
        load.wait_for_answers(60 + run * 13 % 50);
        app.signal(SIGTERM);
        // The clients go on to the end, which comes though they do.
        let output = app.wait();
        let tally = load.end();
        let failures = tally.others(&[End::Refused]);
        assert!(failures.is_empty(), "stop {run}: {failures:?}\n{}", output.said());
        expect_same_counts(&output, &tally);
        *ends.entry(End::Refused).or_insert(0) += tally.count(|_, _, other| *other == End::Refused);
    }
    eprintln!("without a delay, in {} stops: {ends:?}", rollouts());
}

/// The same with one address for both.
#[test]
fn a_shared_address_is_drained_like_any_other() {
    for run in 0..rollouts() {
        let free = free_address();
        let listen = |routes: &str| format!("listen = [\"{free}\"]\n{routes}");
        let manifest = app("grace = \"20s\"")
            + &component("modern", HELLO_HTTP, &listen("routes = [\"/modern\"]"))
            + &component("classic", HELLO_HTTP_CLASSIC, &listen(""));
        let app = Host::manifest(&manifest).start_ready();
        let address = app.address("modern");
        let targets = [("modern", "/modern/x"), ("classic", "/")]
            .map(|(name, path)| Target::new(name, address.clone(), path));
        let load = Load::start(200, &targets);
        load.wait_for_answers(60 + run * 11 % 50);
        app.signal(SIGTERM);
        let output = app.wait();
        let tally = load.end();
        let failures = tally.others(&[End::Refused]);
        assert!(failures.is_empty(), "stop {run}: {failures:?}\n{}", output.said());
        for name in ["modern", "classic"] {
            assert_eq!(served(&output, name), tally.answered(name, 200), "{tally:?}\n{}", output.said());
        }
    }
}
