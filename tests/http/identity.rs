//! Who asks, and under which number: `forwarded`, `x-request-id`, `traceparent`; and what is refused: upgrades.

use std::collections::BTreeSet;

use artifacts::HTTP_LAB;

use super::lab::{LABS, connect, serve};
use crate::harness::{Address, Answer, Cut, Host, Trust, Wire, app, component, web};

/// What the guest was given, by name.
struct Given(Vec<(String, String)>);

impl Given {
    #[track_caller]
    fn ask(wire: &mut Wire, headers: &str) -> (Given, Answer) {
        let head = wire.head_of("GET", "/headers", headers);
        wire.send(head);
        let answer = wire.fate().answered().expect(200);
        let lines = answer.text();
        let pairs = lines.lines().filter_map(|line| line.split_once(": "));
        (Given(pairs.map(|(name, value)| (name.to_lowercase(), value.to_string())).collect()), answer)
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|pair| pair.0 == name).map(|pair| pair.1.as_str()).collect()
    }

    #[track_caller]
    fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} in {:?}", self.0);
        all[0]
    }
}

const FORGED: &str = "forwarded: for=9.9.9.9\r\nx-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\n\
                      x-forwarded-host: evil\r\nx-real-ip: 9.9.9.9\r\n";

/// The client's address reaches the guest; what the client says of itself does not, unless the manifest trusts it.
#[test]
fn the_guest_is_told_who_asks() {
    for source in LABS {
        let app = serve(source, "", "");
        let (given, _) = Given::ask(&mut connect(&app), FORGED);
        let forwarded = given.one("forwarded").to_lowercase();
        assert!(forwarded.contains("for=127.0.0.1") && forwarded.contains("proto=http"), "{forwarded}");
        assert!(!forwarded.contains("9.9.9.9") && !forwarded.contains("https"), "{forwarded}");
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
            assert!(given.all(name).is_empty(), "{name}: {:?}", given.all(name));
        }
        app.stop().expect_code(0);

        let app = serve(source, "", "forwarded = \"append\"");
        let (given, _) = Given::ask(&mut connect(&app), FORGED);
        let forwarded = given.all("forwarded").join(", ").to_lowercase();
        let (client, own) = forwarded.split_once(", ").unwrap_or_else(|| panic!("{forwarded}"));
        assert_eq!(client, "for=9.9.9.9");
        assert!(own.contains("for=127.0.0.1"), "{forwarded}");
        assert_eq!(given.one("x-forwarded-for"), "9.9.9.9");
        app.stop().expect_code(0);
    }
}

/// RFC 7239: IPv6 is quoted, a unix socket has no address, TLS is https.
#[test]
fn forwarded_fits_the_address() {
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
    let manifest = app("")
        + &web("secure", HTTP_LAB, tls)
        + &component("local", HTTP_LAB, "listen = [\"unix:web.sock\"]")
        + &component("six", HTTP_LAB, "listen = [\"[::1]:0\"]");
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let (host, trust) = Trust::install(Host::manifest(&manifest));
    let app = host.start_ready();
    let mut wire = Wire::connect_tls(&app.address("secure"), &trust, &["http/1.1"]);
    let forwarded = Given::ask(&mut wire, "").0.one("forwarded").to_lowercase();
    assert!(forwarded.contains("for=127.0.0.1") && forwarded.contains("proto=https"), "{forwarded}");
    let mut wire = Wire::connect(&app.address("six"));
    let forwarded = Given::ask(&mut wire, "").0.one("forwarded").to_lowercase();
    assert!(forwarded.contains("for=\"[::1]\""), "{forwarded}");
    let mut wire = Wire::connect(&app.address("local"));
    let forwarded = Given::ask(&mut wire, "").0.one("forwarded").to_lowercase();
    assert!(forwarded.contains("for=") && !forwarded.contains("127.0.0.1"), "{forwarded}");
    app.stop().expect_code(0);
}

/// Each request has an id: the client's own when it is a sane one, else a new one. The answer tells it.
#[test]
fn requests_carry_an_id() {
    for source in LABS {
        let app = serve(source, "", "");
        let mut wire = connect(&app);
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            let (given, answer) = Given::ask(&mut wire, "");
            let id = given.one("x-request-id").to_string();
            assert_eq!(answer.header("x-request-id"), Some(id.as_str()));
            assert!(!id.is_empty() && seen.insert(id), "two requests have the same id");
        }
        let (given, answer) = Given::ask(&mut wire, "x-request-id: my-own.id_42\r\n");
        assert_eq!(given.one("x-request-id"), "my-own.id_42");
        assert_eq!(answer.header("x-request-id"), Some("my-own.id_42"));
        let long = "a".repeat(3000);
        for odd in [long.as_str(), "two words", "t\u{e4}g", ""] {
            let (given, answer) = Given::ask(&mut wire, &format!("x-request-id: {odd}\r\n"));
            let id = given.one("x-request-id");
            assert!(id != odd && !id.is_empty(), "{id:?} was taken over");
            assert_eq!(answer.header("x-request-id"), Some(id));
        }
        // The answers of the host itself carry it, too.
        let head =
            wire.head_of("GET", "/", "upgrade: websocket\r\nconnection: upgrade\r\nx-request-id: mine\r\n");
        wire.send(head);
        assert_eq!(wire.fate().answered().header("x-request-id"), Some("mine"));
        app.stop().expect_code(0);
    }
}

/// `traceparent` passes through as it is, and what belongs to the connection does not.
#[test]
fn traceparent_passes_through() {
    for source in LABS {
        let app = serve(source, "", "");
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = format!("traceparent: {trace}\r\ntracestate: a=b\r\naccept: x\r\naccept: y\r\n");
        let (given, _) = Given::ask(&mut connect(&app), &headers);
        assert_eq!((given.one("traceparent"), given.one("tracestate")), (trace, "a=b"));
        assert_eq!(given.all("accept").join(", "), "x, y");
        let (given, _) =
            Given::ask(&mut connect(&app), "connection: keep-alive\r\nkeep-alive: timeout=5\r\n");
        assert!(given.all("connection").is_empty() && given.all("keep-alive").is_empty(), "{:?}", given.0);
        app.stop().expect_code(0);
    }
}

/// Issue 3, the stop: upgraded connections are refused clearly, never leaked.
#[test]
fn an_upgrade_is_refused() {
    for source in LABS {
        let app = serve(source, "", "");
        let before = app.sockets().len();
        let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let mut wires: Vec<Wire> = (0..10).map(|_| connect(&app)).collect();
        for wire in &mut wires {
            let head = wire.head_of("GET", "/", upgrade);
            wire.send(head);
            let answer = wire.fate().answered();
            let closes = answer.closes();
            let text = answer.expect(501).text();
            assert!(text.starts_with("501") && text.to_lowercase().contains("upgrade"), "{text:?}");
            if closes {
                assert_eq!(wire.end(), Cut::End);
            } else {
                assert!(wire.get("/").expect(200).text().starts_with("Hello "));
            }
        }
        let mut tunnel = connect(&app);
        tunnel.send("CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n");
        let answer = tunnel.fate().answered();
        assert!(answer.status >= 400, "{answer:?}");
        drop((wires, tunnel));
        crate::harness::until("the ends of the connections", || {
            (app.sockets().len() <= before).then_some(())
        });
        app.stop().expect_code(0);
    }
}

/// Malformed requests harm nobody and reach no guest.
#[test]
fn malformed_requests_are_answered_by_the_host_or_closed() {
    let app = serve(LABS[0], "", "instances = { max = 1 }");
    let address: Address = app.address("lab");
    let requests = [
        "\r\n\r\n\r\nnonsense\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nHello!",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is no frame at all, is it?",
    ];
    for request in requests {
        let mut wire = Wire::connect(&address);
        wire.send(request);
        wire.stream().finish();
        let mut said = Vec::new();
        // Whatever it says must not be the guest's answer to a request that never was one.
        let mut stream = wire.stream().tcp().try_clone().unwrap();
        let _ = std::io::Read::read_to_end(&mut stream, &mut said);
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("200 OK") || request.starts_with("POST"), "{request:?} got {said:?}");
    }
    Wire::connect(&address).get("/").expect(200);
    let output = app.stop();
    output.expect_code(0).expect_outcome("lab", "stopped").expect_hook("lab", "ok");
    assert!(output.records("instance failed", "").is_empty(), "{}", output.said());
}
