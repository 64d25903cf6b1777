//! Real TCP servers in components: a client gets its whole answer though the stop comes in the middle of it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use artifacts::{TCP_ECHO, TCP_ECHO_CLASSIC};
use nix::sys::signal::Signal::{SIGINT, SIGTERM};

use crate::harness::{App, Host, LineClient, app, assert_within, component, keys};

fn echo(source: &str, delay_ms: &str) -> App {
    let granted = format!("{}\nnetwork = {{ listen = [\"127.0.0.1:0\"] }}", keys(&["127.0.0.1:0", delay_ms]));
    Host::manifest(&(app("grace = \"20s\"") + &component("echo", source, &granted))).start_ready()
}

/// Issue 2, done when: a TCP client gets its answers while Ctrl-C is pressed in the middle of one. Its
/// connection is half-closed after the last answer.
#[test]
fn a_client_gets_its_whole_answer_though_the_stop_comes_in_the_middle() {
    for source in [TCP_ECHO, TCP_ECHO_CLASSIC] {
        for signal in [SIGTERM, SIGINT] {
            let app = echo(source, "400");
            let mut client = LineClient::connect(app.port("echo"));
            client.send("first");
            assert_eq!(client.receive().as_deref(), Some("first"));
            client.send("second");
            // The middle of the answer is what the scenario is about.
            std::thread::sleep(Duration::from_millis(150));
            app.signal(signal);
            assert_eq!(client.receive().as_deref(), Some("second"));
            assert_eq!(client.receive(), None, "the end of the answers");
            client.finish();
            drop(client);
            app.wait().expect_code(0).expect_outcome("echo", "stopped").expect_hook("echo", "ok");
        }
    }
}

/// What has arrived before the notice is answered, all of it.
#[test]
fn every_line_sent_before_the_stop_is_answered() {
    for source in [TCP_ECHO, TCP_ECHO_CLASSIC] {
        let app = echo(source, "0");
        let mut client = LineClient::connect(app.port("echo"));
        client.send("hello");
        assert_eq!(client.receive().as_deref(), Some("hello"));
        let lines: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
        client.send(&lines.join("\n"));
        app.signal(SIGTERM);
        let answers = client.receive_all();
        assert_eq!(answers.lines().collect::<Vec<_>>(), lines);
        client.finish();
        drop(client);
        app.wait().expect_code(0).expect_outcome("echo", "stopped");
    }
}

/// A client that stays connected and says nothing sees the half-close, and holds nobody up for long.
#[test]
fn a_silent_client_sees_the_half_close() {
    for source in [TCP_ECHO, TCP_ECHO_CLASSIC] {
        let app = echo(source, "0");
        let mut client = LineClient::connect(app.port("echo"));
        client.send("hello");
        assert_eq!(client.receive().as_deref(), Some("hello"));
        let asked = app.signal(SIGTERM);
        assert_eq!(client.receive(), None, "the end of the answers");
        let output = app.wait();
        output.expect_code(0).expect_outcome("echo", "stopped");
        assert_within(output.after(asked), Duration::from_millis(600), "exit with a client that stays");
    }
}

/// I8: after a listener has closed nothing new enters.
#[test]
fn a_new_client_is_refused_once_the_stop_has_begun() {
    for source in [TCP_ECHO, TCP_ECHO_CLASSIC] {
        let app = echo(source, "1500");
        let port = app.port("echo");
        let mut client = LineClient::connect(port);
        client.send("slow");
        // The middle of the answer is what the scenario is about.
        std::thread::sleep(Duration::from_millis(300));
        app.signal(SIGTERM);
        // The guest closes its listener when it has heard of the stop; until then a client is let in.
        let end = Instant::now() + crate::harness::patience();
        while TcpStream::connect(("127.0.0.1", port)).is_ok() {
            assert!(Instant::now() < end, "new clients are let in for ever");
            std::thread::yield_now();
        }
        assert!(!app.has_ended(), "the listener closes first, while the answer is under way");
        assert_eq!(client.receive().as_deref(), Some("slow"));
        client.finish();
        drop(client);
        app.wait().expect_code(0);
    }
}

/// feasibility, toolchains: a guest that polls more ready sockets than tokio's budget of 128 does not spin.
#[test]
fn three_hundred_clients_at_once_are_all_answered() {
    for source in [TCP_ECHO, TCP_ECHO_CLASSIC] {
        let app = echo(source, "0");
        let port = app.port("echo");
        let mut clients: Vec<_> = (0..300).map(|_| LineClient::connect(port)).collect();
        for round in ["one", "two"] {
            clients.iter_mut().for_each(|client| client.send(round));
            for client in &mut clients {
                assert_eq!(client.receive().as_deref(), Some(round));
            }
        }
        app.signal(SIGTERM);
        for client in &mut clients {
            assert_eq!(client.receive(), None, "the end of the answers");
        }
        drop(clients);
        app.wait().expect_code(0).expect_outcome("echo", "stopped");
    }
}
