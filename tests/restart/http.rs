//! Restarts of http components, where it is the default: the listener stays open, requests wait, failures in a row count.

use std::time::Duration;

use artifacts::{HTTP_LAB, HTTP_LAB_CLASSIC};

use crate::harness::{CONTROL, Host, Wire, app, assert_within, until, web};

const MS: Duration = Duration::from_millis(1);

fn keys(restart: &str) -> String {
    format!("instances = {{ max = 1 }}\nrestart = {{ {restart} }}")
}

/// Between the trap and the next instance nobody is refused, and whoever waits is answered.
#[test]
fn requests_wait_for_the_next_instance() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let manifest = app(CONTROL)
            + &web("lab", source, &keys("max = 3, within = \"1m\", backoff = [\"700ms\", \"1s\"]"));
        let app = Host::manifest(&manifest).start_ready();
        let address = app.address("lab");
        let listeners = app.listeners();
        Wire::connect(&address).get("/trap").expect(502);
        let restart = app.wait_for_log("component restarts", "lab");
        assert!(restart.text("because").contains("trapped"), "{}", restart.fields);
        let mut waiting: Vec<Wire> = (0..5).map(|_| Wire::connect(&address)).collect();
        waiting.iter_mut().for_each(|wire| wire.send_get("/"));
        for wire in &mut waiting {
            wire.fate().answered().expect(200);
        }
        let waited = restart.at.elapsed();
        let pause = Duration::from_secs_f64(restart.number("pause_ms") / 1000.0);
        assert!(waited + 20 * MS >= pause, "the pause was {waited:?} instead of {pause:?}");
        assert_within(waited, pause, "the pause");
        assert_eq!(app.listeners(), listeners);
        assert_eq!(app.component("lab").number("restarts"), 1);
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
        assert_eq!(output.row("lab").counts()["failed_instances"], 1);
    }
}

/// R11: traps in a row spend the budget, however many bad answers lie between them.
#[test]
fn traps_in_a_row_spend_the_budget() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let manifest =
            app("") + &web("lab", source, &keys("max = 2, within = \"1m\", backoff = [\"10ms\", \"20ms\"]"));
        let app = Host::manifest(&manifest).start_ready();
        for count in 1..=2 {
            Wire::connect(&app.address("lab")).get("/trap").expect(502);
            app.wait_for_logs("component restarts", "lab", count);
            Wire::connect(&app.address("lab")).get("/status-line?code=500").expect(500);
        }
        Wire::connect(&app.address("lab")).get("/trap").expect(502);
        app.wait_for_log("component is out of service: its restart budget is spent", "lab");
        Wire::connect(&app.address("lab")).get("/").expect(503);
        let output = app.stop();
        output.expect_code(75).expect_cause("signal", "SIGTERM").expect_outcome("lab", "gave-up");
        assert!(output.row("lab").detail().contains("trapped"), "{}", output.report);
    }
}

/// Other instances go on during the pause.
#[test]
fn other_instances_serve_meanwhile() {
    let restart = "restart = { max = 3, within = \"5m\", backoff = [\"20s\", \"20s\"] }";
    let manifest = app(CONTROL)
        + &web("lab", HTTP_LAB, &format!("instances = {{ max = 2, concurrency = 1 }}\n{restart}"));
    let app = Host::manifest(&manifest).start_ready();
    let address = app.address("lab");
    let mut slow = Wire::connect(&address);
    slow.hold();
    until("a second instance", || {
        // No good answer: the trap counts.
        Wire::connect(&address).get("/status-line?code=500").expect(500);
        (app.component("lab").number("instances") == 2).then_some(())
    });
    Wire::connect(&address).get("/trap").expect(502);
    app.wait_for_log("component restarts", "lab");
    slow.release();
    Wire::connect(&address).get("/").expect(200);
    assert_eq!(app.component("lab").number("instances"), 1);
    app.stop().expect_code(0).expect_outcome("lab", "stopped");
}
