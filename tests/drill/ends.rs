//! Drills that cannot be held, and drills that are ended.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use artifacts::{HELLO_HTTP, HOSTILE_ASYNC, NO_RUN, SERVER, TRAP_AT_START};
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGKILL, SIGTERM};

use super::{children, drill, expect_gone, start, wait_for_child};
use crate::harness::{Host, app, assert_within, component, free_port, keys, until, web};

/// One clear message, and what `run` would have left with.
#[test]
fn an_app_that_cannot_start_ends_the_drill() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = |name: &str| name.to_string();
    let cases = [
        (file("none.wasm"), 69, vec!["cannot read none.wasm"]),
        (file("none.toml"), 69, vec!["none.toml"]),
        (file("wrong.toml"), 78, vec!["gracee", "did you mean", "grace"]),
        (file("taken.toml"), 69, vec!["cannot start the app", "web", &address, "is in use", "hint: "]),
        (file("activated.toml"), 69, vec!["web listens on fd:web", "hint: "]),
        (file(NO_RUN), 78, vec!["cannot start the app", "neither `wasi:cli/run` nor a handler"]),
        (file(TRAP_AT_START), 1, vec!["cannot start the app", "unreachable"]),
    ];
    let on = |address: &str| app("") + &component("web", HELLO_HTTP, &format!("listen = [\"{address}\"]"));
    for (what, code, texts) in cases {
        let host = Host::manifest("")
            .file("wrong.toml", "[app]\ngracee = \"1s\"")
            .file("taken.toml", on(&address))
            .file("activated.toml", on("fd:web"));
        let drilled = drill(host, &[&what]);
        drilled.output.expect_code(code);
        let said = drilled.output.stderr_text();
        for text in texts {
            assert!(said.contains(text), "{what}: {text:?} is missing in {said}");
        }
        assert_eq!(
            said.matches("error: ").count(),
            if said.contains("cannot start the app") && code != 1 { 2 } else { 1 },
            "{said}"
        );
    }
}

/// Issue 12: beside the running app the drill says what is in its way, and leaves that app alone.
#[test]
fn a_drill_beside_the_running_app_names_the_address_in_its_way() {
    let port = free_port();
    let web = component("web", HELLO_HTTP, &format!("listen = [\"127.0.0.1:{port}\"]"));
    for manifest in
        [app("") + &web, app(&format!("admin = \"127.0.0.1:{port}\"")) + &component("x", SERVER, "")]
    {
        let running = Host::manifest(&manifest).start_ready();
        let drilled = drill(Host::manifest(&manifest), &["--only", "term"]);
        drilled.output.expect_code(69);
        let said = drilled.output.stderr_text();
        let hint = format!(
            "hint: 127.0.0.1:{port} is in use. A drill starts and stops an app of its own: stop the one"
        );
        assert!(said.contains(&hint) && !said.contains("does not run"), "{said}");
        assert!(!running.has_ended());
        running.stop().expect_code(0);
    }
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    for (flags, text) in [
        (&["--only", "kill"][..], "accepted are term, int, quit, start, peer, reload"),
        (&["--clients", "0"], "--clients"),
        (&["--load", "ftp://a"], "it starts with neither http:// nor https:// nor unix:"),
        (&["--load", "127.0.0.1:80"], "--load"),
        (&["--listen", "127.0.0.1:0"], "--listen needs a single file"),
    ] {
        let manifest = app("") + &component("server", SERVER, "");
        let drilled = drill(Host::manifest(&manifest), flags);
        drilled.output.expect_code(2).expect_line(text);
    }
}

/// Nobody is there: said once, after seconds, and nothing else is tried under load.
#[test]
fn a_load_that_nobody_answers_fails() {
    let url = format!("http://127.0.0.1:{}/", free_port());
    let manifest = app("") + &web("web", HELLO_HTTP, "");
    let drilled = drill(Host::manifest(&manifest), &["--only", "term,quit", "--load", &url]);
    drilled.expect(1);
    let told = drilled.expect_finding("term", true, "no-answer");
    assert!(told.starts_with(&url), "{told}");
    assert_eq!(drilled.codes("term", true, "failure"), ["no-answer"]);
    assert_eq!(drilled.tried("quit", true)["verdict"], "skipped");
    assert_eq!(drilled.tried("quit", false)["verdict"], "ok");
}

/// Something that stays for as long as it is let.
fn stubborn() -> Host {
    Host::manifest(&(app("grace = \"60s\"") + &component("bad", HOSTILE_ASYNC, &keys(&["hook=park"]))))
}

/// A drill takes along what it has started, and its files.
#[test]
fn a_signal_ends_the_drill_and_the_app() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let app = start(stubborn(), &[]);
        let (pid, temporary) = (app.pid().as_raw(), app.path().join("tmp"));
        wait_for_child(&app);
        let asked: Instant = app.signal(signal);
        let output = app.wait();
        assert_within(output.after(asked), Duration::from_millis(500), "the end of the drill");
        output.expect_code(130);
        assert!(output.stderr_text().contains("interrupted"), "{}", output.stderr_text());
        expect_gone(pid, &temporary);
    }
}

/// Reading what is to be drilled can take for ever, too.
#[test]
fn a_signal_ends_a_drill_that_has_not_begun() {
    for signal in [SIGINT, SIGTERM] {
        let host = stubborn();
        let pipe = host.path().join("never.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let app = start(host, &["never.toml"]);
        // Opened as soon as the drill reads it, and never written.
        let _writer = std::fs::File::options().write(true).open(&pipe).unwrap();
        let asked = app.signal(signal);
        let output = app.wait();
        assert_within(output.after(asked), Duration::from_millis(500), "the end of the drill");
        output.expect_code(130);
    }
}

#[test]
fn a_drill_that_is_killed_takes_the_app_along() {
    let app = start(stubborn(), &[]);
    let pid = app.pid().as_raw();
    wait_for_child(&app);
    app.signal(SIGKILL);
    drop(app.wait());
    until("the end of the app", || children(pid).is_empty().then_some(()));
}

/// `run --control`: a file without a manifest can be operated, too, and so can an app whose manifest names no socket.
#[test]
fn the_control_socket_can_be_named_on_the_command_line() {
    let manifest = app("control = \"other.sock\"") + &component("server", SERVER, "");
    for host in [Host::files(&[SERVER]).flags(&["--log-level", "info"]), Host::manifest(&manifest)] {
        let socket = host.path().join("named.sock");
        let app = host.flags(&["--control", "named.sock"]).start_ready();
        let status = Host::manifest("").call(&["status", "--json", "--control", socket.to_str().unwrap()]);
        status.expect_code(0);
        assert!(status.stdout_text().contains("\"name\":\"server\""), "{}", status.stdout_text());
        assert!(!app.path().join("other.sock").exists());
        app.stop().expect_code(0);
        assert!(!socket.exists());
    }
}
