//! Places, queue, connections, and how long one may be silent.

use std::time::Duration;

use super::client::{Client, End};
use super::lab::{echo, lab, who};
use crate::harness::until;

/// H11 for connections: they wait in a bounded queue, and whoever finds it full is reset.
#[test]
fn connections_wait_for_a_place_and_are_reset_when_too_many_do() {
    let app = lab("", "instances = { max = 1, concurrency = 1, queue = 1 }");
    let mut first = Client::new(&app, "lab");
    first.send("echo\nhello");
    first.expect("hello");
    let mut second = Client::new(&app, "lab");
    second.send("who\n");
    // The third has to come after it.
    std::thread::sleep(Duration::from_millis(100));
    let mut third = Client::new(&app, "lab");
    assert_eq!(third.rest(), (Vec::new(), End::Reset));
    first.0.finish();
    assert_eq!(first.rest(), (Vec::new(), End::Clean));
    let (text, end) = second.rest_text();
    assert!(text.starts_with("127.0.0.1:") && end == End::Clean, "{text:?} {end:?}");
    let output = app.stop();
    output.expect_code(0);
    assert_eq!(output.report["components"][0]["http"]["requests"], 3);
    assert_eq!(output.report["components"][0]["http"]["aborted"], 1);
}

/// A client that waits for a place and leaves is forgotten.
#[test]
fn who_leaves_the_queue_takes_no_place() {
    let app = lab("", "instances = { max = 1, concurrency = 1 }");
    let mut first = Client::new(&app, "lab");
    first.send("echo\nhello");
    first.expect("hello");
    let second = Client::new(&app, "lab");
    let linger = socket2::SockRef::from(second.0.tcp());
    linger.set_linger(Some(Duration::ZERO)).unwrap();
    drop(second);
    first.0.finish();
    assert_eq!(first.rest(), (Vec::new(), End::Clean));
    who(&app);
    app.stop().expect_code(0);
}

/// More than `limits.connections` wait outside.
#[test]
fn no_more_connections_are_accepted_than_allowed() {
    let app = echo("", "limits = { connections = 2 }");
    let mut clients: Vec<_> = (0..3).map(|_| Client::new(&app, "echo")).collect();
    clients[0].say("one");
    clients[1].say("two");
    clients[2].send("three\n");
    clients[2].0.tcp().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut byte = [0];
    assert!(std::io::Read::read(&mut clients[2].0, &mut byte).is_err(), "it is served as the third");
    clients[2].0.tcp().set_read_timeout(Some(crate::harness::patience())).unwrap();
    drop(clients.remove(0));
    clients[1].expect("three\n");
    app.stop().expect_code(0);
}

/// `limits.idle-timeout`: without a byte in either direction the input ends, and what does not end then is reset.
#[test]
fn silent_connections_are_ended() {
    let limits = "limits = { idle-timeout = \"300ms\" }";
    let app = echo("", limits);
    let mut client = Client::new(&app, "echo");
    client.send("half a line");
    assert_eq!(client.rest_text(), ("half a line".to_owned(), End::Clean));
    app.stop().expect_code(0);

    let app = lab("grace = \"300ms\"\naccess-log = \"text\"", limits);
    let mut client = Client::new(&app, "lab");
    client.send("half\n");
    client.expect("half\n");
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
    app.wait_for_line(" timed-out ");
    app.stop().expect_code(0);
}

/// Instances are replaced after their number of connections, each with its hook.
#[test]
fn an_instance_is_replaced_after_its_number_of_connections() {
    let app = lab("", "instances = { max = 1, requests = 2 }");
    let first = who(&app).1;
    until("an answer of another instance", || (who(&app).1 != first).then_some(()));
    let output = app.stop();
    output.expect_code(0);
    assert!(output.records("hook ended", "lab").len() >= 2, "{}", output.said());
}

/// One instance has as many connections as it is said to have by default, at once.
#[test]
fn five_hundred_connections_are_served_by_one_instance() {
    let app = echo("grace = \"20s\"", "instances = { max = 1 }");
    let mut clients: Vec<_> = (0..500).map(|_| Client::new(&app, "echo")).collect();
    for round in ["one\n", "two\n"] {
        clients.iter_mut().for_each(|client| client.send(round));
        clients.iter_mut().for_each(|client| client.expect(round));
    }
    drop(clients);
    app.stop().expect_code(0).expect_line("hook: served 500 connections");
}
