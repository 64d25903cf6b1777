//! Starts that fail: an address that is taken, an instance that cannot be made, keys that do not fit the kind.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use artifacts::{
    HELLO_HTTP, HELLO_HTTP_CLASSIC, HTTP_SPIN_AT_START, HTTP_TRAP_AT_START, SERVER, SERVICE_LAB,
};
use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{
    Address, Host, Wire, app, assert_within, component, free_address, free_port, keys, until, web,
};

/// Design 2: 69 when an address could not be bound, and nothing was started, also not what has nothing to do with it.
#[test]
fn an_address_that_is_taken_refuses_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for source in [HELLO_HTTP, HELLO_HTTP_CLASSIC] {
        let manifest = app("")
            + &component("service", SERVER, "")
            + &web("fine", HELLO_HTTP, "")
            + &component("web", source, &format!("listen = [\"127.0.0.1:0\", {address:?}]"));
        let output = Host::manifest(&manifest).run();
        output.expect_refused(69, &[&address, "web"]);
        assert!(output.records("instance started", "").is_empty(), "{}", output.said());
    }
    let output = Host::files(&[HELLO_HTTP]).flags(&["--listen", &address]).run();
    output.expect_refused(69, &[&address]);
}

/// A socket file that somebody listens on is an address in use, and stays.
#[test]
fn a_socket_that_is_in_use_refuses_the_start() {
    let manifest = app("") + &component("web", HELLO_HTTP, "listen = [\"unix:web.sock\"]");
    let host = Host::manifest(&manifest);
    let path = host.path().join("web.sock");
    let taken = UnixListener::bind(&path).unwrap();
    let output = host.run();
    output.expect_refused(69, &["web.sock"]);
    assert!(path.exists(), "the socket of somebody else was removed");
    drop(taken);
    // Nor is a file that is no socket ever removed.
    let host = Host::manifest(&manifest).file("web.sock", "precious");
    let path = host.path().join("web.sock");
    let output = host.run();
    output.expect_refused(69, &["web.sock"]);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
}

/// An instance that cannot be made is a failure of its component at the start, unless it is to be tried again.
#[test]
fn a_component_that_traps_while_it_starts_has_failed() {
    for on_failure in ["stop-app", "ignore"] {
        // After the service: its `run` has been entered when `bad` traps, so it is stopped, and never `not-started`.
        let keys = format!("on-failure = {on_failure:?}\nafter = [\"service\"]");
        let manifest = app("") + &web("bad", HTTP_TRAP_AT_START, &keys) + &component("service", SERVER, "");
        let app = Host::manifest(&manifest).start();
        let failed = app.wait_for_log("failed", "bad").text("error");
        assert!(failed.contains("trap_in_start"), "no guest backtrace:\n{failed}");
        if on_failure == "ignore" {
            app.wait_for_log("component ended", "bad");
            app.signal(SIGTERM);
        }
        let output = app.wait();
        output.expect_code(1).expect_outcome("bad", "failed").expect_outcome("service", "stopped");
        if on_failure == "stop-app" {
            output.expect_cause("failure", "bad");
        }
        assert_eq!(output.row("bad").number("restarts"), 0.0);
    }
}

/// One that never gets that far fails at its `start-timeout`, and a signal ends it.
#[test]
fn a_component_that_spins_while_it_starts_is_ended() {
    let manifest = app("")
        + &web("spin", HTTP_SPIN_AT_START, "start-timeout = \"500ms\"\non-failure = \"stop-app\"")
        + &component("service", SERVER, "");
    let output = Host::manifest(&manifest).run();
    output.expect_code(1).expect_cause("failure", "spin").expect_outcome("spin", "failed");
    assert_within(output.after(output.started), Duration::from_millis(1500), "the whole run");

    let manifest =
        app("grace = \"500ms\"") + &web("spin", HTTP_SPIN_AT_START, "") + &component("service", SERVER, "");
    let app = Host::manifest(&manifest).start();
    app.wait_for_line("service | start");
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_outcome("service", "stopped").expect_hook("spin", "none");
    assert_within(output.after(asked), Duration::from_millis(750), "exit");
}

/// Nothing listens before everything can be served: who is let in is answered.
#[test]
fn whoever_is_let_in_while_the_app_starts_is_answered() {
    for source in [HELLO_HTTP, HELLO_HTTP_CLASSIC] {
        let free = free_address();
        let manifest = app("") + &component("web", source, &format!("listen = [\"{free}\"]"));
        let app = Host::manifest(&manifest).start();
        let address = Address::Tcp(free);
        let mut wire = until("a listener", || Wire::try_connect(&address).ok());
        assert_eq!(wire.get("/").expect(200).text(), "Hello");
        app.stop().expect_code(0);
    }
}

/// Kind and keys must fit, and the message says what to do.
#[test]
fn keys_that_do_not_fit_the_kind_are_refused() {
    let output = Host::manifest(&(app("") + &component("web", HELLO_HTTP, ""))).run();
    output.expect_refused(78, &["hello-http.wasm", "listen = ["]);
    let output = Host::manifest(&(app("") + &web("service", SERVER, ""))).run();
    output.expect_refused(78, &["service", "listen"]);
    let output = Host::files(&[SERVER]).flags(&["--listen", "127.0.0.1:0"]).run();
    output.expect_refused(78, &["listen", "service"]);
    for (keys, named) in [
        ("instances = { max = 0 }", "max"),
        ("instances = { concurrensy = 2 }", "concurrency"),
        ("limits = { header-sise = \"1KiB\" }", "header-size"),
        ("request-timeout = \"soon\"", "request-timeout"),
        ("forwarded = \"perhaps\"", "replace"),
        ("outbound-http = [\"ftp://example.com\"]", "outbound-http"),
    ] {
        let output = Host::manifest(&(app("") + &web("web", HELLO_HTTP, keys))).run();
        output.expect_refused(78, &["curfew.toml:", named]);
    }
    let output = Host::manifest(&(app("") + &component("web", HELLO_HTTP, "listen = [\"here\"]"))).run();
    output.expect_refused(78, &["curfew.toml:", "here"]);
}

/// Design 2, `check` and `inspect`: the kind, the WASI version, the hook.
#[test]
fn check_and_inspect_know_the_kind() {
    let manifest = app("") + &web("modern", HELLO_HTTP, "") + &web("classic", HELLO_HTTP_CLASSIC, "");
    let output = Host::manifest(&manifest).call(&["check", "--json"]);
    assert_eq!(output.code(), 0, "{}", output.said());
    let value: serde_json::Value = serde_json::from_str(&output.stdout_text()).unwrap();
    for (at, version) in [(0, "0.3"), (1, "0.2")] {
        let component = &value["components"][at];
        assert_eq!(component["kind"], "http", "{component}");
        assert!(component["wasi"].as_str().unwrap().contains(version), "{component}");
        assert!(component["hook"].is_string(), "{component}");
    }
    let output = Host::manifest("").call(&["inspect", HELLO_HTTP]);
    assert_eq!(output.code(), 0, "{}", output.said());
    assert!(output.stdout_text().contains("http"), "{}", output.said());
}

/// S21 (dipper#678): a part of the host that serves http dies silently → host leaves with 70 in bound.
#[test]
fn a_part_of_the_server_that_dies_ends_the_host_with_70() {
    for point in ["lane", "front"] {
        let manifest = app("grace = \"1s\"\nfail-grace = \"1s\"")
            + &web("web", HELLO_HTTP, "")
            + &component("service", SERVER, "");
        let began = std::time::Instant::now();
        let output = Host::manifest(&manifest).env("CURFEW_FAIL_POINT", point).start().wait();
        assert_eq!(output.code(), 70, "{point}:\n{}", output.said());
        assert_within(output.after(began), Duration::from_millis(2250), point);
    }
}

/// I4: whoever waits for a component that will not be started any more is told so, and holds nobody up.
#[test]
fn a_request_for_what_was_never_started_does_not_hold_the_stop() {
    let port = free_port();
    let on = |keys: &str| format!("listen = [\"127.0.0.1:{port}\"]\n{keys}");
    let manifest = app("grace = \"60s\"")
        + &component("slow", SERVICE_LAB, &keys(&["ready=never"]))
        + &component("late", HELLO_HTTP, &on("routes = [\"/late\"]\nafter = [\"slow\"]"))
        + &component("rest", HELLO_HTTP_CLASSIC, &on(""));
    let app = Host::manifest(&manifest).start();
    app.wait_for_log("component started", "rest");
    // The system lets them in before anybody accepts them.
    let address = Address::parse(&format!("http://127.0.0.1:{port}"));
    let mut wires = ["/late", "/"].map(|path| {
        let mut wire = Wire::connect(&address);
        wire.send_get(path);
        wire
    });
    let asked = app.signal(SIGTERM);
    let statuses = wires.each_mut().map(|wire| wire.fate().answered().status);
    assert_eq!(statuses, [503, 200]);
    let output = app.wait();
    output.expect_code(0).expect_outcome("late", "not-started").expect_outcome("rest", "stopped");
    assert_within(output.after(asked), Duration::from_millis(200), "the stop");
}
