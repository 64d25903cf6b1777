//! S6 (rust#97970, Caddy): the terminal is gone, or the readers are → the stop completes, hooks run, no panic.

use std::io::{Write, pipe};
use std::time::{Duration, Instant};

use artifacts::{NO_HOOK, SERVER, SERVER_CLASSIC};
use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{Host, Terminal, app, component, keys};

fn servers() -> Host {
    Host::manifest(
        &(app("grace = \"20s\"") + &component("a", SERVER, "") + &component("b", SERVER_CLASSIC, "")),
    )
}

#[test]
fn a_stop_completes_when_the_terminal_is_gone() {
    let (mut terminal, app) = Terminal::start(servers());
    terminal.wait_for("app started");
    // The kernel sends HUP to the leader of the session.
    drop(terminal);
    let output = app.wait();
    output.expect_code(0).expect_cause("signal", "SIGHUP").expect_hook("a", "ok").expect_hook("b", "ok");
}

#[test]
fn ctrl_c_on_a_terminal_is_a_clean_stop() {
    let (mut terminal, app) = Terminal::start(servers());
    terminal.wait_for("app started");
    terminal.press_ctrl_c();
    terminal.wait_for("app ended");
    let output = app.wait();
    output.expect_code(0).expect_cause("signal", "SIGINT").expect_hook("a", "ok").expect_hook("b", "ok");
}

#[test]
fn a_stop_completes_when_the_readers_of_its_output_are_gone() {
    let (out_reader, out_writer) = pipe().unwrap();
    let (err_reader, err_writer) = pipe().unwrap();
    let app = servers().stdout(out_writer).stderr(err_writer).start();
    wait_for(err_reader, "app started");
    drop(out_reader);
    app.signal(SIGTERM);
    let output = app.wait();
    output.expect_code(0).expect_hook("a", "ok").expect_hook("b", "ok");
}

/// Reads up to this text and closes the pipe.
fn wait_for(mut reader: impl std::io::Read, wanted: &str) {
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains(wanted) {
        let read = reader.read(&mut buffer).unwrap();
        assert!(read > 0, "{wanted:?} never came in {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
}

/// Servers and a component that writes a file, which is how this one says that it runs without any stream.
fn silent(host: impl FnOnce(Host) -> Host) {
    let keys = keys(&["write", "/data/ready", "yes"]);
    let grants =
        "on-exit = \"ignore\"\ndirs = [{ host = \"data\", guest = \"/data\", access = \"read-write\" }]";
    let manifest = app("grace = \"20s\"")
        + &component("a", SERVER, "")
        + &component("ready", NO_HOOK, &format!("{keys}\n{grants}"));
    let started = host(Host::manifest(&manifest).file("data/file", ""));
    let ready = started.path().join("data/ready");
    let app = started.start();
    let end = Instant::now() + crate::harness::patience();
    while !ready.exists() {
        assert!(!app.has_ended() && Instant::now() < end, "it never ran");
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_code(0).expect_cause("signal", "SIGTERM");
    crate::harness::assert_within(output.after(asked), Duration::from_millis(1250), "exit");
}

/// Issue 2, what it tells: a reader that does not read cannot block the host, its log lines included.
#[test]
fn a_stop_completes_when_nobody_reads_a_full_pipe() {
    let (_unread_out, mut out) = pipe().unwrap();
    let (_unread_err, err) = pipe().unwrap();
    // 64 KiB is what a pipe takes: it is full before the host begins.
    out.write_all(&[b'.'; 64 * 1024]).unwrap();
    err.try_clone().unwrap().write_all(&[b'.'; 64 * 1024]).unwrap();
    silent(|host| host.stdout(out).stderr(err));
}

/// A supervisor may start it without any stream, or with one that takes nothing.
#[test]
fn a_stop_completes_without_any_stream() {
    for redirect in ["<&- >&- 2>&-", "</dev/null >/dev/full 2>/dev/full"] {
        let script = format!("exec \"$0\" \"$@\" {redirect}");
        silent(|host| host.under("sh", &["-c", &script]));
    }
}
