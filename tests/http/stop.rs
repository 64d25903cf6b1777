//! H3, H4, H8, H10: connections that hold nothing up, and requests that are finished.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use artifacts::{HELLO_HTTP, HELLO_HTTP_CLASSIC};
use nix::sys::signal::Signal::{SIGINT, SIGQUIT, SIGTERM};

use super::lab::{LABS, MS, connect, serve, served};
use crate::harness::{
    Address, Cut, H2, Host, Trust, Wire, app, assert_within, block_on, component, start_threads, until, web,
};

/// Connections that have not sent a byte for so long are old.
const OLD: Duration = Duration::from_secs(5);

/// The bound of H3 and H4 on an idle machine.
const AT_ONCE: Duration = Duration::from_millis(100);

fn hello(source: &str) -> crate::harness::App {
    Host::manifest(&(app("grace = \"60s\"") + &web("web", source, ""))).start_ready()
}

/// H3 (hyper#2730, golang#22682): ten connections that have not sent a byte for 5 s → stop in 100 ms.
#[test]
fn connections_that_never_send_a_byte_do_not_hold_the_stop() {
    for source in [HELLO_HTTP, HELLO_HTTP_CLASSIC] {
        let app = hello(source);
        let address = app.address("web");
        // They have been accepted when one that came later has its answer.
        let mut silent: Vec<Wire> = (0..10).map(|_| Wire::connect(&address)).collect();
        Wire::connect(&address).get("/").expect(200);
        // The scenario is about this time.
        std::thread::sleep(OLD);
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        output.expect_code(0).expect_outcome("web", "stopped").expect_hook("web", "ok");
        assert_within(output.after(asked), AT_ONCE, "the stop with silent connections");
        for wire in &mut silent {
            assert_eq!(wire.end(), Cut::End, "the end of a connection that was never used");
        }
    }
}

/// Half a head is not waited for, either; when it is whole in time it is answered.
#[test]
fn half_a_request_does_not_hold_the_stop_for_long() {
    for source in [HELLO_HTTP, HELLO_HTTP_CLASSIC] {
        for finished in [false, true] {
            let app = hello(source);
            let mut half = Wire::connect(&app.address("web"));
            half.send("GET / HTTP/1.1\r\nhost: a\r\n");
            half.until_read();
            let asked = app.signal(SIGTERM);
            app.wait_for_log("listener closed", "web");
            if finished {
                half.send("\r\n");
                assert!(half.fate().answered().expect(200).closes());
            }
            assert_eq!(half.end(), Cut::End);
            let output = app.wait();
            output.expect_code(0).expect_outcome("web", "stopped");
            assert_within(output.after(asked), Duration::from_millis(1100), "the stop with half a request");
        }
    }
}

/// H4 (node#2642, wai#853): fifty idle keep-alive connections → stop in 100 ms.
#[test]
fn idle_connections_do_not_hold_the_stop() {
    for source in [HELLO_HTTP, HELLO_HTTP_CLASSIC] {
        let app = hello(source);
        let address = app.address("web");
        let mut idle: Vec<Wire> = (0..50).map(|_| Wire::connect(&address)).collect();
        for wire in &mut idle {
            assert!(!wire.get("/").expect(200).closes());
        }
        let asked = app.signal(SIGTERM);
        for wire in &mut idle {
            assert_eq!(wire.end(), Cut::End);
        }
        let output = app.wait();
        output.expect_code(0).expect_outcome("web", "stopped");
        assert_within(output.after(asked), AT_ONCE, "the stop with idle connections");
        assert_eq!(served(&output, "web"), 50);
    }
}

/// H4 over HTTP/2.
#[test]
fn idle_http2_connections_do_not_hold_the_stop() {
    for source in [HELLO_HTTP, HELLO_HTTP_CLASSIC] {
        let app = hello(source);
        let address = app.address("web");
        let asked = block_on(async {
            let mut idle = Vec::new();
            for _ in 0..50 {
                let client = H2::connect(&address).await;
                client.get("/").await.expect(200);
                idle.push(client);
            }
            let asked = app.signal(SIGTERM);
            for client in &mut idle {
                client.goes_away().await;
                let ended = crate::harness::in_time("the end", &mut client.connection).await.unwrap();
                assert!(ended.is_ok(), "{ended:?}");
            }
            asked
        });
        let output = app.wait();
        output.expect_code(0).expect_outcome("web", "stopped");
        assert_within(output.after(asked), AT_ONCE, "the stop with idle HTTP/2 connections");
    }
}

/// H3 and H4 with TLS, handshakes that never begin among them, and over a unix socket.
#[test]
fn idle_connections_of_any_kind_do_not_hold_the_stop() {
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
    let manifest = app("grace = \"60s\"")
        + &web("secure", HELLO_HTTP, tls)
        + &component("local", HELLO_HTTP, "listen = [\"unix:web.sock\"]");
    let (host, trust) = Trust::install(Host::manifest(&manifest));
    let app = host.start_ready();
    let (secure, local) = (app.address("secure"), app.address("local"));
    let mut idle: Vec<Wire> = (0..10).map(|_| Wire::connect_tls(&secure, &trust, &["http/1.1"])).collect();
    idle.extend((0..10).map(|_| Wire::connect(&local)));
    idle.iter_mut().for_each(|wire| drop(wire.get("/").expect(200)));
    let silent = (0..10).map(|number| Wire::connect(if number % 2 == 0 { &secure } else { &local }));
    let _silent: Vec<Wire> = silent.collect();
    // The scenario is about this time.
    std::thread::sleep(OLD);
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_code(0).expect_outcome("secure", "stopped").expect_outcome("local", "stopped");
    assert_within(output.after(asked), AT_ONCE, "the stop with idle connections");
    for wire in &mut idle {
        // With TLS it is closed with the closing word.
        assert_eq!(wire.end(), Cut::End);
    }
}

/// A handshake that has begun gets a little time, as half a request does.
#[test]
fn half_a_handshake_does_not_hold_the_stop_for_long() {
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
    let (host, trust) =
        Trust::install(Host::manifest(&(app("grace = \"60s\"") + &web("web", HELLO_HTTP, tls))));
    let app = host.start_ready();
    let address = app.address("web");
    Wire::connect_tls(&address, &trust, &["http/1.1"]).get("/").expect(200);
    let mut half = Wire::connect(&address);
    // The beginning of a client's hello.
    half.send([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]);
    half.until_read();
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_code(0).expect_outcome("web", "stopped");
    assert_within(output.after(asked), Duration::from_millis(1100), "the stop with half a handshake");
    drop(half);
}

/// H8 (envoy#8031): connect after the listener closed → refused at once, not hanging in the backlog.
#[test]
fn a_client_is_refused_once_the_listener_is_closed() {
    for source in LABS {
        let listen = "listen = [\"127.0.0.1:0\", \"unix:web.sock\"]";
        let app = Host::manifest(&(app("") + &component("lab", source, listen))).start_ready();
        let addresses = app.addresses("lab", 2);
        let mut under_way = Wire::connect(&addresses[0]);
        under_way.begin_get("/sleep?ms=1500");
        let asked = app.signal(SIGTERM);
        let closed = app.wait_for_logs("listener closed", "lab", addresses.len());
        assert_within(closed[1].at - asked, AT_ONCE, "the listeners are closed");
        for address in &addresses {
            let begun = Instant::now();
            let refused = Wire::try_connect(address).map(drop).map_err(|error| error.kind());
            assert!(is_refusal(address, refused), "{address:?}: {refused:?}");
            assert_within(begun.elapsed(), 20 * MS, "the refusal");
        }
        assert!(!app.has_ended(), "the listener closes first, while the request is under way");
        let answer = under_way.fate().answered().expect(200);
        assert!(answer.closes(), "{:?}", answer.headers);
        app.wait().expect_code(0);
    }
}

fn is_refusal(address: &Address, result: Result<(), ErrorKind>) -> bool {
    let no_socket = matches!(address, Address::Unix(_)) && result == Err(ErrorKind::NotFound);
    no_socket || result == Err(ErrorKind::ConnectionRefused)
}

/// H10 (wasmtime#7107): TERM during a 2 s request → 200, exit 0. The hook comes after it.
#[test]
fn a_request_under_way_is_answered() {
    let cases: Vec<_> = LABS
        .into_iter()
        .flat_map(|source| [SIGTERM, SIGINT, SIGQUIT].map(|signal| (source, signal)))
        .collect();
    crate::in_parallel(3, cases, |(source, signal)| {
        let app = serve(source, "grace = \"20s\"", "instances = { max = 1 }");
        let mut wire = connect(&app);
        wire.begin_get("/sleep?ms=2000");
        app.signal(signal);
        let answer = wire.fate().answered().expect(200);
        assert_eq!(answer.text(), "slept 2000 ms");
        assert!(answer.closes(), "late answers end the connection: {:?}", answer.headers);
        assert_eq!(wire.end(), Cut::End);
        let output = app.wait();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
        assert_eq!(output.row("lab").number("in_flight_ended"), 0.0, "{:?}", output.row("lab"));
    });
}

/// Requests that wait for a free instance when the stop comes were accepted: they are answered, too.
#[test]
fn requests_that_wait_for_an_instance_are_answered() {
    for source in LABS {
        let app = serve(source, "grace = \"20s\"", super::lab::SINGLE);
        let address = app.address("lab");
        let mut waiting: Vec<Wire> = (0..6).map(|_| Wire::connect(&address)).collect();
        for wire in &mut waiting {
            wire.begin_get("/sleep?ms=150");
        }
        app.signal(SIGTERM);
        for wire in &mut waiting {
            wire.fate().answered().expect(200);
        }
        let output = app.wait();
        output.expect_code(0).expect_hook("lab", "ok");
        assert_eq!(served(&output, "lab"), 6);
    }
}

/// Design 2, `drain-delay`: not ready, but still serving; then the listeners close. INT ends the delay.
#[test]
fn requests_are_served_during_the_drain_delay() {
    for source in LABS {
        let app = serve(source, "drain-delay = \"1s\"\ngrace = \"20s\"", "");
        let address = app.address("lab");
        let mut kept = connect(&app);
        kept.get("/").expect(200);
        let asked = app.signal(SIGTERM);
        app.wait_for_log("app not ready", "");
        kept.get("/").expect(200);
        for _ in 0..10 {
            Wire::connect(&address).get("/").expect(200);
        }
        assert!(app.records("listener closed", "").is_empty());
        let closed = app.wait_for_log("listener closed", "lab");
        assert!(closed.at - asked >= 990 * MS, "the listener closed after {:?}", closed.at - asked);
        app.wait().expect_code(0).expect_outcome("lab", "stopped");

        let app = serve(source, "drain-delay = \"30s\"\ngrace = \"20s\"", "");
        let address = app.address("lab");
        app.signal(SIGTERM);
        app.wait_for_log("app not ready", "");
        Wire::connect(&address).get("/").expect(200);
        let asked = app.signal(SIGINT);
        let output = app.wait();
        output.expect_code(0);
        assert_within(output.after(asked), AT_ONCE, "the stop when the delay was ended");
    }
}

/// I12: the connections that come and go leave nothing behind in a host that goes on.
#[test]
fn connections_that_have_gone_leave_nothing_behind() {
    let app = hello(HELLO_HTTP);
    let address = app.address("web");
    let come_and_go = |count: usize| {
        for _ in 0..count {
            let mut wire = Wire::connect(&address);
            wire.get("/").expect(200);
            // Half a request, and gone.
            wire.send("GET / HTTP/1.1\r\nhost");
        }
    };
    start_threads(&address);
    come_and_go(50);
    let (descriptors, threads) = (app.descriptors(), app.threads());
    come_and_go(300);
    until("as many descriptors as before", || (app.descriptors() <= descriptors + 2).then_some(()));
    assert!(app.threads() <= threads + 2, "{} threads, {threads} before", app.threads());
    app.stop().expect_code(0);
}
