//! Guest output and input: prefixed, never torn, never able to block the host; a single file passes through.

use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::process::Stdio;
use std::time::{Duration, Instant};

use artifacts::{HELLO_HTTP, HOSTILE_ASYNC, HOSTILE_CLASSIC, NO_HOOK, SERVER, SERVER_CLASSIC};
use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{App, CONTROL, Host, Wire, app, assert_within, component, keys, until, web};

/// Design 2: a component's own output is prefixed with its name, line by line.
#[test]
fn each_line_of_a_guest_carries_its_name() {
    let manifest = app("")
        + &component("alpha", NO_HOOK, &(keys(&["print", "one\ntwo"]) + "\non-exit = \"ignore\""))
        + &component("beta", SERVER, "");
    let app = Host::manifest(&manifest).start_ready();
    app.wait_for_line("alpha | two");
    let output = app.stop();
    output.expect_code(0);
    let stdout = output.stdout_text();
    for line in ["alpha | one", "alpha | two", "beta | start", "beta | end"] {
        assert!(stdout.contains(line), "{line:?} is not in\n{stdout}");
    }
    assert!(stdout.lines().all(|line| line.contains(" | ")), "a line without a name:\n{stdout}");
}

/// What a guest writes to stderr goes to stderr, prefixed as well.
#[test]
fn the_standard_error_of_a_guest_stays_apart() {
    let manifest = app("") + &component("bad", NO_HOOK, &keys(&["no-such-behaviour"]));
    let output = Host::manifest(&manifest).run();
    output.expect_code(1);
    assert!(output.stderr_text().contains("bad | unknown behaviour"), "{}", output.said());
    assert!(!output.stdout_text().contains("unknown behaviour"), "{}", output.said());
}

/// Design 2: never torn, also when several write at once as fast as they can.
#[test]
fn lines_of_several_guests_are_never_torn() {
    let mut manifest = app("grace = \"5s\"");
    for name in ["a", "b", "c"] {
        manifest += &component(name, HOSTILE_ASYNC, &keys(&["run=flood"]));
    }
    let app = Host::manifest(&manifest).start_ready();
    app.wait_until("a thousand lines", |said| (said.lines.len() > 1000).then_some(()));
    let output = app.stop();
    output.expect_code(0);
    let whole = "x".repeat(1023);
    for line in output.stdout_text().lines() {
        let (name, text) = line.split_once(" | ").unwrap_or_else(|| panic!("no name in {line:?}"));
        assert!(["a", "b", "c"].contains(&name.trim()), "the name in {line:?}");
        let own = ["run entered", "hook called", "hook done"].contains(&text) || text.contains("dropped");
        assert!(own || text == whole, "torn: {line:?}");
    }
}

/// Issue 2: a flood, or a reader that does not read, can never block the host: lines are dropped and counted.
#[test]
fn a_flood_that_nobody_reads_is_dropped_and_counted() {
    for source in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let manifest = app(&format!("grace = \"1s\"\n{CONTROL}"))
            + &component("flood", source, &keys(&["run=flood"]))
            + &component("fine", SERVER, "");
        let (_unread, writer) = pipe().unwrap();
        let app = Host::manifest(&manifest).stdout(writer).start_ready();
        wait_for_dropped_lines(&app, "flood");
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        output.expect_code(0).expect_outcome("flood", "stopped").expect_outcome("fine", "stopped");
        assert_within(output.after(asked), Duration::from_millis(2250), "exit");
        assert!(output.row("flood").number("dropped_lines") > 0.0, "nothing was dropped:\n{}", output.said());
    }
}

/// The value of `curfew_output_lines_dropped_total`.
fn dropped_lines(app: &App, component: &str) -> u64 {
    let text = app.metrics();
    let sample = format!("curfew_output_lines_dropped_total{{component=\"{component}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok()).unwrap_or(0)
}

fn wait_for_dropped_lines(app: &App, component: &str) {
    until(&format!("dropped lines of {component}"), || (dropped_lines(app, component) > 0).then_some(()));
}

/// Issue 12: a reader that keeps up loses nothing, however fast a guest writes.
#[test]
fn a_million_lines_reach_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let manifest = app("") + &component("lines", NO_HOOK, &keys(&["lines", "1000000"]));
    let output = Host::manifest(&manifest).stdout(file.reopen().unwrap()).run();
    output.expect_code(0);
    assert_eq!(output.row("lines").number("dropped_lines"), 0.0);
    let text = std::fs::read_to_string(file.path()).unwrap();
    let mut expected = 0;
    for line in text.lines() {
        expected += 1;
        assert_eq!(line, format!("lines | line {expected}"));
    }
    assert_eq!(expected, 1_000_000);
}

#[test]
fn a_hundred_thousand_lines_go_through_a_pipe_that_is_read() {
    let manifest = app("")
        + &component("a", NO_HOOK, &(keys(&["lines", "100000"]) + "\non-exit = \"ignore\""))
        + &component("b", NO_HOOK, &(keys(&["lines", "100000"]) + "\non-exit = \"ignore\""));
    let (reader, writer) = pipe().unwrap();
    let app = Host::manifest(&manifest).stdout(writer).start();
    let text = std::io::read_to_string(reader).unwrap();
    let output = app.wait();
    output.expect_code(0);
    for name in ["a", "b"] {
        assert_eq!(output.row(name).number("dropped_lines"), 0.0);
        let own = text.lines().filter_map(|line| line.strip_prefix(&format!("{name} | line ")));
        assert!(own.eq((1..=100_000).map(|number| number.to_string())), "lines of {name}");
    }
}

/// A reader that stands still costs lines; once it goes on, the output tells where, and nothing more is lost.
#[test]
fn a_pipe_that_stands_still_and_goes_on_tells_what_is_missing() {
    for source in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let manifest = app(CONTROL) + &component("flood", source, &keys(&["run=flood"]));
        let (reader, writer) = pipe().unwrap();
        let app = Host::manifest(&manifest).stdout(writer).start_ready();
        wait_for_dropped_lines(&app, "flood");
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        let lost =
            |line: &String| line.strip_prefix("flood | [curfew: ")?.split(' ').next()?.parse::<u64>().ok();
        let first = lines.find_map(|line| lost(&line)).unwrap();
        let told = dropped_lines(&app, "flood");
        assert!(first > 0 && told >= first);
        // It floods on, and loses nothing as long as somebody reads.
        let more: Vec<String> = lines.by_ref().take(20_000).collect();
        assert!(more.iter().all(|line| line.ends_with(&"x".repeat(1023)) || lost(line).is_some()));
        let rest = std::thread::spawn(move || lines.filter_map(|line| lost(&line)).sum::<u64>());
        let output = app.stop();
        output.expect_code(0).expect_outcome("flood", "stopped");
        let later: u64 = more.iter().filter_map(lost).sum::<u64>() + rest.join().unwrap();
        assert_eq!(later, 0, "lost while somebody read");
        assert_eq!(output.row("flood").number("dropped_lines"), first as f64);
    }
}

/// Neither a stop nor a sibling waits for a reader that has just begun to stand still.
#[test]
fn a_stop_and_a_sibling_do_not_wait_for_a_full_pipe() {
    for source in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let manifest = app("grace = \"10s\"")
            + &component("flood", source, &keys(&["run=flood"]))
            + &web("web", HELLO_HTTP, "");
        let (_unread, writer) = pipe().unwrap();
        let app = Host::manifest(&manifest).stdout(writer).start_ready();
        let address = app.address("web");
        for _ in 0..50 {
            let began = Instant::now();
            Wire::connect(&address).get("/").expect(200);
            assert_within(began.elapsed(), Duration::from_millis(100), "an answer of the sibling");
        }
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        output.expect_code(0).expect_outcome("flood", "stopped").expect_outcome("web", "stopped");
        assert_within(output.after(asked), Duration::from_secs(1), "exit");
    }
}

/// An unterminated line is cut into pieces instead of filling the memory of the host.
#[test]
fn an_endless_line_ends() {
    let manifest = app("grace = \"2s\"") + &component("line", HOSTILE_CLASSIC, &keys(&["run=endless-line"]));
    let app = Host::manifest(&manifest).start_ready();
    app.wait_for_line("yyyyyyyy");
    let output = app.stop();
    output.expect_code(0);
    let longest = output.lines.iter().map(String::len).max().unwrap_or(0);
    assert!(longest < 200 * 1024, "a line of {longest} bytes");
}

/// Design 2: a single file behaves as `wasmtime run` users expect: its streams pass through unprefixed.
#[test]
fn a_single_file_passes_its_streams_through() {
    let output = Host::files(&[NO_HOOK]).guest_args(&["print", "hello", "--world"]).run();
    assert_eq!(output.code(), 0, "{}", output.said());
    assert_eq!(output.stdout_text(), "hello --world\n");

    let mut app = Host::files(&[NO_HOOK]).guest_args(&["cat"]).stdin(Stdio::piped()).start();
    let mut stdin = app.take_stdin();
    stdin.write_all(b"no newline, \x00\xff bytes").unwrap();
    drop(stdin);
    let output = app.wait();
    assert_eq!(output.code(), 0, "{}", output.said());
    assert_eq!(output.stdout, b"no newline, \x00\xff bytes");
}

/// The same for much data: nothing is dropped where a pipe is read, since data is not a log.
#[test]
fn a_single_file_passes_all_of_a_large_input_through() {
    let mut app = Host::files(&[NO_HOOK]).guest_args(&["cat"]).stdin(Stdio::piped()).start();
    let mut stdin = app.take_stdin();
    let data: Vec<u8> = (0..2_000_000u32).map(|number| (number % 251) as u8).collect();
    let sent = data.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).is_ok());
    let output = app.wait();
    assert!(writer.join().unwrap(), "the host did not take the whole input");
    assert_eq!(output.stdout.len(), data.len(), "bytes of output");
    assert!(output.stdout == data, "the output differs from the input");
}

/// Several files without a manifest: the names are those of the files, and the output is prefixed.
#[test]
fn several_files_are_named_after_their_files() {
    let host = Host::files(&["one.wasm", "two.wasm"]);
    let host = host.file("one.wasm", std::fs::read(SERVER).unwrap());
    let host = host.file("two.wasm", std::fs::read(SERVER_CLASSIC).unwrap());
    let output = host.start_ready().stop();
    output.expect_code(0).expect_line("one | start").expect_line("two | start");
    output.expect_hook("one", "ok").expect_hook("two", "ok");
}

/// Manifest: `stdin` goes to the one component that has it; the others see the end of it at once.
#[test]
fn standard_input_goes_to_the_component_that_is_granted_it() {
    let manifest = app("")
        + &component("reader", NO_HOOK, &(keys(&["cat"]) + "\nstdin = true"))
        + &component("other", NO_HOOK, &(keys(&["cat"]) + "\non-exit = \"ignore\""));
    let mut app = Host::manifest(&manifest).stdin(Stdio::piped()).start_ready();
    app.wait_for_log("component ended", "other");
    let mut stdin = app.take_stdin();
    stdin.write_all(b"for one only\n").unwrap();
    app.wait_for_line("reader | for one only");
    drop(stdin);
    let output = app.wait();
    output.expect_code(0).expect_cause("finished", "reader");
}

/// S6, the other way round: a reader that goes away in the middle of a flood kills nobody.
#[test]
fn a_reader_that_goes_away_does_not_end_the_app() {
    let manifest = app("grace = \"2s\"")
        + &component("flood", HOSTILE_CLASSIC, &keys(&["run=flood"]))
        + &component("fine", SERVER, "");
    let (mut reader, writer) = pipe().unwrap();
    let app = Host::manifest(&manifest).stdout(writer).start_ready();
    reader.read_exact(&mut [0; 4096]).unwrap();
    drop(reader);
    app.signal(nix::sys::signal::Signal::SIGUSR1);
    app.wait_for_log("status", "flood");
    app.stop().expect_code(0).expect_outcome("flood", "stopped").expect_outcome("fine", "stopped");
}
