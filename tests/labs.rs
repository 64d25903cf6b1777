//! The labs do what they are told: what tests of order, readiness, restarts and health are built on.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use artifacts::{HTTP_LAB, HTTP_LAB_CLASSIC, SERVICE_LAB, TCP_ECHO};

use crate::harness::{Host, LineClient, Manager, Wire, app, component, free_port, keys, web};

const LISTEN: &str = "network = { listen = [\"127.0.0.1:0\"] }";
const DATA: &str = "dirs = [{ host = \"data\", guest = \"/data\", access = \"read-write\" }]";

fn lab(name: &str, args: &[&str], more: &str) -> String {
    component(name, SERVICE_LAB, &format!("{}\n{more}", keys(args)))
}

#[test]
fn a_service_is_ready_when_told_to_and_says_what_it_does() {
    let manifest = app("") + &lab("a", &["ready=never", "alive=5", "listen=127.0.0.1:0"], LISTEN);
    let app = Host::manifest(&manifest).start();
    let mut client = LineClient::connect(app.port("a"));
    for (command, answer, line) in
        [("ping", "ping", "started"), ("ready", "ok", "ready"), ("mute", "ok", "muted")]
    {
        client.send(command);
        assert_eq!(client.receive().as_deref(), Some(answer));
        app.wait_for_line(&format!("a | {line}"));
    }
    let output = app.stop();
    output.expect_code(0).expect_line("a | asked").expect_line("a | ended").expect_line("a | hook called");
}

#[test]
fn a_service_ends_fails_or_traps_as_it_is_told() {
    for (order, code, outcome) in [("end", 0, "finished"), ("fail", 1, "failed"), ("trap", 1, "failed")] {
        let by_itself = app("") + &lab("a", &[&format!("{order}=10")], "");
        Host::manifest(&by_itself).run().expect_code(code).expect_outcome("a", outcome);

        let told = app("") + &lab("a", &["listen=127.0.0.1:0"], LISTEN);
        let app = Host::manifest(&told).start();
        LineClient::connect(app.port("a")).send(order);
        app.wait().expect_code(code).expect_outcome("a", outcome);
    }
}

#[test]
fn a_service_counts_its_starts_and_gets_well() {
    let manifest = app("") + &lab("a", &["count=/data/starts", "good-from=3", "fail=0"], DATA);
    let host = Host::manifest(&manifest).file("data/starts", "1");
    let output = host.run();
    output.expect_code(1).expect_line("a | started 2");
    let starts = std::fs::read_to_string(output.dir.path().join("data/starts")).unwrap();
    let again = Host::manifest(&manifest).file("data/starts", starts).start_ready();
    again.wait_for_line("a | started 3");
    again.stop().expect_code(0).expect_outcome("a", "stopped");
}

#[test]
fn a_hook_calls_another_component_and_tells_whether_it_answers() {
    let call = |port: u16| {
        let connect = format!("network = {{ connect = [\"127.0.0.1:{port}\"] }}");
        lab("web", &[&format!("hook-calls=127.0.0.1:{port}")], &connect)
    };
    let db = Host::manifest(
        &(app("") + &component("db", TCP_ECHO, &format!("{}\n{LISTEN}", keys(&["127.0.0.1:0"])))),
    );
    let db = db.start_ready();
    let port = db.port("db");
    let output = Host::manifest(&(app("") + &call(port))).start_ready().stop();
    output.expect_code(0).expect_line(&format!("web | hook: 127.0.0.1:{port} answers"));
    db.stop().expect_code(0);

    let output = Host::manifest(&(app("") + &call(free_port()))).start_ready().stop();
    output.expect_code(3).expect_hook("web", "error");
}

#[test]
fn the_health_of_an_http_component_can_be_broken() {
    for guest in [HTTP_LAB, HTTP_LAB_CLASSIC] {
        let app = Host::manifest(&(app("") + &web("lab", guest, "instances = { max = 1 }"))).start_ready();
        let get = |path: &str| Wire::connect(&app.address("lab")).get(path).status;
        assert_eq!([get("/healthz"), get("/break?how=what"), get("/healthz")], [200, 400, 200]);
        assert_eq!([get("/break"), get("/healthz"), get("/")], [200, 500, 200]);
        app.stop().expect_code(0);
    }
}

#[test]
fn the_manager_hears_at_a_path_and_by_an_abstract_name() {
    for manager in [Manager::at_a_path(), Manager::with_an_abstract_name()] {
        let address = match manager.address().strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).unwrap(),
            None => SocketAddr::from_pathname(manager.address()).unwrap(),
        };
        let socket = UnixDatagram::unbound().unwrap();
        for message in ["READY=1\nSTATUS=well\n", "WATCHDOG=1\n", "READY=1\n"] {
            socket.send_to_addr(message.as_bytes(), &address).unwrap();
        }
        assert_eq!(manager.wait_for_nth("READY=1", 2).value("STATUS"), None);
        assert_eq!(manager.wait_for_value("STATUS").value("STATUS"), Some("well"));
        assert_eq!((manager.heard().len(), manager.all("WATCHDOG=1").len()), (3, 1));
    }
}
