//! Services that look whether something is ready, again and again, and never wait: they see it at once, as on `wasmtime run`.

use std::io::Write as _;
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::{Duration, Instant};

use artifacts::{HOSTILE_ASYNC, HOSTILE_CLASSIC, HTTP_LAB_CLASSIC};
use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{
    App, Host, LineClient, Wire, app, assert_within, component, keys, patience, until, web,
};

const LISTEN: &str = "network = { listen = [\"127.0.0.1:0\"] }";
const CONTROL: &str = "control = \"control.sock\"";

/// As many guests that compute as there are cores, and one more.
fn load() -> String {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let spin = |number| component(&format!("spin{number}"), HOSTILE_ASYNC, &keys(&["run=spin"]));
    (0..=cores).map(spin).collect()
}

fn start(args: &[&str], more: &str, others: &str) -> App {
    let text = app(&format!("grace = \"1s\"\n{CONTROL}"));
    let guest = component("guest", HOSTILE_CLASSIC, &format!("{}\n{more}", keys(args)));
    Host::manifest(&(text + &guest + others)).stdin(Stdio::piped()).start_ready()
}

/// Its first timer fires, and it sees the notice: it is not cut off.
#[test]
fn a_timer_fires_for_a_guest_that_only_looks() {
    for others in ["", &load()] {
        let app = start(&["run=look-timer", "ms=10"], "", others);
        app.wait_for_line("guest | the timer fired");
        let asked = app.signal(SIGTERM);
        app.wait_for_line("guest | saw the stop");
        let output = app.wait();
        output.expect_outcome("guest", "stopped").expect_hook("guest", "ok");
        if others.is_empty() {
            output.expect_code(0);
            assert_within(output.after(asked), Duration::from_millis(100), "exit");
        }
    }
}

/// An echo server of `std::net` with `set_nonblocking(true)` and a loop, whatever it does between two looks.
#[test]
fn a_server_that_only_looks_answers_at_once() {
    for between in ["between=nothing", "between=sleep", "between=yield"] {
        let app = start(&["run=look-echo", between], LISTEN, "");
        let port = app.port("guest");
        for _ in 0..5 {
            let began = Instant::now();
            let mut client = LineClient::connect(port);
            for number in 0..20 {
                client.send(&format!("line {number}"));
                assert_eq!(client.receive(), Some(format!("line {number}")), "{between}");
            }
            assert_within(began.elapsed(), Duration::from_millis(20), between);
        }
        app.stop().expect_code(0).expect_outcome("guest", "stopped");
    }
}

#[test]
fn a_server_that_only_looks_answers_while_all_cores_compute() {
    let app = start(&["run=look-echo"], LISTEN, &load());
    let port = app.port("guest");
    for number in 0..20 {
        let mut client = LineClient::connect(port);
        client.send(&format!("line {number}"));
        assert_eq!(client.receive(), Some(format!("line {number}")));
    }
    app.stop().expect_code(124).expect_outcome("guest", "stopped");
}

#[test]
fn datagrams_reach_a_guest_that_only_looks() {
    let app = start(&["run=look-udp"], LISTEN, "");
    let server = ("127.0.0.1", app.port("guest"));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(patience())).unwrap();
    let mut buffer = [0; 16];
    for text in ["one", "two", "three"] {
        client.send_to(text.as_bytes(), server).unwrap();
        let (length, _) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], text.as_bytes());
    }
    app.stop().expect_code(0).expect_outcome("guest", "stopped");
}

#[test]
fn standard_input_reaches_a_guest_that_only_looks() {
    let mut app = start(&["run=look-stdin"], "stdin = true", "");
    let mut stdin = app.take_stdin();
    stdin.write_all(b"first\n").unwrap();
    app.wait_for_line("guest | read first");
    stdin.write_all(b"second\n").unwrap();
    app.wait_for_line("guest | read second");
    drop(stdin);
    app.wait_for_line("guest | stdin ended");
    app.stop().expect_code(0).expect_outcome("guest", "stopped");
}

/// The status tells it from one that waits. TERM, cut-off and exit come in time.
#[test]
fn a_guest_that_never_waits_is_busy_in_the_status() {
    for behaviour in ["run=look-for-ever", "run=spin"] {
        let waits = component("waits", HOSTILE_CLASSIC, "");
        let app = start(&[behaviour], "", &waits);
        let is_busy = |name: &str| app.component(name).has("busy_ms");
        until("the guest to be busy", || is_busy("guest").then_some(()));
        assert!(!is_busy("waits"));
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        output.expect_code(124).expect_outcome("guest", "cut-off").expect_hook("guest", "not-called");
        output.expect_outcome("waits", "stopped");
        assert_within(output.after(asked), Duration::from_secs(1), "exit");
    }
}

/// It gives its thread back now and then: its own timer fires, and the others on its thread have their turns.
#[test]
fn a_handler_that_only_looks_has_its_answer() {
    let app =
        Host::manifest(&(app("") + &web("lab", HTTP_LAB_CLASSIC, "instances = { max = 2 }"))).start_ready();
    let address = app.address("lab");
    let mut looking = Wire::connect(&address);
    looking.send_get("/look?ms=300");
    for _ in 0..5 {
        Wire::connect(&address).get("/").expect(200);
    }
    assert_eq!(looking.fate().answered().text(), "looked for 300 ms");
    app.stop().expect_code(0);
}
