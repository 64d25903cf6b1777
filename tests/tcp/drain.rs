//! What a drain waits for, and what it does not.

use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;

use super::client::{Client, End};
use super::lab::{echo, lab};
use crate::harness::assert_within;

/// H3, H4: connections without anything on them hold nobody up, whether they have spoken or not.
#[test]
fn idle_connections_end_at_once() {
    let app = echo("grace = \"60s\"", "");
    let mut clients: Vec<_> = (0..50).map(|_| Client::new(&app, "echo")).collect();
    clients.iter_mut().take(25).for_each(|client| client.say("hello"));
    let asked = app.signal(SIGTERM);
    for client in &mut clients {
        assert_eq!(client.rest(), (Vec::new(), End::Clean));
    }
    let output = app.wait();
    output.expect_code(0).expect_outcome("echo", "stopped");
    assert_within(output.after(asked), Duration::from_millis(100), "a stop with idle connections");
}

/// A connection that was cut off is reset: its client does not take a part for the whole.
#[test]
fn whoever_is_cut_off_is_reset() {
    let app = lab("grace = \"300ms\"", "");
    let mut parked = Client::new(&app, "lab");
    parked.send("half\n");
    parked.expect("half\n");
    let mut stuck = Client::new(&app, "lab");
    stuck.send("flood 1000000000\n");
    stuck.expect("xxxx");
    app.signal(SIGTERM);
    assert_eq!(parked.rest(), (Vec::new(), End::Reset));
    app.wait_for_log("component ended", "lab");
    assert_eq!(stuck.rest().1, End::Reset);
    let output = app.wait();
    output.expect_code(124).expect_outcome("lab", "cut-off");
    assert_eq!(output.row("lab").number("in_flight_ended"), 2.0);
}

/// The delay before a stop: still serving, new connections too.
#[test]
fn connections_are_served_during_the_delay() {
    let app = echo("drain-delay = \"700ms\"\ngrace = \"20s\"", "");
    app.signal(SIGTERM);
    app.wait_for_log("app not ready", "");
    let mut client = Client::new(&app, "echo");
    client.say("hello");
    assert_eq!(client.rest(), (Vec::new(), End::Clean));
    drop(client);
    app.wait().expect_code(0);
}

/// Who waits for a place when the stop comes is still served.
#[test]
fn a_connection_in_the_queue_is_served_before_the_end() {
    let app = lab("grace = \"20s\"", "instances = { max = 1, concurrency = 1 }");
    let mut first = Client::new(&app, "lab");
    first.send("sleep 500\n");
    let mut second = Client::new(&app, "lab");
    second.send("who\n");
    // Both have to be where they are to be.
    std::thread::sleep(Duration::from_millis(200));
    app.signal(SIGTERM);
    assert_eq!(first.rest_text(), ("slept\n".to_owned(), End::Clean));
    drop(first);
    let (text, end) = second.rest_text();
    assert!(text.starts_with("127.0.0.1:") && end == End::Clean, "{text:?} {end:?}");
    drop(second);
    app.wait().expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
}
