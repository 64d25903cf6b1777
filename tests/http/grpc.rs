//! `grpc-echo` with a real gRPC client: `grpcio`, from `target/venv`.

use std::process::{Command, Output, Stdio};

use artifacts::GRPC_ECHO;
use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{App, Host, app, python_with, web};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/http/grpc_client.py");

fn start() -> App {
    Host::manifest(&(app("grace = \"20s\"") + &web("grpc", GRPC_ECHO, ""))).start_ready()
}

fn client(python: &std::path::Path, app: &App, what: &str) -> Command {
    let mut command = Command::new(python);
    command.args([CLIENT, &app.address("grpc").socket().to_string(), what]);
    command.env("GRPC_ENABLE_FORK_SUPPORT", "0").stdin(Stdio::null());
    command
}

#[track_caller]
fn expect_good(output: &Output) {
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the client failed: {said}");
}

/// A unary and a server-streaming method, many at once, and a status of the server's for a method it does not have.
#[test]
fn a_grpc_client_is_served() {
    let Some(python) = python_with("grpc") else { return };
    let app = start();
    for what in ["unary", "stream", "many", "unknown"] {
        expect_good(&client(&python, &app, what).output().unwrap());
    }
    app.stop().expect_code(0).expect_outcome("grpc", "stopped");
}

/// A stop in the middle of a stream: the client gets all of it, and its status.
#[test]
fn a_grpc_stream_is_finished_during_the_stop() {
    let Some(python) = python_with("grpc") else { return };
    let app = start();
    let child = client(&python, &app, "slow-stream").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert_eq!(line.trim(), "begun");
    app.signal(SIGTERM);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    expect_good(&child.wait_with_output().unwrap());
    assert_eq!(rest.trim(), "whole");
    app.wait().expect_code(0).expect_outcome("grpc", "stopped");
}
