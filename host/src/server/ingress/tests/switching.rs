//! R2, R3, R4, R5, I9, I10, I12: others take over, and nobody notices.

use artifacts::{HELLO_HTTP, HELLO_HTTP_CLASSIC, HTTP_LAB};

use super::load::Load;
use super::{Client, World, free_address, plan, threads_named, until};
use crate::runtime::InstanceEvent;
use crate::server::servers::{PrepareError, Server};
use crate::teardown::Outcome;

/// R2, I12: many switches under load: no request fails, and nothing is left behind. Descriptors are the process's: it
/// needs one of its own.
#[test]
fn many_switches_lose_no_request_and_leave_nothing_behind() {
    const ALONE: &str = "CURFEW_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = std::thread::current().name().unwrap().to_owned();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .env(ALONE, "1")
            .status();
        assert!(child.unwrap().success());
        return;
    }
    for source in [HELLO_HTTP, HELLO_HTTP_CLASSIC] {
        let mut world = World::new();
        let mut plan = plan("web-many", source, &["127.0.0.1:0"]);
        // Both threads are there from the first connections on. A busy sync component would start more of up to 32 later, each with
        // descriptors of its own.
        plan.http.instances.max = Some(2);
        let mut current = world.run(&[&plan]);
        let socket = world.socket(current[0]);
        let load = Load::on(socket, "/");
        let mut before = (0, 0);
        for round in 0..60 {
            let fresh = world.switch(&[&plan], &current);
            load.pass(20);
            assert_eq!(world.ended(current[0]), Outcome::Stopped);
            current = fresh;
            assert_eq!(world.socket(current[0]), socket, "port 0 stays what it was");
            if round == 10 {
                before = (threads(), descriptors());
            }
        }
        let answers = load.end();
        assert!(answers > 1000, "{answers}");
        // The load's own connections are gone now, and what the last switches made has to be, too.
        until("no more threads than before", || threads() <= before.0);
        until("no more descriptors than before", || descriptors() <= before.1);
        assert!(threads_named("web-many") > 0);
        world.stop(&current);
        until("no thread is left", || threads_named("web-many") == 0);
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// R3: the same port on more or fewer addresses: clients of the part that stays notice nothing.
#[test]
fn an_address_grows_and_shrinks_under_load() {
    let mut world = World::new();
    let narrow = free_address();
    let wide = narrow.replace("127.0.0.1", "0.0.0.0");
    let mut current = world.run(&[&plan("wide", HELLO_HTTP, &[&wide])]);
    let load = Load::on(narrow.parse().unwrap(), "/");
    for listen in [&narrow, &wide, &narrow, &narrow, &wide, &wide, &narrow] {
        let fresh = world.switch(&[&plan("wide", HELLO_HTTP, &[listen])], &current);
        load.pass(200);
        assert_eq!(world.ended(current[0]), Outcome::Stopped);
        assert!(world.front.urls(fresh[0]).contains(&format!("http://{listen}")));
        current = fresh;
    }
    load.end();
    // Of the others nobody listens any more: all addresses but this one are free.
    until("the wide one is closed", || {
        std::net::TcpListener::bind(narrow.replace("127.0.0.1", "127.0.0.2")).is_ok()
    });
    assert!(std::net::TcpListener::bind(&narrow).is_err());
    world.stop(&current);
    assert!(std::net::TcpListener::bind(&wide).is_ok());
}

/// R3: another address: the new one accepts before the old one closes, which closes as a drain does.
#[test]
fn another_address_opens_before_the_old_one_closes() {
    let mut world = World::new();
    let (old, new) = (free_address(), free_address());
    let current = world.run(&[&plan("web", HTTP_LAB, &[&old])]);
    let mut slow = Client::to(old.parse().unwrap());
    slow.send("/sleep?ms=300").unwrap();
    until("it is in flight", || world.front.stats(current[0]).unwrap().in_flight() == 1);
    let fresh = world.switch(&[&plan("web", HTTP_LAB, &[&new])], &current);
    assert_eq!(Client::to(new.parse().unwrap()).get("/").status, 200);
    until("the old one is closed", || Client::connect(old.parse().unwrap()).is_err());
    let got = slow.receive().unwrap();
    assert_eq!(got.body, "slept 300 ms");
    assert!(got.head.contains("connection: close"));
    assert_eq!(world.ended(current[0]), Outcome::Stopped);
    world.stop(&fresh);
}

/// R3: two that swap their addresses, and a third that nobody touches (R5).
#[test]
fn two_swap_their_addresses_and_a_third_is_untouched() {
    let mut world = World::new();
    let addresses = [free_address(), free_address(), free_address()];
    let [first, second, third] = addresses.each_ref().map(String::as_str);
    let plans =
        |a, b| [plan("a", HTTP_LAB, &[a]), plan("b", HELLO_HTTP, &[b]), plan("c", HTTP_LAB, &[third])];
    let [a, b, c] = plans(first, second);
    let ids = world.run(&[&a, &b, &c]);
    let mut clients = [first, second, third].map(|address| Client::to(address.parse().unwrap()));
    assert_eq!(clients.each_mut().map(|client| client.get("/state").status), [200; 3]);
    let state = clients[2].get("/state").body;
    let [a, b, _] = plans(second, first);
    let fresh = world.switch(&[&a, &b], &ids[..2]);
    assert_eq!(clients[0].get("/nothing").body, "Hello", "b answers where a was, on the same connection");
    assert_eq!(clients[1].get("/nothing").status, 404, "and a where b was");
    let id = |state: &str| state.split_whitespace().last().map(str::to_owned);
    assert_eq!(id(&clients[2].get("/state").body), id(&state), "the same instance");
    assert_eq!(world.ended(ids[0]), Outcome::Stopped);
    assert_eq!(world.ended(ids[1]), Outcome::Stopped);
    world.stop(&[fresh[0], fresh[1], ids[2]]);
}

/// I10: what cannot be had changes nothing, whatever else was prepared.
#[test]
fn a_preparation_that_fails_changes_nothing() {
    let mut world = World::new();
    let (old, new) = (free_address(), free_address());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let current = world.run(&[&plan("web", HELLO_HTTP, &[&old])]);
    let load = Load::on(old.parse().unwrap(), "/");
    for _ in 0..5 {
        let refused = world.prepare(&[&plan("web", HELLO_HTTP, &[&new, &taken])], &current);
        assert!(matches!(refused, Err(PrepareError::Bind { .. })), "{refused:?}");
        assert!(Client::connect(new.parse().unwrap()).is_err());
        // The switch of nothing is none.
        world.front.switch();
        load.pass(20);
    }
    load.end();
    assert_eq!(world.front.urls(current[0]), [format!("http://{old}")]);
    world.stop(&current);
}

/// What was prepared and started is taken back: who serves goes on, who does not ends like any other.
#[test]
fn what_was_started_can_be_taken_back() {
    let mut world = World::new();
    let (old, new) = (free_address(), free_address());
    let current = world.run(&[&plan("back", HELLO_HTTP, &[&old])]);
    let load = Load::on(old.parse().unwrap(), "/");
    let fresh = world.prepare(&[&plan("back", HELLO_HTTP, &[&old, &new])], &current).unwrap();
    world.start(fresh[0]);
    world.entered(fresh[0]);
    world.front.roll_back();
    world.stop(&fresh);
    assert!(Client::connect(new.parse().unwrap()).is_err());
    load.pass(100);
    load.end();
    assert!(world.front.stats(current[0]).is_some() && world.front.stats(fresh[0]).is_none());
    world.stop(&current);
    until("no thread is left", || threads_named("back") == 0);
}

/// R4: a request that goes on is answered by whom it was for; if it takes too long, it breaks off.
#[test]
fn the_old_one_lives_for_as_long_as_its_requests() {
    let mut world = World::new();
    let plan = plan("long", HTTP_LAB, &["127.0.0.1:0"]);
    let first = world.run(&[&plan])[0];
    let socket = world.socket(first);
    let mut slow = Client::to(socket);
    slow.send("/sleep?ms=400").unwrap();
    let mut parked = Client::to(socket);
    until("one is in flight", || world.front.stats(first).unwrap().in_flight() == 1);
    let second = world.switch(&[&plan], &[first])[0];
    assert_eq!(slow.receive().unwrap().body, "slept 400 ms");
    assert_eq!(world.ended(first), Outcome::Stopped);
    assert_eq!(slow.get("/").body, "Hello 1", "the same connection, another instance");
    parked.send("/park").unwrap();
    until("one is in flight", || world.front.stats(second).unwrap().in_flight() == 1);
    let third = world.switch(&[&plan], &[second])[0];
    world.cut(second);
    assert_eq!(world.ended(second), Outcome::CutOff);
    let got = parked.receive().map(|got| got.status);
    assert!(got.as_ref().is_ok_and(|status| *status == 503) || got.is_err(), "{got:?}");
    assert!(!world.was_told(|event| matches!(event, InstanceEvent::HostBug)));
    world.stop(&[third]);
}

/// Who is on an address that moves to somebody else stays connected, on the threads of the one who was there.
#[test]
fn an_address_can_go_to_another_component() {
    let mut world = World::new();
    let listen = free_address();
    let old = world.run(&[&plan("leaves", HTTP_LAB, &[&listen])])[0];
    let mut client = Client::to(listen.parse().unwrap());
    assert_eq!(client.get("/nothing").status, 404);
    let new = world.switch(&[&plan("comes", HELLO_HTTP, &[&listen])], &[old])[0];
    assert_eq!(world.ended(old), Outcome::Stopped);
    assert_eq!(client.get("/nothing").body, "Hello");
    assert_eq!(Client::to(listen.parse().unwrap()).get("/nothing").body, "Hello");
    drop(client);
    until("its threads have ended", || threads_named("leaves") == 0);
    world.stop(&[new]);
}
