//! R10, R11: a budget that cannot be spent is refused; one that is spent ends the app with 75; and what counts as an end.

use artifacts::{HTTP_TRAP_AT_START, SERVER, SERVICE_LAB, TRAP_AT_START};

use crate::harness::{Host, Wire, app, component, keys, web};

const DATA: &str = "dirs = [{ host = \"data\", guest = \"/data\", access = \"read-write\" }]";
const RESTART: &str =
    "on-failure = \"restart\"\nrestart = { max = 3, within = \"1m\", backoff = [\"20ms\", \"50ms\"] }";

fn lab(args: &[&str], more: &str) -> String {
    component("lab", SERVICE_LAB, &format!("{}\n{more}", keys(args)))
}

/// R10 (erlang/otp#4648): grace × restarts ≥ period → the manifest is refused, with the figures.
#[test]
fn a_budget_that_can_never_be_spent_is_refused() {
    let budget = |max: u32, within: &str| {
        let restart = format!("on-failure = \"restart\"\nrestart = {{ max = {max}, within = {within:?} }}");
        app("fail-grace = \"5s\"") + &component("a", SERVER, &restart)
    };
    for (manifest, figures) in [(budget(5, "20s"), ["restart", "20s"]), (budget(30, "2m"), ["restart", "2m"])]
    {
        let output = Host::manifest(&manifest).call(&["check"]);
        assert_eq!(output.code(), 78, "{}", output.said());
        for figure in figures {
            assert!(output.said().contains(figure), "{figure} is missing:\n{}", output.said());
        }
        Host::manifest(&manifest).run().expect_refused(78, &figures);
    }
    for good in [budget(5, "5m"), budget(0, "1s")] {
        assert_eq!(Host::manifest(&good).call(&["check"]).code(), 0, "{good}");
    }
}

/// R11 (supervisord#733): a restart budget is spent → exit 75, cause named; the others are stopped.
#[test]
fn a_budget_that_is_spent_ends_the_app_with_75() {
    for (fate, source) in [("trap=0", SERVICE_LAB), ("fail=0", SERVICE_LAB), ("", TRAP_AT_START)] {
        let manifest = app("")
            + &component("lab", source, &format!("{}\n{RESTART}", keys(&[fate])))
            + &component("b", SERVER, "");
        let output = Host::manifest(&manifest).run();
        output.expect_code(75).expect_cause("failure", "lab").expect_outcome("lab", "gave-up");
        output.expect_outcome("b", "stopped").expect_hook("b", "ok");
        let gave_up = "component gave up: its restart budget is spent";
        assert_eq!(output.records(gave_up, "lab").len(), 1, "{}", output.said());
        assert_eq!(output.records("component restarts", "lab").len(), 3, "{}", output.said());
        assert_eq!(output.records("failed", "lab").len(), 4, "each failure is told:\n{}", output.said());
        assert_eq!(output.row("lab").number("restarts"), 3.0);
        assert_eq!(output.row("lab").number("generation"), 1.0, "a restart makes no generation");
    }
}

/// An http component whose instances cannot be made spends its budget, too, and leaves the app alone.
#[test]
fn an_http_component_that_never_starts_spends_its_budget() {
    let manifest = app("") + &web("lab", HTTP_TRAP_AT_START, RESTART) + &component("b", SERVER, "");
    let app = Host::manifest(&manifest).start();
    app.wait_for_log("component is out of service: its restart budget is spent", "lab");
    Wire::connect(&app.address("lab")).get("/").expect(503);
    let output = app.stop();
    output.expect_code(75).expect_cause("signal", "SIGTERM").expect_outcome("lab", "gave-up");
    output.expect_outcome("b", "stopped");
    assert_eq!(output.records("component restarts", "lab").len(), 3, "{}", output.said());
    assert_eq!(output.records("instance failed", "lab").len(), 4, "{}", output.said());
    assert!(output.said().contains("trap_in_start"), "no guest backtrace:\n{}", output.said());
}

/// Each start is a fresh store; the one that goes well ends the series.
#[test]
fn a_service_that_gets_well_is_restarted_until_then() {
    let manifest = app("")
        + &lab(&["count=/data/starts", "good-from=3", "trap=0", "ready=50"], &format!("{RESTART}\n{DATA}"));
    let app = Host::manifest(&manifest).file("data/none", "").start_ready();
    app.wait_for_line("lab | started 3");
    let output = app.stop();
    output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
    assert_eq!(output.row("lab").number("restarts"), 2.0);
    assert_eq!(
        output.records("hook started", "lab").len(),
        1,
        "who has failed gets no hook:\n{}",
        output.said()
    );
    // None of what failed before is in the last word about it.
    assert_eq!(output.row("lab").detail(), "", "{}", output.report);
}

/// `on-exit = "restart"`: a normal end is a reason to begin anew, and only that.
#[test]
fn a_normal_end_can_mean_a_restart() {
    let restart = RESTART.replace("on-failure", "on-exit");
    let args = ["count=/data/starts", "good-from=4", "end=0"];
    let manifest = app("") + &lab(&args, &format!("{restart}\n{DATA}"));
    let host = Host::manifest(&manifest).file("data/none", "").start();
    host.wait_for_line("lab | started 4");
    host.wait_for_log("app started", "");
    let restarts = host.records("component restarts", "lab");
    assert!(restarts.iter().all(|one| one.text("because") == "it has ended"), "{restarts:?}");
    let output = host.stop();
    output.expect_code(0).expect_outcome("lab", "stopped");
    assert_eq!(output.row("lab").number("restarts"), 3.0);

    // Whoever ends again and again has a budget, too.
    let output = Host::manifest(&(app("") + &lab(&["end=0"], &restart))).run();
    output.expect_code(75).expect_outcome("lab", "gave-up");
    // A failure is no normal end.
    let output = Host::manifest(&(app("") + &lab(&["fail=0"], &restart))).run();
    output.expect_code(1).expect_outcome("lab", "failed");
    assert!(output.records("component restarts", "").is_empty());
}
