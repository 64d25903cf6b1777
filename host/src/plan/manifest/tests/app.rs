//! The keys of `[app]` that say what the host itself listens on, and the sockets that it is handed.

use std::path::Path;

use super::super::super::http::ListenAddress;
use super::*;

#[test]
fn the_sockets_of_the_host_reach_the_plan() {
    let dir = folder();
    let app = Plan::from_str(FULL, &dir.path().join("curfew.toml")).unwrap().app;
    assert_eq!(app.admin, Some("127.0.0.1:9900".parse().unwrap()));
    assert_eq!(app.control, Some(dir.path().join("run/curfew.sock")));
    let app = plan(WEB).unwrap().app;
    assert_eq!((app.admin, app.control), (None, None));
    let text =
        format!("[app]\ncontrol = \"c.sock\"\n[component.web]\nsource = {:?}\n", dir.path().join("web.wasm"));
    let app = Plan::from_str(&text, Path::new("curfew.toml")).unwrap().app;
    assert_eq!(app.control, Some(std::env::current_dir().unwrap().join("c.sock")));
}

#[test]
fn what_the_host_cannot_listen_on_is_refused() {
    let long = format!("/{}", "x".repeat(107));
    let app = |line: &str| format!("[app]\n{line}\n{WEB}");
    let served = |line: &str, listen: &str| format!("{}listen = [\"127.0.0.1:1\", {listen:?}]\n", app(line));
    let own = "(give `admin` a port of its own)";
    refused(&[
        (
            &app("admin = \"localhost:9900\""),
            "2:9: `admin` takes an address such as \"127.0.0.1:8080\", found \"localhost:9900\": it must be an IP \
             address, not a name (did you mean \"127.0.0.1:9900\"?)",
        ),
        (
            &app("control = \"\""),
            "2:11: `control` takes a path such as \"web.wasm\", found \"\": it is empty",
        ),
        (
            &app("control = \"unix:c.sock\""),
            "2:11: `control` is the path of a Unix socket, without `unix:` (did you mean \"c.sock\"?)",
        ),
        (&app("control = \"run/\""), "2:11: `control` is the path of a Unix socket: its name is missing"),
        (
            &app(&format!("control = {long:?}")),
            &format!("2:11: the path of a socket has at most 107 bytes, this one has 108: {long}"),
        ),
        (
            &served("admin = \"127.0.0.1:80\"", "0.0.0.0:80"),
            &format!("2:9: `admin` 127.0.0.1:80 and 0.0.0.0:80 of `web` (line 5) cannot both be bound {own}"),
        ),
        (
            &served("admin = \"[::ffff:127.0.0.1]:80\"", "127.0.0.1:80"),
            &format!(
                "2:9: `admin` 127.0.0.1:80 and 127.0.0.1:80 of `web` (line 5) cannot both be bound {own}"
            ),
        ),
        (
            &served("control = \"web.sock\"", "unix:./web.sock"),
            "2:11: `control` is an address of `web`, too (line 5) (give each a path of its own)",
        ),
    ]);
    for (line, listen) in [
        ("admin = \"127.0.0.1:0\"", "127.0.0.1:0"),
        ("admin = \"127.0.0.1:80\"", "[::]:80"),
        ("admin = \"127.0.0.1:80\"", "127.0.0.1:81"),
        ("control = \"web.sock\"", "unix:other.sock"),
    ] {
        assert!(plan(&served(line, listen)).is_ok(), "{line} {listen}");
    }
}

#[test]
fn a_socket_that_is_handed_over_is_an_address_like_others() {
    let one = |listen: &str| format!("{WEB}listen = {listen}\n");
    let plan = plan(&one("[\"fd:web\", \"fd:web socket.1\"]")).unwrap();
    let name = |name: &str| ListenAddress::Activated(name.to_owned());
    assert_eq!(plan.components[0].http.listen, [name("web"), name("web socket.1")]);
    let takes =
        "each item of `listen` takes an address such as \"127.0.0.1:8080\", \"unix:web.sock\" or \"fd:web\"";
    let unit = "(it is what `FileDescriptorName=` says in the .socket unit)";
    refused(&[
        (&one("[\"fd:a\", \"fd:a\"]"), "3:19: `listen` has fd:a twice"),
        (
            &one("[\"fd:\"]"),
            &format!("3:11: {takes}, found \"fd:\": the name of the socket is missing {unit}"),
        ),
        (
            &one("[\"fd:a:b\"]"),
            &format!(
                "3:11: {takes}, found \"fd:a:b\": the name of a socket that is handed over is printable ASCII without \
                 `:` {unit}"
            ),
        ),
        (
            &(one("[\"fd:a\"]") + &one("[\"fd:a\"]").replace("web]", "b]")),
            "6:11: without `routes` it gets what is left on fd:a, as `web` does (line 3) (give one of them `routes`, or \
             an address of its own)",
        ),
    ]);
}
