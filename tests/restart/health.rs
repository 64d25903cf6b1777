//! `health`: who stops calling `alive`, or answers its path no more, is replaced; requests wait meanwhile.

use std::time::Duration;

use artifacts::{HTTP_LAB, HTTP_LAB_CLASSIC, SERVER, SERVICE_LAB};

use crate::harness::{
    Answer, App, CONTROL, Fate, Host, LineClient, Wire, app, assert_within, component, free_port, keys,
    until, web,
};

const NOT_ALIVE: &str = "component is not alive";
const RESTART: &str =
    "on-failure = \"restart\"\nrestart = { max = 3, within = \"1m\", backoff = [\"20ms\", \"50ms\"] }";
const MS: Duration = Duration::from_millis(1);

/// A service that calls `alive` every 50 ms and has to every 150, twice missed.
fn service(port: u16, more: &str) -> String {
    let args = keys(&["alive=50", &format!("listen=127.0.0.1:{port}")]);
    let network = format!("network = {{ listen = [\"127.0.0.1:{port}\"] }}");
    let health = "health = { every = \"400ms\", failures = 2 }";
    app(&format!("{CONTROL}\nfail-grace = \"500ms\""))
        + &component("lab", SERVICE_LAB, &format!("{args}\n{network}\n{health}\n{more}"))
        + &component("b", SERVER, "")
}

fn told(app: &App, port: u16, command: &str) {
    app.wait_for_line("lab | listening on");
    LineClient::connect(port).send(command);
}

#[test]
fn a_service_that_falls_silent_is_restarted() {
    for command in ["mute", "spin"] {
        let port = free_port();
        let app = Host::manifest(&service(port, RESTART)).start_ready();
        told(&app, port, command);
        let record = app.wait_for_log(NOT_ALIVE, "lab");
        assert!(record.text("why").contains("800ms"), "{}", record.fields);
        app.wait_for_log("component restarts", "lab");
        // It has the port of the one before it, and is alive.
        app.wait_until("the second start", |said| {
            (said.lines.iter().filter(|line| line.contains("lab | listening on")).count() == 2).then_some(())
        });
        let mut client = LineClient::connect(port);
        client.send("ping");
        assert_eq!(client.receive().as_deref(), Some("ping"));
        let status = app.component("lab");
        assert_eq!((status.number("restarts"), status.number("generation")), (1, 1));
        assert!(status.text("last_failure").contains("alive"), "{status:?}");
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("b", "ok");
        assert_eq!(output.records(NOT_ALIVE, "").len(), 1, "{}", output.said());
        // A notice reaches one that only fell silent.
        let hooks = if command == "mute" { 2 } else { 1 };
        assert_eq!(output.records("hook started", "lab").len(), hooks, "{}", output.said());
    }
}

#[test]
fn a_service_that_lives_is_left_alone() {
    let app = Host::manifest(&service(free_port(), RESTART)).start_ready();
    // The scenario is about this time: more than twice as long as it may be silent.
    std::thread::sleep(2000 * MS);
    assert_eq!(app.component("lab").number("restarts"), 0);
    let output = app.stop();
    output.expect_code(0);
    assert!(output.records(NOT_ALIVE, "").is_empty(), "{}", output.said());
}

/// Without a restart it is a failure like any other.
#[test]
fn a_service_that_falls_silent_can_stop_the_app() {
    let port = free_port();
    let app = Host::manifest(&service(port, "on-failure = \"stop-app\"")).start_ready();
    told(&app, port, "spin");
    let output = app.wait();
    output.expect_code(1).expect_cause("failure", "lab").expect_outcome("lab", "failed");
    output.expect_outcome("b", "stopped").expect_hook("b", "ok");
}

const HEALTH: &str = "health = { path = \"/healthz\", every = \"100ms\", timeout = \"300ms\", failures = 2 }";

fn state(wire: &mut Wire) -> String {
    state_in(&wire.get("/state").expect(200))
}

fn state_in(answer: &Answer) -> String {
    answer.text().split(' ').nth(1).unwrap().to_string()
}

/// It hangs, or says itself that it is not well; requests that come meanwhile are answered by its successor.
#[test]
fn an_http_component_that_is_not_well_is_replaced_while_requests_wait() {
    for (source, how) in [(HTTP_LAB, "error"), (HTTP_LAB, "hang"), (HTTP_LAB_CLASSIC, "error")] {
        let app = not_well(source, how, |fate| drop(fate.answered().expect(200)));
        let record = app.wait_for_log(NOT_ALIVE, "lab");
        assert!(record.text("why").contains("/healthz"), "{}", record.fields);
        app.wait_for_log("restarted", "");
        app.wait_for_generation("lab", 2);
        let lab = app.component("lab");
        assert_eq!(lab.number("restarts"), 1, "{lab:?}");
        assert!(lab.text("last_failure").contains("/healthz"), "{lab:?}");
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
    }
}

/// An instance that can take nothing more is replaced as well: what waited for it goes to its successor.
#[test]
fn an_http_component_that_can_do_nothing_more_is_replaced() {
    for how in ["spin", "hang"] {
        let app = not_well(HTTP_LAB_CLASSIC, how, |fate| drop(fate.answered().expect(200)));
        app.stop().expect_code(0).expect_outcome("lab", "stopped");
    }
    // What it had in hand when it was ended is answered with 502, or was visibly cut off.
    let app = not_well(HTTP_LAB, "spin", |fate| match fate {
        Fate::Answered(answer) => assert!([200, 502].contains(&answer.status), "{answer:?}"),
        Fate::Aborted { .. } => {}
        lost => panic!("{lost:?}"),
    });
    app.stop().expect_code(0).expect_outcome("lab", "stopped");
}

/// Breaks the only instance, and waits until another one answers all who have come meanwhile.
fn not_well(source: &str, how: &str, meanwhile: impl Fn(Fate)) -> App {
    let keys = format!("instances = {{ max = 1 }}\n{HEALTH}");
    let manifest = app(&format!("{CONTROL}\ngrace = \"2s\"")) + &web("lab", source, &keys);
    let app = Host::manifest(&manifest).start_ready();
    let address = app.address("lab");
    let listeners = app.listeners();
    let mut wire = Wire::connect(&address);
    let first = state(&mut wire);
    wire.get(&format!("/break?how={how}")).expect(200);
    let mut waiting: Vec<Wire> = (0..4).map(|_| Wire::connect(&address)).collect();
    waiting.iter_mut().for_each(|wire| wire.send_get("/"));
    waiting.iter_mut().for_each(|wire| meanwhile(wire.fate()));
    until("another instance", || {
        let mut wire = Wire::connect(&address);
        wire.send_get("/state");
        match wire.fate() {
            Fate::Answered(answer) if answer.status == 200 => (state_in(&answer) != first).then_some(()),
            other => {
                meanwhile(other);
                None
            }
        }
    });
    assert_eq!(app.listeners(), listeners);
    until("the end of whoever was replaced", || (app.generations("lab").len() == 1).then_some(()));
    app
}

#[test]
fn an_http_component_that_is_well_is_left_alone() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let keys = format!("{CONTROL}\naccess-log = \"text\"");
        let app = Host::manifest(&(app(&keys) + &web("lab", source, HEALTH))).start_ready();
        let mut wire = Wire::connect(&app.address("lab"));
        let first = state(&mut wire);
        // The scenario is about this time: long enough to be found dead several times.
        std::thread::sleep(1500 * MS);
        assert_eq!(state(&mut wire), first);
        let output = app.stop();
        output.expect_code(0);
        assert!(output.records(NOT_ALIVE, "").is_empty(), "{}", output.said());
        // The host's own questions do not count, wherever requests are counted.
        assert_eq!(output.row("lab").counts()["requests"], 2);
        let ended = output.records("instance ended", "lab");
        let logged: f64 = ended.iter().map(|record| record.number("requests")).sum();
        assert_eq!(logged, 2.0, "{}", output.said());
        assert!(!output.has_line("/healthz"), "{}", output.said());
    }
}

#[test]
fn an_http_component_that_is_never_well_spends_its_budget() {
    let health = HEALTH.replace("/healthz", "/no-response");
    let keys = format!(
        "instances = {{ max = 1 }}\n{health}\nrestart = {{ max = 2, within = \"5m\", backoff = [\"10ms\", \"20ms\"] }}"
    );
    let app = Host::manifest(&(app("") + &web("lab", HTTP_LAB, &keys) + &component("b", SERVER, ""))).start();
    let began = std::time::Instant::now();
    app.wait_for_log("component is out of service: its restart budget is spent", "lab");
    assert_within(began.elapsed(), 5000 * MS, "three lives");
    let is_out = || (Wire::connect(&app.address("lab")).get("/").status == 503).then_some(());
    until("the order arrives at its threads", is_out);
    let output = app.stop();
    output.expect_code(75).expect_cause("signal", "SIGTERM");
    output.expect_outcome("lab", "gave-up").expect_outcome("b", "stopped");
}

/// `stop-app`, and a stop that comes while it is not well.
#[test]
fn an_http_component_that_is_not_well_can_stop_the_app() {
    let keys = format!("instances = {{ max = 1 }}\non-failure = \"stop-app\"\n{HEALTH}");
    let app =
        Host::manifest(&(app("") + &web("lab", HTTP_LAB, &keys) + &component("b", SERVER, ""))).start_ready();
    Wire::connect(&app.address("lab")).get("/break").expect(200);
    let output = app.wait();
    output
        .expect_code(1)
        .expect_cause("failure", "lab")
        .expect_outcome("b", "stopped")
        .expect_hook("b", "ok");
}
