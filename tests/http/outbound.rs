//! `outbound-http`: requests of a guest go only to what the manifest allows; the refusal names the key to add.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use artifacts::HELLO_HTTP;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::lab::{LABS, MS, connect, serve};
use crate::harness::{
    App, CONTROL, H2, Host, Load, Target, Trust, app, block_on, free_address, in_time, until, web,
};

/// A server of a few lines: `hello from PATH` over connections that are kept.
struct Upstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        // It ends with the test's process; nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, SeqCst);
                std::thread::spawn(move || answer_all(stream));
            }
        });
        Upstream { address, connections }
    }
}

fn answer_all(stream: std::net::TcpStream) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if !matches!(stream.read_line(&mut line), Ok(1..)) {
                return;
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line);
        }
        let path = lines[0].split(' ').nth(1).unwrap_or_default();
        let body = format!("hello from {path}");
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[track_caller]
fn fetch(app: &App, url: &str) -> (u16, String) {
    let answer = connect(app).get(&format!("/fetch?url={url}"));
    (answer.status, answer.text())
}

fn allowing(source: &str, origins: &str) -> App {
    serve(source, "", &format!("outbound-http = [{origins}]"))
}

/// As on versions of wasmtime before 48.0.8, which refuses it. An absolute URI there names no other host.
#[test]
fn a_path_without_its_slash_gets_one() {
    let upstream = Upstream::start();
    for source in LABS {
        let app = allowing(source, &format!("\"http://{}\"", upstream.address));
        for (path, sent) in [("a/b/c", "/a/b/c"), ("http://b.example/", "/http://b.example/"), ("*", "/*")] {
            let answer = fetch(&app, &format!("http://{}^{path}", upstream.address));
            assert_eq!(answer, (200, format!("hello from {sent}")));
        }
        app.stop().expect_code(0);
    }
}

/// By scheme, host and port, each as the manifest says.
#[test]
fn a_guest_may_ask_what_the_manifest_allows() {
    let upstream = Upstream::start();
    let port = upstream.address.port();
    let urls = [format!("http://127.0.0.1:{port}/a"), format!("http://localhost:{port}/a")];
    let cases = [
        (format!("\"http://127.0.0.1:{port}\""), [true, false]),
        ("\"http://127.0.0.1:*\"".to_string(), [true, false]),
        (format!("\"http://localhost:{port}\""), [false, true]),
        (
            format!("\"https://127.0.0.1:{port}\", \"http://127.0.0.1\", \"http://*.localhost:*\""),
            [false, false],
        ),
        (format!("\"http://127.0.0.1:{}\"", port ^ 1), [false, false]),
        (String::new(), [false, false]),
    ];
    for source in LABS {
        for (origins, allowed) in &cases {
            let app = allowing(source, origins);
            for (url, allowed) in urls.iter().zip(allowed) {
                let (status, text) = fetch(&app, url);
                if *allowed {
                    assert_eq!((status, text.as_str()), (200, "hello from /a"), "{origins}: {url}");
                } else {
                    assert_eq!(status, 502, "{origins}: {url} was let through: {text}");
                }
            }
            app.stop().expect_code(0);
        }
    }
}

/// The refusal says what to write, in the log and in the guest's error.
#[test]
fn a_refusal_names_the_key_to_add() {
    let upstream = Upstream::start();
    for source in LABS {
        let app = serve(source, "", "");
        let url = format!("http://127.0.0.1:{}", upstream.address.port());
        let (status, text) = fetch(&app, &format!("{url}/secret"));
        assert_eq!(status, 502);
        assert!(text.contains("HttpRequestDenied") || text.contains("outbound-http"), "{text}");
        let output = app.stop();
        output.expect_code(0);
        let said = output.stderr_text();
        assert!(said.contains("outbound-http"), "the key is not named:\n{said}");
        assert!(said.contains(&url), "the origin is not named:\n{said}");
        assert!(!said.contains("/secret"), "the path belongs to nobody's log:\n{said}");
        assert_eq!(upstream.connections.load(SeqCst), 0, "it was asked all the same");
    }
}

/// Pooled: many requests, few connections; a refused connection is an error of that request only.
#[test]
fn outbound_connections_are_pooled() {
    let upstream = Upstream::start();
    let dead = free_address();
    for source in LABS {
        let before = upstream.connections.load(SeqCst);
        let app = serve(source, "", "outbound-http = [\"http://127.0.0.1:*\"]\ninstances = { max = 1 }");
        for number in 0..30 {
            let (status, text) = fetch(&app, &format!("http://{}/{number}", upstream.address));
            assert_eq!((status, text), (200, format!("hello from /{number}")));
        }
        let opened = upstream.connections.load(SeqCst) - before;
        assert!(opened <= 3, "{opened} connections for 30 requests one after the other");
        let (status, text) = fetch(&app, &format!("http://{dead}/"));
        assert_eq!(status, 502, "{text}");
        assert_eq!(fetch(&app, &format!("http://{}/on", upstream.address)).1, "hello from /on");
        app.stop().expect_code(0).expect_hook("lab", "ok");
    }
}

/// One component asks another of the same app, plain and with TLS that nobody vouches for.
#[test]
fn a_guest_can_ask_its_sibling_and_no_stranger() {
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
    for source in LABS {
        let keys = "outbound-http = [\"http://127.0.0.1:*\", \"https://localhost:*\"]";
        let manifest = app("")
            + &web("lab", source, keys)
            + &web("plain", HELLO_HTTP, "")
            + &web("secure", HELLO_HTTP, tls);
        let (host, _) = Trust::install(Host::manifest(&manifest));
        let app = host.start_ready();
        let plain = app.address("plain").socket();
        assert_eq!(fetch(&app, &format!("http://{plain}/")), (200, "Hello".to_string()));
        // Its certificate is signed by nobody this machine trusts.
        let secure = app.address("secure").socket();
        let (status, text) = fetch(&app, &format!("https://localhost:{}/", secure.port()));
        assert_eq!(status, 502, "{text}");
        let output = app.stop();
        output.expect_code(0).expect_outcome("lab", "stopped").expect_outcome("plain", "stopped");
    }
}

/// A request that goes out during a stop is finished; one that never ends is cut off with its handler.
#[test]
fn outbound_requests_do_not_hold_the_stop_past_its_grace() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for source in LABS {
        let keys = "outbound-http = [\"http://127.0.0.1:*\"]";
        let app = serve(source, "grace = \"500ms\"", keys);
        let mut wire = connect(&app);
        wire.begin_get(&format!("/fetch?url=http://{}/", silent.local_addr().unwrap()));
        let (asked, _) = silent.accept().unwrap();
        let begun = app.signal(nix::sys::signal::Signal::SIGTERM);
        let output = app.wait();
        output.expect_code(124).expect_outcome("lab", "cut-off");
        crate::harness::assert_within(output.after(begun), std::time::Duration::from_millis(750), "the exit");
        drop(asked);
    }
}

/// Answers the next request of a listener.
fn answer_one(silent: &TcpListener) {
    let (mut stream, _) = silent.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").unwrap();
}

/// `limits.outbound` holds for all instances of a component together: who is over it waits.
#[test]
fn more_outbound_requests_than_allowed_wait() {
    for source in LABS {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let keys = "outbound-http = [\"http://127.0.0.1:*\"]\nlimits = { outbound = 2 }";
        let app = serve(source, CONTROL, keys);
        let url = format!("/fetch?url=http://{}/", silent.local_addr().unwrap());
        let mut clients: Vec<_> = (0..5).map(|_| connect(&app)).collect();
        clients.iter_mut().for_each(|client| client.begin_get(&url));
        until("all of them are under way", || (app.component("lab").number("in_flight") == 5).then_some(()));
        let connected = || connections_to(silent.local_addr().unwrap());
        until("two connections", || (connected() == 2).then_some(()));
        std::thread::sleep(100 * MS);
        assert_eq!(connected(), 2, "the others wait");
        for _ in 0..5 {
            answer_one(&silent);
        }
        for client in &mut clients {
            assert_eq!(client.fate().answered().expect(200).text(), "ok");
        }
        app.stop().expect_code(0);
    }
}

/// Requests that wait are bounded, too, since each takes handles of its instance: of 500 at once most fail at once.
#[test]
fn of_many_outbound_requests_at_once_most_fail_at_once() {
    const MANY: usize = 500;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let keys = format!(
        "outbound-http = [\"http://127.0.0.1:*\"]\nrequest-timeout = \"5m\"\n\
         instances = {{ max = 1, concurrency = {MANY}, queue = {MANY} }}\nlimits = {{ outbound = 64 }}"
    );
    let app = serve(LABS[0], CONTROL, &keys);
    let url = format!("/fetch?url=http://{}/", silent.local_addr().unwrap());
    block_on(async {
        let mut clients = Vec::new();
        for _ in 0..MANY / 250 {
            clients.push(H2::connect(&app.address("lab")).await);
        }
        let answers = clients.iter().flat_map(|client| (0..250).map(|_| client.try_get(&url)));
        // 64 are under way, and twice as many wait.
        let refused = answers.collect::<FuturesUnordered<_>>().take(MANY - 3 * 64);
        let refused: Vec<_> = in_time("the refusals", refused.collect()).await;
        for answer in refused {
            let text = answer.unwrap().expect(502).text();
            assert!(text.contains("ConnectionLimitReached"), "{text:?}");
        }
        assert_eq!(connections_to(silent.local_addr().unwrap()), 64);
        // Their clients have not left.
        connect(&app).get("/").expect(200);
    });
    assert!(app.records("instance failed", "lab").is_empty());
    app.stop().expect_outcome("lab", "stopped");
}

/// A silent upstream takes the places of one component, and neither the descriptors of the host nor the speed of a sibling.
#[test]
fn a_silent_upstream_takes_nothing_from_a_sibling() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let keys = "outbound-http = [\"http://127.0.0.1:*\"]\nlimits = { outbound = 32 }\n\
                instances = { max = 2, concurrency = 200 }\nrequest-timeout = \"10m\"";
    let manifest = app("") + &web("lab", LABS[0], keys) + &web("fine", HELLO_HTTP, "");
    // With a connection for each request there would be none left.
    let app =
        Host::manifest(&manifest).under("sh", &["-c", "ulimit -n 300; exec \"$0\" \"$@\""]).start_ready();
    let url = format!("/fetch?url=http://{}/", silent.local_addr().unwrap());
    let mut clients: Vec<_> = (0..120).map(|_| connect(&app)).collect();
    clients.iter_mut().for_each(|client| client.begin_get(&url));
    until("its places are taken", || (connections_to(silent.local_addr().unwrap()) == 32).then_some(()));
    let load = Load::start(50, &[Target::new("fine", app.address("fine"), "/")]);
    load.wait_for_answers(50);
    assert!(app.descriptors() < 230, "{} descriptors", app.descriptors());
    drop(clients);
    assert_eq!(load.end().others(&[]), [""; 0]);
    app.stop().expect_outcome("fine", "stopped");
}

/// The established connections to this address, by their clients' ends.
fn connections_to(server: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", server.port());
    let is_one = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.len() > 3 && words[2].ends_with(&port) && words[3] == "01"
    };
    table.lines().skip(1).filter(is_one).count()
}
