//! A component that clients reach and that has spent its budget goes out of service alone: 503, not ready, and the app lives.

use std::time::Duration;

use artifacts::{HELLO_HTTP, HTTP_LAB, HTTP_LAB_CLASSIC, HTTP_TRAP_AT_START, SERVER, TCP_LAB};

use crate::harness::{
    Address, App, CONTROL, Host, Load, Target, Wire, app, component, free_port, until, web,
};
use crate::tcp::client::{Client, End};

const OUT: &str = "component is out of service: its restart budget is spent";
const RESTART: &str = "restart = { max = 2, within = \"1m\", backoff = [\"10ms\", \"20ms\"] }";
const ONE: &str = "instances = { max = 1 }";

/// Traps in a row, without a good answer between them.
#[track_caller]
fn spend(app: &App, times: usize) {
    for _ in 0..3 {
        Wire::connect(&app.address("lab")).get("/trap").expect(502);
    }
    app.wait_for_logs(OUT, "lab", times);
}

#[track_caller]
fn expect_out(address: &Address) {
    let answer = Wire::connect(address).get("/").expect(503);
    assert!(answer.text().contains("the component is out of service"), "{answer:?}");
}

/// Routes of an address whose other routes are a loaded sibling's; an operator brings it back, with a budget of its own.
#[test]
fn a_component_goes_out_of_service_alone_and_comes_back() {
    for source in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let listen = format!("listen = [\"127.0.0.1:{}\"]", free_port());
        let manifest = app(CONTROL)
            + &component("lab", source, &format!("{listen}\n{ONE}\n{RESTART}"))
            + &component("fine", HELLO_HTTP, &format!("{listen}\nroutes = [\"/fine\"]"));
        let app = Host::manifest(&manifest).start_ready();
        let address = app.address("lab");
        let listeners = app.listeners();
        let load = Load::start(50, &[Target::new("fine", address.clone(), "/fine")]);
        for (times, back) in ["/restart?component=lab", "/reload"].into_iter().enumerate() {
            spend(&app, times + 1);
            expect_out(&address);
            let lab = app.component("lab");
            assert_eq!((lab.text("state"), lab.number("instances")), ("out of service", 0), "{lab:?}");
            assert!(lab.text("last_failure").contains("trapped"), "{lab:?}");
            let status = app.status();
            assert_eq!((&status["ready"], &status["level"]), (&false.into(), &"running".into()));
            let because = status["not_ready_because"].to_string();
            assert!(because.contains("lab: out of service"), "{because}");
            app.order(back).expect(200);
            // No good answer: the next traps count as well.
            Wire::connect(&address).get("/status-line?code=500").expect(500);
            until("it to be ready", || (app.status()["ready"] == true).then_some(()));
        }
        Wire::connect(&address).get("/").expect(200);
        assert_eq!(app.listeners(), listeners);
        load.wait_for_answers(1);
        assert_eq!(load.end().others(&[]), [""; 0]);
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_outcome("fine", "stopped");
        let told = output.records(OUT, "lab");
        assert_eq!(told.len(), 2, "{}", output.said());
        assert!(told[0].text("note").contains("curfew restart lab"), "{}", told[0].fields);
        assert!(told[0].text("because").contains("trapped"), "{}", told[0].fields);
    }
}

/// An app all of whose components are out of service lives, and says 75 at its stop. Its clients get an answer.
#[test]
fn an_app_that_is_out_of_service_lives() {
    let manifest = app(CONTROL)
        + &web("lab", HTTP_LAB, &format!("{ONE}\n{RESTART}"))
        + &web("never", HTTP_TRAP_AT_START, RESTART);
    let app = Host::manifest(&manifest).start();
    app.wait_for_log(OUT, "never");
    app.wait_for_log("component started", "lab");
    spend(&app, 1);
    for name in ["lab", "never"] {
        expect_out(&app.address(name));
        assert_eq!(app.component(name).text("state"), "out of service");
    }
    // A service that restarts it gets an answer, and a better one if it can.
    assert_eq!(app.order("/restart?component=never").status, 500);
    app.order("/restart?component=lab").expect(200);
    Wire::connect(&app.address("lab")).get("/").expect(200);
    let output = app.stop();
    output.expect_code(75).expect_cause("signal", "SIGTERM");
    output.expect_outcome("never", "gave-up").expect_outcome("lab", "stopped");
    assert!(output.row("never").detail().contains("could not be started"), "{}", output.report);
}

/// What is in flight elsewhere is answered, and a stop meanwhile waits for that alone.
#[test]
fn a_stop_of_one_that_is_out_of_service_is_like_any_other() {
    let keys = format!("instances = {{ max = 2, concurrency = 1 }}\n{RESTART}");
    let app = Host::manifest(&(app(CONTROL) + &web("lab", HTTP_LAB, &keys) + &component("b", SERVER, "")))
        .start_ready();
    let address = app.address("lab");
    let mut slow = Wire::connect(&address);
    slow.hold();
    spend(&app, 1);
    let mut kept = Wire::connect(&address);
    kept.get("/").expect(503);
    let asked = app.signal(nix::sys::signal::Signal::SIGTERM);
    app.wait_for_log("asked to stop", "lab");
    slow.release();
    let output = app.wait();
    output
        .expect_code(75)
        .expect_outcome("lab", "gave-up")
        .expect_outcome("b", "stopped")
        .expect_hook("b", "ok");
    crate::harness::assert_within(output.after(asked), Duration::from_secs(2), "a stop");
}

/// Connections are reset at once: there is no answer for them.
#[test]
fn a_tcp_component_that_is_out_of_service_resets_its_clients() {
    let app =
        Host::manifest(&(app(CONTROL) + &web("lab", TCP_LAB, &format!("{ONE}\n{RESTART}")))).start_ready();
    for _ in 0..3 {
        let mut client = Client::new(&app, "lab");
        client.send("trap\n");
        assert_eq!(client.rest().1, End::Reset);
    }
    app.wait_for_log(OUT, "lab");
    let mut client = Client::new(&app, "lab");
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
    app.order("/restart?component=lab").expect(200);
    let mut client = Client::new(&app, "lab");
    client.send("who\n");
    assert_eq!(client.rest().1, End::Clean);
    // As an end in the stop it would be an outcome of the app.
    app.wait_for_log("component ended", "lab");
    app.stop().expect_code(0);
}
