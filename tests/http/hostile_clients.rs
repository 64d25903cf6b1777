//! Clients that misbehave × protocol: others are served meanwhile, memory stays bounded, the client is blamed, and a stop waits for
//! nobody who makes no progress.
//!
//! The table in `docs/hostile-clients.md` is what this test has seen: `CURFEW_WRITE_DOCS=1` writes it, otherwise it must be the same.

mod attacks;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use artifacts::HELLO_HTTP;
use nix::sys::signal::Signal::SIGTERM;

use self::attacks::{ATTACKS, Attack};
use super::lab::LABS;
use crate::harness::{App, End, Host, Load, Target, Wire, app, assert_within, until, web};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hostile-clients.md");
/// Others may wait that long for an answer. A request waits for 30 s at most.
const OTHERS: Duration = Duration::from_secs(10);
/// Memory that a crowd of clients may cost.
const MEMORY_KIB: u64 = 96 << 10;
/// Twice the window of the drain, as some requests waited for a place, and what else a stop takes.
const STOP: Duration = Duration::from_secs(13);

/// A host with the lab, and a sibling that notices nothing.
fn start(source: &str, keys: &str) -> App {
    let limits = "instances = { max = 2, concurrency = 64 }";
    let keys = if source == LABS[1] {
        limits.replace("max = 2, concurrency = 64", "max = 8")
    } else {
        limits.to_owned()
    } + "\n"
        + keys;
    let text = app("grace = \"30s\"") + &web("lab", source, &keys) + &web("calm", HELLO_HTTP, "");
    Host::manifest(&text).start_ready()
}

/// The requests that the lab can have at a time: a sync instance has one.
fn places(source: &str) -> usize {
    if source == LABS[1] { 8 } else { 128 }
}

fn resident_kib(app: &App) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Others of the component and its sibling are served while the crowd is there; the clients are blamed.
fn run(attack: &Attack, source: &str) {
    let app = start(source, attack.keys);
    let address = app.address("lab");
    Wire::connect(&address).get("/").expect(200);
    let load = Load::start(50, &[Target::new("calm", app.address("calm"), "/")]);
    load.wait_for_answers(10);
    let before = resident_kib(&app);
    let crowd = (attack.begin)(&address, places(source));
    for _ in 0..10 {
        let begun = Instant::now();
        Wire::connect(&address).get("/").expect(200);
        assert_within(begun.elapsed(), OTHERS, "an answer beside the crowd");
    }
    let more = resident_kib(&app).saturating_sub(before);
    assert!(more < MEMORY_KIB, "{more} KiB more for the crowd");
    if let Some(reason) = attack.blamed.filter(|reason| *reason != "resets" || places(source) > 8) {
        app.wait_until(reason, |said| {
            let mut faults = said.records.iter().filter(|record| record.is("fault of a client", "lab"));
            faults.find(|fault| fault.text("reason") == reason).cloned()
        });
    }
    until("places for all", || {
        let begun = Instant::now();
        (0..3).for_each(|_| drop(Wire::connect(&address).get("/").expect(200)));
        (begun.elapsed() < Duration::from_secs(1)).then_some(())
    });
    let tally = load.end();
    assert_eq!(tally.others(&[End::Answered(200)]), Vec::<String>::new());
    let begun = app.signal(SIGTERM);
    let output = app.wait();
    assert_within(begun.elapsed(), STOP, "the stop");
    drop(crowd);
    output.expect_code(0).expect_outcome("lab", "stopped").expect_outcome("calm", "stopped");
}

/// A stop in the middle of it: it takes no longer than the window of the drain.
fn stop_beside(attack: &Attack, source: &str) {
    let app = start(source, "limits = { rate-window = \"60s\" }");
    let address = app.address("lab");
    Wire::connect(&address).get("/").expect(200);
    let crowd = (attack.begin)(&address, places(source));
    let begun = app.signal(SIGTERM);
    let output = app.wait();
    assert_within(begun.elapsed(), STOP, "the stop");
    drop(crowd);
    output.expect_code(0).expect_outcome("lab", "stopped").expect_outcome("calm", "stopped");
}

#[test]
fn others_are_served_whatever_clients_do() {
    let failures = Mutex::new(Vec::new());
    let cells: Vec<_> = ATTACKS.iter().flat_map(|attack| LABS.map(|source| (attack, source))).collect();
    crate::in_parallel(2, cells, |(attack, source)| {
        for (part, what) in [(run as fn(&Attack, &str), "others"), (stop_beside, "stop")] {
            let tried = std::panic::catch_unwind(|| part(attack, source));
            if tried.is_err() {
                failures
                    .lock()
                    .unwrap()
                    .push(format!("{} ({}), {source}: {what}", attack.what, attack.protocol));
            }
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} cells are wrong:\n{}", failures.len(), failures.join("\n"));
    compare_docs(&table());
}

fn table() -> String {
    let mut text = String::from(
        "# Clients that misbehave\n\n\
         In every row the host served other clients of the component and its sibling meanwhile, its memory stayed bounded, and a\n\
         TERM in the middle of it ended the app with code 0 within 13 s, of a grace of 30 s. The last column is the reason of the fault\n\
         in the log and in the metric `curfew_client_faults_total`. Each row holds for WASI 0.2 and 0.3. The test run writes this\n\
         page (`CURFEW_WRITE_DOCS=1 cargo test hostile_clients`). Every later run checks it.\n\n\
         | the client … | protocol | others | stop | blamed for |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for Attack { what, protocol, blamed, .. } in ATTACKS {
        let blamed = blamed.map_or("nothing: it may do so".to_owned(), |reason| format!("`{reason}`"));
        writeln!(text, "| {what} | {protocol} | served | 0 | {blamed} |").unwrap();
    }
    text
}

fn compare_docs(table: &str) {
    if std::env::var("CURFEW_WRITE_DOCS").as_deref() == Ok("1") {
        std::fs::write(DOCS, table).unwrap();
        return;
    }
    let written = std::fs::read_to_string(DOCS).unwrap_or_default();
    assert!(written == table, "{DOCS} is not what was seen; CURFEW_WRITE_DOCS=1 writes it:\n{table}");
}
