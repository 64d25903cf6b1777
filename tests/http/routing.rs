//! Several components behind one address, told apart by host and path.

use artifacts::{EVENTS, HELLO_HTTP, HTTP_LAB};

use crate::harness::{
    Address, Answer, App, Cut, H2, Host, Wire, app, block_on, component, free_address, in_time,
};

/// Three components that share an address; the last one takes the rest when it has no routes.
fn three(address: &str, rest: &str) -> String {
    let keys = |routes: &str| format!("listen = [{address:?}]\n{routes}");
    app("")
        + &component("lab", HTTP_LAB, &keys("routes = [\"api.example.com/v1\", \"/static\"]"))
        + &component("hello", HELLO_HTTP, &keys("routes = [\"*.example.com\", \"/static/deep\"]"))
        + &component("events", EVENTS, &keys(rest))
}

/// A host with them on one address.
fn start(rest: &str) -> (App, Address) {
    let free = free_address();
    (Host::manifest(&three(&free.to_string(), rest)).start_ready(), Address::Tcp(free))
}

/// Which of the three gave this answer to a POST.
fn who(answer: &Answer) -> &'static str {
    match answer.status {
        200 if answer.text() == "Hello" => "hello",
        404 if answer.text().starts_with("the lab knows no ") => "lab",
        405 if answer.header("allow") == Some("GET") => "events",
        404 if answer.text().starts_with("404") => "nobody",
        _ => panic!("whose is this? {answer:?}"),
    }
}

fn ask(address: &Address, host: &str, path: &str) -> Answer {
    let mut wire = Wire::connect(address);
    wire.send(format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"));
    wire.fate().answered()
}

/// Host, path, and who answers when the third component takes the rest.
const ROUTES: &[(&str, &str, &str)] = &[
    ("api.example.com", "/v1", "lab"),
    ("api.example.com", "/v1/x?q=/v2", "lab"),
    ("API.Example.COM:8080", "/v1/", "lab"),
    // A route ends at a segment, and another host's route may be the next best.
    ("api.example.com", "/v10", "hello"),
    ("www.example.com", "/", "hello"),
    ("a.b.example.com:443", "/anything", "hello"),
    ("www.example.com", "/static", "hello"),
    ("example.com", "/", "events"),
    ("badexample.com", "/", "events"),
    ("other.org", "/static", "lab"),
    ("other.org", "/static/x", "lab"),
    ("other.org", "/static/deep", "hello"),
    ("other.org", "/static/deep/x", "hello"),
    ("other.org", "/static/deeper", "lab"),
    ("other.org", "/statics", "events"),
    ("other.org", "/v1", "events"),
];

/// Issue 3, routing: the most specific route wins; nothing is stripped from the path.
#[test]
fn the_most_specific_route_wins() {
    let (app, address) = start("");
    for (host, path, expected) in ROUTES {
        let answer = ask(&address, host, path);
        assert_eq!(who(&answer), *expected, "{host} {path}: {}", answer.text());
        if *expected == "lab" {
            let path = path.split('?').next().unwrap();
            assert_eq!(answer.text(), format!("the lab knows no {path}"), "{host} {path}");
        }
    }
    // One connection may ask for several of them.
    let mut wire = Wire::connect(&address);
    for (host, expected) in
        [("www.example.com", "hello"), ("other.org", "events"), ("x.example.com", "hello")]
    {
        wire.send(format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"));
        assert_eq!(who(&wire.fate().answered()), expected, "{host}");
    }
    let output = app.stop();
    output.expect_code(0);
    for name in ["lab", "hello", "events"] {
        output.expect_outcome(name, "stopped");
    }
}

/// The same by HTTP/2's `:authority`.
#[test]
fn routes_hold_for_http2() {
    let (app, address) = start("");
    block_on(async {
        let client = H2::connect(&address).await;
        for (host, path, expected) in ROUTES {
            let uri = format!("http://{host}{path}");
            let request = http::Request::builder().method("POST").uri(uri).body(()).unwrap();
            let (response, _) = client.open(request, true).await.unwrap();
            let answer = in_time(path, crate::harness::answer(response)).await.unwrap();
            assert_eq!(who(&answer), *expected, "{host} {path}: {}", answer.text());
        }
    });
    app.stop().expect_code(0);
}

/// What no route matches is answered by the host itself, with 404 and a text that says so.
#[test]
fn a_request_without_a_route_gets_404() {
    let (app, address) = start("routes = [\"events.org\"]");
    let answer = ask(&address, "other.org", "/");
    assert_eq!(who(&answer), "nobody");
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{answer:?}");
    assert_eq!(who(&ask(&address, "events.org", "/")), "events");
    // The connection goes on behind such an answer.
    let mut wire = Wire::connect(&address);
    for (host, expected) in [("other.org", "nobody"), ("events.org", "events")] {
        wire.send(format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"));
        assert_eq!(who(&wire.fate().answered()), expected, "{host}");
    }
    app.stop().expect_code(0);
}

/// One address, one owner for each route: anything else is an error that names both components.
#[test]
fn routes_that_overlap_are_refused() {
    let listen = "listen = [\"127.0.0.1:18181\"]";
    for (first, second) in [("", ""), ("routes = [\"/a\"]", "routes = [\"/a/\"]")] {
        let manifest = app("")
            + &component("one", HELLO_HTTP, &format!("{listen}\n{first}"))
            + &component("two", HTTP_LAB, &format!("{listen}\n{second}"));
        let output = Host::manifest(&manifest).run();
        output.expect_refused(78, &["curfew.toml:", "one"]);
    }
}

/// Nobody reads the body of a request without a route: what stands behind its chunks is no request either.
#[test]
fn the_connection_ends_behind_a_chunked_body_without_a_route() {
    let (app, address) = start("routes = [\"/events\"]");
    let mut wire = Wire::connect(&address);
    wire.send(
        "POST /nowhere HTTP/1.1\r\nhost: other.org\r\ntransfer-encoding: chunked\r\n\r\n\
         0\r\nx: y\nGET /static HTTP/1.1\r\nhost: other.org\r\n\r\n\
         GET /static HTTP/1.1\r\nhost: other.org\r\n\r\n",
    );
    let answer = wire.fate().answered().expect(404);
    assert!(answer.closes(), "{answer:?}");
    assert_eq!(wire.end(), Cut::End);
    app.stop().expect_code(0);
}
