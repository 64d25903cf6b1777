//! R7–R9, I2: what comes after what, at the start and at the stop, and how the time of a stop is divided.

use std::time::Duration;

use artifacts::{HELLO_HTTP, HOSTILE_ASYNC, HOSTILE_CLASSIC, SERVER, SERVICE_LAB};
use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{App, Host, Output, app, assert_within, component, free_port, keys};

const MS: Duration = Duration::from_millis(1);

fn lab(name: &str, args: &[&str], more: &str) -> String {
    component(name, SERVICE_LAB, &format!("{}\n{more}", keys(args)))
}

/// These records of the log come in this order, each exactly once.
#[track_caller]
fn expect_order(output: &Output, expected: &[(&str, &str)]) {
    let seen: Vec<(&str, String)> =
        output.records.iter().map(|one| (one.message(), one.text("component"))).collect();
    let place = |(message, component): &(&str, &str)| {
        let places: Vec<usize> =
            (0..seen.len()).filter(|at| seen[*at] == (*message, component.to_string())).collect();
        assert_eq!(places.len(), 1, "{message} {component}:\n{}", output.said());
        places[0]
    };
    let places: Vec<usize> = expected.iter().map(place).collect();
    assert!(places.is_sorted(), "{expected:?} came in another order:\n{}", output.said());
}

/// R7 (overmind#134, linkerd2-proxy#2266): web after queue after db; web's hook calls db → db answers until web has ended.
#[test]
fn whoever_is_needed_starts_first_and_stops_last() {
    let db = format!("127.0.0.1:{}", free_port());
    let network = |what: &str| format!("network = {{ {what} = [{db:?}] }}");
    // Not in the order in which they have to start.
    let manifest = app("grace = \"20s\"")
        + &lab(
            "web",
            &[&format!("hook-calls={db}"), "hook-ms=300"],
            &format!("after = [\"queue\"]\n{}", network("connect")),
        )
        + &lab("queue", &["ready=200", "stop=200"], "after = [\"db\"]")
        + &lab("db", &["ready=200", &format!("listen={db}")], &network("listen"));
    let output = Host::manifest(&manifest).start_ready().stop();
    output.expect_code(0).expect_hook("web", "ok").expect_line(&format!("web | hook: {db} answers"));
    let start = ["db", "queue", "web"].map(|name| [("component started", name), ("component ready", name)]);
    expect_order(&output, &start.concat());
    let stop = ["web", "queue", "db"].map(|name| [("asked to stop", name), ("component ended", name)]);
    expect_order(&output, &stop.concat());
}

/// Those that do not depend on each other do not wait for each other.
#[test]
fn a_wave_stops_together() {
    let manifest = app("grace = \"20s\"")
        + &lab("base", &[], "")
        + &lab("left", &["stop=400", "ready=200"], "after = [\"base\"]")
        + &lab("right", &["stop=400", "ready=200"], "after = [\"base\"]")
        + &lab("top", &[], "after = [\"left\", \"right\"]")
        + &lab("alone", &["stop=1200"], "");
    let app = Host::manifest(&manifest).start_ready();
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_code(0);
    for side in ["left", "right"] {
        expect_order(
            &output,
            &[("component ready", "base"), ("component started", side), ("component started", "top")],
        );
        expect_order(
            &output,
            &[("component ended", "top"), ("asked to stop", side), ("asked to stop", "base")],
        );
    }
    for (one, other) in [("left", "right"), ("right", "left")] {
        expect_order(&output, &[("asked to stop", one), ("component ended", other)]);
    }
    // Nobody depends on it, so it is asked at once.
    expect_order(&output, &[("asked to stop", "alone"), ("component ended", "top")]);
    assert_within(output.after(asked), 1200 * MS, "I4: exit with the last of them");
}

/// The first stop takes all it can; `left_ms` are of the notice.
fn left_for(output: &Output, component: &str) -> f64 {
    output.records("asked to stop", component)[0].number("grace_ms")
}

fn time_to(app: &App, message: &str, component: &str, from: std::time::Instant) -> Duration {
    app.wait_for_log(message, component).at - from
}

/// R8 (website#49661): the first waves use all their time → the last one still gets its reserve, and its hook.
#[test]
fn the_last_wave_keeps_its_reserve() {
    for source in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let manifest = app("grace = \"3s\"")
            + &component(
                "web",
                source,
                &format!("{}\nafter = [\"queue\"]", keys(&["run=good", "hook=park"])),
            )
            + &component("queue", source, &format!("{}\nafter = [\"db\"]", keys(&["run=spin"])))
            + &lab("db", &["hook-ms=200"], "");
        let app = Host::manifest(&manifest).start_ready();
        let asked = app.signal(SIGTERM);
        let web = time_to(&app, "cut off", "web", asked);
        assert!(web >= 900 * MS, "web was cut off after {web:?}");
        assert_within(web, 1000 * MS, "the slice of web");
        let queue = time_to(&app, "cut off", "queue", asked);
        assert!(queue >= 1900 * MS, "queue was cut off after {queue:?}");
        assert_within(queue, 2000 * MS, "the slice of queue");
        let output = app.wait();
        output.expect_code(124).expect_outcome("web", "cut-off").expect_outcome("queue", "cut-off");
        output.expect_outcome("db", "stopped").expect_hook("db", "ok");
        // The cut-off itself takes a moment of a busy machine.
        assert!(left_for(&output, "db") >= 300.0, "{}", output.said());
        assert_within(output.after(asked), 3250 * MS, "exit");
        let slices =
            [("cut off", "web"), ("asked to stop", "queue"), ("cut off", "queue"), ("asked to stop", "db")];
        expect_order(&output, &slices);
    }
}

/// What the last wave does not ask for, the first one has.
#[test]
fn a_small_grace_of_the_last_wave_leaves_more_to_the_first() {
    let manifest =
        app("grace = \"3s\"") + &lab("web", &[], "after = [\"db\"]") + &lab("db", &[], "grace = \"400ms\"");
    let output = Host::manifest(&manifest).start_ready().stop();
    output.expect_code(0);
    let web = left_for(&output, "web");
    assert!((2300.0..=2600.0).contains(&web), "{web} ms");
    assert!(left_for(&output, "db") <= 400.0);
}

/// One component's extension never takes from another's reserve.
#[test]
fn more_grace_is_granted_only_up_to_the_slice_of_a_wave() {
    for source in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let extends = format!("{}\ngrace = \"200ms\"\nafter = [\"db\"]", keys(&["run=good", "hook=extend"]));
        let manifest = app("grace = \"2400ms\"")
            + &component("web", source, &extends)
            + &lab("db", &["hook-ms=200"], "");
        let app = Host::manifest(&manifest).start_ready();
        let asked = app.signal(SIGTERM);
        let extended = app.wait_for_log("grace extended", "web");
        assert!(extended.number("granted_ms") <= 1000.0, "{}", extended.fields);
        let cut = time_to(&app, "cut off", "web", asked);
        assert!(cut >= 1100 * MS, "cut off after {cut:?}");
        assert_within(cut, 1200 * MS, "the slice of web");
        let output = app.wait();
        output.expect_code(124).expect_outcome("web", "cut-off");
        output.expect_outcome("db", "stopped").expect_hook("db", "ok");
        let granted = output.row("web").number("extended_ms");
        assert!((700.0..=1000.0).contains(&granted), "{granted} ms");
        assert_within(output.after(asked), 2650 * MS, "exit");
    }
}

/// R9 (fx#1035): component 3 of 5 never becomes ready → 1 and 2 stopped in reverse, 4 and 5 never started, no listener left.
#[test]
fn a_start_that_fails_stops_what_has_started_in_reverse() {
    let port = free_port();
    let manifest = app("fail-grace = \"20s\"")
        + &component("one", HELLO_HTTP, "listen = [\"unix:one.sock\"]")
        + &lab("two", &["stop=200"], "after = [\"one\"]")
        + &component(
            "three",
            HOSTILE_ASYNC,
            &format!("{}\nafter = [\"two\"]\nstart-timeout = \"500ms\"", keys(&["run=never-ready"])),
        )
        + &lab("four", &[], "after = [\"three\"]")
        + &component("five", HELLO_HTTP, &format!("after = [\"four\"]\nlisten = [\"127.0.0.1:{port}\"]"));
    let app = Host::manifest(&manifest).start();
    app.wait_for_log("component started", "three");
    assert!(app.path().join("one.sock").exists());
    let output = app.wait();
    output.expect_code(1).expect_cause("failure", "three").expect_outcome("three", "failed");
    let detail = output.row("three").detail().to_string();
    assert!(detail.contains("start-timeout of 500ms") && detail.contains("ready"), "{detail}");
    for name in ["one", "two"] {
        output.expect_outcome(name, "stopped").expect_hook(name, "ok");
    }
    expect_order(&output, &[("component ended", "two"), ("asked to stop", "one")]);
    for name in ["four", "five"] {
        output.expect_outcome(name, "not-started");
        assert!(output.records("component started", name).is_empty());
    }
    assert!(output.records("listening", "five").is_empty() && output.records("app started", "").is_empty());
    assert!(!output.dir.path().join("one.sock").exists(), "a socket is left");
}

/// The default of `ready`: said by whoever can say it, else as soon as `run` is entered; and the manifest has the last word.
#[test]
fn readiness_is_what_the_manifest_says() {
    let never = "ready=never";
    let manifest =
        app("") + &lab("a", &[never], "ready = \"started\"") + &component("b", SERVER, "after = [\"a\"]");
    Host::manifest(&manifest).start_ready().stop().expect_code(0);

    let manifest = app("")
        + &lab("a", &[never], "start-timeout = \"300ms\"")
        + &component("b", SERVER, "after = [\"a\"]");
    Host::manifest(&manifest)
        .run()
        .expect_code(1)
        .expect_cause("failure", "a")
        .expect_outcome("b", "not-started");
}
