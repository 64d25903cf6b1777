//! R14 and socket activation: what curfew tells systemd, and what it gets from it.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use artifacts::{HELLO_HTTP, HOSTILE_ASYNC, NO_HOOK, SERVER, SERVICE_LAB};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};

use crate::harness::{Address, App, Host, LineClient, Manager, Wire, app, component, keys, until};

const UNCLAIMED: &str =
    "no component listens on this socket, which was passed to the process: its clients wait in vain";

/// A service that is ready when a client says so, and takes `stop` milliseconds to end.
fn told_to_be_ready(stop: u32) -> String {
    let args = keys(&["ready=never", "listen=127.0.0.1:0", &format!("stop={stop}")]);
    component("lab", SERVICE_LAB, &format!("{args}\nnetwork = {{ listen = [\"127.0.0.1:0\"] }}"))
}

fn make_ready(app: &App) {
    LineClient::connect(app.port("lab")).send("ready");
}

fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000
}

/// R14: READY when all components are ready and no sooner, STOPPING once for the whole app, whoever asks how often.
fn readiness_and_the_stop(manager: &Manager) {
    let manifest = app("grace = \"20s\"") + &told_to_be_ready(300) + &component("other", SERVER, "");
    let app = Host::manifest(&manifest).managed_by(manager).start();
    app.wait_for_log("component started", "other");
    let port = app.port("lab");
    assert_eq!(manager.all("READY=1").len(), 0, "{:#?}", manager.heard());
    LineClient::connect(port).send("ready");
    let ready = manager.wait_for("READY=1");
    assert!(ready.value("STATUS").is_some(), "{ready:?}");
    app.signal(Signal::SIGTERM);
    manager.wait_for("STOPPING=1");
    app.signal(Signal::SIGQUIT);
    app.wait().expect_code(0);
    assert_eq!((manager.all("STOPPING=1").len(), manager.all("READY=1").len()), (1, 1));
}

#[test]
fn systemd_is_told_of_readiness_and_of_the_stop() {
    readiness_and_the_stop(&Manager::at_a_path());
}

#[test]
fn systemd_is_told_through_an_abstract_socket_too() {
    readiness_and_the_stop(&Manager::with_an_abstract_name());
}

/// R14, systemd#39535, systemd#37515: RELOADING with the time, in one message, and READY whether it went well or not.
#[test]
fn systemd_is_told_of_every_reload_and_its_end() {
    let manager = Manager::at_a_path();
    let manifest = |grace| app(&format!("grace = \"{grace}s\"")) + &component("a", SERVER, "");
    let host = Host::manifest(&manifest(20)).managed_by(&manager);
    let app = host.start_ready();
    manager.wait_for("READY=1");
    for (nth, good) in [(1, true), (2, false), (3, true)] {
        let before = monotonic_micros();
        if good {
            app.reload(&manifest(20 + nth));
        } else {
            app.reload_fails("[app]\nno-such-key = 1\n");
        }
        let reloading = manager.wait_for_nth("RELOADING=1", nth);
        let at: i64 = reloading.value("MONOTONIC_USEC").unwrap().parse().unwrap();
        assert!((before..=monotonic_micros()).contains(&at), "{reloading:?}");
        manager.wait_for_nth("READY=1", nth + 1);
    }
    let heard = manager.heard();
    let changes = heard.iter().filter(|message| message.says("READY=1") || message.says("RELOADING=1"));
    let order: Vec<bool> = changes.map(|message| message.says("READY=1")).collect();
    assert_eq!(order, [true, false, true, false, true, false, true]);
    app.stop().expect_code(0);
}

/// R14: a reload that ends while the app still starts makes nobody believe that it is ready.
#[test]
fn a_reload_during_the_start_is_no_readiness() {
    let manager = Manager::at_a_path();
    let manifest = app("grace = \"20s\"") + &told_to_be_ready(10);
    let app = Host::manifest(&manifest).managed_by(&manager).start();
    app.wait_for_log("component started", "lab");
    app.reload(&manifest);
    app.reload_fails("[app]\nno-such-key = 1\n");
    let told = manager.heard();
    let premature = told.iter().find(|message| message.says("READY=1") || message.says("RELOADING=1"));
    assert!(premature.is_none(), "{told:#?}");
    make_ready(&app);
    manager.wait_for("READY=1");
    app.reload(&manifest);
    manager.wait_for_nth("READY=1", 2);
    app.stop().expect_code(0);
}

/// R14: a stop that may take longer than systemd's 90 s is announced.
#[test]
fn systemd_is_asked_for_the_time_that_a_stop_may_take() {
    let manager = Manager::at_a_path();
    let manifest = app("grace = \"200s\"") + &told_to_be_ready(300);
    let app = Host::manifest(&manifest).managed_by(&manager).start();
    make_ready(&app);
    manager.wait_for("READY=1");
    app.signal(Signal::SIGTERM);
    let extended = manager.wait_for_value("EXTEND_TIMEOUT_USEC");
    let micros: u64 = extended.value("EXTEND_TIMEOUT_USEC").unwrap().parse().unwrap();
    assert!((190..=210).contains(&Duration::from_micros(micros).as_secs()), "{extended:?}");
    app.wait().expect_code(0);
}

/// R14: the watchdog is fed by the control thread, whatever guests do, until the process leaves.
#[test]
fn the_watchdog_is_fed_while_guests_spin_and_while_the_app_stops() {
    let manager = Manager::at_a_path();
    let manifest = app("grace = \"2s\"")
        + &component("a", HOSTILE_ASYNC, &keys(&["run=spin"]))
        + &component("b", SERVER, "");
    let app = Host::manifest(&manifest).managed_by(&manager).env("WATCHDOG_USEC", "2000000").start_ready();
    manager.wait_for_nth("WATCHDOG=1", 3);
    app.signal(Signal::SIGTERM);
    let output = app.wait();
    output.expect_code(124);
    let fed = manager.all("WATCHDOG=1");
    let gaps = fed.windows(2).map(|pair| pair[1].at - pair[0].at);
    let last = output.ended - fed.last().unwrap().at;
    // A busy machine may be late by a second; systemd would have waited for two.
    assert!(gaps.chain([last]).all(|gap| gap < Duration::from_secs(2)), "{fed:#?}, the end {last:?} later");
}

#[test]
fn sockets_that_nobody_wants_or_that_are_none_are_told() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let host =
        Host::manifest(&(app("") + &component("a", SERVER, ""))).passing(&[("web", &tcp), ("dns", &udp)]);
    let app = host.start_ready();
    assert_eq!(app.wait_for_log(UNCLAIMED, "").text("socket"), "web");
    let problem = app.wait_for_log("a socket that was passed to the process cannot be used", "");
    assert!(problem.text("problem").contains("`dns`"), "{}", problem.fields);
    app.stop().expect_code(0);
}

/// With systemd's own tool, which starts the host when the first client comes.
#[test]
fn the_host_gets_its_sockets_from_systemd_socket_activate() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let host = Host::manifest(&(app("") + &component("a", SERVER, "")));
    let Some(host) = host.socket_activated(&[("web", &path)]) else { return };
    let app = host.start();
    let _client = until("the socket", || UnixStream::connect(&path).ok());
    app.wait_for_log("app started", "");
    assert_eq!(app.wait_for_log(UNCLAIMED, "").text("socket"), "web");
    app.stop().expect_code(0);
}

#[test]
fn guests_see_nothing_of_systemd() {
    let manager = Manager::at_a_path();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Host::manifest(&(app("") + &component("a", NO_HOOK, &keys(&["env"]))));
    let output = host.managed_by(&manager).env("WATCHDOG_USEC", "5000000").passing(&[("web", &tcp)]).run();
    output.expect_code(0);
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        assert!(!output.has_line(name), "{}", output.said());
    }
}

fn hello(address: &str) -> String {
    app("grace = \"10s\"") + &component("hello", HELLO_HTTP, &format!("listen = [{address:?}]"))
}

#[test]
fn an_http_component_serves_all_sockets_of_its_name() {
    let [one, two] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let app = Host::manifest(&hello("fd:web")).passing(&[("web", &one), ("web", &two)]).start_ready();
    for listener in [&one, &two] {
        let address = Address::Tcp(listener.local_addr().unwrap());
        assert_eq!(Wire::connect(&address).get("/").expect(200).text(), "Hello");
    }
    assert!(app.records(UNCLAIMED, "").is_empty());
    app.stop().expect_code(0);
}

#[test]
fn a_name_that_was_not_passed_is_an_address_that_cannot_be_had() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = Host::manifest(&hello("fd:wbe")).passing(&[("web", &tcp)]).run();
    output.expect_refused(69, &["`wbe`", "there are: `web`"]);
    Host::manifest(&hello("fd:web")).run().expect_refused(69, &["LISTEN_FDS"]);
}

/// The client whose connection starts the host gets its answer.
#[test]
fn the_first_client_of_an_activated_socket_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let Some(host) = Host::manifest(&hello("fd:web")).socket_activated(&[("web", &path)]) else { return };
    let app = host.start();
    let address = Address::Unix(path);
    let mut first = until("the socket", || Wire::try_connect(&address).ok());
    assert_eq!(first.get("/").expect(200).text(), "Hello");
    app.stop().expect_code(0);
}

/// The sockets are systemd's: who connects while nobody runs is served by the next process, and so is who was in the queue when
/// the one before it was asked to stop.
#[test]
fn an_activated_socket_outlives_the_hosts_that_accept_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let addresses = [Address::Tcp(tcp.local_addr().unwrap()), Address::Unix(path)];
    let waiting = || {
        let mut wires = addresses.clone().map(|address| Wire::connect(&address));
        wires.iter_mut().for_each(|wire| wire.send_get("/"));
        wires
    };
    for _ in 0..3 {
        let wires = waiting();
        let host = Host::manifest(&hello("fd:web")).passing(&[("web", &tcp), ("web", &unix)]);
        let app = host.start_ready();
        for mut wire in wires {
            assert_eq!(wire.fate().answered().expect(200).text(), "Hello");
        }
        app.stop().expect_code(0);
    }
    drop(waiting());
}

/// A reload that drops the address, and one that brings it back.
#[test]
fn an_activated_socket_can_be_dropped_and_taken_again() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(tcp.local_addr().unwrap());
    let app = Host::manifest(&hello("fd:web")).passing(&[("web", &tcp)]).start_ready();
    for _ in 0..3 {
        assert_eq!(Wire::connect(&address).get("/").expect(200).text(), "Hello");
        app.reload(&hello("127.0.0.1:0"));
        let mut wire = Wire::connect(&address);
        wire.send_get("/");
        app.reload(&hello("fd:web"));
        assert_eq!(wire.fate().answered().expect(200).text(), "Hello");
    }
    app.stop().expect_code(0);
}
