//! R3 (the TCP server post), I9: a reload to another address. The new one accepts before the old one stops; when it cannot be
//! had, the old one is untouched; addresses can be swapped, and change between one interface and all of them.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use artifacts::HTTP_LAB;

use super::shop::{lab, seen};
use crate::harness::{Address, CONTROL, Host, Load, Target, Wire, app, component, free_address, free_port};

fn tcp(address: SocketAddr) -> Address {
    Address::Tcp(address)
}

fn answers(address: SocketAddr) -> bool {
    Wire::try_connect(&tcp(address)).is_ok_and(|mut wire| wire.get("/").status == 200)
}

#[test]
fn the_new_address_accepts_before_the_old_one_stops() {
    let (old, new) = (free_address(), free_address());
    let manifest = |address| app(CONTROL) + &lab("lab", address, 1, "");
    let app = Host::manifest(&manifest(old)).start_ready();
    let mut slow = Wire::connect(&tcp(old));
    slow.begin_get("/sleep?ms=700");
    let mut idle = Wire::connect(&tcp(old));
    let first = seen(&mut idle).id;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                // Whoever finds the old one closed finds the new one open.
                assert!(answers(old) || answers(new), "nobody accepts");
            }
        });
        app.reload(&manifest(new));
        let mut wire = Wire::connect(&tcp(new));
        assert_ne!(seen(&mut wire).id, first);
        over.store(true, SeqCst);
    });
    assert_eq!(
        slow.fate().answered().expect(200).text(),
        "slept 700 ms",
        "accepted before, so it is answered"
    );
    crate::harness::until("the old address to refuse", || {
        Wire::try_connect(&tcp(old)).is_err().then_some(())
    });
    app.wait_for_generation("lab", 2);
    assert_eq!(app.listeners().into_keys().collect::<Vec<_>>(), [new]);
    let listening = app.wait_for_logs("listening", "lab", 2).pop().unwrap();
    let closed = app.wait_for_log("listener closed", "lab");
    assert!(listening.at <= closed.at);
    assert_eq!(Address::parse(&listening.text("address")), tcp(new));
    assert_eq!(Address::parse(&closed.text("address")), tcp(old));
    app.stop().expect_code(0);
}

#[test]
fn an_address_that_cannot_be_had_leaves_the_old_one() {
    let others = TcpListener::bind("127.0.0.1:0").unwrap();
    let (old, taken) = (free_address(), others.local_addr().unwrap());
    let manifest = |address| app(CONTROL) + &lab("lab", address, 1, "");
    let app = Host::manifest(&manifest(old)).start_ready();
    let (mut wire, listeners) = (Wire::connect(&tcp(old)), app.listeners());
    let first = seen(&mut wire);
    let error = app.reload_fails(&manifest(taken)).text("error");
    assert!(error.contains(&taken.to_string()), "{error}");
    assert_eq!(app.listeners(), listeners);
    assert_eq!(seen(&mut wire).id, first.id);
    drop(others);
    app.reload(&manifest(taken));
    let second = seen(&mut Wire::connect(&tcp(taken)));
    assert_ne!(second.id, first.id);
    app.stop().expect_code(0);
}

/// Two components swap their addresses: each socket stays, and has another component behind it from one moment on.
#[test]
fn two_addresses_are_swapped() {
    let (one, two) = (free_address(), free_address());
    let manifest = |[a, b]: [SocketAddr; 2]| {
        let table = |name: &str, address| {
            component(name, HTTP_LAB, &format!("listen = [\"{address}\"]\ninstances = {{ max = 1 }}"))
        };
        app(CONTROL) + &table("a", a) + &table("b", b)
    };
    let app = Host::manifest(&manifest([one, two])).start_ready();
    let listeners = app.listeners();
    let targets = [("one", one), ("two", two)].map(|(name, address)| Target::new(name, tcp(address), "/"));
    let load = Load::start(200, &targets);
    for round in 1..=4_u64 {
        load.wait_for_answers(round * 30);
        app.reload(&manifest(if round % 2 == 1 { [two, one] } else { [one, two] }));
        assert_eq!(app.listeners(), listeners, "the same two sockets");
    }
    load.wait_for_answers(150);
    let tally = load.end();
    let failures = tally.others(&[]);
    assert!(failures.is_empty() && tally.sent_again == 0, "{failures:?} {tally:?}");
    app.stop().expect_code(0).expect_outcome("a", "stopped").expect_outcome("b", "stopped");
}

/// Who answers where, seen by the counts of the instances.
#[test]
fn after_a_swap_each_address_has_the_other_component() {
    let (one, two) = (free_address(), free_address());
    let manifest = |a: SocketAddr, b: SocketAddr| {
        app(CONTROL)
            + &lab("a", a, 1, "")
            + &component("b", artifacts::HELLO_HTTP, &format!("listen = [\"{b}\"]"))
    };
    let app = Host::manifest(&manifest(one, two)).start_ready();
    let is_lab = |address| {
        Wire::connect(&tcp(address)).get("/state").text().split(' ').nth(1).is_some_and(|id| id.len() > 8)
    };
    assert_eq!((is_lab(one), is_lab(two)), (true, false));
    let mut kept = Wire::connect(&tcp(one));
    seen(&mut kept);
    app.reload(&manifest(two, one));
    assert_eq!((is_lab(one), is_lab(two)), (false, true));
    app.stop().expect_code(0);
}

/// `0.0.0.0` → `127.0.0.1` on one port, and back, while clients come.
#[test]
fn one_interface_becomes_all_of_them_and_back() {
    let port = free_port();
    let all = SocketAddr::from(([0, 0, 0, 0], port));
    let one = SocketAddr::from(([127, 0, 0, 1], port));
    let manifest = |address| app(CONTROL) + &lab("lab", address, 1, "");
    let app = Host::manifest(&manifest(all)).start_ready();
    let load = Load::start(200, &[Target::new("lab", tcp(one), "/")]);
    let mut ids = vec![seen(&mut Wire::connect(&tcp(one))).id];
    for (round, address) in [one, all, one, all].into_iter().enumerate() {
        load.wait_for_answers(30 * (round as u64 + 1));
        app.reload(&manifest(address));
        let id = seen(&mut Wire::connect(&tcp(one))).id;
        assert!(!ids.contains(&id), "{address}: an old generation answers a new connection");
        ids.push(id);
        // The socket of the one is heard as a part of all: to close it could reset somebody. The other way round it must go.
        crate::harness::until(&format!("no address but {address}"), || {
            let open: Vec<_> = app.listeners().into_keys().collect();
            (open.contains(&address) && (address == all || open == [one])).then_some(())
        });
    }
    load.wait_for_answers(150);
    let tally = load.end();
    let failures = tally.others(&[]);
    assert!(failures.is_empty(), "{failures:?} {tally:?}");
    app.stop().expect_code(0);
}
