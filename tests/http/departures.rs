//! Clients that leave, or never send: their guests hear of it late or by an error, and nobody else notices. A sibling component under
//! load and an innocent client of the same instance look on.

use artifacts::{HELLO_HTTP, HTTP_LAB, HTTP_LAB_PLAIN};

use super::lab::{LABS, text_of};
use crate::harness::{App, CONTROL, Fate, H2, Host, Load, Target, Wire, app, block_on, in_time, until, web};

/// A component beside one that serves a load.
struct Beside {
    app: App,
    load: Load,
}

impl Beside {
    #[track_caller]
    fn start(source: &str, keys: &str) -> Beside {
        let manifest = app(CONTROL) + &web("lab", source, keys) + &web("fine", HELLO_HTTP, "");
        let app = Host::manifest(&manifest).start_ready();
        let load = Load::start(50, &[Target::new("fine", app.address("fine"), "/")]);
        Beside { app, load }
    }

    #[track_caller]
    fn wire(&self) -> Wire {
        Wire::connect(&self.app.address("lab"))
    }

    /// A client that reads an answer of so many lines, and has to get all of them.
    #[track_caller]
    fn innocent(&self, lines: usize) -> impl FnOnce() {
        let mut wire = self.wire();
        wire.send_get(&format!("/careless?lines={lines}&ms=20"));
        assert_eq!(wire.head().status, 200);
        move || assert_eq!(wire.rest().answered().text(), "again\n".repeat(lines))
    }

    /// Failed instances so far.
    #[track_caller]
    fn failures(&self) -> u64 {
        self.app.component("lab").number("failures")
    }

    #[track_caller]
    fn end(self, most_failures: u64) {
        let Beside { app, load } = self;
        let lab = app.component("lab");
        assert_eq!(lab.number("restarts"), 0, "{lab:?}");
        assert!(lab.number("failures") <= most_failures, "{lab:?}");
        load.wait_for_answers(1);
        assert_eq!(load.end().others(&[]), [""; 0]);
        app.stop().expect_code(0).expect_outcome("lab", "stopped").expect_outcome("fine", "stopped");
    }
}

/// Begins to read an answer, and leaves in the middle of it.
#[track_caller]
fn leave_in_the_middle(beside: &Beside, path: &str) {
    let mut wire = beside.wire();
    wire.send_get(path);
    assert_eq!(wire.head().status, 200);
    wire.leave();
    block_on(async {
        let client = H2::connect(&beside.app.address("lab")).await;
        let request = client.request("GET", path).body(()).unwrap();
        let (response, _) = client.open(request, true).await.unwrap();
        // A reset of one stream.
        drop(in_time("the head", response).await.unwrap());
        client.get("/").await.expect(200);
    });
}

/// Leaves before the answer has begun.
#[track_caller]
fn leave_early(beside: &Beside, path: &str) {
    let mut wire = beside.wire();
    wire.begin_get(path);
    wire.leave();
    block_on(async {
        let client = H2::connect(&beside.app.address("lab")).await;
        let request = client.request("GET", path).body(()).unwrap();
        drop(client.open(request, true).await.unwrap());
        // The reset has come.
        client.get("/").await.expect(200);
    });
}

/// Guests that do not look whether somebody reads end in peace: hundreds in a row.
#[test]
fn careless_guests_end_in_peace() {
    for source in [LABS[0], LABS[1], HTTP_LAB_PLAIN] {
        let beside = Beside::start(source, "");
        let innocent = beside.innocent(200);
        for _ in 0..150 {
            leave_in_the_middle(&beside, "/careless?lines=10&ms=5");
        }
        for _ in 0..10 {
            leave_early(&beside, "/touchy?ms=50");
        }
        innocent();
        until("the calls end", || (beside.app.component("lab").number("in_flight") == 0).then_some(()));
        assert!(text_of(&beside.app, "/").starts_with("Hello "));
        beside.end(0);
    }
}

/// Guests that write for ever are told at last. The first one that traps then is the last one that is told.
#[test]
fn careless_guests_that_never_end_trap_once() {
    let beside = Beside::start(HTTP_LAB, "request-timeout = \"1s\"\ninstances = { max = 1 }");
    leave_in_the_middle(&beside, "/careless?lines=1000000");
    until("it has trapped", || (beside.failures() == 1).then_some(()));
    for _ in 0..3 {
        let innocent = beside.innocent(150);
        leave_in_the_middle(&beside, "/careless?lines=1000000");
        beside.app.wait_for_log("instance ended", "lab");
        innocent();
    }
    beside.end(1);
}

/// The same where each request has an instance of its own: the call is ended, without a trap.
#[test]
fn careless_guests_in_fresh_instances_never_trap() {
    let beside = Beside::start(HTTP_LAB_PLAIN, "instances = { requests = 1 }");
    let innocent = beside.innocent(250);
    for _ in 0..3 {
        leave_in_the_middle(&beside, "/careless?lines=1000000");
    }
    until("the calls end", || (beside.app.component("lab").number("in_flight") <= 1).then_some(()));
    innocent();
    beside.end(0);
}

/// A client that sends no body: it gets 408, its guest's read ends with an error, and the guest ends by itself.
#[test]
fn a_guest_hears_that_the_body_does_not_come() {
    for source in LABS {
        let beside = Beside::start(source, "request-timeout = \"500ms\"\ngrace = \"300ms\"");
        let innocent = beside.innocent(150);
        let mut wire = beside.wire();
        wire.send(wire.head_of("POST", "/read", "content-length: 10\r\n") + "four");
        wire.fate().answered().expect(408);
        expect_timeout(&beside.app.wait_for_line("broke off after 4 bytes"));
        block_on(async {
            let client = H2::connect(&beside.app.address("lab")).await;
            let request = client.request("POST", "/read").body(()).unwrap();
            let (response, _body) = client.open(request, false).await.unwrap();
            in_time("an answer", crate::harness::answer(response)).await.unwrap().expect(408);
            client.get("/").await.expect(200);
        });
        expect_timeout(&beside.app.wait_for_line("broke off after 0 bytes"));
        innocent();
        assert!(beside.app.records("instance ended", "lab").is_empty());
        beside.end(0);
    }
}

/// WASI 0.3 has a code for it, WASI 0.2 a text.
#[track_caller]
fn expect_timeout(said: &str) {
    let is_timeout = said.contains("ConnectionReadTimeout") || said.contains("connection read timeout");
    assert!(is_timeout, "{said}");
}

/// Where the guest does not return, its instance is retired, and the others in it have as long as they move.
#[test]
fn a_retired_instance_is_drained_as_long_as_its_requests_move() {
    let keys = "request-timeout = \"300ms\"\ngrace = \"400ms\"\ninstances = { max = 1 }";
    let beside = Beside::start(HTTP_LAB, keys);
    let innocent = beside.innocent(150);
    let mut parked = beside.wire();
    parked.send_get("/park");
    parked.fate().answered().expect(504);
    innocent();
    beside.app.wait_for_log("instance ended", "lab");
    assert!(text_of(&beside.app, "/").starts_with("Hello "));
    // Nothing moves in one whose client does not read: it is cut.
    let mut silent = beside.wire();
    silent.send_get("/park-mid");
    assert_eq!(silent.head().status, 200);
    let mut parked = beside.wire();
    parked.send_get("/park");
    parked.fate().answered().expect(504);
    match silent.rest() {
        Fate::Aborted { .. } => {}
        other => panic!("{other:?}"),
    }
    beside.end(0);
}
