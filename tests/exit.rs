//! S17–S19, S21, I3, I4, I11: when the host leaves, with which status, and what it has said by then.

use std::fs::File;
use std::time::{Duration, Instant};

use artifacts::{HOSTILE_ASYNC, HOSTILE_CLASSIC, NO_HOOK, NO_RUN, SERVER, SERVER_CLASSIC, TIMER};
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};

use crate::harness::{CONTROL, Host, app, assert_within, component, keys};

const MS: Duration = Duration::from_millis(1);

fn fine() -> String {
    component("fine", SERVER, "")
}

fn hostile(name: &str, behaviour: &[&str]) -> String {
    component(name, HOSTILE_ASYNC, &keys(behaviour))
}

/// A guest that opens `/data/fifo`, which nobody ever writes to.
fn fifo(source: &str) -> String {
    let dirs = "dirs = [{ host = \"data\", guest = \"/data\" }]";
    component("fifo", source, &format!("{}\n{dirs}", keys(&["run=fifo", "path=/data/fifo"])))
}

fn with_fifo(host: Host) -> Host {
    let data = host.path().join("data");
    std::fs::create_dir(&data).unwrap();
    nix::unistd::mkfifo(&data.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    host
}

/// Design 2, exit codes: one row of the table each, and the precedence where two apply. I11.
#[test]
fn the_exit_status_follows_the_table() {
    let stop =
        |manifest: String| Host::manifest(&(app("grace = \"300ms\"") + &manifest)).start_ready().stop();
    stop(fine()).expect_code(0);
    stop(fine() + &hostile("h", &["hook=error"])).expect_code(3).expect_outcome("h", "hook-failed");
    stop(fine() + &hostile("h", &["hook=park"])).expect_code(124).expect_outcome("h", "cut-off");
    let late = ["run=error-on-stop"];
    stop(fine() + &hostile("h", &late)).expect_code(1).expect_outcome("h", "failed");
    // 124 before 3, 1 before 124.
    stop(hostile("h", &["hook=error"]) + &hostile("i", &["hook=park"])).expect_code(124);
    stop(hostile("h", &late) + &hostile("i", &["hook=park"])).expect_code(1);
    Host::manifest(&fine()).call(&["run", "--no-such-flag"]).expect_code(2);
    Host::manifest(&fine()).call(&["no-such-command"]).expect_code(2);
    Host::files(&["missing.wasm"]).run().expect_code(69);
    Host::files(&[NO_RUN]).run().expect_code(78);
}

/// Design 2, exit codes: 128+n comes before 1.
#[test]
fn a_forced_exit_comes_before_a_failure_in_the_exit_status() {
    let manifest =
        app("grace = \"60s\"") + &hostile("bad", &["run=trap-on-stop"]) + &hostile("stuck", &["hook=park"]);
    let app = Host::manifest(&manifest).start_ready();
    app.signal(SIGINT);
    app.wait_for_log("failed", "bad");
    app.wait_for_log("hook started", "stuck");
    // The same signal within 500 ms would count once.
    std::thread::sleep(600 * MS);
    app.signal(SIGINT);
    let output = app.wait();
    output.expect_code(130).expect_cause("signal", "SIGINT").expect_outcome("bad", "failed");
    output.expect_outcome("stuck", "cut-off");
}

/// S17 (pingora#727): delay 2 s, grace 5 s, the worst guests → exit by 8.25 s. I3.
#[test]
fn the_worst_guests_do_not_delay_the_exit() {
    let memory = format!("{}\nmemory = \"128MiB\"", keys(&["run=fill"]));
    let manifest = app("drain-delay = \"2s\"\ngrace = \"5s\"")
        + &hostile("spin", &["run=spin"])
        + &component("spin2", HOSTILE_CLASSIC, &keys(&["run=spin"]))
        + &hostile("flood", &["run=flood-forever"])
        + &component("fill", HOSTILE_CLASSIC, &memory)
        + &hostile("park", &["run=park-sync"])
        + &hostile("hook", &["run=good", "hook=spin"])
        + &hostile("extend", &["run=good", "hook=extend"])
        + &fifo(HOSTILE_CLASSIC)
        + &fine();
    let app = with_fifo(Host::manifest(&manifest)).start_ready();
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    assert_within(output.after(asked), 8250 * MS, "exit");
    output.expect_code(124).expect_outcome("fine", "stopped").expect_outcome("fifo", "leaked");
    for name in ["spin", "spin2", "flood", "fill", "park", "hook", "extend"] {
        output.expect_outcome(name, "cut-off");
    }
}

/// S17, second half, and I4: everybody quiet after 20 ms with a grace of 10 min → exit in 100 ms.
#[test]
fn quiet_means_leave() {
    let manifest = app("grace = \"10m\"")
        + &fine()
        + &component("b", SERVER_CLASSIC, "")
        + &hostile("slow", &["hook=slow", "ms=20"]);
    let app = Host::manifest(&manifest).start_ready();
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_code(0);
    assert_within(output.after(asked), 120 * MS, "exit");
}

/// S18 (tokio#5338): a guest blocked in opening a FIFO → exit by the deadline + 250 ms, outcome `leaked`.
#[test]
fn a_guest_blocked_in_the_kernel_is_left_behind() {
    for source in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let manifest = app("grace = \"500ms\"") + &fifo(source) + &fine();
        let app = with_fifo(Host::manifest(&manifest)).start_ready();
        app.wait_for_line("fifo | run entered");
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        output.expect_code(124).expect_outcome("fifo", "leaked").expect_outcome("fine", "stopped");
        assert_within(output.after(asked), 750 * MS, "exit");
    }
}

/// S19 (fx#1283): forced exit → last log lines, table and report are complete on a file and on a pipe.
#[test]
fn a_forced_exit_loses_nothing_of_what_it_says() {
    let manifest = app("grace = \"60s\"") + &hostile("stuck", &["run=spin"]) + &fine();
    let force = |app: crate::harness::App| {
        app.signal(SIGINT);
        // The same signal within 500 ms would count once.
        std::thread::sleep(600 * MS);
        app.signal(SIGINT);
        app.wait()
    };
    let app = Host::manifest(&manifest).text_logs().start();
    app.wait_for_line("app started");
    app.wait_for_line("stuck | run entered");
    let output = force(app);
    output.expect_code(130).expect_outcome("stuck", "cut-off").expect_line("app ended");
    check_table(&output.stderr_text());

    let host = Host::manifest(&manifest).text_logs();
    let log = host.path().join("stderr.log");
    let out = host.path().join("stdout.log");
    let host = host.stderr(File::create(&log).unwrap()).stdout(File::create(&out).unwrap());
    let app = host.start();
    wait_for_text(&log, "app started");
    wait_for_text(&out, "fine | start");
    let output = force(app);
    output.expect_code(130).expect_outcome("stuck", "cut-off");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("app ended"), "the last record is missing:\n{text}");
    check_table(&text);
}

/// The table has a row for each component.
fn check_table(text: &str) {
    let rows = |name: &str, outcome: &str| {
        text.lines().any(|line| !line.contains('{') && line.contains(name) && line.contains(outcome))
    };
    assert!(rows("stuck", "cut-off"), "no row for the stuck component:\n{text}");
    assert!(rows("fine", "stopped"), "no row for the fine component:\n{text}");
}

/// A file is no stream to wait on, so this one looks again and again.
fn wait_for_text(path: &std::path::Path, wanted: &str) {
    crate::harness::until(&format!("{wanted:?} in {}", path.display()), || {
        std::fs::read_to_string(path).unwrap_or_default().contains(wanted).then_some(())
    });
}

/// S21 (dipper#678): an internal host task dies silently (fail point) → the host leaves with 70 in bound.
#[test]
#[cfg(debug_assertions)]
fn a_host_task_that_dies_ends_the_host_with_70() {
    for point in ["stdout-writer", "control", "instance", "loader"] {
        let manifest = app("grace = \"1s\"\nfail-grace = \"1s\"") + &fine();
        let app = Host::manifest(&manifest).env("CURFEW_FAIL_POINT", point).start();
        let began = Instant::now();
        if !app.ends_within(Duration::from_secs(2)) {
            app.signal(SIGTERM);
        }
        let output = app.wait();
        assert_eq!(output.code(), 70, "{point}:\n{}", output.said());
        assert_within(output.after(began), Duration::from_millis(4250), point);
    }
}

/// S21 for what comes later: the thread that reads a manifest again, one that loads for a reload, the one that answers
/// operators, and what it does for one client. A part of the host that died is a bug, wherever it comes: nothing could be
/// relied on after it. So no reload fails by it and the app goes on, but the host leaves with 70, with everybody asked.
#[test]
#[cfg(debug_assertions)]
fn a_host_task_that_dies_later_ends_the_host_with_70() {
    for point in ["reload", "loader-of-reload", "admin", "admin-client"] {
        let manifest = |version: u32| {
            let env = format!("env = {{ V = \"{version}\" }}");
            app(&format!("grace = \"1s\"\nfail-grace = \"1s\"\n{CONTROL}")) + &component("fine", SERVER, &env)
        };
        let app = Host::manifest(&manifest(1)).env("CURFEW_FAIL_POINT", point).start_ready();
        let began = if point.starts_with("admin") {
            // It is the connection that does it.
            drop(std::os::unix::net::UnixStream::connect(app.path().join("control.sock")).unwrap());
            Instant::now()
        } else {
            app.rewrite(&manifest(2));
            app.signal(SIGHUP)
        };
        let output = app.wait();
        assert_eq!(output.code(), 70, "{point}:\n{}", output.said());
        assert_within(output.after(began), Duration::from_millis(1250), point);
        output.expect_outcome("fine", "stopped").expect_hook("fine", "ok");
        assert!(output.records("reloaded", "").is_empty(), "{point}:\n{}", output.said());
    }
}

/// I3: nobody reads the pipe that the report goes to, and it is full → the exit comes in bound all the same.
#[test]
fn a_report_that_nobody_reads_does_not_delay_the_exit() {
    let (_unread, pipe) = std::io::pipe().unwrap();
    let manifest = app("fail-grace = \"500ms\"")
        + &hostile("flood", &["run=flood-forever"])
        + &component("timer", TIMER, &keys(&["0.3", "fail"]));
    let began = Instant::now();
    let output = Host::manifest(&manifest).stdout(pipe).call(&["run", "--report", "/dev/stdout"]);
    assert_eq!(output.code(), 1, "{}", output.said());
    assert_within(began.elapsed(), Duration::from_millis(300 + 500 + 1250), "exit behind a full pipe");
}

/// Design 2: a single file's exit status is its own.
#[test]
fn a_single_file_passes_its_exit_status_on() {
    for (argument, code) in [("return", 0), ("error", 1), ("exit3", 1)] {
        let output = Host::files(&[NO_HOOK]).guest_args(&[argument]).run();
        assert_eq!(output.code(), code, "{argument}:\n{}", output.said());
    }
    let output = Host::files(&[HOSTILE_CLASSIC]).guest_args(&["run=exit3"]).run();
    assert_eq!(output.code(), 3, "the code of exit-with-code:\n{}", output.said());
    let output = Host::files(&[HOSTILE_ASYNC]).guest_args(&["run=trap"]).run();
    assert!(output.code() != 0, "a trap:\n{}", output.said());
}

/// Design 2: the report has a documented schema.
#[test]
fn the_report_follows_its_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.schema.json");
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    let schema = compiler.compile(path, &mut schemas).unwrap_or_else(|error| panic!("{path}: {error}"));
    let manifest =
        app("grace = \"300ms\"") + &fine() + &hostile("h", &["hook=park"]) + &hostile("i", &["hook=error"]);
    let outputs = [
        Host::manifest(&manifest).start_ready().stop(),
        Host::manifest(&(app("") + &hostile("bad", &["run=trap"]) + &fine())).run(),
    ];
    for output in outputs {
        assert!(!output.report.is_null(), "no report:\n{}", output.said());
        if let Err(error) = schemas.validate(&output.report, schema) {
            panic!("{error:#} in {}", output.report);
        }
    }
}

/// I11: the exit status is a function of cause and outcomes; a report that is lost is told, and masks nothing.
#[test]
fn a_report_that_cannot_be_written_does_not_mask_the_exit_status() {
    let manifest = app("") + &hostile("bad", &["run=error"]) + &fine();
    let output = Host::manifest(&manifest).call(&["run", "--report", "/dev/full"]);
    assert_eq!(output.code(), 1, "{}", output.said());
    assert!(output.stderr_text().contains("/dev/full"), "nothing tells of the report:\n{}", output.said());
    // What can be seen at the start is an error then.
    let output = Host::manifest(&manifest).call(&["run", "--report", "/no/such/folder/report.json"]);
    assert_eq!(output.code(), 69, "{}", output.said());
    assert!(!output.said().contains("run entered"), "something was started:\n{}", output.said());
}

/// Design 2: while stopping it says once a second whom it waits for.
#[test]
fn it_says_once_a_second_whom_it_waits_for() {
    let manifest = app("grace = \"2600ms\"") + &hostile("stuck", &["hook=park"]) + &fine();
    let output = Host::manifest(&manifest).start_ready().stop();
    output.expect_code(124);
    let lines = output.records("waiting for", "stuck").len();
    assert!((2..=3).contains(&lines), "{lines} lines about the stuck one:\n{}", output.said());
    assert!(output.records("waiting for", "fine").is_empty(), "{}", output.said());
}
