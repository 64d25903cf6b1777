//! `access-log`: off by default, one line a request when it is on, as text or JSON.

use serde_json::Value;

use super::lab::{LABS, connect, serve};
use crate::harness::{App, H2, Output, Wire, block_on, in_time};

const ID: &str = "its-own-id-7";

/// More than fits into the buffers of a socket.
const MUCH: &str = "bytes=100000000";
const WHOLE: usize = 3_000_000;

/// A few requests of different fates.
fn requests(app: &App) {
    let mut wire = Wire::connect(&app.address("lab"));
    let head =
        wire.head_of("GET", "/sized?bytes=777", &format!("x-request-id: {ID}\r\nuser-agent: a \"b\" c\r\n"));
    wire.send(head);
    wire.fate().answered().expect(200);
    assert_eq!(wire.post("/echo", b"four").expect(200).text(), "four");
    wire.send_get("/trap");
    wire.fate().answered().expect(502);
    block_on(async {
        H2::connect(&app.address("lab")).await.get("/no-such-path").await.expect(404);
    });
}

/// The lines about this path, whatever form they have. They are data, not logs: on standard output.
fn about<'a>(output: &'a Output, path: &str) -> Vec<&'a String> {
    output.lines.iter().filter(|line| line.contains(path)).collect()
}

#[test]
fn there_is_no_access_log_by_default() {
    for source in LABS {
        let app = serve(source, "", "");
        requests(&app);
        let output = app.stop();
        assert!(about(&output, "/sized").is_empty(), "{}", output.said());
        assert!(!output.stderr_text().contains("/sized"), "{}", output.said());
    }
}

#[test]
fn each_request_is_one_line_of_text() {
    for source in LABS {
        let app = serve(source, "access-log = \"text\"", "");
        requests(&app);
        let output = app.stop();
        output.expect_code(0);
        let expected = [
            ("/sized?bytes=777", vec!["GET", "200", "777", "lab", ID, "127.0.0.1"]),
            ("/echo", vec!["POST", "200", "lab"]),
            ("/trap", vec!["GET", "502", "lab"]),
            ("/no-such-path", vec!["GET", "404", "lab", "HTTP/2"]),
        ];
        for (path, words) in expected {
            let lines = about(&output, path);
            assert_eq!(lines.len(), 1, "lines about {path}:\n{}", output.said());
            for word in words {
                assert!(lines[0].contains(word), "{word:?} is not in {}", lines[0]);
            }
        }
    }
}

#[test]
fn each_request_is_one_line_of_json() {
    for source in LABS {
        let app = serve(source, "access-log = \"json\"", "");
        requests(&app);
        let output = app.stop();
        output.expect_code(0);
        for (path, method, status) in [
            ("/sized?bytes=777", "GET", 200),
            ("/echo", "POST", 200),
            ("/trap", "GET", 502),
            ("/no-such-path", "GET", 404),
        ] {
            let lines = about(&output, path);
            assert_eq!(lines.len(), 1, "lines about {path}:\n{}", output.said());
            let line: Value = serde_json::from_str(lines[0]).unwrap_or_else(|e| panic!("{e}: {}", lines[0]));
            let values = all_values(&line);
            let numbers: Vec<u64> = values.iter().filter_map(|value| value.as_u64()).collect();
            let words: Vec<&str> = values.iter().filter_map(|value| value.as_str()).collect();
            assert!(numbers.contains(&status), "no {status} in {line}");
            assert!(words.contains(&method) && words.contains(&"lab"), "{line}");
            if path.starts_with("/sized") {
                assert!(words.contains(&ID) && numbers.contains(&777), "{line}");
            }
        }
    }
}

/// The values of an object and of those in it.
fn all_values(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(fields) => fields.values().flat_map(all_values).collect(),
        Value::Array(items) => items.iter().flat_map(all_values).collect(),
        other => vec![other],
    }
}

/// What a client sends cannot write lines of its own into the log.
#[test]
fn a_client_cannot_forge_lines() {
    for kind in ["text", "json"] {
        let app = serve(LABS[0], &format!("access-log = {kind:?}"), "");
        let mut wire = Wire::connect(&app.address("lab"));
        let evil = "user-agent: x\u{9b}2J\"}\\n\r\nx-request-id: \"}{\"id\":1\r\n";
        let head = wire.head_of("GET", "/no\"}{\"forged\":1", evil);
        wire.send(head);
        // It may be refused: then there is nothing to be logged.
        let _ = wire.fate();
        Wire::connect(&app.address("lab")).get("/no-more").expect(404);
        let output = app.stop();
        output.expect_code(0);
        let lines = about(&output, "/no");
        assert!((1..=2).contains(&lines.len()), "{}", output.said());
        for line in lines {
            if kind == "json" {
                let value: Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert!(value.get("forged").is_none(), "{line}");
            } else {
                assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
                assert_eq!(line.matches('"').count(), 6, "a field ends too early: {line}");
            }
        }
    }
}

/// No byte of a body is sent, so no byte can be missing: the answer is complete with its head.
#[test]
fn an_answer_without_a_body_is_complete() {
    for source in LABS {
        let app = serve(source, "access-log = \"json\"", "");
        let mut wire = Wire::connect(&app.address("lab"));
        wire.get("/sized?bytes=0").expect(200);
        wire.send(wire.head_of("HEAD", "/sized?bytes=5", ""));
        wire.fate_of("HEAD").answered().expect(200);
        block_on(async {
            H2::connect(&app.address("lab")).await.get("/sized?bytes=0&h2").await.expect(200);
        });
        let output = app.stop();
        output.expect_code(0);
        let lines: Vec<Value> =
            output.lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(lines.len(), 3, "{}", output.said());
        assert!(lines.iter().all(|line| line["end"] == "complete"), "{lines:?}");
    }
}

/// The word for the end of each request to this path.
#[track_caller]
fn ends(output: &Output, path: &str) -> Vec<String> {
    let lines = output.lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ends: Vec<_> = lines
        .filter(|line| line["target"] == path)
        .map(|line| line["end"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(!ends.is_empty(), "no line about {path}:\n{}", output.said());
    ends
}

#[track_caller]
fn logged(source: &str, keys: &str) -> App {
    serve(source, "access-log = \"json\"", keys)
}

#[test]
fn an_answer_is_complete_whatever_its_client_does_behind_its_last_byte() {
    for source in LABS {
        let app = logged(source, "");
        let paths = [format!("/sized?bytes={WHOLE}"), format!("/big?bytes={WHOLE}")];
        for path in &paths {
            for _ in 0..5 {
                let mut wire = connect(&app);
                assert_eq!(wire.get(path).expect(200).body.len(), WHOLE);
                wire.leave();
                let mut wire = connect(&app);
                wire.send(wire.head_of("HEAD", path, ""));
                wire.fate_of("HEAD").answered().expect(200);
                wire.leave();
                block_on(async {
                    let client = H2::connect(&app.address("lab")).await;
                    assert_eq!(client.get(path).await.expect(200).body.len(), WHOLE);
                    client.connection.abort();
                });
            }
        }
        let output = app.stop();
        output.expect_code(0);
        for path in &paths {
            assert_eq!(ends(&output, path), ["complete"; 15], "{path} of {source}");
        }
    }
}

#[test]
fn an_answer_that_is_not_whole_says_who_ended_it() {
    for source in LABS {
        let app = logged(source, "");
        let left = [format!("/sized?{MUCH}"), format!("/big?{MUCH}")];
        for path in &left {
            let mut wire = connect(&app);
            wire.send_get(path);
            assert_eq!(wire.head().status, 200);
            wire.leave();
            block_on(async {
                let client = H2::connect(&app.address("lab")).await;
                let request = client.request("GET", path).body(()).unwrap();
                let (response, _) = client.open(request, true).await.unwrap();
                drop(in_time("the head", response).await.unwrap());
                client.connection.abort();
            });
        }
        let mut wire = connect(&app);
        wire.send_get("/trap-mid");
        wire.fate().aborted();
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let cut = in_time("the end", client.try_get("/trap-mid")).await;
            assert!(cut.is_err(), "{cut:?}");
        });
        let output = app.stop();
        output.expect_code(0);
        for path in &left {
            assert_eq!(ends(&output, path), ["client-left"; 2], "{path} of {source}");
        }
        assert_eq!(ends(&output, "/trap-mid"), ["cut-short"; 2], "{source}");
    }
}

#[test]
fn a_client_that_takes_nothing_has_timed_out() {
    for source in LABS {
        let app = logged(source, "limits = { rate-window = \"500ms\" }");
        let path = format!("/big?{MUCH}");
        let mut wire = connect(&app);
        wire.send_get(&path);
        app.wait_for_line("timed-out");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let request = client.request("GET", &path).body(()).unwrap();
            let (response, _) = client.open(request, true).await.unwrap();
            let mut body = in_time("the head", response).await.unwrap().into_body();
            // It takes in what its window has room for, and gives no more room.
            let reset = async { while body.data().await.unwrap().is_ok() {} };
            in_time("the reset of its stream", reset).await;
        });
        assert_eq!(ends(&app.stop(), &path), ["timed-out"; 2]);
    }
}

/// What an answer lacks because its client did not send its body is no fault of the component.
#[test]
fn an_upload_that_is_not_whole_is_its_clients_doing() {
    for source in LABS {
        let app = logged(source, "limits = { rate-window = \"500ms\" }");
        let begin = || {
            let mut wire = connect(&app);
            wire.send(wire.head_of("POST", "/echo", "content-length: 100000\r\n"));
            wire.send(vec![b'x'; 20_000]);
            // Some of it comes back: the guest reads and writes.
            assert_eq!(wire.head().status, 200);
            wire
        };
        begin().leave();
        app.wait_for_line("client-left");
        let _still = begin();
        app.wait_for_line("timed-out");
        let output = app.stop();
        output.expect_code(0);
        let mut ends = ends(&output, "/echo");
        ends.sort();
        assert_eq!(ends, ["client-left", "timed-out"]);
        assert!(output.records("request failed", "lab").is_empty(), "{}", output.said());
    }
}

#[test]
fn an_answer_with_trailers_is_complete() {
    for source in LABS {
        let app = logged(source, "");
        let mut wire = connect(&app);
        wire.send(wire.head_of("GET", "/trailers", "te: trailers\r\n"));
        wire.fate().answered().expect(200);
        block_on(async {
            H2::connect(&app.address("lab")).await.get("/trailers").await.expect(200);
        });
        assert_eq!(ends(&app.stop(), "/trailers"), ["complete"; 2]);
    }
}
