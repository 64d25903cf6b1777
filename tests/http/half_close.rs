//! The end of a client's input: one that closes its writing half behind its request gets its whole answer, one that has left is
//! noticed, and an answer that is cut never looks whole.

use std::io::Read;
use std::time::{Duration, Instant};

use artifacts::{HELLO_HTTP, HTTP_LAB};
use nix::sys::signal::Signal::SIGTERM;

use super::lab::{LABS, MS, connect, serve};
use crate::harness::{
    Answer, App, CONTROL, Cut, Fate, Host, Load, Target, Trust, Wire, app, assert_within, component, until,
    web,
};

/// Sends a whole request, closes the writing half, and returns what becomes of it.
#[track_caller]
fn ask(mut wire: Wire, request: &str) -> Fate {
    wire.send(request);
    wire.stream().finish();
    wire.fate()
}

#[track_caller]
fn answer(wire: Wire, request: &str) -> Answer {
    ask(wire, request).answered().expect(200)
}

/// As `nc -N` and probes do it, over everything that the host listens on.
#[test]
fn who_has_said_all_gets_the_whole_answer() {
    for source in LABS {
        let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
        let manifest = app("")
            + &web("lab", source, "")
            + &web("secure", source, tls)
            + &component("local", source, "listen = [\"unix:web.sock\"]");
        let (host, trust) = Trust::install(Host::manifest(&manifest));
        let app = host.start_ready();
        let wires: [(&str, &dyn Fn() -> Wire); 3] = [
            ("TCP", &|| Wire::connect(&app.address("lab"))),
            ("TLS", &|| Wire::connect_tls(&app.address("secure"), &trust, &["http/1.1"])),
            ("unix", &|| Wire::connect(&app.address("local"))),
        ];
        for (name, wire) in wires {
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                let get = |path: &str| format!("GET {path} {version}\r\nhost: a\r\n\r\n");
                assert_eq!(answer(wire(), &get("/sleep?ms=300")).text(), "slept 300 ms", "{name} {version}");
                assert_eq!(
                    answer(wire(), &get("/big?bytes=3000000")).body.len(),
                    3_000_000,
                    "{name} {version}"
                );
                let post = format!("POST /echo {version}\r\nhost: a\r\ncontent-length: 5\r\n\r\nHello");
                assert_eq!(answer(wire(), &post).text(), "Hello", "{name} {version}");
            }
            // Two at once, and both are answered.
            let mut both = wire();
            both.send("GET /sleep?ms=200 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2));
            both.stream().finish();
            for _ in 0..2 {
                assert_eq!(both.fate().answered().expect(200).text(), "slept 200 ms", "{name}");
            }
            assert_eq!(both.end(), Cut::End, "{name}");
        }
        app.stop().expect_code(0);
    }
}

/// 20 MB over HTTP/1.0, to a client that reads slowly at first: the end of the connection is the end of the answer.
#[test]
fn a_download_over_http_1_0_is_whole() {
    for source in LABS {
        let app = serve(source, "access-log = \"text\"", "");
        let mut wire = connect(&app);
        wire.send("GET /big?bytes=20000000 HTTP/1.0\r\n\r\n");
        wire.stream().finish();
        assert_eq!(wire.head().status, 200);
        // The scenario is about this time: the host's buffers are full.
        std::thread::sleep(1500 * MS);
        assert_eq!(wire.rest().answered().body.len(), 20_000_000);
        app.wait_for_line("complete");
        app.stop().expect_code(0);
    }
}

/// The stop waits for the answer.
#[test]
fn who_has_said_all_gets_the_whole_answer_during_a_stop() {
    for source in LABS {
        let app = serve(source, "grace = \"20s\"", "");
        let mut wire = connect(&app);
        wire.begin_get("/sleep?ms=1000");
        wire.stream().finish();
        app.signal(SIGTERM);
        app.wait_for_log("listener closed", "lab");
        assert_eq!(wire.fate().answered().expect(200).text(), "slept 1000 ms");
        let output = app.wait();
        output.expect_code(0).expect_outcome("lab", "stopped");
    }
}

/// CPU time of the host so far.
fn cpu(app: &App) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", app.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Twenty connections that are half closed while the guest is slow cost next to nothing.
#[test]
fn a_half_closed_connection_does_not_spin() {
    let app = serve(HTTP_LAB, "", "");
    let mut wires: Vec<Wire> = (0..20).map(|_| connect(&app)).collect();
    for wire in &mut wires {
        wire.begin_get("/sleep?ms=3000");
        wire.stream().finish();
    }
    let before = cpu(&app);
    for wire in &mut wires {
        assert_eq!(wire.fate().answered().expect(200).text(), "slept 3000 ms");
    }
    let used = cpu(&app) - before;
    assert!(used < 500 * MS, "{used:?} of CPU for connections that wait");
    app.stop().expect_code(0);
}

/// A reset, the end of a unix socket, and a client that gives up after a while: their requests end as left.
#[test]
fn a_client_that_has_left_is_noticed() {
    let manifest = app(&format!("{CONTROL}\naccess-log = \"json\"\ngrace = \"2s\""))
        + &web("lab", HTTP_LAB, "")
        + &component("local", HTTP_LAB, "listen = [\"unix:web.sock\"]")
        + &web("fine", HELLO_HTTP, "");
    let app = Host::manifest(&manifest).start_ready();
    let load = Load::start(50, &[Target::new("fine", app.address("fine"), "/")]);
    let left = |number: usize, name: &str, leave: &dyn Fn(Wire)| {
        let mut wire = Wire::connect(&app.address(name));
        let path = format!("/park?{number}");
        wire.send_get(&path);
        until("it is in flight", || (app.component(name).number("in_flight") > 0).then_some(()));
        let begun = Instant::now();
        leave(wire);
        app.wait_for_line(&path);
        begun.elapsed()
    };
    assert_within(left(0, "lab", &Wire::leave), 500 * MS, "the end of a reset request");
    assert_within(left(1, "local", &drop), 500 * MS, "the end of a request over a unix socket");
    let gives_up = |wire: Wire| {
        // The scenario is about this time.
        std::thread::sleep(5500 * MS);
        drop(wire);
    };
    assert_within(left(2, "lab", &gives_up), 6000 * MS, "the end of a request that was given up");
    let half_closed_then_reset = |wire: Wire| {
        wire.stream().finish();
        std::thread::sleep(300 * MS);
        wire.leave();
    };
    assert_within(left(3, "lab", &half_closed_then_reset), 800 * MS, "the end of a reset half");
    load.wait_for_answers(1);
    assert_eq!(load.end().others(&[]), [""; 0]);
    let output = app.stop();
    let lines: Vec<_> = output.lines.iter().filter(|line| line.contains("/park?")).collect();
    assert_eq!(lines.len(), 4, "{}", output.said());
    assert!(lines.iter().all(|line| line.contains("client-left")), "{lines:?}");
}

/// What is cut is a reset, never a clean end, also where the client has closed its half.
#[test]
fn a_cut_answer_of_http_1_0_is_a_reset() {
    for source in LABS {
        let app = serve(source, "grace = \"1s\"", "");
        for path in ["/trap-mid", "/trap-mid?bytes=300000"] {
            let mut wire = connect(&app);
            wire.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
            wire.stream().finish();
            match wire.fate() {
                Fate::Aborted { reset: true, .. } | Fate::Reset => {}
                other => panic!("{other:?}"),
            }
        }
        let mut wire = connect(&app);
        wire.send("GET /park-mid HTTP/1.0\r\n\r\n");
        wire.stream().finish();
        assert_eq!(wire.head().status, 200);
        app.signal(SIGTERM);
        let _ended = app.wait();
        let mut rest = Vec::new();
        let end = wire.stream().tcp().try_clone().unwrap().read_to_end(&mut rest);
        assert!(end.is_err(), "the cut looks like an end behind {} bytes", rest.len());
    }
}
