//! The control socket, the admin listener, and the commands that talk to a running app.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use artifacts::{ECHO_HANDLER, HELLO_HTTP, HOSTILE_ASYNC, HOSTILE_CLASSIC, HTTP_LAB, SERVER, SERVICE_LAB};
use nix::sys::signal::Signal::{SIGTERM, SIGUSR1};
use serde_json::Value;

use crate::harness::{
    Address, Answer, App, Fate, Host, Output, Wire, app, assert_within, component, keys, until, web,
};
use crate::tcp::client::{Client, End};

const SCHEMA: &str = include_str!("../docs/status.schema.json");
const OPERATED: &str = "control = \"control.sock\"\nadmin = \"127.0.0.1:0\"\n";

/// An app with a control socket and an admin listener, and where they are.
struct Operated {
    app: App,
    control: PathBuf,
    admin: Address,
}

fn start(app_keys: &str, components: &str) -> Operated {
    let host = Host::manifest(&(app(&format!("{OPERATED}{app_keys}")) + components));
    let control = host.path().join("control.sock");
    let app = host.start_ready();
    let record = app.wait_for_log("admin listener open", "");
    let admin = Address::parse(&record.text("address"));
    Operated { app, control, admin }
}

/// Runs a client command against this socket.
fn curfew(control: &Path, args: &[&str]) -> Output {
    let mut args: Vec<&str> = args.to_vec();
    let control = control.to_str().unwrap();
    args.extend(["--control", control]);
    Host::manifest("").call(&args)
}

/// Issue 13: requests whose bodies do not come keep nobody waiting, on either listener.
#[test]
fn requests_without_their_bodies_make_room() {
    let shop = start("", &web("web", HELLO_HTTP, ""));
    for address in [shop.admin.clone(), shop.control()] {
        let crowd: Vec<Wire> = (0..300)
            .map(|_| {
                let mut wire = Wire::connect(&address);
                wire.send(wire.head_of("GET", "/livez", "content-length: 1\r\n"));
                wire
            })
            .collect();
        for _ in 0..20 {
            let begun = Instant::now();
            ask(&address, "GET", "/livez").expect(200);
            assert_within(begun.elapsed(), Duration::from_millis(100), "/livez behind a crowd");
        }
        drop(crowd);
    }
    assert_eq!(shop.status()["ready"], true);
    shop.app.stop().expect_code(0);
}

fn ask(address: &Address, method: &str, target: &str) -> Answer {
    let mut wire = Wire::connect(address);
    let head = wire.head_of(method, target, "");
    wire.send(head);
    match wire.fate() {
        Fate::Answered(answer) => answer,
        other => panic!("{method} {target}: {other:?}"),
    }
}

impl Operated {
    fn control(&self) -> Address {
        Address::Unix(self.control.clone())
    }

    fn status(&self) -> Value {
        let output = curfew(&self.control, &["status", "--json"]);
        output.expect_code(0);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        expect_valid(&status);
        status
    }
}

fn expect_valid(status: &Value) {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("status.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
    let schema = compiler.compile("status.json", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(status, schema) {
        panic!("{error}\n{status:#}");
    }
}

fn demo() -> String {
    web("web", HELLO_HTTP, "") + &component("clock", SERVER, "")
}

/// Issue 4, point 6: `status --json` has all that is promised, and the table shows it.
#[test]
fn status_tells_of_every_component() {
    let shop = start("", &demo());
    let web = shop.app.address("web");
    assert_eq!(Wire::connect(&web).get("/").expect(200).text(), "Hello");
    let status = shop.status();
    assert_eq!(
        (&status["app"], &status["level"], &status["ready"]),
        (&"test".into(), &"running".into(), &true.into())
    );
    assert_eq!(status["pid"], shop.app.pid().as_raw());
    let components = status["components"].as_array().unwrap();
    let names: Vec<&str> = components.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["web", "clock"]);
    for (one, kind) in components.iter().zip(["http", "service"]) {
        assert_eq!((&one["kind"], &one["state"]), (&kind.into(), &"running".into()), "{one}");
        assert_eq!(
            (&one["instances"], &one["restarts"], &one["generation"]),
            (&1.into(), &0.into(), &1.into()),
            "{one}"
        );
        assert!(one["memory_bytes"].as_u64().unwrap() > 0, "{one}");
    }
    assert_eq!(components[0]["addresses"][0], format!("http://{}", web.authority()));
    let table = curfew(&shop.control, &["status"]);
    table.expect_code(0);
    let text = String::from_utf8(table.stdout.clone()).unwrap();
    assert!(text.starts_with("test: running, ready, up "), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("web ")), "{text}");
    shop.app.stop().expect_code(0);
}

/// Issue 4, point 7: the same over TCP, and the metrics.
#[test]
fn the_admin_listener_tells_and_takes_no_orders() {
    let shop = start("", &demo());
    assert_eq!(Wire::connect(&shop.app.address("web")).get("/").expect(200).text(), "Hello");
    assert_eq!(ask(&shop.admin, "GET", "/livez").status, 200);
    assert_eq!(ask(&shop.admin, "GET", "/readyz").expect(200).text(), "ready\n");
    let status: Value = serde_json::from_str(&ask(&shop.admin, "GET", "/status").expect(200).text()).unwrap();
    expect_valid(&status);
    until("the request is counted", || {
        let metrics = ask(&shop.admin, "GET", "/metrics").expect(200).text();
        let all = metrics.contains("curfew_requests_total{component=\"web\",class=\"2xx\"} 1\n")
            && metrics.contains("curfew_request_duration_seconds_count{component=\"web\"} 1\n")
            && metrics.contains("curfew_instances{component=\"clock\"} 1\n")
            && metrics.contains("curfew_ready 1\n");
        all.then_some(())
    });
    for order in ["/stop", "/reload", "/restart?component=web"] {
        assert_eq!(ask(&shop.admin, "POST", order).status, 403, "{order}");
    }
    assert!(!shop.app.has_ended());
    shop.app.stop().expect_code(0);
}

/// Issue 12: a service that spins is not just "running"; the status says for how long it has not paused.
#[test]
fn a_component_that_computes_without_a_pause_is_said_to_be_busy() {
    for guest in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let shop = start("grace = \"1s\"", &(demo() + &component("spin", guest, &keys(&["run=spin"]))));
        let busy = |name: &str| {
            let status = shop.status();
            let all = status["components"].as_array().unwrap();
            all.iter().find(|one| one["name"] == name).unwrap()["busy_ms"].as_u64()
        };
        let first = until("it is busy", || busy("spin"));
        until("it is busy for longer", || busy("spin").filter(|time| *time > first));
        assert_eq!([busy("web"), busy("clock")], [None, None]);
        let table = curfew(&shop.control, &["status"]);
        table.expect_code(0).expect_line("running, busy for ");
        shop.app.signal(SIGUSR1);
        let told = shop.app.wait_for_log("status", "spin");
        assert!(told.number("busy_ms") >= 1000.0, "{}", told.fields);
        shop.app.stop().expect_code(124);
    }
}

/// Issue 12: the length of the queue.
#[test]
fn requests_that_wait_are_counted() {
    let keys = "instances = { max = 1, concurrency = 1 }";
    let shop = start("", &web("lab", HTTP_LAB, keys));
    let address = shop.app.address("lab");
    let mut wires: Vec<Wire> = (0..4).map(|_| Wire::connect(&address)).collect();
    wires.iter_mut().for_each(|wire| wire.send_get("/sleep?ms=3000"));
    until("three that wait", || {
        shop.app.metrics().contains("curfew_waiting{component=\"lab\"} 3\n").then_some(())
    });
    let status = shop.status();
    assert_eq!(
        (&status["components"][0]["waiting"], &status["components"][0]["in_flight"]),
        (&3.into(), &4.into())
    );
    curfew(&shop.control, &["status"]).expect_code(0).expect_line("4 (3 wait)");
    drop(wires);
    until("none that waits", || {
        shop.app.metrics().contains("curfew_waiting{component=\"lab\"} 0\n").then_some(())
    });
    shop.app.stop().expect_code(0);
}

/// A connection that went well is none of the requests that got no answer.
#[test]
fn connections_have_counters_of_their_own() {
    let shop = start("", &web("echo", ECHO_HANDLER, ""));
    let mut client = Client::new(&shop.app, "echo");
    client.say("hello");
    client.0.finish();
    assert_eq!(client.rest(), (Vec::new(), End::Clean));
    let metrics = until("the connection is counted", || {
        let metrics = ask(&shop.admin, "GET", "/metrics").expect(200).text();
        let ended = "curfew_connections_total{component=\"echo\",end=\"complete\"} 1\n";
        metrics.contains(ended).then_some(metrics)
    });
    for expected in
        ["end=\"cut-short\"} 0\n", "curfew_connection_duration_seconds_count{component=\"echo\"} 1\n"]
    {
        assert!(metrics.contains(expected), "{expected} in {metrics}");
    }
    assert!(!metrics.contains("curfew_request"), "{metrics}");
    let output = shop.app.stop();
    output.expect_code(0);
    assert_eq!(output.report["components"][0]["http"]["answered"]["complete"], 1);
}

/// Issue 4, point 6: `curfew stop` is a stop like by TERM, with the operator as its cause.
#[test]
fn stop_stops_the_app() {
    let shop = start("", &demo());
    let admin = shop.admin.clone();
    let control = shop.control.clone();
    let output = curfew(&control, &["stop"]);
    output.expect_code(0);
    assert_eq!(output.stdout_text(), "test is stopping\nthe app has ended\n");
    assert!(shop.app.has_ended(), "it returned before the end");
    let output = shop.app.wait();
    output.expect_code(0).expect_outcome("web", "stopped").expect_outcome("clock", "stopped");
    assert_eq!(output.report["cause"]["kind"], "request", "{}", output.report);
    assert_eq!(output.report["cause"]["name"], "operator", "{}", output.report);
    assert!(!control.exists(), "the socket is still there");
    assert!(admin.connect().is_err(), "the admin listener is still there");
    curfew(&control, &["status"]).expect_code(69);
}

/// R16: the operator skips the delay, also one that is under way.
#[test]
fn stop_now_ends_the_delay() {
    for under_way in [false, true] {
        let shop = start("drain-delay = \"1h\"", &demo());
        if under_way {
            curfew(&shop.control, &["stop", "--no-wait"]).expect_code(0);
            until("the delay has begun", || (shop.status()["level"] == "delay").then_some(()));
        }
        let asked = Instant::now();
        curfew(&shop.control, &["stop", "--now"]).expect_code(0);
        let output = shop.app.wait();
        output.expect_code(0);
        assert_within(output.ended - asked, Duration::from_secs(1), "the stop");
    }
}

/// Issue 12: what follows `curfew stop` in a script finds the ports free; `--no-wait` is for those who do not care.
#[test]
fn stop_returns_when_the_app_has_ended() {
    let slow = component("slow", SERVICE_LAB, &keys(&["stop=1500"]));
    for (args, waits) in [(&["stop"][..], true), (&["stop", "--no-wait"], false)] {
        let shop = start("", &slow);
        let asked = Instant::now();
        curfew(&shop.control, args).expect_code(0);
        assert_eq!((shop.app.has_ended(), asked.elapsed() >= Duration::from_millis(1500)), (waits, waits));
        // It stops already: that is no error, and there is something to wait for.
        if !waits {
            curfew(&shop.control, &["stop"]).expect_code(0).expect_line("is stopping already");
            assert!(shop.app.has_ended());
        }
        shop.app.wait().expect_code(0);
    }
}

/// Issue 12: a health check asks by the exit code whether the app is ready.
#[test]
fn status_ready_says_by_its_code_whether_the_app_is() {
    let shop = start("drain-delay = \"1h\"", &demo());
    let check = || curfew(&shop.control, &["status", "--ready"]);
    check().expect_code(0).expect_line("running, ready");
    shop.app.signal(SIGTERM);
    until("the delay has begun", || (shop.status()["level"] == "delay").then_some(()));
    check().expect_code(1).expect_line("still serving");
    curfew(&shop.control, &["status", "--ready", "--json"]).expect_code(1).expect_line("\"ready\":false");
    curfew(&shop.control, &["status", "--ready", "--watch"]).expect_code(2);
    let Operated { app, control, .. } = shop;
    curfew(&control, &["stop", "--now"]).expect_code(0);
    app.wait().expect_code(0);
    curfew(&control, &["status", "--ready"]).expect_code(69);
}

/// A component is stopped on its own, and the others go on.
#[test]
fn stop_of_a_component_leaves_the_others() {
    let quiet = "on-exit = \"ignore\"";
    let shop = start("", &(web("web", HELLO_HTTP, quiet) + &component("clock", SERVER, quiet)));
    let output = curfew(&shop.control, &["stop", "clock"]);
    output.expect_code(0);
    let status = shop.status();
    assert_eq!(status["components"][1]["state"], "ended", "{status:#}");
    assert_eq!(Wire::connect(&shop.app.address("web")).get("/").expect(200).text(), "Hello");
    let unknown = curfew(&shop.control, &["restart", "nobody"]);
    unknown.expect_code(1);
    assert!(unknown.said().contains("nobody"), "{}", unknown.said());
    shop.app.stop().expect_code(0);
}

/// Keeps its app stopping for as long as its grace is.
fn stuck() -> String {
    component("stuck", HOSTILE_ASYNC, &format!("{}\ngrace = \"5s\"", keys(&["run=good", "hook=park"])))
}

/// R13: reload or restart asked for while stopping is refused within 10 ms.
#[test]
fn orders_are_refused_at_once_while_stopping() {
    let shop = start("", &stuck());
    shop.app.signal(SIGTERM);
    until("the stop has begun", || (shop.status()["level"] == "drain").then_some(()));
    let control = shop.control();
    for target in ["/reload", "/restart?component=stuck"] {
        let asked = Instant::now();
        let answer = ask(&control, "POST", target);
        assert_within(asked.elapsed(), Duration::from_millis(10), target);
        assert_eq!(answer.status, 409, "{target}: {}", answer.text());
        assert!(answer.text().contains("\"error\":\""), "{}", answer.text());
    }
    let status = shop.status();
    assert!(status["left_ms"].as_u64().is_some_and(|left| left <= 25_000), "{status:#}");
    assert!(status["components"][0]["left_ms"].as_u64().is_some_and(|left| left <= 5_000), "{status:#}");
    let table = String::from_utf8(curfew(&shop.control, &["status"]).stdout.clone()).unwrap();
    assert!(table.contains("waits for stuck ("), "{table}");
    curfew(&shop.control, &["reload"]).expect_code(1);
    shop.app.wait().expect_code(124);
}

/// Issue 4, bad input: a clear error, a closed connection, nothing else.
#[test]
fn garbage_is_answered_and_changes_nothing() {
    let shop = start("", &demo());
    for address in [shop.control(), shop.admin.clone()] {
        for (bytes, expected) in [
            ("hello\n\n".to_owned(), 400),
            ("\0\x01\x02\r\n\r\n".to_owned(), 400),
            (format!("GET /status HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(200_000)), 431),
            ("POST /reload HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n".to_owned(), 413),
            ("GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 404),
            ("PUT /status HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 405),
        ] {
            let mut wire = Wire::connect(&address);
            wire.send(bytes.clone());
            let answer = wire.fate().answered();
            assert_eq!(answer.status, expected, "{bytes:.40}: {}", answer.text());
            assert!(answer.text().starts_with("{\"error\":\""), "{}", answer.text());
        }
    }
    assert_eq!(shop.status()["ready"], true);
    shop.app.stop().expect_code(0);
}

/// Design 2: mode 0600, whatever the umask is.
#[test]
fn only_its_owner_can_use_the_control_socket() {
    let manifest = app(OPERATED) + &demo();
    let host = Host::manifest(&manifest).under("sh", &["-c", "umask 0; exec \"$0\" \"$@\""]);
    let control = host.path().join("control.sock");
    let app = host.start_ready();
    let mode = std::fs::metadata(&control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    app.stop().expect_code(0);
}

/// A second app on the same socket does not start, and leaves the first alone; a leftover is no obstacle.
#[test]
fn a_control_socket_belongs_to_one_app() {
    let shop = start("", &demo());
    let path = shop.control.to_str().unwrap();
    let manifest = app(&format!("control = {path:?}")) + &component("clock", SERVER, "");
    let second = Host::manifest(&manifest).run();
    second.expect_code(69);
    assert!(second.said().contains("another process listens there"), "{}", second.said());
    assert_eq!(shop.status()["ready"], true);
    shop.app.stop().expect_code(0);
    let leftover = Host::manifest(&(app(OPERATED) + &demo()));
    drop(std::os::unix::net::UnixListener::bind(leftover.path().join("control.sock")).unwrap());
    leftover.start_ready().stop().expect_code(0);
}

/// `status --watch` on no terminal appends, and ends with the app.
#[test]
fn watching_ends_with_the_app() {
    let shop = start("", &demo());
    let control = shop.control.to_str().unwrap().to_owned();
    let watching = Host::manifest("").command(&["status", "--watch", "--control", &control]);
    watching.wait_for_line("test: running, ready");
    shop.app.stop().expect_code(0);
    let watched = watching.wait();
    watched.expect_code(0);
    let text = String::from_utf8(watched.stdout.clone()).unwrap();
    assert!(text.starts_with("test: running, ready") && text.ends_with("the app is gone\n"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
}

/// The manifest names the socket, and a manifest that has been broken since the start is no obstacle.
#[test]
fn the_manifest_names_the_socket() {
    let shop = start("", &demo());
    let folder = shop.control.parent().unwrap();
    let manifest = folder.join("curfew.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text + "\n[nonsense]\n").unwrap();
    let named = ["status", "--manifest", manifest.to_str().unwrap()];
    Host::manifest("").call(&named).expect_code(0);
    let path = manifest.to_str().unwrap();
    for (args, code) in [
        (&["status", path][..], 0),
        (&["restart", "clock", path], 0),
        (&["stop", "nobody", path], 1),
        (&["stop", path, "--control", "other.sock"], 2),
        // It is invalid since the start.
        (&["reload", path], 1),
    ] {
        Host::manifest("").call(args).expect_code(code);
    }
    let without = Host::manifest("[app]\nname = \"a\"\n").call(&["status"]);
    without.expect_code(2);
    assert!(without.said().contains("--control PATH"), "{}", without.said());
    Host::manifest("").call(&["stop", path]).expect_code(0);
    assert!(shop.app.has_ended());
    shop.app.wait().expect_code(0);
}
