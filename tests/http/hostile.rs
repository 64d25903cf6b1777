//! Part G of the scenarios for kind `http`: each guest that misbehaves in the handler × in the hook × {TERM, INT INT,
//! QUIT, a peer's failure, HUP}: the exit in bound, the outcome, the exit code, siblings stopped cleanly; the same under
//! load.
//!
//! The table in `docs/hostile-http.md` is what this test has seen: `CURFEW_WRITE_DOCS=1` writes it, otherwise it must
//! be the same.

mod cases;
mod hup;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use artifacts::{HELLO_HTTP, HTTP_LAB, HTTP_LAB_CLASSIC, SERVER, SUBSCRIBER};
use nix::sys::signal::Signal::{SIGINT, SIGQUIT, SIGTERM};

use self::cases::{CASES, Case, Client, HOOKS, KINDS, Kind, outcome};
use super::lab::{MS, connect, served};
use crate::harness::{
    App, CONTROL, End, Fate, Host, Load, Output, Target, Wire, app, assert_within, component, expect_page,
    keys, until, web,
};

/// What makes the app stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Term,
    IntInt,
    Quit,
    PeerFailure,
    /// Nothing does: it is reloaded with another plan for the guest, and stopped after that.
    Hup,
}

const EVENTS: [Event; 5] = [Event::Term, Event::IntInt, Event::Quit, Event::PeerFailure, Event::Hup];

impl Event {
    /// The times of the app, short enough for a test of some hundred cells, and the bound of the exit.
    fn times(self) -> (&'static str, Duration) {
        match self {
            Event::Term => ("grace = \"2400ms\"\nfail-grace = \"30s\"", 2400 * MS),
            // The second INT comes first.
            Event::IntInt => ("grace = \"60s\"\nfail-grace = \"30s\"", Duration::ZERO),
            Event::Quit => ("grace = \"600ms\"\nfail-grace = \"30s\"", 2400 * MS),
            Event::PeerFailure => ("grace = \"30s\"\nfail-grace = \"2400ms\"", 2400 * MS),
            // It takes two of them.
            Event::Hup => ("grace = \"1200ms\"\nfail-grace = \"30s\"", 1200 * MS),
        }
    }

    /// Makes it happen and says from when on the bound counts.
    fn happen(self, app: &App, peer: TcpListener) -> Instant {
        match self {
            Event::Term => app.signal(SIGTERM),
            Event::Quit => app.signal(SIGQUIT),
            Event::IntInt => {
                let first = app.signal(SIGINT);
                // Two that are heard within half a second are one.
                app.wait_for_log("stopping", "");
                if app.ends_within(600 * MS) { first } else { app.signal(SIGINT) }
            }
            Event::PeerFailure => {
                let now = Instant::now();
                drop(peer);
                now
            }
            Event::Hup => unreachable!("a reload stops nothing"),
        }
    }
}

/// The cell of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    case: usize,
    hook: usize,
    kind: Kind,
    event: Event,
}

impl Cell {
    fn case(self) -> &'static Case {
        &CASES[self.case]
    }

    fn outcome(self) -> &'static str {
        outcome(self.case(), HOOKS[self.hook], self.kind, self.event == Event::IntInt)
    }

    /// The exit code by the table of design 2.
    fn exit_code(self) -> i32 {
        match (self.event, self.outcome()) {
            (Event::PeerFailure, _) => 1,
            (Event::IntInt, "cut-off") => 130,
            (_, "cut-off") => 124,
            (_, "hook-failed") => 3,
            _ => 0,
        }
    }

    /// The guest, two siblings that behave, and a peer that fails once its server has gone.
    fn start(self, instances: &str, peer: &TcpListener) -> App {
        let mut text = self.manifest(instances, 1);
        if self.event == Event::PeerFailure {
            let address = peer.local_addr().unwrap().to_string();
            let keys = keys(&[&address, "stream", "group", "consumer"]);
            let network = format!("{keys}\nready = \"started\"\nnetwork = {{ connect = [{address:?}] }}");
            text += &component("peer", SUBSCRIBER, &network);
        }
        Host::manifest(&text).start_ready()
    }

    /// The guest, whose plan is another one in each generation, and its siblings.
    fn manifest(self, instances: &str, generation: u32) -> String {
        let source = if self.kind == Kind::Async { HTTP_LAB } else { HTTP_LAB_CLASSIC };
        let hook = format!("env = {{ HOOK = {:?}, GENERATION = \"{generation}\" }}", HOOKS[self.hook].1);
        let keys_of_guest = format!("{hook}\ninstances = {{ {instances} }}\nmemory = \"32MiB\"");
        app(&format!("{}\n{CONTROL}", self.event.times().0))
            + &web("lab", source, &keys_of_guest)
            + &component("sibling", SERVER, "")
            + &web("web", HELLO_HTTP, "")
    }

    /// The guest misbehaves; its client is given back when the request is still in flight.
    fn misbehave(self, app: &App) -> Option<Wire> {
        let mut wire = connect(app);
        wire.send_get(self.case().path);
        match self.case().client {
            Client::Answered(status) => drop(wire.fate().answered().expect(status)),
            Client::Told => {
                let answer = wire.fate().answered();
                assert!(matches!(answer.status, 500 | 502), "{answer:?}");
            }
            Client::Aborted => drop(wire.fate().aborted()),
            Client::Waits => {
                wire.until_read();
                return Some(wire);
            }
            Client::Reads => {
                assert_eq!(wire.head().status, 200);
                return Some(wire);
            }
        }
        None
    }

    /// The client of a request that was cut off sees that it was.
    #[track_caller]
    fn expect_told(self, wire: &mut Wire) {
        let fate = if self.case().client == Client::Reads { wire.rest() } else { wire.fate() };
        let told = match &fate {
            Fate::Answered(answer) => self.case().client == Client::Waits && answer.status >= 500,
            Fate::Aborted { .. } => true,
            Fate::Closed | Fate::Reset => self.case().client == Client::Waits,
        };
        assert!(told, "the client of a request that was cut off can not tell: {fate:?}");
    }

    /// How the stop ends, and the moment from which its bound counts.
    #[track_caller]
    fn check(self, output: &Output, counted_from: Instant) {
        assert_within(output.after(counted_from), self.event.times().1 + 250 * MS, "exit");
        output.expect_outcome("lab", self.outcome()).expect_code(self.exit_code());
        for sibling in ["sibling", "web"] {
            output.expect_outcome(sibling, "stopped").expect_hook(sibling, "ok");
        }
    }

    fn run(self) -> String {
        if self.event == Event::Hup {
            return self.run_hup();
        }
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = self.start("max = 1", &peer);
        let mut client = self.misbehave(&app);
        if client.is_none() {
            // There is an instance, whatever became of the last one; or that one has a hook that does not end, and its place.
            let answer = connect(&app).get("/");
            let is_held =
                self.kind == Kind::Classic && ["spins", "parks for an hour"].contains(&HOOKS[self.hook].0);
            assert!(answer.status == 200 || (answer.status == 503 && is_held), "{answer:?}");
        }
        let counted_from = self.event.happen(&app, peer);
        if let Some(wire) = &mut client {
            self.expect_told(wire);
        }
        let output = app.wait();
        self.check(&output, counted_from);
        format!("{}, {}", output.row("lab").outcome(), output.code())
    }

    /// The same with plain requests to it and to its sibling, which lose nothing of theirs.
    fn run_under_load(self) {
        if self.event == Event::Hup {
            return self.run_hup_under_load();
        }
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = self.start("max = 3", &peer);
        let targets = ["lab", "web"].map(|name| Target::new(name, app.address(name), "/"));
        let load = Load::start(120, &targets);
        load.wait_for_answers(40);
        let client = self.misbehave(&app);
        let sibling = app.address("web");
        until("the sibling's answer", || Some(Wire::connect(&sibling).get("/").expect(200)));
        let counted_from = self.event.happen(&app, peer);
        let output = app.wait();
        drop(client);
        let tally = load.end();
        self.check(&output, counted_from);
        let accepted = [End::Refused, End::Unanswered];
        let lost = tally
            .count(|name, _, end| name == "web" && *end != End::Answered(200) && !accepted.contains(end));
        assert_eq!(lost, 0, "the sibling lost requests: {:?}", tally.others(&accepted));
        assert_eq!(served(&output, "web"), tally.answered("web", 200) + 1, "{}", output.said());
        assert_eq!(tally.count(|_, _, end| *end == End::Hung), 0, "{tally:?}");
    }
}

type Cells = BTreeMap<Cell, String>;

/// All of them are tried: one that is wrong says little about the others.
#[track_caller]
fn run_all(cells: Vec<Cell>, width: usize, run: impl Fn(Cell) -> String + Sync) -> Cells {
    let seen = Mutex::new(Cells::new());
    let failures = Mutex::new(Vec::new());
    crate::in_parallel(width, cells, |cell| {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(cell))) {
            Ok(text) => drop(seen.lock().unwrap().insert(cell, text)),
            Err(_) => failures.lock().unwrap().push(format!(
                "{} ({:?}), the hook {}, {:?}",
                cell.case().what,
                cell.kind,
                HOOKS[cell.hook].0,
                cell.event
            )),
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} cells are wrong:\n{}", failures.len(), failures.join("\n"));
    seen.into_inner().unwrap()
}

/// In an order that does not bring all that spin at once.
fn cells(hooks: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for event in EVENTS {
        for hook in 0..hooks {
            for kind in KINDS {
                cells.extend((0..CASES.len()).map(|case| Cell { case, hook, kind, event }));
            }
        }
    }
    cells
}

#[test]
fn every_hostile_http_guest_ends_as_the_table_says() {
    let seen = run_all(cells(HOOKS.len()), 4, Cell::run);
    expect_page("docs/hostile-http.md", &table(&seen));
}

#[test]
fn every_hostile_http_guest_ends_so_under_load() {
    run_all(cells(1), 2, |cell| {
        cell.run_under_load();
        String::new()
    });
}

fn table(cells: &Cells) -> String {
    let mut text = String::from(
        "# HTTP components that misbehave\n\n\
         This table shows for each guest its outcome and the exit code of the host. The guest behaves like the first\n\
         column for a request, and like the second column in its hook. In every cell the exit came in bound, and the\n\
         siblings (a service and an http component) were stopped cleanly. No client saw a cut answer as a complete\n\
         one. The test run writes this page (`CURFEW_WRITE_DOCS=1 cargo test hostile`). Every later run checks it, and\n\
         repeats it under load. A trap in a handler ends an instance, not its component.\n\n\
         HUP: the guest's part of the manifest has changed, so a fresh generation takes over its address. The cell\n\
         shows the outcome of the old generation, which ended within its grace. In every cell the reload took place,\n\
         and the fresh generation answered at once. The siblings and their connections were not affected. A TERM\n\
         afterwards ended the app in bound.\n\n\
         | the handler … | the hook … | kind | TERM | INT INT | QUIT | a peer's failure | HUP |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (case, row) in CASES.iter().enumerate() {
        for (hook, (what, ..)) in HOOKS.iter().enumerate() {
            for kind in KINDS {
                let name = if kind == Kind::Async { "async" } else { "sync" };
                write!(text, "| {} | {what} | {name} |", row.what).unwrap();
                for event in EVENTS {
                    let cell = cells.get(&Cell { case, hook, kind, event });
                    write!(text, " {} |", cell.map_or("", String::as_str)).unwrap();
                }
                text.push('\n');
            }
        }
    }
    text
}
