//! Bytes: both directions, half-closed either way, slow ones, many of them, and clients that leave.

use std::io::{Read, Write};
use std::time::Duration;

use artifacts::TCP_LAB;
use nix::unistd::Pid;

use super::client::{Client, End};
use super::lab::{lab, who};
use crate::harness::{Address, Host, app, component};

const MIB: usize = 1 << 20;

/// The client says that it sends no more, and gets the whole answer.
#[test]
fn a_client_can_close_its_half() {
    let app = lab("", "");
    let mut client = Client::new(&app, "lab");
    client.send("count\n");
    client.0.write_all(&vec![b'y'; 3 * MIB]).unwrap();
    client.0.finish();
    assert_eq!(client.rest_text(), ((3 * MIB).to_string() + "\n", End::Clean));
    app.stop().expect_code(0).expect_line("input ended");
}

/// H7 for connections: the guest ends with much unread, and its client gets the whole answer and a clean end.
#[test]
fn a_guest_can_end_with_something_unread() {
    let app = lab("", "");
    let mut client = Client::new(&app, "lab");
    client.send("bye\n");
    let more = vec![b'y'; MIB];
    // The host reads on for a while; where it does not any more, the rest of it is not sent.
    let _ = client.0.write_all(&more);
    client.0.finish();
    assert_eq!(client.rest_text(), ("bye\n".to_owned(), End::Clean));
    app.stop().expect_code(0);
}

#[test]
fn a_guest_is_told_of_its_client() {
    let app = lab("", "");
    let mut client = Client::new(&app, "lab");
    let own = client.0.tcp().local_addr().unwrap().to_string();
    client.send("who\n");
    let (text, _) = client.rest_text();
    assert!(text.starts_with(&format!("{own} ")), "{text:?} is not from {own}");
    app.stop().expect_code(0);
}

/// The host's memory in KiB.
fn memory(pid: Pid) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A client that takes nothing: the guest waits, and nothing piles up. When it takes it again, all of it is there.
#[test]
fn what_a_slow_client_does_not_take_is_not_held_by_the_host() {
    let app = lab("", "");
    who(&app);
    let before = memory(app.pid());
    let mut client = Client::new(&app, "lab");
    client.send(&format!("flood {}\n", 100 * MIB));
    // Long enough for a host that does not wait to have it all.
    std::thread::sleep(Duration::from_millis(700));
    let held = memory(app.pid()).saturating_sub(before);
    assert!(held < 20 << 10, "the host holds {held} KiB");
    let (bytes, end) = client.rest();
    assert_eq!((bytes.len(), end), (100 * MIB, End::Clean));
    app.stop().expect_code(0);
}

/// A hundred MiB through and back, with flat memory.
#[test]
fn much_goes_through_in_both_directions_with_flat_memory() {
    let app = lab("", "");
    let mut client = Client::new(&app, "lab");
    client.send("echo\n");
    client.say("ready");
    let before = memory(app.pid());
    let mut sender = client.0.tcp().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let block: Vec<u8> = (0..MIB).map(|at| u8::try_from(at % 251).unwrap()).collect();
        (0..100).for_each(|_| sender.write_all(&block).unwrap());
        sender.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let (mut got, mut most, mut block) = (0, 0, vec![0; MIB]);
    while got < 100 * MIB {
        client.0.read_exact(&mut block).unwrap();
        assert!(block.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251), "after {got}");
        got += MIB;
        most = most.max(memory(app.pid()));
    }
    sending.join().unwrap();
    assert_eq!(client.rest(), (Vec::new(), End::Clean));
    let grown = most.saturating_sub(before);
    assert!(grown < 20 << 10, "the host has grown by {grown} KiB");
    app.stop().expect_code(0);
}

/// H12: the client goes away; the guest's writes end without a trap, and nothing holds the stop.
#[test]
fn a_client_that_leaves_ends_both_directions_for_its_guest() {
    for order in ["deaf\n", "flood 10000000000\n"] {
        let app = lab("grace = \"20s\"", "");
        let id = who(&app).1;
        let mut client = Client::new(&app, "lab");
        client.send(order);
        client.expect("xxxx");
        drop(client);
        app.wait_for_line("output dropped");
        assert_eq!(who(&app).1, id, "it is the same instance");
        app.stop().expect_code(0).expect_outcome("lab", "stopped");
    }
    let app = lab("grace = \"20s\"", "");
    let mut client = Client::new(&app, "lab");
    client.send("echo\nhello");
    client.expect("hello");
    socket2::SockRef::from(client.0.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    app.wait_for_line("input ended");
    app.stop().expect_code(0).expect_outcome("lab", "stopped");
}

#[test]
fn unix_sockets_and_several_addresses_are_served() {
    let keys = "listen = [\"unix:lab.sock\", \"127.0.0.1:0\", \"127.0.0.1:0\"]";
    let app = Host::manifest(&(app("") + &component("lab", TCP_LAB, keys))).start_ready();
    let addresses = app.addresses("lab", 3);
    assert_eq!(addresses.iter().filter(|address| matches!(address, Address::Tcp(_))).count(), 2);
    for address in &addresses {
        let mut client = Client::at(address);
        client.send("who\n");
        let (text, end) = client.rest_text();
        let peer = if matches!(address, Address::Unix(_)) { "unix " } else { "127.0.0.1:" };
        assert!(text.starts_with(peer) && end == End::Clean, "{text:?} {end:?}");
    }
    let output = app.stop();
    output.expect_code(0);
    assert!(!output.dir.path().join("lab.sock").exists(), "the socket's file is left behind");
}
