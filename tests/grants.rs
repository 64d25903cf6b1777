//! Nothing is granted that is not written: no network, no files, no environment; and the limits hold.

use std::net::TcpListener;

use artifacts::{HOSTILE_ASYNC, HOSTILE_CLASSIC, NO_HOOK, SUBSCRIBER, TCP_ECHO, TCP_ECHO_CLASSIC};

use crate::harness::{Host, LineClient, Output, app, component, keys};

/// Runs one component to its end.
fn run(source: &str, args: &[&str], grants: &str) -> Output {
    let manifest = app("") + &component("guest", source, &format!("{}\n{grants}", keys(args)));
    Host::manifest(&manifest).env("SECRET", "of the host").file("data/file.txt", "content").run()
}

#[test]
fn the_environment_is_what_the_manifest_says() {
    let output = run(NO_HOOK, &["env"], "");
    output.expect_code(0);
    assert!(!output.stdout_text().contains('='), "a variable nobody granted:\n{}", output.said());
    let output = run(NO_HOOK, &["env"], "env = { LOG = \"info\", EMPTY = \"\" }");
    output.expect_code(0).expect_line("guest | LOG=info").expect_line("guest | EMPTY=");
    assert!(!output.stdout_text().contains("SECRET"), "{}", output.said());
}

#[test]
fn arguments_arrive_as_they_are_written() {
    run(NO_HOOK, &["print", "a b", "--c", ""], "").expect_code(0).expect_line("guest | a b --c");
}

const READ_ONLY: &str = "dirs = [{ host = \"data\", guest = \"/data\" }]";
const READ_WRITE: &str = "dirs = [{ host = \"data\", guest = \"/data\", access = \"read-write\" }]";

#[test]
fn files_are_seen_only_where_they_are_granted() {
    run(NO_HOOK, &["read", "/data/file.txt"], "").expect_code(1);
    run(NO_HOOK, &["read", "/data/file.txt"], READ_ONLY).expect_code(0).expect_line("guest | content");
    run(NO_HOOK, &["read", "/data/../curfew.toml"], READ_ONLY).expect_code(1);
    run(NO_HOOK, &["read", "/etc/passwd"], READ_ONLY).expect_code(1);
}

#[test]
fn a_read_only_directory_stays_as_it_is() {
    for access in [READ_ONLY, "dirs = [{ host = \"data\", guest = \"/data\", access = \"read-only\" }]"] {
        for path in ["/data/new.txt", "/data/file.txt"] {
            let output = run(NO_HOOK, &["write", path, "changed"], access);
            output.expect_code(1);
            let files = std::fs::read_dir(output.dir.path().join("data")).unwrap().count();
            assert_eq!(files, 1, "a file was made");
            assert_eq!(std::fs::read_to_string(output.dir.path().join("data/file.txt")).unwrap(), "content");
        }
    }
    let output = run(NO_HOOK, &["write", "/data/new.txt", "written"], READ_WRITE);
    output.expect_code(0);
    assert_eq!(std::fs::read_to_string(output.dir.path().join("data/new.txt")).unwrap(), "written");
}

#[test]
fn a_link_does_not_lead_out_of_a_directory() {
    let manifest =
        app("") + &component("guest", NO_HOOK, &format!("{}\n{READ_ONLY}", keys(&["read", "/data/link"])));
    let host = Host::manifest(&manifest).file("data/file.txt", "").file("secret", "secret");
    std::os::unix::fs::symlink("../secret", host.path().join("data/link")).unwrap();
    let output = host.run();
    output.expect_code(1);
    assert!(!output.stdout_text().contains("secret"), "{}", output.said());
}

#[test]
fn listening_is_refused_unless_the_address_is_granted() {
    for source in [TCP_ECHO, TCP_ECHO_CLASSIC] {
        let refused =
            ["", "network = { listen = [\"127.0.0.1:1\"] }", "network = { connect = [\"127.0.0.1:*\"] }"];
        for grants in refused {
            let output = run(source, &["127.0.0.1:0"], grants);
            output.expect_code(1).expect_outcome("guest", "failed");
            assert!(!output.has_line("listening on"), "{grants:?}:\n{}", output.said());
            expect_refusal(&output, "listen 127.0.0.1:0", "add \"127.0.0.1:0\" to network.listen");
        }
        let granted = format!("{}\nnetwork = {{ listen = [\"127.0.0.1:0\"] }}", keys(&["127.0.0.1:0"]));
        let app = Host::manifest(&(app("") + &component("guest", source, &granted))).start_ready();
        let mut client = LineClient::connect(app.port("guest"));
        client.send("hello");
        assert_eq!(client.receive().as_deref(), Some("hello"));
        drop(client);
        app.stop().expect_code(0);
    }
}

#[test]
fn connecting_is_refused_unless_the_peer_is_granted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let args = [address.as_str(), "s", "g", "c"];
    for grants in
        ["", "network = { connect = [\"127.0.0.1:1\"] }", "network = { connect = [\"127.0.0.2:*\"] }"]
    {
        let output = run(SUBSCRIBER, &args, grants);
        output.expect_code(1).expect_outcome("guest", "failed");
        assert!(listener.accept().is_err(), "{grants:?}: it connected");
        let (access, hint) = (format!("connect {address}"), format!("add \"{address}\" to network.connect"));
        expect_refusal(&output, &access, &hint);
    }
    // It never hears from its server, so it never says that it is ready.
    let granted = format!("{}\nready = \"started\"\nnetwork = {{ connect = [{address:?}] }}", keys(&args));
    let app = Host::manifest(&(app("") + &component("guest", SUBSCRIBER, &granted))).start_ready();
    listener.set_nonblocking(false).unwrap();
    let accepted = listener.accept().unwrap();
    drop((accepted, listener));
    // Its server has gone, so it fails; what matters is that it came.
    app.wait().expect_code(1).expect_cause("failure", "guest");
}

/// The log tells a refusal once, with the key that would grant the access.
#[track_caller]
fn expect_refusal(output: &Output, access: &str, hint: &str) {
    let told = output.records("network access refused", "guest");
    let told: Vec<_> = told.iter().map(|record| (record.text("access"), record.text("hint"))).collect();
    let expected = (access.to_owned(), format!("{hint}; a single file: --allow-net"));
    assert_eq!(told, [expected], "{}", output.said());
}

/// Issue 12: "it was not granted" is never only "Permission denied".
#[test]
fn each_refused_access_tells_its_key_once() {
    for (args, access, hint) in [
        (["connect", "127.0.0.1:9"], "connect 127.0.0.1:9", "add \"127.0.0.1:9\" to network.connect"),
        (["connect", "[::1]:9"], "connect [::1]:9", "add \"[::1]:9\" to network.connect"),
        (["connect", "name.invalid:9"], "look up name.invalid", "set network.names = true"),
        (["bind", "127.0.0.1:9"], "listen 127.0.0.1:9", "add \"127.0.0.1:9\" to network.listen"),
        (["bind", "0.0.0.0:0"], "listen 0.0.0.0:0", "add \"0.0.0.0:0\" to network.listen"),
        (["send", "127.0.0.1:9"], "send any peer", "add the peer to network.connect"),
    ] {
        let output = run(NO_HOOK, &args, "");
        output.expect_code(1);
        expect_refusal(&output, access, hint);
    }
    let output = run(NO_HOOK, &["send", "127.0.0.1:9"], "network = { connect = [\"127.0.0.1:1\"] }");
    output.expect_code(1);
    expect_refusal(&output, "send 127.0.0.1:9", "add \"127.0.0.1:9\" to network.connect");
}

/// Manifest: `memory` bounds all linear memories of an instance together.
#[test]
fn memory_grows_up_to_its_limit_and_no_further() {
    for source in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        for (limit, mib) in [("16MiB", 16), ("64MiB", 64)] {
            let keys = format!("{}\nmemory = {limit:?}", keys(&["run=grow"]));
            let app = Host::manifest(&(app("") + &component("guest", source, &keys))).start_ready();
            let line = app.wait_for_line("grow refused after");
            let grown: u64 = line.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
            assert!(grown <= mib && grown + 4 >= mib, "{limit}: grew by {grown} MiB");
            app.stop().expect_code(0);
        }
    }
}

/// Several memories share the limit: one is not the way around it.
#[test]
fn several_memories_share_the_limit() {
    let text = r#"(component
  (core module $m
    (memory 256) (memory 256) (memory 256)
    (func (export "run") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli)))"#;
    for (limit, code) in [("64MiB", 0), ("40MiB", 78)] {
        let manifest = app("") + &component("guest", "three.wasm", &format!("memory = {limit:?}"));
        let output = Host::manifest(&manifest).file("three.wasm", wat::parse_str(text).unwrap()).run();
        output.expect_code(code);
    }
}

/// A component whose `run` fails unless this piece of core code leaves 0 on the stack.
fn checks(imports: &str, core_imports: &str, with: &str, code: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
  (core module $libc
    (memory (export "memory") 1)
    (data (i32.const 16) "greeting")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  {imports}
  (core module $m
    (import "libc" "memory" (memory 1))
    {core_imports}
    (table $t 1 funcref)
    (func (export "run") (result i32) {code}))
  (core instance $i (instantiate $m (with "libc" (instance $libc)) {with}))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn run_check(bytes: Vec<u8>, grants: &str) -> Output {
    Host::manifest(&(app("") + &component("guest", "check.wasm", grants))).file("check.wasm", bytes).run()
}

/// Limits that a guest cannot get around: a table of ten million entries would be 80 MB of the host's memory.
#[test]
fn a_table_does_not_grow_without_end() {
    let grow = "(i32.ne (table.grow $t (ref.null func) (i32.const 10000000)) (i32.const -1))";
    run_check(checks("", "", "", grow), "").expect_code(0).expect_outcome("guest", "finished");
}

/// Manifest: `config` is what `wasi:config/store` answers; without it there is nothing to read.
#[test]
fn a_component_reads_its_configuration() {
    let imports = r#"(import "wasi:config/store@0.2.0-rc.1" (instance $config
    (type $e (variant (case "upstream" string) (case "io" string)))
    (export "error" (type $error (eq $e)))
    (export "get" (func (param "key" string) (result (result (option string) (error $error)))))))
  (core func $get (canon lower (func $config "get") (memory $memory) (realloc (core func $realloc))))"#;
    let core_imports = r#"(import "config" "get" (func $get (param i32 i32 i32)))"#;
    let with = r#"(with "config" (instance (export "get" (func $get))))"#;
    // It returns 0 when the result is `ok` and the option is there.
    let code = "(call $get (i32.const 16) (i32.const 8) (i32.const 64))
      (i32.ne (i32.or (i32.shl (i32.load8_u (i32.const 64)) (i32.const 1)) (i32.load8_u (i32.const 68))) (i32.const 1))";
    let bytes = checks(imports, core_imports, with, code);
    run_check(bytes.clone(), "config = { greeting = \"hello\" }").expect_code(0);
    run_check(bytes, "config = { other = \"hello\" }").expect_code(1);
}
