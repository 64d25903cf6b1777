//! What cannot be: keys that are about requests, addresses that are shared, and what `check` says.

use artifacts::{ECHO_HANDLER, HELLO_HTTP, TCP_LAB};

use super::client::Client;
use crate::harness::{Address, Host, app, component, web};

#[test]
fn keys_about_requests_are_refused() {
    for (key, value) in [
        ("routes", "[\"/x\"]"),
        ("request-timeout", "\"1s\""),
        ("forwarded", "\"append\""),
        ("limits", "{ header-size = \"16KiB\" }"),
        ("health", "{ path = \"/\" }"),
    ] {
        let manifest = app("") + &web("echo", ECHO_HANDLER, &format!("{key} = {value}"));
        let named = format!("it is of kind `tcp`, and `{key}");
        Host::manifest(&manifest).run().expect_refused(78, &[&named, "is for kind `http` only"]);
    }
    let manifest = app("") + &component("echo", ECHO_HANDLER, "");
    let text = "it is of kind `tcp`, and no address is given to listen on for it";
    Host::manifest(&manifest).run().expect_refused(78, &[text]);
}

#[test]
fn an_address_is_not_shared_with_anybody() {
    for (other, keys) in [(HELLO_HTTP, "routes = [\"/hello\"]"), (TCP_LAB, "")] {
        let listen = "listen = [\"127.0.0.1:7998\"]\n";
        let manifest = app("")
            + &component("echo", ECHO_HANDLER, listen)
            + &component("other", other, &format!("{listen}{keys}"));
        let output = Host::manifest(&manifest).run();
        assert_eq!(output.code(), 78, "{}", output.said());
        assert!(output.records("component started", "").is_empty());
    }
    let listen = "listen = [\"127.0.0.1:7998\"]\n";
    let manifest = app("")
        + &component("echo", ECHO_HANDLER, listen)
        + &component("other", HELLO_HTTP, &format!("{listen}routes = [\"/hello\"]"));
    let text = "component `echo` is of kind `tcp` and listens on 127.0.0.1:7998, where `other` listens, too";
    Host::manifest(&manifest).run().expect_refused(78, &[text]);
    let checked = Host::manifest(&manifest).call(&["check"]);
    checked.expect_code(78).expect_line(text);
}

#[test]
fn check_says_what_it_is() {
    let manifest = app("") + &web("echo", ECHO_HANDLER, "");
    let output = Host::manifest(&manifest).call(&["check"]);
    output
        .expect_code(0)
        .expect_line("kind      tcp, WASI 0.3.0, async handler")
        .expect_line("delivery  its connections' inputs end");
}

/// A single file, with `--listen`.
#[test]
fn a_single_file_is_served() {
    let app = Host::files(&[ECHO_HANDLER]).flags(&["--listen", "127.0.0.1:0"]).start();
    let line = app.wait_for_line("serving echo-handler on tcp://");
    let (_, address) = line.split_once(" on ").unwrap();
    Client::at(&Address::parse(address)).say("hello");
    app.stop().expect_code(0);
}
