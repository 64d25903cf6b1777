//! Clients that misbehave × protocol: others are served meanwhile, memory stays bounded, the client is blamed, and a stop waits for
//! nobody who makes no progress.
//!
//! The table in `docs/hostile-clients.md` is what this test has seen: `CURFEW_WRITE_DOCS=1` writes it, otherwise it must be the same.

mod attacks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use artifacts::HELLO_HTTP;
use nix::sys::signal::Signal::SIGTERM;

use self::attacks::{ATTACKS, Attack};
use super::lab::LABS;
use crate::harness::{App, End, Host, Load, Target, Wire, app, assert_within, expect_page, until, web};

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

/// Others of the component and its sibling are served while the crowd is there; returns the reason for which the clients are blamed,
/// and the exit code of a stop behind it.
fn run(attack: &Attack, source: &str) -> (String, i32) {
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
    output.expect_outcome("lab", "stopped").expect_outcome("calm", "stopped");
    let faults = output.records("fault of a client", "lab");
    let reasons: BTreeSet<String> = faults.iter().map(|fault| fault.text("reason")).collect();
    let blamed = match attack.blamed.filter(|reason| reasons.contains(*reason)) {
        Some(reason) => format!("`{reason}`"),
        None if reasons.is_empty() => "nothing".to_owned(),
        None => format!("{reasons:?}"),
    };
    (blamed, output.code())
}

/// A stop in the middle of it takes no longer than its windows; returns its exit code.
fn stop_beside(attack: &Attack, source: &str) -> i32 {
    let app = start(source, "limits = { rate-window = \"60s\" }");
    let address = app.address("lab");
    Wire::connect(&address).get("/").expect(200);
    let crowd = (attack.begin)(&address, places(source));
    let begun = app.signal(SIGTERM);
    let output = app.wait();
    assert_within(begun.elapsed(), STOP, "the stop");
    drop(crowd);
    output.expect_outcome("lab", "stopped").expect_outcome("calm", "stopped");
    output.code()
}

/// The cell of an attack on one generation of WASI.
fn cell(attack: &Attack, source: &str) -> String {
    let (blamed, behind) = run(attack, source);
    let beside = stop_beside(attack, source);
    format!("{blamed} | {beside}, {behind}")
}

#[test]
fn others_are_served_whatever_clients_do() {
    let seen = Mutex::new(BTreeMap::new());
    let failures = Mutex::new(Vec::new());
    let cells: Vec<_> = (0..ATTACKS.len()).flat_map(|at| LABS.map(|source| (at, source))).collect();
    crate::in_parallel(2, cells, |(at, source)| {
        let attack = &ATTACKS[at];
        match std::panic::catch_unwind(|| cell(attack, source)) {
            Ok(cell) => drop(seen.lock().unwrap().insert((at, source), cell)),
            Err(_) => {
                failures.lock().unwrap().push(format!("{} ({}), {source}", attack.what, attack.protocol));
            }
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} cells are wrong:\n{}", failures.len(), failures.join("\n"));
    expect_page("docs/hostile-clients.md", &table(&seen.into_inner().unwrap()));
}

fn table(seen: &BTreeMap<(usize, &str), String>) -> String {
    let mut text = String::from(
        "# Clients that misbehave\n\n\
         In every row the host answered other clients of the component within 10 s meanwhile, and all requests to its sibling, its memory grew\n\
         by less than 96 MiB, and a stop took less than 13 s, of a grace of 30 s. *Blamed for* is the reason in the log and in the\n\
         metric `curfew_client_faults_total`. *Stop* has the exit codes of a TERM in the middle of it, and of one behind it. The test run\n\
         writes this page (`CURFEW_WRITE_DOCS=1 cargo test hostile_clients`). Every later run checks it.\n\n\
         | the client … | protocol | WASI 0.3: blamed for | stop | WASI 0.2: blamed for | stop |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for (at, Attack { what, protocol, .. }) in ATTACKS.iter().enumerate() {
        let [modern, classic] = LABS.map(|source| seen.get(&(at, source)).map_or("", String::as_str));
        writeln!(text, "| {what} | {protocol} | {modern} | {classic} |").unwrap();
    }
    text
}
