//! How a drill is told: the table, and the JUnit file.

use artifacts::{HELLO_HTTP, HOSTILE_CLASSIC, SERVER};

use super::xml::Element;
use super::{Drilled, drill};
use crate::harness::{Host, Output, app, component, keys, web};

fn mixed() -> String {
    app("grace = \"400ms\"")
        + &component("good", SERVER, "")
        + &component("bad", HOSTILE_CLASSIC, &keys(&["hook=error", "run=good"]))
        + &web("web", HELLO_HTTP, "")
}

fn table(manifest: &str, flags: &[&str]) -> Output {
    let args: Vec<&str> = ["drill"].into_iter().chain(flags.iter().copied()).collect();
    Host::manifest(manifest).call(&args)
}

/// A row a try, then what was found with what to do about it, then what the app said.
#[test]
fn the_table_says_what_failed_and_what_to_do() {
    let output = table(&mixed(), &["--only", "term,peer"]);
    output.expect_code(1);
    let told = output.stdout_text();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("try ") && lines[0].ends_with("requests"), "{told}");
    for (at, title, verdict, code) in [
        (1, "TERM, idle", "FAIL", "3"),
        (2, "TERM, under load", "FAIL", "3"),
        (3, "a peer fails, idle", "FAIL", "1"),
        (4, "a peer fails, under load", "FAIL", "1"),
    ] {
        let cells: Vec<&str> = lines[at].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!((cells[0], cells[1], cells[2]), (title, verdict, code), "{told}");
    }
    assert!(lines[2].ends_with(" answered, 0 lost"), "{told}");
    let expected = "FAIL  bad: its hook failed: the hook failed on purpose\n      in: TERM, idle; TERM, under load; a peer \
                    fails, idle; a peer fails, under load\n      to do: ";
    assert!(told.contains(expected), "{told}");
    assert!(
        told.contains("the last lines of \"TERM, idle\":\n") && told.contains("bad | hook called"),
        "{told}"
    );
    assert!(lines.last().unwrap().starts_with("test: 4 of 4 tries FAILED, in "), "{told}");
    assert_eq!(output.stderr_text(), "", "no progress line without a terminal");
}

#[test]
fn the_table_of_a_good_app_is_short() {
    let output = table(&(app("") + &component("good", SERVER, "")), &["--only", "term,quit"]);
    output.expect_code(0);
    let told = output.stdout_text();
    assert_eq!(told.lines().count(), 5, "{told}");
    assert!(told.lines().last().unwrap().starts_with("test: 2 tries ok, in "), "{told}");
}

/// The test suite of the file: the only child of its root.
#[track_caller]
fn suite(drilled: &Drilled) -> Element {
    let mut root =
        Element::parse(&std::fs::read_to_string(drilled.output.dir.path().join("drill.xml")).unwrap());
    assert_eq!((root.name.as_str(), root.children.len()), ("testsuites", 1));
    root.children.remove(0)
}

/// What every CI reads: a suite whose counts are those of its cases.
#[test]
fn the_junit_file_counts_what_failed() {
    let drilled = drill(Host::manifest(&mixed()), &["--only", "term,quit", "--junit", "drill.xml"]);
    drilled.expect(1);
    let suite = suite(&drilled);
    assert_eq!((suite.name.as_str(), suite.attribute("name")), ("testsuite", "test"));
    let cases = &suite.children;
    assert_eq!((suite.attribute("tests"), cases.len()), ("4", 4));
    let with =
        |what: &str| cases.iter().filter(|case| case.children.iter().any(|child| child.name == what)).count();
    assert_eq!((suite.attribute("failures"), with("failure")), ("4", 4));
    assert_eq!((suite.attribute("skipped"), suite.attribute("errors")), ("0", "0"));
    let failure = &cases[0].children[0];
    assert!(
        failure.attribute("message").starts_with("bad: its hook failed: the hook failed on purpose (to do: ")
    );
    assert!(failure.text.contains("bad | hook called"), "{}", failure.text);
    for case in cases {
        assert!(case.attribute("time").parse::<f64>().is_ok_and(|time| time > 0.0), "{case:?}");
    }
}

/// A file that was there is replaced, and one for an app that does not start says so.
#[test]
fn the_junit_file_tells_why_nothing_was_tried() {
    let host = Host::manifest(
        &(app("") + &component("x", SERVER, "network = { listen = [\"127.0.0.1:0\"] }\nargs = []")),
    );
    let host = host.file("drill.xml", "x".repeat(10_000)).file("bad.wasm", "no component");
    let drilled = drill(host, &["bad.wasm", "--junit", "drill.xml"]);
    drilled.output.expect_code(78);
    let suite = suite(&drilled);
    assert_eq!((suite.attribute("tests"), suite.attribute("errors")), ("1", "1"));
    assert!(suite.children[0].children[0].text.contains("bad.wasm"), "{suite:?}");
    assert_eq!(drilled.document["tries"].as_array().map(Vec::len), Some(0));
    assert!(drilled.document["error"].as_str().unwrap().contains("bad.wasm"));
}

/// A pipe and a device have no length to be cut; and whatever becomes of the file, a drill that was held is told.
#[test]
fn the_junit_file_can_be_a_pipe_or_full() {
    let manifest = app("") + &component("good", SERVER, "");
    let output = table(&manifest, &["--only", "term", "--junit", "/dev/stdout"]);
    output.expect_code(0);
    let told = output.stdout_text();
    assert!(told.contains("</testsuite>") && told.contains("test: 1 tries ok, in "), "{told}");
    let output = table(&manifest, &["--only", "term", "--junit", "/dev/full"]);
    output.expect_code(69).expect_line("cannot write /dev/full");
    assert!(output.stdout_text().contains("test: 1 tries ok, in "), "{}", output.stdout_text());
}

#[test]
fn a_junit_file_that_cannot_be_written_is_told_first() {
    let host = Host::manifest(&mixed());
    nix::unistd::mkfifo(&host.path().join("unread.xml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let drilled = drill(host, &["--junit", "unread.xml"]);
    drilled.output.expect_code(69).expect_line("cannot write unread.xml");
    let drilled = drill(Host::manifest(&mixed()), &["--junit", "none/drill.xml"]);
    drilled.output.expect_code(69).expect_line("cannot write none/drill.xml");
}
