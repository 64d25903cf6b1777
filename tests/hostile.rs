//! Part G of the scenarios: each guest that misbehaves × {TERM, INT INT, QUIT, a peer's failure, HUP}: the exit in
//! bound, the outcome, the exit code, siblings stopped cleanly.
//!
//! The table in `docs/hostile-guests.md` is what this test has seen: `CURFEW_WRITE_DOCS=1` writes it, otherwise
//! it must be the same.

mod cases;
mod hup;
mod languages;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use artifacts::{HOSTILE_ASYNC, HOSTILE_CLASSIC, SERVER, SPIN_AT_START, SUBSCRIBER};
use nix::sys::signal::Signal::{SIGINT, SIGQUIT, SIGTERM};

use self::cases::{CASES, Case, Kind};
use crate::harness::{App, Host, Output, app, assert_within, component, expect_page, keys};

/// The grace of guests in Rust, in milliseconds.
const GRACE: u32 = 800;
const MS: Duration = Duration::from_millis(1);

/// What makes the app stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Term,
    IntInt,
    Quit,
    PeerFailure,
}

const EVENTS: [Event; 4] = [Event::Term, Event::IntInt, Event::Quit, Event::PeerFailure];

impl Event {
    /// The times of the app with this grace, in milliseconds, and the longest time to the exit.
    fn times(self, grace: u32) -> (String, Duration) {
        let app = |grace: u32, fail: u32| format!("grace = \"{grace}ms\"\nfail-grace = \"{fail}ms\"");
        match self {
            Event::Term => (app(grace, 30_000), MS * grace),
            // The second INT comes first.
            Event::IntInt => (app(60_000, 30_000), Duration::ZERO),
            Event::Quit => (app(grace / 4, 30_000), MS * grace),
            Event::PeerFailure => (app(30_000, grace), MS * grace),
        }
    }

    /// Makes it happen and says from when on the bound counts.
    fn happen(self, app: &App, peer: TcpListener, grace: u32) -> Instant {
        match self {
            Event::Term => app.signal(SIGTERM),
            Event::Quit => app.signal(SIGQUIT),
            Event::IntInt => {
                let first = app.signal(SIGINT);
                // Two that are heard within half a second are one.
                app.wait_for_log("stopping", "");
                if app.ends_within(MS * grace * 3 / 2) { first } else { app.signal(SIGINT) }
            }
            Event::PeerFailure => {
                let now = Instant::now();
                drop(peer);
                now
            }
        }
    }
}

/// The manifest of a cell: the guest, a sibling that behaves, and a peer that fails once its server has gone.
fn manifest(event: Event, grace: u32, guest: &str, peer: &TcpListener) -> String {
    let address = peer.local_addr().unwrap().to_string();
    let mut text = app(&event.times(grace).0) + guest + &component("sibling", SERVER, "");
    if event == Event::PeerFailure {
        // It never is ready by its own word: nobody answers it.
        let keys = keys(&[&address, "stream", "group", "consumer"]) + "\nready = \"started\"";
        text += &component("peer", SUBSCRIBER, &format!("{keys}\nnetwork = {{ connect = [{address:?}] }}"));
    }
    text
}

/// The keys of a guest, whatever makes the app stop.
fn keys_of(case: &Case) -> String {
    let args = [&format!("run={}", case.run), &format!("hook={}", case.hook), "path=/data/fifo", "ms=100"];
    let mut keys = format!("{}\n{}", keys(&args), case.keys);
    if case.early {
        keys += "\non-exit = \"ignore\"\non-failure = \"ignore\"";
    }
    keys
}

fn source_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Async => HOSTILE_ASYNC,
        Kind::Classic => HOSTILE_CLASSIC,
        Kind::JavaScript | Kind::Python | Kind::AsyncPython => languages::source_of(kind),
    }
}

fn start(manifest: &str) -> App {
    let host = Host::manifest(manifest).stdin(Stdio::piped());
    let data = host.path().join("data");
    std::fs::create_dir(&data).unwrap();
    nix::unistd::mkfifo(&data.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let app = host.start();
    let (message, of) = match manifest.contains("never-ready") {
        true => ("component started", "sibling"),
        false => ("app started", ""),
    };
    app.wait_for_log(message, of);
    app
}

fn run_cell(case: &Case, kind: Kind, event: Event) -> Output {
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let guest = component("guest", source_of(kind), &keys_of(case));
    let app = start(&manifest(event, kind.grace(), &guest, &peer));
    app.wait_for_line("guest | run entered");
    if case.early {
        app.wait_for_log("component ended", "guest");
    }
    let counted_from = event.happen(&app, peer, kind.grace());
    let output = app.wait();
    assert_within(output.after(counted_from), event.times(kind.grace()).1 + 250 * MS, "exit");
    output
}

/// The exit code by the table of design 2.
fn exit_code(event: Event, outcome: &str) -> i32 {
    match (event, outcome) {
        (Event::PeerFailure, _) | (_, "failed") => 1,
        (Event::IntInt, "cut-off" | "leaked") => 130,
        (_, "cut-off" | "leaked") => 124,
        (_, "hook-failed") => 3,
        _ => 0,
    }
}

fn check_cell(case: &Case, kind: Kind, column: Column) -> String {
    let Column::Stop(event) = column else {
        return hup::check_cell(case, kind);
    };
    let output = run_cell(case, kind, event);
    output.expect_outcome("guest", case.outcome).expect_outcome("sibling", "stopped");
    output.expect_hook("sibling", "ok").expect_code(exit_code(event, case.outcome));
    format!("{}, {}", output.row("guest").outcome(), output.code())
}

/// What happens to a guest: the app stops, or is reloaded with another plan for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Stop(Event),
    Hup,
}

const COLUMNS: [Column; 5] = [
    Column::Stop(Event::Term),
    Column::Stop(Event::IntInt),
    Column::Stop(Event::Quit),
    Column::Stop(Event::PeerFailure),
    Column::Hup,
];

type Cells = BTreeMap<(usize, Kind, Column), String>;

#[test]
fn every_hostile_guest_ends_as_the_table_says() {
    check_table(CASES, "hostile-guests.md", "# Guests that misbehave\n\n");
}

/// Tries all cells of these guests, and compares what was seen with a page of the documentation that begins so.
fn check_table(cases: &[Case], page: &str, title: &str) {
    let mut cells = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for kind in case.kinds {
            cells.extend(COLUMNS.map(|column| (number, *kind, column)));
        }
    }
    let seen = Mutex::new(Cells::new());
    let failures = Mutex::new(Vec::new());
    crate::in_parallel(4, cells, |(number, kind, column)| {
        let case = &cases[number];
        // All cells are tried: one that is wrong says little about the others.
        let result = std::panic::catch_unwind(|| check_cell(case, kind, column));
        match result {
            Ok(text) => drop(seen.lock().unwrap().insert((number, kind, column), text)),
            Err(_) => failures.lock().unwrap().push(format!("{} ({kind:?}), {column:?}", case.what)),
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} cells are wrong:\n{}", failures.len(), failures.join("\n"));
    expect_page(&format!("docs/{page}"), &table(cases, title, &seen.into_inner().unwrap()));
}

fn table(cases: &[Case], title: &str, cells: &Cells) -> String {
    let mut text = String::from(title);
    text.push_str(
        "This table shows for each guest its outcome and the exit code of the host. In every cell the exit came in\n\
         bound, and the sibling was stopped cleanly. The test run writes this page\n\
         (`CURFEW_WRITE_DOCS=1 cargo test hostile`), and every later run checks it. Guests that end by themselves have\n\
         `on-exit` and `on-failure` set to `ignore` here; by default such an end is the cause of the stop.\n\n\
         HUP: the guest's part of the manifest has changed, so a fresh generation of the same guest replaces it. With\n\
         `overlap` the fresh generation starts next to the old one, else after the old one has ended or its grace is\n\
         over. The cell shows the outcome of the old generation, and how the reload ended: `put back` means that the fresh\n\
         generation failed, and the old one was started again. In every cell the sibling was not affected, and a TERM\n\
         afterwards ended the app as the column TERM shows.\n\n\
         | the guest … | kind | TERM | INT INT | QUIT | a peer's failure | HUP |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (number, case) in cases.iter().enumerate() {
        for kind in case.kinds {
            write!(text, "| {} | {} |", case.what, kind.word()).unwrap();
            for column in COLUMNS {
                write!(text, " {} |", cells.get(&(number, *kind, column)).map_or("", String::as_str))
                    .unwrap();
            }
            text.push('\n');
        }
    }
    text
}

/// G: spins while instantiating × every event. It was never started, so there is no hook.
#[test]
fn a_guest_that_spins_while_it_starts_is_ended_by_every_event() {
    crate::in_parallel(2, EVENTS.to_vec(), |event| {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let app =
            Host::manifest(&manifest(event, GRACE, &component("guest", SPIN_AT_START, ""), &peer)).start();
        app.wait_for_line("sibling | start");
        let counted_from = event.happen(&app, peer, GRACE);
        let output = app.wait();
        assert_within(output.after(counted_from), event.times(GRACE).1 + 250 * MS, "exit");
        output.expect_outcome("sibling", "stopped").expect_hook("guest", "none");
    });
}

/// G: more spinning components than cores × every event.
#[test]
fn more_spinning_guests_than_cores_are_all_cut_off() {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut guests = String::new();
    for number in 0..cores + 2 {
        let source = if number % 2 == 0 { HOSTILE_ASYNC } else { HOSTILE_CLASSIC };
        guests += &component(&format!("spin{number}"), source, &keys(&["run=spin"]));
    }
    for event in EVENTS {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = start(&manifest(event, GRACE, &guests, &peer));
        let counted_from = event.happen(&app, peer, GRACE);
        let output = app.wait();
        assert_within(output.after(counted_from), event.times(GRACE).1 + 250 * MS, "exit");
        output.expect_code(exit_code(event, "cut-off")).expect_outcome("sibling", "stopped");
        for number in 0..cores + 2 {
            output.expect_outcome(&format!("spin{number}"), "cut-off");
        }
    }
}

/// G, asks for more grace for ever: what is granted never passes the app's own deadline.
#[test]
fn more_grace_is_granted_only_up_to_the_deadline_of_the_app() {
    for source in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let keys = format!("{}\ngrace = \"200ms\"", keys(&["run=good", "hook=extend"]));
        let manifest = app("grace = \"1200ms\"") + &component("guest", source, &keys);
        let app = Host::manifest(&manifest).start_ready();
        let asked = app.signal(SIGTERM);
        app.wait_for_line("guest | granted");
        let output = app.wait();
        output.expect_code(124).expect_outcome("guest", "cut-off");
        assert!(output.after(asked) >= 1100 * MS, "cut off after {:?}", output.after(asked));
        assert_within(output.after(asked), 1450 * MS, "exit");
    }
}
