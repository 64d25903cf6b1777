//! R12 (earl#26): pauses double with jitter up to the longest, begin anew after a stable time, and end at once with a stop.

use std::time::Duration;

use artifacts::{HTTP_TRAP_AT_START, SERVER, SERVICE_LAB, TRAP_AT_START};
use nix::sys::signal::Signal::{SIGINT, SIGQUIT, SIGTERM};

use crate::harness::{
    App, CONTROL, Host, LineClient, app, assert_within, component, free_port, keys, until, web,
};

const MS: Duration = Duration::from_millis(1);

/// A pause that is `full` less up to a quarter by chance.
#[track_caller]
fn expect_pause(pause: f64, full: f64) {
    assert!(
        ((full * 0.75).floor()..=full).contains(&pause),
        "a pause of {pause} ms instead of about {full} ms"
    );
}

fn pauses(app: &App, name: &str, count: usize) -> Vec<f64> {
    let records = app.wait_for_logs("component restarts", name, count);
    records.iter().map(|record| record.number("pause_ms")).collect()
}

#[test]
fn pauses_double_up_to_the_longest() {
    let restart =
        "on-failure = \"restart\"\nrestart = { max = 6, within = \"2m\", backoff = [\"60ms\", \"400ms\"] }";
    let gave_up = ["component gave up", "component is out of service"]
        .map(|it| format!("{it}: its restart budget is spent"));
    let manifests = [component("lab", TRAP_AT_START, restart), web("lab", HTTP_TRAP_AT_START, restart)];
    for (manifest, gave_up) in manifests.into_iter().zip(gave_up) {
        let app = Host::manifest(&(app("") + &manifest + &component("b", SERVER, ""))).start();
        for (pause, full) in pauses(&app, "lab", 6).into_iter().zip([60.0, 120.0, 240.0, 400.0, 400.0, 400.0])
        {
            expect_pause(pause, full);
        }
        app.wait_for_log(&gave_up, "lab");
        let output = app.stop();
        output.expect_code(75);
        // As long as it was said, and not much longer.
        let failed = ["failed", "instance failed"].map(|message| output.records(message, "lab"));
        let failed = failed.iter().max_by_key(|records| records.len()).unwrap();
        assert_eq!(failed.len(), 7, "{}", output.said());
        for (restart, next) in output.records("component restarts", "lab").iter().zip(&failed[1..]) {
            let pause = Duration::from_secs_f64(restart.number("pause_ms") / 1000.0);
            let seen = next.after(restart);
            assert!(seen + 20 * MS >= pause, "{seen:?} instead of {pause:?}");
            assert_within(seen, pause, "the pause");
        }
    }
}

#[test]
fn pauses_begin_anew_after_a_stable_time() {
    let port = free_port();
    let restart =
        "on-failure = \"restart\"\nrestart = { max = 9, within = \"5m\", backoff = [\"50ms\", \"700ms\"] }";
    let args = keys(&[&format!("listen=127.0.0.1:{port}")]);
    let network = format!("network = {{ listen = [\"127.0.0.1:{port}\"] }}");
    let manifest = app(CONTROL) + &component("lab", SERVICE_LAB, &format!("{args}\n{network}\n{restart}"));
    let app = Host::manifest(&manifest).start_ready();
    let mut starts = 1;
    let mut trap = |stable: Duration| {
        app.wait_until("its listener", |said| {
            let said = said.lines.iter().filter(|line| line.contains("lab | listening on")).count();
            (said >= starts).then_some(())
        });
        // The scenario is about this time.
        std::thread::sleep(stable);
        LineClient::connect(port).send("trap");
        starts += 1;
        *pauses(&app, "lab", starts - 1).last().unwrap()
    };
    let quick = [trap(Duration::ZERO), trap(Duration::ZERO), trap(Duration::ZERO)];
    for (pause, full) in quick.into_iter().zip([50.0, 100.0, 200.0]) {
        expect_pause(pause, full);
    }
    expect_pause(trap(800 * MS), 50.0);
    until("it to come back", || (app.component("lab").text("state") == "running").then_some(()));
    assert_eq!(app.component("lab").number("restarts"), 4);
    app.stop().expect_code(0).expect_outcome("lab", "stopped");
}

#[test]
fn a_stop_during_a_pause_ends_at_once() {
    let restart =
        "on-failure = \"restart\"\nrestart = { max = 1, within = \"5m\", backoff = [\"30s\", \"30s\"] }";
    let trap = format!("{}\n{restart}", keys(&["trap=0"]));
    // What a service ended with the last time is what it ended with. An http component has not started at all.
    let tables = [
        (component("lab", TRAP_AT_START, restart), "failed", 1),
        (component("lab", SERVICE_LAB, &trap), "failed", 1),
        (web("lab", HTTP_TRAP_AT_START, restart), "not-started", 0),
    ];
    for (table, outcome, code) in tables {
        for signal in [SIGTERM, SIGINT, SIGQUIT] {
            let app =
                Host::manifest(&(app("grace = \"60s\"") + &table + &component("b", SERVER, ""))).start();
            app.wait_for_log("component restarts", "lab");
            app.wait_for_log("component ready", "b");
            let asked = app.signal(signal);
            let output = app.wait();
            output
                .expect_cause("signal", signal.as_str())
                .expect_outcome("b", "stopped")
                .expect_hook("b", "ok");
            assert_within(output.after(asked), 100 * MS, "exit");
            assert!(
                output.records("hook started", "lab").is_empty(),
                "there is nobody to call:\n{}",
                output.said()
            );
            output.expect_outcome("lab", outcome).expect_code(code);
        }
    }
}
