//! Bytes that are no request, or none that the host takes: the client is told, the log has one line with the id of the answer, a counter
//! has the reason, and nobody else notices.

use std::time::Duration;

use artifacts::{HELLO_HTTP, HTTP_LAB};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::lab::{LABS, connect, serve};
use crate::harness::{
    Address, Answer, App, CONTROL, Cut, H2, Host, Load, Target, Wire, app, block_on, in_time, send_all,
    until, web,
};

/// A lab with a log beside a component that serves a load.
fn beside() -> (App, Load) {
    let manifest = app(&format!("{CONTROL}\naccess-log = \"json\""))
        + &web("lab", HTTP_LAB, "limits = { header-size = \"16KiB\" }")
        + &web("fine", HELLO_HTTP, "");
    let app = Host::manifest(&manifest).start_ready();
    let load = Load::start(50, &[Target::new("fine", app.address("fine"), "/")]);
    (app, load)
}

#[track_caller]
fn end(app: App, load: Load) -> Vec<Value> {
    load.wait_for_answers(1);
    assert_eq!(load.end().others(&[]), [""; 0]);
    let output = app.stop();
    output.expect_code(0).expect_outcome("lab", "stopped").expect_outcome("fine", "stopped");
    output.lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The answer to these bytes, behind which the connection ends.
#[track_caller]
fn refused(mut wire: Wire, bytes: &str, is_finished: bool) -> Answer {
    // The host may answer before it has read all of it.
    let _ = wire.try_send(bytes);
    if is_finished {
        wire.stream().finish();
    }
    let answer = wire.fate().answered();
    assert_eq!(wire.end(), Cut::End, "{answer:?}");
    answer
}

#[track_caller]
fn faults(app: &App, reason: &str, count: u64) {
    let line = format!("curfew_client_faults_total{{component=\"lab\",reason=\"{reason}\"}} {count}\n");
    until(&line, || app.metrics().contains(&line).then_some(()));
}

/// What hyper answers by itself, without a text, an id, a line or a count.
#[test]
fn what_cannot_be_read_is_answered_logged_and_counted() {
    let (app, load) = beside();
    let long = "a".repeat(70_000);
    let huge_head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n");
    let many_fields = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(200));
    let cases: [(&str, bool, u16, &str); 6] = [
        ("no request\r\n\r\n", false, 400, "bad-request"),
        ("GET / HTTP/1.1\r\nbad field\r\n\r\n", false, 400, "bad-request"),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false, 400, "bad-request"),
        ("GET / HTTP/1.1\r\nhost: a", true, 400, "bad-request"),
        (&huge_head, false, 431, "head-too-large"),
        (&many_fields, false, 431, "head-too-large"),
    ];
    let mut ids = Vec::new();
    // On a new connection, and behind a request that was answered.
    for is_behind in [false, true] {
        for (bytes, is_finished, status, _) in cases {
            let mut wire = connect(&app);
            if is_behind {
                wire.get("/").expect(200);
            }
            let answer = refused(wire, bytes, is_finished).expect(status);
            assert!(answer.text().starts_with(&status.to_string()), "{answer:?}");
            assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
            assert!(answer.header("date").is_some(), "{answer:?}");
            ids.push((status, answer.header("x-request-id").expect("an id").to_owned()));
        }
    }
    faults(&app, "bad-request", 8);
    faults(&app, "head-too-large", 4);
    app.wait_for_log("fault of a client", "lab");
    let lines = end(app, load);
    for (status, id) in ids {
        let about: Vec<_> = lines.iter().filter(|line| line["id"] == id.as_str()).collect();
        assert_eq!(about.len(), 1, "{id}: {lines:?}");
        assert_eq!((&about[0]["status"], &about[0]["client"]), (&status.into(), &"127.0.0.1".into()));
        assert!(about[0]["method"].is_null() && about[0]["end"] == "complete", "{about:?}");
    }
}

/// 414 is for a target that no limit of heads forbids.
#[test]
fn a_target_that_is_too_long_gets_414() {
    let app = serve(HTTP_LAB, "", "limits = { header-size = \"256KiB\" }");
    let bytes = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(70_000));
    let answer = refused(connect(&app), &bytes, false).expect(414);
    assert!(answer.text().starts_with("414 ") && answer.header("x-request-id").is_some(), "{answer:?}");
    app.stop().expect_code(0);
}

/// An answer that waits in full buffers is whole before the refusal of what was sent behind it.
#[test]
fn a_refusal_behind_an_answer_that_is_not_read_spoils_neither() {
    let app = serve(HTTP_LAB, "", "");
    let mut wire = connect(&app);
    wire.send("GET /big?bytes=8000000 HTTP/1.1\r\nhost: a\r\n\r\nno request\r\n\r\n");
    assert_eq!(wire.head().status, 200);
    // The scenario is about this time: the buffers are full.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(wire.rest().answered().body.len(), 8_000_000);
    assert_eq!(wire.fate().answered().status, 400);
    assert_eq!(wire.end(), Cut::End);
    app.stop().expect_code(0);
}

/// What is refused before it is routed has its reason in the metrics.
#[test]
fn what_is_refused_is_counted_by_its_reason() {
    let (app, load) = beside();
    let cases = [
        ("GET / HTTP/1.1\r\nhost: a:80@b\r\n\r\n", 400, "bad-request"),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            "transfer-coding",
        ),
        ("CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", 501, "upgrade"),
    ];
    for (bytes, status, reason) in cases {
        refused(connect(&app), bytes, false).expect(status);
        faults(&app, reason, 1);
    }
    let lines = end(app, load);
    assert_eq!(lines.iter().filter(|line| line["component"] != "fine").count(), cases.len(), "{lines:?}");
}

/// A proxy in front has taken the second request for one: it must not be lost without a word, and none of it may be served.
#[test]
fn nothing_is_served_behind_trailers_whose_end_is_in_doubt() {
    for source in LABS {
        let app = serve(source, "", "");
        for (path, rest) in [("/echo", ""), ("/", ""), ("/echo", "GET /state HTTP/1.1\r\nhost: a\r\n\r\n")] {
            for end in ["\n\n", "\n\r\n", "\r\n\n"] {
                let mut wire = connect(&app);
                let head = wire.head_of("POST", path, "transfer-encoding: chunked\r\n");
                wire.send(format!(
                    "{head}1\r\nx\r\n0\r\na: b{end}GET /state HTTP/1.1\r\nhost: a\r\n\r\n{rest}"
                ));
                wire.fate().answered().expect(200);
                let begun = std::time::Instant::now();
                assert!(matches!(wire.end(), Cut::End | Cut::Reset), "{path} {end:?}");
                assert!(begun.elapsed() < Duration::from_secs(10));
            }
        }
        assert_eq!(connect(&app).get("/state").expect(200).text().split(' ').next(), Some("1"));
        app.stop().expect_code(0);
    }
}

/// `forwarded = "replace"` holds for trailers as well, and for the spellings that become the same variable.
#[test]
fn claims_do_not_pass_in_trailers() {
    let claims = ["forwarded", "x-forwarded-for", "x_forwarded_for", "x-real_ip", "x-request-id"];
    for source in LABS {
        for mode in ["replace", "append"] {
            let app = serve(source, "", &format!("forwarded = {mode:?}"));
            block_on(async {
                let client = H2::connect(&app.address("lab")).await;
                let request = client.request("POST", "/echo").header("te", "trailers").body(()).unwrap();
                let (response, mut stream) = client.open(request, false).await.unwrap();
                send_all(&mut stream, Bytes::from_static(b"some bytes"), false).await.unwrap();
                let mut trailers = HeaderMap::new();
                for name in claims.into_iter().chain(["x-checksum"]) {
                    trailers.insert(name, "42".parse().unwrap());
                }
                stream.send_trailers(trailers).unwrap();
                let answer = in_time("the echo", crate::harness::answer(response)).await.unwrap().expect(200);
                assert_eq!(answer.trailer("x-checksum"), Some("42"), "{answer:?}");
                assert!(claims.iter().all(|name| answer.trailer(name).is_none()), "{answer:?}");
            });
            let mut wire = connect(&app);
            let names = claims.join(", ");
            let head = format!("te: trailers\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, {names}\r\n");
            wire.send(wire.head_of("POST", "/echo", &head));
            let lines = claims.map(|name| format!("{name}: 42\r\n")).concat();
            wire.send(format!("1\r\nx\r\n0\r\nx-sum: 42\r\n{lines}\r\n"));
            let answer = wire.fate().answered().expect(200);
            assert!(claims.iter().all(|name| answer.trailer(name).is_none()), "{answer:?}");
            app.stop().expect_code(0);
        }
    }
}

/// Marks that turn the direction of a line, and characters without a width.
#[test]
fn a_client_cannot_turn_the_lines_of_the_log() {
    let app = serve(HTTP_LAB, "access-log = \"text\"", "");
    let mut wire = Wire::connect(&app.address("lab"));
    wire.send(wire.head_of(
        "GET",
        "/turned\u{202e}\u{200b}",
        "user-agent: a\u{202e}b\u{2066}c\u{feff}\u{e0041}\r\n",
    ));
    let _ = wire.fate();
    let line = app.wait_for_line("/turned");
    let line = format!("{line:?}");
    assert!(line.contains("/turned??") && line.contains("a?b?c??"), "{line}");
    app.stop().expect_code(0);
}

/// Over each kind of stream.
#[test]
fn a_refusal_over_a_unix_socket_and_tls_is_the_same() {
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
    let manifest = app("")
        + &web("secure", HTTP_LAB, tls)
        + &crate::harness::component("local", HTTP_LAB, "listen = [\"unix:web.sock\"]");
    let (host, trust) = crate::harness::Trust::install(Host::manifest(&manifest));
    let app = host.start_ready();
    let local: Address = app.address("local");
    for wire in [Wire::connect(&local), Wire::connect_tls(&app.address("secure"), &trust, &["http/1.1"])] {
        let answer = refused(wire, "no request\r\n\r\n", false).expect(400);
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    }
    app.stop().expect_code(0);
}
