//! What a client can cause is never the component's failure: traps of a guest that cannot stand it when clients leave, is given up
//! or throws. Each beside a loaded sibling that notices nothing.

use std::thread::sleep;
use std::time::Duration;

use artifacts::{HELLO_HTTP, HTTP_LAB, HTTP_LAB_CLASSIC, TCP_LAB};

use crate::harness::{App, CONTROL, Host, Load, Target, Wire, app, sample, until, web};
use crate::tcp::client::Client;

const MS: Duration = Duration::from_millis(1);
/// More than the budget of restarts.
const TIMES: usize = 8;
const ONE: &str = "instances = { max = 1 }";

/// The component beside one that serves a load.
struct Beside {
    app: App,
    load: Load,
}

impl Beside {
    #[track_caller]
    fn start(component: &str) -> Beside {
        let app = Host::manifest(&(app(CONTROL) + component + &web("fine", HELLO_HTTP, ""))).start_ready();
        let load = Load::start(50, &[Target::new("fine", app.address("fine"), "/")]);
        Beside { app, load }
    }

    #[track_caller]
    fn lab(&self) -> Wire {
        Wire::connect(&self.app.address("lab"))
    }

    /// The failures are told, and cost nothing.
    #[track_caller]
    fn end(self, failures: usize) {
        let Beside { app, load } = self;
        // The log tells ten in a second.
        let lab = until("the failures are counted", || {
            Some(app.component("lab")).filter(|lab| lab.number("failures") == failures as u64)
        });
        assert_eq!((lab.number("restarts"), lab.number("failures")), (0, failures as u64), "{lab:?}");
        assert!(failures == 0 || lab.text("last_failure").contains("trapped"), "{lab:?}");
        load.wait_for_answers(1);
        assert_eq!(load.end().others(&[]), [""; 0]);
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_outcome("fine", "stopped");
        assert_eq!(output.row("lab").number("failures"), failures as f64);
        for message in ["component restarts", "component is out of service: its restart budget is spent"] {
            assert!(output.records(message, "").is_empty(), "{}", output.said());
        }
    }
}

/// As `curl -m` does it: before the head of the answer. It is read on, and the guest never knows.
#[test]
fn clients_that_leave_early_cost_nothing() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let beside = Beside::start(&web("lab", source, ONE));
        for times in 1..=TIMES {
            let mut wire = beside.lab();
            let ms = 400 + times;
            wire.send_get(&format!("/touchy?ms={ms}"));
            beside.app.wait_for_line(&format!("waits {ms} ms"));
            wire.leave();
        }
        beside.end(0);
    }
}

/// In the middle of the answer.
#[test]
fn clients_that_leave_in_the_middle_cost_nothing() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let beside = Beside::start(&web("lab", source, ONE));
        for failures in 1..=TIMES {
            let mut wire = beside.lab();
            wire.send_get("/trap-mid?after=300");
            assert_eq!(wire.head().status, 200);
            wire.piece().unwrap().expect("a first piece");
            wire.leave();
            beside.app.wait_for_logs("instance failed", "lab", failures);
        }
        beside.end(TIMES);
    }
}

/// `request-timeout`: the guest answers nobody then, and never knows.
#[test]
fn requests_that_time_out_cost_nothing() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let beside = Beside::start(&web("lab", source, &format!("request-timeout = \"300ms\"\n{ONE}")));
        for times in 1..=TIMES {
            beside.lab().get("/touchy?ms=600").expect(504);
            beside.app.wait_for_logs("instance ended", "lab", times);
        }
        beside.end(0);
    }
}

/// Half a body, and its client goes.
#[test]
fn uploads_that_break_off_cost_nothing() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let beside = Beside::start(&web("lab", source, ONE));
        for failures in 1..=TIMES {
            let mut wire = beside.lab();
            let head = wire.head_of("POST", "/touchy", "content-length: 1000000\r\n");
            wire.send(head + "only this");
            wire.until_read();
            // The scenario is about this time: its guest reads by then.
            sleep(100 * MS);
            drop(wire);
            beside.app.wait_for_logs("instance failed", "lab", failures);
        }
        beside.end(TIMES);
    }
}

/// A component that has answered well is well: what traps it now is the request.
#[test]
fn requests_that_trap_a_component_that_works_cost_nothing() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let beside = Beside::start(&web("lab", source, ""));
        beside.lab().get("/").expect(200);
        for _ in 0..TIMES {
            beside.lab().get("/trap").expect(502);
        }
        beside.lab().get("/").expect(200);
        beside.end(TIMES);
    }
}

/// A fresh instance for each request: nothing of a trap is left for the next one.
#[test]
fn traps_of_fresh_instances_cost_nothing() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let beside = Beside::start(&web("lab", source, "instances = { requests = 1 }"));
        for _ in 0..TIMES {
            beside.lab().get("/trap").expect(502);
        }
        beside.lab().get("/").expect(200);
        beside.end(TIMES);
    }
}

/// Handlers that throw, in JavaScript and Python: one request for each of all ways that one client can think of.
#[test]
fn handlers_that_throw_cost_nothing() {
    for folder in ["hostile/throw-js", "hostile/throw-python"] {
        let Some(file) = sample(folder) else { continue };
        let beside = Beside::start(&web("lab", file.to_str().unwrap(), "instances = { requests = 1 }"));
        let mut failures = 0;
        for _ in 0..TIMES {
            for thrown in [beside.lab().get("/throw"), beside.lab().post("/json", &[b'['; 1013])] {
                assert!([500, 502].contains(&thrown.status), "{thrown:?}");
                failures += usize::from(thrown.status == 502);
            }
        }
        beside.lab().get("/").expect(200);
        beside.end(failures);
    }
}

/// Connections of kind tcp: those that leave, and those that the host ends because nothing moves.
#[test]
fn connections_that_end_early_cost_nothing() {
    let beside =
        Beside::start(&web("lab", TCP_LAB, &format!("limits = {{ idle-timeout = \"300ms\" }}\n{ONE}")));
    for failures in 1..=TIMES {
        let mut client = Client::new(&beside.app, "lab");
        client.send("touchy\n");
        client.expect("xxxxxxxxxx");
        match failures % 2 {
            0 => drop(client),
            // It stays, and reads nothing.
            _ => {
                beside.app.wait_for_logs("instance failed", "lab", failures);
            }
        }
        beside.app.wait_for_logs("instance failed", "lab", failures);
    }
    beside.end(TIMES);
}
