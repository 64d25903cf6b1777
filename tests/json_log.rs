//! `--log-format json`: every line on stderr is one object with the same kind of time, whatever happens.

use std::net::TcpListener;

use artifacts::{CORE_MODULE, HELLO_HTTP, HTTP_LAB_PLAIN, NO_HOOK, SERVER};
use serde_json::Value;

use crate::harness::{Address, Host, Output, Wire, app, component, keys};

/// Fails unless each line is a record. Returns the messages.
#[track_caller]
fn expect_records(output: &Output) -> Vec<String> {
    let message = |line: &String| {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let [time, level, message] = ["timestamp", "level", "message"]
            .map(|key| record[key].as_str().unwrap_or_else(|| panic!("no {key}: {line}")).to_string());
        expect_time(&time);
        assert!(["ERROR", "WARN", "INFO"].contains(&level.as_str()), "{line}");
        message
    };
    output.stderr_lines.iter().map(message).collect()
}

/// `2026-11-21T05:15:56.123Z`.
fn expect_time(time: &str) {
    let digits: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(digits, "0000-00-00T00:00:00.000Z", "{time}");
}

#[test]
fn every_line_of_a_run_is_a_record() {
    let manifest = app("access-log = \"json\"\nfail-grace = \"1s\"")
        + &component("web", HELLO_HTTP, "listen = [\"127.0.0.1:0\"]")
        // It writes an error, and fails.
        + &component("odd", NO_HOOK, &(keys(&["{\"level\":\"ERROR\""]) + "\non-failure = \"ignore\""));
    let app = Host::manifest(&manifest).start();
    app.wait_for_log("failed", "odd");
    let address: Address = app.address("web");
    Wire::connect(&address).get("/").expect(200);
    let output = app.stop();
    let messages = expect_records(output.expect_code(1));
    assert!(messages.iter().any(|message| message.starts_with("unknown behaviour {")), "{messages:?}");
    output.expect_line("odd | unknown behaviour {\"level\":\"ERROR\"");
    let access = output.stdout_text();
    let request: Value =
        serde_json::from_str(access.lines().find(|line| line.contains("\"method\"")).unwrap()).unwrap();
    expect_time(request["timestamp"].as_str().unwrap());
}

#[test]
fn every_error_before_the_start_is_a_record() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = [\"{}\"]", taken.local_addr().unwrap());
    let good = component("good", SERVER, "");
    for (what, host, code) in [
        ("a manifest", Host::manifest(&(app("grcae = 1\ngrace = 5s") + &good)), 78),
        ("no manifest", Host::manifest("").flags(&["none.toml"]), 69),
        ("a component", Host::manifest(&(app("") + &good + &component("odd", CORE_MODULE, ""))), 78),
        ("an address", Host::manifest(&(app("") + &component("web", HELLO_HTTP, &listen))), 69),
        ("files", Host::files(&[SERVER, HELLO_HTTP]), 78),
        ("the command line", Host::manifest("").flags(&["--no-such"]), 2),
        ("a cache", Host::manifest(&(app("") + &good)).flags(&["--cache", "/dev/null"]), 69),
    ] {
        let output = host.run();
        assert_eq!(output.code(), code, "{what}: {}", output.said());
        let messages = expect_records(&output);
        assert!(messages.iter().any(|message| message == "fatal error"), "{what}: {}", output.said());
        let record: Value = serde_json::from_str(output.stderr_lines.last().unwrap()).unwrap();
        assert_eq!(record["exit_code"], code, "{what}: {}", output.said());
    }
}

#[test]
fn a_panic_of_the_host_is_a_record() {
    let manifest = app("fail-grace = \"1s\"") + &component("web", HELLO_HTTP, "listen = [\"127.0.0.1:0\"]");
    let output = Host::manifest(&manifest).env("CURFEW_FAIL_POINT", "front").run();
    assert_eq!(output.code(), 70, "{}", output.said());
    let messages = expect_records(&output);
    assert!(messages.iter().any(|message| message.starts_with("panic: ")), "{messages:?}");
}

/// Its standard output is its own.
#[test]
fn what_a_single_file_writes_to_stderr_is_a_record() {
    let flags = ["--listen", "127.0.0.1:0", "--log-level", "info"];
    let app = Host::files(&[HTTP_LAB_PLAIN]).flags(&flags).start();
    let address = app.address("http-lab-plain");
    Wire::connect(&address).get("/panic").expect(502);
    let output = app.stop();
    let told = expect_records(output.expect_code(0));
    assert!(told.iter().any(|line| line.contains("panicked at")), "{told:?}");
}

#[test]
fn a_single_file_says_in_a_record_where_it_serves() {
    let app = Host::files(&[HELLO_HTTP]).flags(&["--listen", "127.0.0.1:0"]).start();
    app.wait_for_line("serving hello-http on http://127.0.0.1:");
    let output = app.stop();
    assert!(expect_records(output.expect_code(0))[0].starts_with("serving "), "{}", output.said());
}
