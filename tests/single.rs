//! A single file on the command line behaves as users of `wasmtime run` and `wasmtime serve` expect.

use std::io::Write;
use std::process::Stdio;

use artifacts::{
    HELLO_HTTP, HELLO_HTTP_CLASSIC, HOSTILE_CLASSIC, NO_HOOK, SERVER_CLASSIC, TCP_ECHO, TCP_ECHO_CLASSIC,
};
use nix::sys::signal::Signal::SIGINT;

use crate::harness::{Address, Host, LineClient, Output, Wire};

fn run(args: &[&str], flags: &[&str]) -> Output {
    let host = Host::files(&[NO_HOOK]).flags(flags).guest_args(args).text_logs();
    host.env("INHERITED", "from outside").env("SECRET", "of the host").file("data/file", "content").run()
}

#[test]
fn its_environment_is_what_is_named() {
    assert_eq!(run(&["env"], &[]).expect_code(0).stdout_text(), "");
    let flags = [
        "--env",
        "B=1",
        "--env",
        "A=b=c",
        "--env=EMPTY=",
        "--env",
        "INHERITED",
        "--env",
        "NOT_THERE",
        "--env",
        "B=2",
    ];
    let output = run(&["env"], &flags);
    assert_eq!(output.expect_code(0).stdout_text(), "A=b=c\nEMPTY=\nINHERITED=from outside\nB=2\n");
    let output = run(&["env"], &["--env", "=x"]);
    output.expect_code(2).expect_line("the name is missing");
}

#[test]
fn its_folders_are_read_and_written() {
    run(&["read", "data/file"], &[]).expect_code(1);
    for (flag, path) in
        [("data", "data/file"), ("data::/d", "/d/file"), (".", "data/file"), (".::/", "/data/file")]
    {
        let output = run(&["read", path], &["--dir", flag]);
        assert_eq!(output.expect_code(0).stdout_text(), "content", "--dir {flag}");
    }
    let output = run(&["write", "/d/new", "text"], &["--dir", "data::/d"]);
    output.expect_code(0);
    assert_eq!(std::fs::read_to_string(output.dir.path().join("data/new")).unwrap(), "text");
    run(&["read", "/d/../file"], &["--dir", "data::/d"]).expect_code(1);
}

#[test]
fn a_folder_that_is_not_there_is_refused() {
    for (flag, code, text) in [
        ("nowhere", 69, "cannot read nowhere: No such file or directory"),
        ("data/file", 69, "cannot read data/file: not a directory"),
        ("data::", 2, "a path is missing: HOST, or HOST::GUEST"),
    ] {
        run(&[], &["--dir", flag]).expect_code(code).expect_line(text);
    }
    let output = run(&[], &["--dir", "data::/d", "--dir", ".::/d/"]);
    output.expect_code(2).expect_line("two --dir have the same path in the guest");
}

#[test]
fn the_network_is_there_when_it_is_allowed() {
    for guest in [TCP_ECHO, TCP_ECHO_CLASSIC] {
        let host = |flags: &[&str]| Host::files(&[guest]).flags(flags).guest_args(&["127.0.0.1:0"]);
        host(&[]).run().expect_code(1);
        let app = host(&["--allow-net"]).start();
        let line = app.wait_for_line("listening on 127.0.0.1:");
        let port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
        let mut client = LineClient::connect(port);
        client.send("hello");
        assert!(client.receive().is_some_and(|line| line.contains("hello")));
        client.finish();
        app.stop().expect_code(0);
    }
}

/// As with `wasmtime run`: 0.2's `exit` knows success and failure only; a trap has no status of its own.
#[test]
fn its_status_is_the_exit_code_and_needs_no_words() {
    for (args, code, stderr) in [
        (&["return"][..], 0, ""),
        (&["error"], 1, ""),
        (&["exit3"], 1, ""),
        (&["no-such"], 1, "unknown behaviour no-such"),
    ] {
        let output = run(args, &[]);
        assert_eq!((output.code(), output.stderr_text().as_str()), (code, stderr), "{args:?}");
    }
    // With a report, or with more of the log, it is told.
    let output = run(&["error"], &["--log-level", "info"]);
    output.expect_code(1).expect_line("its `run` returned an error");
    assert_eq!(output.row("no-hook").outcome(), "failed");
}

#[test]
fn what_is_typed_arrives_at_once() {
    let mut app = Host::files(&[NO_HOOK]).guest_args(&["cat"]).stdin(Stdio::piped()).start();
    let mut stdin = app.take_stdin();
    for word in ["one\n", "two\n", "three\n"] {
        stdin.write_all(word.as_bytes()).unwrap();
        app.wait_for_line(word.trim());
    }
    stdin.write_all(b"no newline").unwrap();
    drop(stdin);
    let output = app.wait();
    assert_eq!(output.expect_code(0).stdout_text(), "one\ntwo\nthree\nno newline");
}

/// Its first argument is the file's name without its folder.
#[test]
fn the_name_of_the_program_is_that_of_its_file() {
    let text = r#"(module
  (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $get (i32.const 64) (i32.const 128)))
    (i32.store (i32.const 0) (i32.load (i32.const 64)))
    (i32.store (i32.const 4) (i32.const 11))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    let host = Host::files(&["below/My_App.wasm"]).file("below/My_App.wasm", wat::parse_str(text).unwrap());
    assert_eq!(host.run().expect_code(0).stdout_text(), "My_App.wasm");
}

#[test]
fn a_server_says_first_where_it_is() {
    for guest in [HELLO_HTTP, HELLO_HTTP_CLASSIC] {
        let app = Host::files(&[guest]).flags(&["--listen", "127.0.0.1:0"]).text_logs().start();
        let line = app.wait_for_line("http://127.0.0.1:");
        let (_, url) = line.split_once(" on ").unwrap();
        let mut wire = Wire::connect(&Address::parse(url));
        assert_eq!(wire.get("/").expect(200).text(), "Hello");
        drop(wire);
        let output = app.stop();
        assert_eq!(output.expect_code(0).stderr_text().lines().next().unwrap(), line);
    }
}

/// As with `wasmtime serve`, but on the loopback. Others on this machine may have the port.
#[test]
fn a_server_has_an_address_of_its_own() {
    let app = Host::files(&[HELLO_HTTP_CLASSIC]).text_logs().start();
    app.wait_for_line("127.0.0.1:8080");
    let serves = app.look(|said| said.lines.iter().any(|line| line.contains("on http://127.0.0.1:8080")));
    if serves {
        app.stop().expect_code(0);
    } else {
        app.wait().expect_refused(69, &["127.0.0.1:8080"]);
    }
    let service = Host::files(&[NO_HOOK]).text_logs().run();
    assert!(!service.expect_code(0).has_line("8080"), "a service is not listened for");
}

#[test]
fn what_is_for_one_file_is_refused_with_a_manifest_and_with_several() {
    for flags in [
        &["--listen", "127.0.0.1:0"][..],
        &["--env", "A=b"],
        &["--dir", "."],
        &["--allow-net"],
        &["--allow-outbound-http", "http://a"],
    ] {
        let said = format!("{} needs a single file", flags[0]);
        Host::manifest("").flags(flags).run().expect_refused(2, &[&said, "in a manifest"]);
        Host::files(&[NO_HOOK, SERVER_CLASSIC])
            .flags(flags)
            .run()
            .expect_refused(2, &[&said, "in a manifest"]);
    }
}

/// What users of `wasmtime serve`, `wasmtime run` and `spin up` type.
#[test]
fn command_lines_of_other_tools_get_ours() {
    for (args, hint) in [
        (
            &["serve", "--addr", "0.0.0.0:3000", "hello.wasm"][..],
            "curfew run --listen 0.0.0.0:3000 hello.wasm",
        ),
        (&["serve", "-Scli", "hello.wasm"], "curfew run hello.wasm"),
        (&["hello.wasm", "--env", "A=b"], "curfew run hello.wasm --env A=b"),
        (&["run", "--addr", "127.0.0.1:80", "hello.wasm"], "curfew run --listen 127.0.0.1:80 hello.wasm"),
        (&["up"], "curfew run"),
    ] {
        let output = Host::manifest("").call(args);
        output.expect_code(2).expect_line(&format!("hint: did you mean `{hint}`?"));
    }
}

/// As README says: several files share the terminal, so a server among them needs a manifest for its address.
#[test]
fn a_server_among_several_files_needs_a_manifest() {
    Host::files(&[NO_HOOK, HELLO_HTTP]).run().expect_refused(78, &["hello-http.wasm", "in the manifest"]);
}

/// What users of `wasmtime run` type first.
#[test]
fn arguments_without_two_dashes_are_told_where_they_belong() {
    let output = Host::files(&[NO_HOOK, "cat"]).text_logs().run();
    output.expect_refused(69, &["cannot read cat", "hint: arguments of a component come after `--`"]);
}

/// Whoever presses Ctrl-C sees that it was heard, also where curfew says nothing else.
#[test]
fn a_stop_that_takes_long_says_whom_it_waits_for() {
    let host =
        Host::files(&[HOSTILE_CLASSIC]).flags(&["--grace", "60s"]).guest_args(&["run=spin"]).text_logs();
    let app = host.start();
    app.wait_for_line("run entered");
    app.signal(SIGINT);
    app.wait_for_line("waiting for");
    app.wait_for_line("one more INT cuts it off");
    app.signal(SIGINT);
    app.wait().expect_code(130);
}
