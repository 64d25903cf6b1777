//! R15 (sidekiq#4133, OpenLiberty#35437): a subscriber is stopped or cut off in the middle of a message →
//! acknowledged ⊆ processed; everything else is delivered again; its connection is open while its hook runs.

use std::collections::BTreeSet;
use std::time::Duration;

use artifacts::{SERVER, SUBSCRIBER};
use nix::sys::signal::Signal::{SIGKILL, SIGTERM};

use crate::harness::{CONTROL, Host, Redis, app, component, keys, until};

const PROCESS_MS: &str = "4";

fn manifest(port: u16, stream: &str, app_keys: &str, more: &str) -> String {
    let address = format!("127.0.0.1:{port}");
    let keys = keys(&[&address, stream, "workers", "one", PROCESS_MS]);
    let granted = format!("{keys}\nnetwork = {{ connect = [{address:?}] }}\n{more}");
    app(app_keys) + &component("sub", SUBSCRIBER, &granted)
}

fn subscriber(port: u16, stream: &str, app_keys: &str) -> Host {
    Host::manifest(&manifest(port, stream, app_keys, ""))
}

fn add(redis: &mut Redis, stream: &str, count: usize) -> BTreeSet<String> {
    let number = |number: usize| number.to_string();
    (0..count).map(|at| redis.call(&["XADD", stream, "*", "number", &number(at)]).text()).collect()
}

fn processed(redis: &mut Redis, stream: &str) -> BTreeSet<String> {
    let list = redis.call(&["LRANGE", &format!("processed:{stream}"), "0", "-1"]);
    list.list().into_iter().map(crate::harness::Reply::text).collect()
}

/// Taken by the group and not acknowledged.
fn pending(redis: &mut Redis, stream: &str) -> BTreeSet<String> {
    let entries = redis.call(&["XPENDING", stream, "workers", "-", "+", "100000"]).list();
    entries.into_iter().map(|entry| entry.list().remove(0).text()).collect()
}

/// Taken by the group, in the order of the stream: everything up to the last one delivered.
fn delivered(redis: &mut Redis, stream: &str, all: &BTreeSet<String>) -> BTreeSet<String> {
    let groups = redis.call(&["XINFO", "GROUPS", stream]).list();
    let fields = groups.into_iter().next().unwrap().list();
    let at =
        fields.iter().position(|field| *field == crate::harness::Reply::Text("last-delivered-id".into()));
    let last = key(&fields[at.unwrap() + 1].clone().text());
    all.iter().filter(|id| key(id) <= last).cloned().collect()
}

/// An id in the order of Redis: milliseconds, then a number.
fn key(id: &str) -> (u64, u64) {
    let (time, number) = id.split_once('-').unwrap();
    (time.parse().unwrap(), number.parse().unwrap())
}

fn check(redis: &mut Redis, stream: &str, all: &BTreeSet<String>, when: &str) {
    // In this order it holds at any moment, also while messages are worked on.
    let delivered = delivered(redis, stream, all);
    let pending = pending(redis, stream);
    let processed = processed(redis, stream);
    let acknowledged: BTreeSet<String> = delivered.difference(&pending).cloned().collect();
    let early: Vec<_> = acknowledged.difference(&processed).collect();
    assert!(early.is_empty(), "{when}: acknowledged before they were processed: {early:?}");
}

/// One life of the subscriber: it works for a time and ends in one of the ways to end. True when it was ended by
/// force.
fn one_life(redis: &mut Redis, stream: &str, round: u64) -> bool {
    let grace = ["grace = \"0s\"", "grace = \"1ms\"", "grace = \"3ms\"", "grace = \"8ms\"", "grace = \"2s\""];
    let app = subscriber(redis.port, stream, grace[round as usize % grace.len()]).start();
    app.wait_for_line("subscribed to");
    // No two rounds end at the same place of the work.
    std::thread::sleep(Duration::from_micros((round * 7919) % 17_000));
    if round % 7 == 6 {
        // A power failure: no hook, no grace.
        app.signal(SIGKILL);
        assert!(app.wait().status.code().is_none());
        return true;
    }
    let output = app.stop();
    let (code, outcome) = (output.code(), output.row("sub").outcome().to_string());
    assert!(
        matches!((code, outcome.as_str()), (0, "stopped") | (124, "cut-off")),
        "{code} {outcome}\n{}",
        output.said()
    );
    code == 124
}

/// R15: in 200 random cut-offs no message is lost and none is acknowledged before it was processed.
#[test]
fn no_message_is_lost_or_acknowledged_early_in_200_cut_offs() {
    let Some(mut redis) = Redis::start() else { return };
    let stream = "orders";
    let mut all = BTreeSet::new();
    let (mut round, mut cut_offs, mut in_hand) = (0, 0, 0);
    while cut_offs < 200 {
        assert!(round < 800, "only {cut_offs} of {round} lives were cut off");
        all.append(&mut add(&mut redis, stream, 6));
        cut_offs += u32::from(one_life(&mut redis, stream, round));
        in_hand += usize::from(!pending(&mut redis, stream).is_empty());
        check(&mut redis, stream, &all, &format!("after life {round}"));
        round += 1;
    }
    assert!(in_hand > 20, "only {in_hand} of {round} lives ended in the middle of a message");
    let app = subscriber(redis.port, stream, "grace = \"20s\"").start_ready();
    let end = std::time::Instant::now() + crate::harness::patience();
    while processed(&mut redis, stream).len() < all.len() {
        assert!(std::time::Instant::now() < end, "messages are lost");
        std::thread::sleep(Duration::from_millis(20));
    }
    app.stop().expect_code(0).expect_hook("sub", "ok");
    assert_eq!(processed(&mut redis, stream), all, "every message was processed");
    assert!(pending(&mut redis, stream).is_empty(), "nothing is pending after a clean stop");
}

/// R15: a clean TERM finishes the message in hand, acknowledges it, and leaves nothing pending; the connection
/// is open while the hook runs.
#[test]
fn a_clean_stop_leaves_nothing_pending() {
    let Some(mut redis) = Redis::start() else { return };
    for round in 0..10 {
        let stream = format!("stream{round}");
        let all = add(&mut redis, &stream, 30);
        let app = subscriber(redis.port, &stream, "grace = \"20s\"").start();
        app.wait_for_line("processed ");
        std::thread::sleep(Duration::from_millis(round));
        let output = app.stop();
        output.expect_code(0).expect_outcome("sub", "stopped").expect_hook("sub", "ok");
        output.expect_line("hook: the connection is open");
        assert!(pending(&mut redis, &stream).is_empty(), "pending after a clean stop\n{}", output.said());
        check(&mut redis, &stream, &all, "after a clean stop");
    }
}

/// R15 at each reload and restart: the old generation finishes what it has in hand, or it is delivered again.
#[test]
fn reloads_and_restarts_lose_no_message() {
    let Some(mut redis) = Redis::start() else { return };
    let stream = "reloaded";
    let version = |redis: &Redis, version: u64| {
        // Every third generation is cut off in the middle of a message, as likely as not.
        let grace = if version % 3 == 2 { "1ms" } else { "10s" };
        let keys = format!("grace = {grace:?}\nenv = {{ VERSION = \"{version}\" }}");
        manifest(redis.port, stream, CONTROL, &keys)
    };
    let mut all = add(&mut redis, stream, 10);
    let app = Host::manifest(&version(&redis, 0)).start_ready();
    for round in 1..=12 {
        all.append(&mut add(&mut redis, stream, 10));
        app.reload(&version(&redis, round));
        app.order("/restart?component=sub").expect(200);
        check(&mut redis, stream, &all, &format!("in round {round}"));
    }
    until("every message is processed", || (processed(&mut redis, stream) == all).then_some(()));
    app.stop().expect_code(0).expect_hook("sub", "ok");
    assert!(pending(&mut redis, stream).is_empty(), "nothing is pending after a clean stop");
}

/// Issue 12, recipes.md: the broker is away for longer than any budget lasts, and the consumer comes back with it.
#[test]
fn a_consumer_outlasts_the_absence_of_its_broker() {
    let Some(mut redis) = Redis::start() else { return };
    let keys = "on-failure = \"restart\"\nrestart = { backoff = [\"50ms\", \"400ms\"] }";
    let manifest = manifest(redis.port, "orders", CONTROL, keys) + &component("sibling", SERVER, "");
    let app = Host::manifest(&manifest).start_ready();
    app.wait_for_line("subscribed to");
    assert!(app.status()["components"][0]["failing_ms"].is_null(), "{}", app.status());
    redis.away();
    let restarts = app.wait_for_logs("component restarts", "sub", 12);
    assert!(restarts[11].number("failing_ms") > 2000.0, "{}", restarts[11].fields);
    assert!(app.component("sub").number("failing_ms") > 2000, "{}", app.status());
    assert_eq!(app.status()["ready"], false);
    redis.back();
    let all = add(&mut redis, "orders", 5);
    until("every message is processed", || (processed(&mut redis, "orders") == all).then_some(()));
    until("a run as long as the longest pause", || {
        (app.status()["components"][0]["failing_ms"].is_null() && app.status()["ready"] == true).then_some(())
    });
    assert_eq!(app.component("sibling").number("restarts"), 0);
    app.stop().expect_code(0).expect_outcome("sub", "stopped").expect_outcome("sibling", "stopped");
}

/// A subscriber that waits for a message that never comes leaves at once.
#[test]
fn an_idle_subscriber_leaves_at_once() {
    let Some(redis) = Redis::start() else { return };
    let app = subscriber(redis.port, "quiet", "grace = \"20s\"").start_ready();
    app.wait_for_line("subscribed to");
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_code(0).expect_outcome("sub", "stopped");
    crate::harness::assert_within(output.after(asked), Duration::from_millis(100), "exit");
}
