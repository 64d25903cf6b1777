//! What the end tells of requests: the report, its schema, the table.

use nix::sys::signal::Signal::{SIGTERM, SIGUSR1};

use super::lab::{LABS, SINGLE, connect, serve};
use crate::harness::{App, Fate, Host, Output, Wire, app, web};

const SCHEMA: &str = include_str!("../../docs/report.schema.json");

fn expect_valid(output: &Output) {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("report.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
    let schema = compiler.compile("report.json", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(&output.report, schema) {
        panic!("{error}\n{}", output.report);
    }
}

fn some_requests(app: &App) {
    for _ in 0..5 {
        connect(app).get("/").expect(200);
    }
    for _ in 0..2 {
        connect(app).get("/no-such-path").expect(404);
    }
    connect(app).get("/trap").expect(502);
    let mut aborted = connect(app);
    aborted.send_get("/trap-mid");
    assert!(matches!(aborted.fate(), Fate::Aborted { .. }));
    connect(app).get("/").expect(200);
}

/// Counts by class, instances, failures, latencies.
#[test]
fn the_report_counts_requests() {
    for source in LABS {
        let app = serve(source, "", SINGLE);
        some_requests(&app);
        let output = app.stop();
        output.expect_code(0);
        expect_valid(&output);
        let http = &output.report["components"][0]["http"];
        assert_eq!(http["requests"], 10, "{http}");
        assert_eq!(http["answered"]["4xx"], 2, "{http}");
        assert_eq!(http["answered"]["5xx"], 1, "{http}");
        let complete = http["answered"]["2xx"].as_u64().unwrap();
        // The one that was aborted had its head sent with 200.
        assert!((6..=7).contains(&complete), "{http}");
        assert_eq!(http["aborted"], 1, "{http}");
        assert_eq!((&http["instances"], &http["failed_instances"]), (&3.into(), &2.into()), "{http}");
        let latency = |key: &str| http[key].as_f64().unwrap_or_else(|| panic!("{key} in {http}"));
        assert!(latency("p50_ms") > 0.0 && latency("p50_ms") <= latency("p99_ms"), "{http}");
        let detail = output.row("lab").detail().to_string();
        assert!(detail.contains("trapped"), "{detail:?}");
        assert_eq!(output.row("lab").number("in_flight_asked"), 0.0);
    }
}

/// A component that nobody asked anything: zeros, no latencies, and still valid.
#[test]
fn the_report_of_an_app_without_requests_is_valid() {
    for source in LABS {
        let output = serve(source, "", "").stop();
        expect_valid(&output);
        assert_eq!(output.report["components"][0]["http"]["requests"], 0, "{}", output.report);
        output.expect_hook("lab", "ok");
    }
}

/// What was in flight when the stop came, and what of it was cut off.
#[test]
fn the_report_tells_what_was_in_flight() {
    for source in LABS {
        let app = serve(source, "grace = \"2s\"", "instances = { max = 4 }");
        // Their heads have come: the host counts them.
        let mut good = connect(&app);
        good.send_get("/big?bytes=8000000");
        assert_eq!(good.head().status, 200);
        let mut bad = connect(&app);
        bad.send_get("/park-mid");
        assert_eq!(bad.head().status, 200);
        app.signal(SIGTERM);
        app.wait_for_log("asked to stop", "lab");
        good.rest().answered();
        bad.rest().aborted();
        let output = app.wait();
        output.expect_code(124).expect_outcome("lab", "cut-off");
        expect_valid(&output);
        assert_eq!(output.row("lab").number("in_flight_asked"), 2.0);
        assert_eq!(output.row("lab").number("in_flight_ended"), 1.0);
    }
}

/// While it stops, once a second: whom it waits for, and for how many requests. USR1 tells the same.
#[test]
fn the_wait_for_requests_is_told() {
    for source in LABS {
        let app = serve(source, "grace = \"30s\"", "instances = { max = 4 }");
        let mut wires: Vec<Wire> = (0..3).map(|_| connect(&app)).collect();
        for wire in &mut wires {
            // Its head has come: the host counts it. The rest waits until it is read.
            wire.send_get("/big?bytes=8000000");
            assert_eq!(wire.head().status, 200);
        }
        app.signal(SIGUSR1);
        let status = app.wait_for_log("status", "lab");
        assert_eq!(status.number("in_flight"), 3.0, "{status:?}");
        app.signal(SIGTERM);
        let waiting = app.wait_for_log("waiting for", "lab");
        assert_eq!(waiting.number("in_flight"), 3.0, "{waiting:?}");
        for wire in &mut wires {
            assert_eq!(wire.rest().answered().body.len(), 8_000_000);
        }
        app.wait().expect_code(0);
    }
}

/// Done when: TERM under load loses nothing and the table shows it.
#[test]
fn the_table_shows_requests() {
    let manifest = app("grace = \"20s\"") + &web("lab", LABS[0], "") + &web("classic", LABS[1], "");
    let app = Host::manifest(&manifest).text_logs().start();
    app.wait_for_line("app started");
    let address = |name: &str| {
        let quoted = format!("component=\"{name}\"");
        let said = |line: &&String| line.contains("listening") && line.contains(&quoted);
        let line = app.wait_until("an address", |said_so_far| said_so_far.lines.iter().find(said).cloned());
        let at = line.find("http://").unwrap_or_else(|| panic!("{line}"));
        let text = line[at..].split(|c: char| c.is_whitespace() || c == '"').next().unwrap();
        crate::harness::Address::parse(text)
    };
    let mut slow = Wire::connect(&address("lab"));
    for _ in 0..4 {
        Wire::connect(&address("classic")).get("/").expect(200);
    }
    Wire::connect(&address("classic")).get("/trap").expect(502);
    slow.begin_get("/sleep?ms=500");
    app.signal(SIGTERM);
    slow.fate().answered().expect(200);
    let output = app.wait();
    output.expect_code(0);
    let text = output.stderr_text();
    let row = |name: &str| {
        let start = format!("  {name} ");
        text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row {name}:\n{text}"))
    };
    assert!(row("lab").contains("stopped") && row("lab").contains("1 > 0"), "{}", row("lab"));
    assert!(row("lab").contains("1 request"), "{}", row("lab"));
    assert!(
        row("classic").contains("5 requests") && row("classic").contains("trapped"),
        "{}",
        row("classic")
    );
}
