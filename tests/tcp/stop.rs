//! How a server stops: at once when it is forced to, and otherwise with everything answered.

use std::time::Duration;

use artifacts::ECHO_HANDLER;
use nix::sys::signal::Signal::{SIGINT, SIGTERM};

use super::client::{Client, End};
use super::lab::{echo, lab};
use crate::harness::{Host, Trust, app, assert_within, unsent, until, web};

/// The TCP server post: stop now.
#[test]
fn a_second_interrupt_stops_it_now_and_its_clients_see_a_reset() {
    let app = lab("grace = \"60s\"", "");
    let mut client = Client::new(&app, "lab");
    client.send("half\n");
    client.expect("half\n");
    app.signal(SIGINT);
    app.wait_for_log("asked to stop", "lab");
    // Within 500 ms it would count as the same one.
    std::thread::sleep(Duration::from_millis(600));
    let forced = app.signal(SIGINT);
    assert_eq!(client.rest().1, End::Reset);
    let output = app.wait();
    output.expect_code(130).expect_outcome("lab", "cut-off");
    assert_within(output.after(forced), Duration::from_millis(500), "a forced stop");
}

/// With TLS a connection whose handshake has not come in 5 s is not waited for.
#[test]
fn an_old_connection_without_a_handshake_does_not_hold_the_stop() {
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
    let (host, _trust) = Trust::install(Host::manifest(&(app("") + &web("echo", ECHO_HANDLER, tls))));
    let app = host.start_ready();
    let _silent = Client::new(&app, "echo");
    // The scenario is about this time.
    std::thread::sleep(Duration::from_millis(5500));
    let output = app.stop();
    output.expect_code(0);
    // A handshake that is waited for has a second.
    let drained = output.row("echo").number("drain_ms");
    assert!(drained < 800.0, "{drained} ms");
}

/// The TCP server post: graceful stop. Who is in the middle of a line gets an answer to what has arrived.
#[test]
fn a_client_in_the_middle_of_a_line_gets_its_answer() {
    for signal in [SIGTERM, SIGINT] {
        let app = echo("grace = \"20s\"", "");
        let mut client = Client::new(&app, "echo");
        client.say("hello");
        client.send("half a li");
        let asked = app.signal(signal);
        assert_eq!(client.rest_text(), ("half a li".to_owned(), End::Clean));
        drop(client);
        let output = app.wait();
        output.expect_code(0).expect_outcome("echo", "stopped").expect_hook("echo", "ok");
        output.expect_line("hook: served 1 connections");
        assert_within(output.after(asked), Duration::from_millis(300), "a graceful stop");
        assert_eq!(output.row("echo").number("in_flight_asked"), 1.0);
        assert_eq!(output.row("echo").number("in_flight_ended"), 0.0);
    }
}

/// What had arrived is delivered, all of it, however slowly it is taken.
#[test]
fn everything_that_arrived_before_the_stop_is_echoed() {
    let app = echo("grace = \"20s\"", "");
    let mut client = Client::new(&app, "echo");
    client.say("hello");
    // As much as a socket takes of a client whose server does not read: nobody takes the answers.
    let lines: String = (0..5_000).map(|number| format!("line {number}\n")).collect();
    client.send(&lines);
    until("its arrival", || (unsent(client.0.tcp()) == Some(0)).then_some(()));
    app.signal(SIGTERM);
    let (answer, end) = client.rest_text();
    assert_eq!((answer == lines, end), (true, End::Clean), "{} of {}", answer.len(), lines.len());
    drop(client);
    app.wait().expect_code(0).expect_outcome("echo", "stopped");
}

/// H8 for connections: after the listener has closed nobody is let in.
#[test]
fn new_clients_are_refused_while_an_old_one_finishes() {
    let app = lab("grace = \"20s\"", "");
    let address = app.address("lab");
    let mut client = Client::at(&address);
    client.send("sleep 700\n");
    app.signal(SIGTERM);
    app.wait_for_log("listener closed", "lab");
    assert!(address.connect().is_err(), "the listener is closed");
    assert_eq!(client.rest_text(), ("slept\n".to_owned(), End::Clean));
    drop(client);
    app.wait().expect_code(0).expect_outcome("lab", "stopped");
}
