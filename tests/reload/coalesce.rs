//! R6: many reloads at once are few, the last content wins, and a stop in the middle of one takes no longer than any other.

use std::time::{Duration, Instant};

use artifacts::{HTTP_SPIN_AT_START, SERVER, SERVICE_LAB, SPIN_AT_START};
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};

use super::shop::Shop;
use crate::harness::{App, CONTROL, Host, Output, app, assert_within, component, keys, until, web};

const MS: Duration = Duration::from_millis(1);

/// Fifty in 100 ms, each with another manifest.
#[test]
fn fifty_reloads_in_a_moment_are_at_most_two_and_the_last_wins() {
    let manifest = |number: u32| {
        app(CONTROL) + &component("a", SERVER, "") + &component(&format!("n{number}"), SERVER, "")
    };
    let app = Host::manifest(&manifest(0)).start_ready();
    let began = Instant::now();
    for number in 1..=50 {
        app.rewrite(&manifest(number));
        app.signal(SIGHUP);
        // The scenario is about this time.
        std::thread::sleep((began + number * 2 * MS).saturating_duration_since(Instant::now()));
    }
    let took = began.elapsed();
    until("the last manifest alone", || {
        let names: Vec<_> =
            app.status()["components"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        (names == ["a", "n50"]).then_some(())
    });
    assert_eq!(app.component("a").number("generation"), 1);
    let output = app.stop();
    output.expect_code(0);
    assert!(output.records("reload failed", "").is_empty(), "{}", output.said());
    // On a machine that is busy the fifty take longer than the time within which they are one.
    let most = 2 + (took.as_millis() / 500) as usize;
    let reloads = output.records("reloaded", "").len();
    assert!((1..=most).contains(&reloads), "{reloads} reloads in {took:?}:\n{}", output.said());
}

/// Reloads that are asked for while one is under way are one more, and never run next to it.
#[test]
fn reloads_that_are_asked_for_meanwhile_are_one_more() {
    let manifest = |number: u32| {
        let slow = keys(&["ready=700", &format!("v={number}")]);
        app(CONTROL) + &component("slow", SERVICE_LAB, &format!("{slow}\noverlap = true"))
    };
    let app = Host::manifest(&manifest(1)).start_ready();
    app.rewrite(&manifest(2));
    let first = app.begin_order("POST", "/reload");
    // It has read the manifest when the second one is started.
    app.wait_until("two of them", |said| {
        (said.lines.iter().filter(|line| line.contains("slow | started")).count() == 2).then_some(())
    });
    app.rewrite(&manifest(3));
    let more: Vec<_> = (0..8).map(|_| app.begin_order("POST", "/reload")).collect();
    app.signal(SIGHUP);
    first.answer().expect(200);
    for order in more {
        order.answer().expect(200);
    }
    app.wait_for_generation("slow", 3);
    let output = app.stop();
    let told: Vec<&str> =
        output.records.iter().map(|one| one.message()).filter(|told| told.starts_with("reload")).collect();
    assert_eq!(told, ["reloading", "reloaded", "reloading", "reloaded"], "{}", output.said());
}

/// TERM while the new generation starts: both have one bound, and both are in the report.
#[track_caller]
fn stop_in_the_middle(app: App) -> Output {
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_cause("signal", "SIGTERM");
    assert_within(output.after(asked), 2250 * MS, "exit with two generations");
    let rows = output.report["components"].as_array().unwrap().clone();
    let mut generations: Vec<u64> = rows
        .iter()
        .filter(|row| row["name"] == "lab")
        .map(|row| row["generation"].as_u64().unwrap())
        .collect();
    generations.sort_unstable();
    assert_eq!(generations, [1, 2], "{}", output.report);
    assert!(output.records("reloaded", "").is_empty(), "{}", output.said());
    output
}

#[test]
fn a_stop_while_a_slow_one_starts_ends_both() {
    let manifest = |args: &[&str]| {
        app(&format!("{CONTROL}\ngrace = \"2s\""))
            + &component(
                "lab",
                SERVICE_LAB,
                &format!("{}\noverlap = true\nstart-timeout = \"1m\"", keys(args)),
            )
    };
    let app = Host::manifest(&manifest(&[])).start_ready();
    app.rewrite(&manifest(&["ready=never"]));
    app.signal(SIGHUP);
    app.wait_until("both", |said| {
        (said.lines.iter().filter(|line| line.contains("lab | started")).count() == 2).then_some(())
    });
    let output = stop_in_the_middle(app);
    output.expect_code(0);
    assert_eq!(output.records("hook started", "lab").len(), 2, "both had started:\n{}", output.said());
}

#[test]
fn a_stop_while_a_spinning_one_starts_ends_both() {
    for (good, spins) in [(SERVER, SPIN_AT_START), (artifacts::HELLO_HTTP, HTTP_SPIN_AT_START)] {
        let manifest = |source: &str| {
            let keys = "overlap = true\nstart-timeout = \"1m\"";
            let table = match good == SERVER {
                true => component("lab", source, keys),
                false => web("lab", source, "start-timeout = \"1m\""),
            };
            app(&format!("{CONTROL}\ngrace = \"2s\"")) + &table
        };
        let app = Host::manifest(&manifest(good)).start_ready();
        app.rewrite(&manifest(spins));
        app.signal(SIGHUP);
        until("two generations, one of which starts", || {
            let all = app.generations("lab");
            all.iter().any(|one| one.text("state") == "starting").then_some(())
        });
        let output = stop_in_the_middle(app);
        let rows = output.report["components"].as_array().unwrap();
        let old = rows.iter().find(|row| row["name"] == "lab" && row["generation"] == 1).unwrap();
        assert_eq!((&old["outcome"], &old["hook"]), (&"stopped".into(), &"ok".into()), "{}", output.said());
    }
}

/// At any moment of a reload: the stop is a stop.
#[test]
fn a_stop_at_any_moment_of_a_reload_is_a_clean_stop() {
    crate::in_parallel(2, (0..30_u64).collect(), |run| {
        let shop = Shop::new();
        let app = Host::manifest(&shop.manifest(1)).start_ready();
        app.rewrite(&shop.manifest(2));
        app.signal(SIGHUP);
        // The scenario is about this time.
        std::thread::sleep(Duration::from_micros(run * 1700));
        let asked = app.signal(if run % 2 == 0 { SIGTERM } else { SIGINT });
        let output = app.wait();
        output.expect_code(0);
        assert_within(output.after(asked), 1000 * MS, "exit");
        let rows = output.report["components"].as_array().unwrap();
        let web: Vec<_> = rows.iter().filter(|row| row["name"] == "web").collect();
        assert!((1..=2).contains(&web.len()), "{}", output.report);
        let ends = output.records("reloaded", "").len() + output.records("reload failed", "").len();
        assert_eq!(ends, output.records("reloading", "").len(), "each reload has an end:\n{}", output.said());
    });
}
