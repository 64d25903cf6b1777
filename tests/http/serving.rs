//! What `curfew run` serves: requests over one connection, several addresses, a file without a manifest.

use std::net::TcpListener;
use std::time::Duration;

use artifacts::{HELLO_HTTP, HELLO_HTTP_CLASSIC, SERVER};
use nix::sys::signal::Signal::SIGTERM;

use super::lab::{LABS, connect, serve, served};
use crate::harness::{Address, Cut, Host, Wire, app, component, web};

/// Issue 3, done when: `hello` is served, and its hook says how many requests it has served.
#[test]
fn a_connection_is_kept_and_the_hook_counts_what_was_served() {
    let manifest = app("") + &web("modern", HELLO_HTTP, "") + &web("classic", HELLO_HTTP_CLASSIC, "");
    let app = Host::manifest(&manifest).start_ready();
    for name in ["modern", "classic"] {
        let mut wire = Wire::connect(&app.address(name));
        for _ in 0..3 {
            let answer = wire.get("/any/path?and=query").expect(200);
            assert_eq!(answer.text(), "Hello");
            assert_eq!(answer.header("content-type"), Some("text/plain"));
            assert!(!answer.closes(), "{:?}", answer.headers);
        }
    }
    let output = app.stop();
    output.expect_code(0).expect_cause("signal", "SIGTERM");
    for name in ["modern", "classic"] {
        output.expect_outcome(name, "stopped").expect_hook(name, "ok");
        assert_eq!(served(&output, name), 3, "{}", output.said());
    }
}

/// RFC 9112 §9.3.2: requests that come at once are answered one after the other, in their order.
#[test]
fn pipelined_requests_are_answered_in_their_order() {
    for source in LABS {
        let app = serve(source, "", "");
        let mut wire = connect(&app);
        let requests: String =
            (0..20).map(|number| wire.head_of("GET", &format!("/sized?bytes={number}"), "")).collect();
        wire.send(requests);
        for number in 0..20 {
            assert_eq!(wire.fate().answered().expect(200).body.len(), number);
        }
        app.stop().expect_code(0);
    }
}

/// RFC 9110 §9.3.2: HEAD has the head of GET and no body, and the connection goes on.
#[test]
fn the_answer_to_head_has_no_body() {
    for source in LABS {
        let app = serve(source, "", "");
        let mut wire = connect(&app);
        for path in ["/sized?bytes=5000", "/big?bytes=500000", "/"] {
            let head = wire.head_of("HEAD", path, "");
            wire.send(head);
            let answer = wire.fate_of("HEAD").answered().expect(200);
            assert!(answer.body.is_empty());
            if path.starts_with("/sized") {
                assert_eq!(answer.header("content-length"), Some("5000"));
            }
            // Whatever follows the head would break the next answer.
            assert_eq!(wire.get("/sized?bytes=3").expect(200).body, b"xxx");
        }
        app.stop().expect_code(0);
    }
}

/// Clients that are older or want the end: the connection closes behind the answer, orderly.
#[test]
fn a_connection_ends_when_its_client_wants_it() {
    for source in LABS {
        let app = serve(source, "", "");
        let mut wire = connect(&app);
        let head = wire.head_of("GET", "/", "connection: close\r\n");
        wire.send(head);
        assert!(wire.fate().answered().expect(200).closes());
        assert_eq!(wire.end(), Cut::End);
        let mut wire = connect(&app);
        wire.send("GET /big?bytes=100000 HTTP/1.0\r\n\r\n");
        assert_eq!(wire.fate().answered().expect(200).body.len(), 100_000);
        app.stop().expect_code(0);
    }
}

/// RFC 9110 §10.1.1: a client that waits for 100 gets it when its body is wanted, or its answer without it.
#[test]
fn a_client_that_waits_for_continue_is_told() {
    for source in LABS {
        let app = serve(source, "", "limits = { body-size = \"1KiB\" }");
        let mut wire = connect(&app);
        let head = wire.head_of("POST", "/echo", "expect: 100-continue\r\ncontent-length: 5\r\n");
        wire.send(head);
        let mut interim = [0; 25];
        std::io::Read::read_exact(&mut wire.stream().tcp(), &mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        wire.send("Hello");
        assert_eq!(wire.fate().answered().expect(200).text(), "Hello");
        let mut wire = connect(&app);
        let head = wire.head_of("POST", "/echo", "expect: 100-continue\r\ncontent-length: 5000\r\n");
        wire.send(head);
        wire.fate().answered().expect(413);
        app.stop().expect_code(0);
    }
}

/// Issue 3: several addresses, IPv4, IPv6 and unix sockets; port 0 tells the port. All are closed by the stop, and
/// no socket file stays.
#[test]
fn a_component_listens_on_several_addresses() {
    let ipv6 = TcpListener::bind("[::1]:0").is_ok();
    let mut listen = vec!["127.0.0.1:0", "127.0.0.1:0", "unix:web.sock"];
    if ipv6 {
        listen.push("[::1]:0");
    }
    let manifest = app("") + &component("web", HELLO_HTTP, &format!("listen = {listen:?}"));
    let host = Host::manifest(&manifest);
    let socket = host.path().join("web.sock");
    let app = host.start_ready();
    let mut addresses = app.addresses("web", listen.len());
    for address in &addresses {
        assert_eq!(Wire::connect(address).get("/").expect(200).text(), "Hello", "{address:?}");
    }
    assert!(addresses.contains(&Address::Unix(socket.canonicalize().unwrap())), "{addresses:?}");
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), listen.len(), "two are the same: {addresses:?}");
    let output = app.stop();
    output.expect_code(0);
    assert_eq!(output.records("listener closed", "web").len(), listen.len(), "{}", output.said());
    assert!(!socket.exists(), "the socket is still there");
}

/// A socket file that a killed host left behind is no address in use.
#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let manifest = app("") + &component("web", HELLO_HTTP, "listen = [\"unix:web.sock\"]");
    let host = Host::manifest(&manifest);
    drop(std::os::unix::net::UnixListener::bind(host.path().join("web.sock")).unwrap());
    let app = host.start_ready();
    assert_eq!(Wire::connect(&app.address("web")).get("/").expect(200).text(), "Hello");
    app.stop().expect_code(0);
}

/// Issue 3, done when: `curfew run hello.wasm --listen 127.0.0.1:8080`.
#[test]
fn a_single_file_is_served_without_a_manifest() {
    for source in [HELLO_HTTP, HELLO_HTTP_CLASSIC] {
        let flags = ["--listen", "127.0.0.1:0", "--listen", "unix:web.sock"];
        let host = Host::files(&[source]).flags(&flags);
        let socket = host.path().join("web.sock");
        let app = host.start();
        let name = if source == HELLO_HTTP { "hello-http" } else { "hello-http-classic" };
        let start = format!("serving {name} on ");
        let line = app.wait_for_line(&start);
        assert_eq!(app.look(|said| said.stderr[0].clone()), line, "it is the first line");
        let addresses: Vec<Address> = line[start.len()..].split(", ").map(Address::parse).collect();
        assert!(matches!(addresses[0], Address::Tcp(address) if address.ip().is_loopback()), "{line}");
        assert_eq!(addresses[1], Address::Unix(socket));
        for address in addresses {
            assert_eq!(Wire::connect(&address).get("/").expect(200).text(), "Hello");
        }
        let output = app.stop();
        output.expect_code(0).expect_outcome(name, "stopped").expect_hook(name, "ok");
        // What a single file prints passes through as it is.
        let lines: Vec<&String> = output.lines.iter().filter(|line| line.contains("served")).collect();
        let counts = lines.iter().filter_map(|line| line.strip_prefix("hook: served ")?.split(' ').next());
        assert_eq!(counts.map(|count| count.parse::<u64>().unwrap()).sum::<u64>(), 2, "{lines:?}");
    }
}

/// A service and an http component in one app: both are stopped, each in its own way.
#[test]
fn services_and_http_components_live_in_one_app() {
    let manifest = app("") + &web("web", HELLO_HTTP, "") + &component("service", SERVER, "");
    let app = Host::manifest(&manifest).start_ready();
    assert_eq!(Wire::connect(&app.address("web")).get("/").expect(200).text(), "Hello");
    let output = app.stop();
    output.expect_code(0).expect_outcome("web", "stopped").expect_outcome("service", "stopped");
    output.expect_hook("web", "ok").expect_hook("service", "ok");
}

/// Behind a second without a request a connection keeps no buffers. It serves on as before, and a stop closes it.
#[test]
fn a_connection_that_was_at_rest_serves_on() {
    for source in LABS {
        let app = serve(source, "", "limits = { header-timeout = \"1s\", idle-timeout = \"60s\" }");
        let mut wires: Vec<Wire> = (0..4).map(|_| connect(&app)).collect();
        for wire in &mut wires {
            wire.get("/").expect(200);
            wire.post("/echo", b"body").expect(200);
        }
        // The clock of a connection looks twice a second here.
        std::thread::sleep(Duration::from_millis(2500));
        let [one, two, three, four] = &mut wires[..] else { unreachable!() };
        assert_eq!(one.post("/echo", b"more").expect(200).body, b"more");
        // Two requests at once, the second one in pieces.
        let head = two.head_of("GET", "/headers", "");
        two.send(format!("{head}GET /hea"));
        two.fate().answered().expect(200);
        two.send("ders HTTP/1.1\r\nhost: localhost\r\n\r\n");
        two.fate().answered().expect(200);
        three.send("no request\r\n\r\n");
        three.fate().answered().expect(400);
        app.signal(SIGTERM);
        assert_eq!(four.end(), Cut::End);
        app.wait().expect_code(0);
    }
}
