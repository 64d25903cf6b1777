//! S1–S4, S7, S8, S10, S20: what each signal does, when, and how often.

use std::thread::sleep;
use std::time::{Duration, Instant};

use artifacts::{HOSTILE_ASYNC, SERVER, SERVER_CLASSIC};
use nix::sys::signal::Signal::{self, *};

use crate::harness::{App, Host, Output, app, assert_within, component, keys};

const MS: Duration = Duration::from_millis(1);

/// A service that ends at once, and one whose hook never does.
pub fn stuck_and_server(app_keys: &str) -> Host {
    Host::manifest(&stuck_and_server_in(app_keys, 1))
}

/// The same; the plan of each is another one in each version.
fn stuck_and_server_in(app_keys: &str, version: usize) -> String {
    let env = format!("env = {{ V = \"{version}\" }}");
    app(app_keys)
        + &component("stuck", HOSTILE_ASYNC, &format!("{}\n{env}", keys(&["run=good", "hook=park"])))
        + &component("fine", SERVER, &env)
}

/// Two that end when they are asked.
pub fn servers(app_keys: &str) -> Host {
    Host::manifest(&(app(app_keys) + &component("a", SERVER, "") + &component("b", SERVER_CLASSIC, "")))
}

/// S1 (tokio#7905): the hook never ends; INT, 1 s, INT → cut off now, exit in 500 ms, code 130.
#[test]
fn a_second_int_cuts_off_now() {
    let app = stuck_and_server("grace = \"60s\"").start_ready();
    app.signal(SIGINT);
    app.wait_for_log("hook started", "stuck");
    sleep(1000 * MS);
    let second = app.signal(SIGINT);
    let output = app.wait();
    output.expect_code(130).expect_cause("signal", "SIGINT");
    output.expect_outcome("stuck", "cut-off").expect_outcome("fine", "stopped");
    assert_within(output.after(second), 500 * MS, "exit after the second INT");
}

/// Design, signals: INT a third time: exit at once.
#[test]
fn a_third_int_exits_at_once() {
    let fifo = "run=fifo";
    let manifest = app("grace = \"60s\"")
        + &component(
            "stuck",
            HOSTILE_ASYNC,
            &format!("{}\ndirs = [{{ host = \".\", guest = \"/data\" }}]", keys(&[fifo, "path=/data/fifo"])),
        );
    let host = Host::manifest(&manifest);
    nix::unistd::mkfifo(&host.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let app = host.start_ready();
    app.wait_for_line("run entered");
    app.signal(SIGINT);
    app.wait_for_log("stopping", "");
    sleep(600 * MS);
    app.signal(SIGINT);
    sleep(600 * MS);
    let third = app.signal(SIGINT);
    let output = app.wait();
    output.expect_code(130);
    assert_within(output.after(third), 100 * MS, "exit after the third INT");
}

/// S2 (pnpm#7374): one Ctrl-C delivered twice, 5 ms apart → counts once; clean stop, 0.
#[test]
fn one_ctrl_c_delivered_twice_counts_once() {
    let manifest = app("grace = \"20s\"")
        + &component("slow", HOSTILE_ASYNC, &keys(&["run=good", "hook=slow", "ms=300"]))
        + &component("fine", SERVER, "");
    let app = Host::manifest(&manifest).start_ready();
    app.signal(SIGINT);
    sleep(5 * MS);
    app.signal(SIGINT);
    let output = app.wait();
    output.expect_code(0).expect_cause("signal", "SIGINT");
    output.expect_outcome("slow", "stopped").expect_hook("slow", "ok");
}

/// S3 (Kubernetes kubelet restart): TERM, then TERM every second → deadline unchanged, one log line each.
#[test]
fn repeated_terms_do_not_move_the_deadline() {
    let app = stuck_and_server("grace = \"3s\"").start_ready();
    let first = app.signal(SIGTERM);
    app.wait_for_log("stopping", "");
    for count in 1..=3 {
        let due = first + count * 800 * MS;
        sleep(due.saturating_duration_since(Instant::now()));
        app.signal(SIGTERM);
        let records = app.wait_for_logs("signal", "", count as usize);
        let left = records.last().unwrap().number("left_ms");
        let expected = 3000.0 - 800.0 * f64::from(count);
        assert!((left - expected).abs() < 400.0, "{left} ms left instead of {expected}");
    }
    let output = app.wait();
    output.expect_code(124).expect_outcome("stuck", "cut-off");
    assert_eq!(output.records("signal", "").len(), 3, "one line for each:\n{}", output.said());
    assert_eq!(output.records("stopping", "").len(), 1, "the level rose once:\n{}", output.said());
    assert!(output.after(first) >= 2950 * MS, "it left {:?} after the first TERM", output.after(first));
    assert_within(output.after(first), 3250 * MS, "exit after the first TERM");
}

/// What one sequence of signals promises, by the table: the longest time to the exit after the last signal.
fn check_sequence(sequence: &[Signal], gaps: &[u64]) {
    let app = stuck_and_server("grace = \"400ms\"").start_ready();
    let mut stops: Vec<(Signal, Instant)> = Vec::new();
    for (number, (signal, gap)) in sequence.iter().zip(gaps).enumerate() {
        if *signal == SIGHUP {
            // Everybody is to be replaced: a stop finds two generations of each, or one that has not started.
            app.rewrite(&stuck_and_server_in("grace = \"400ms\"", number + 2));
        }
        let now = app.signal(*signal);
        if matches!(signal, SIGTERM | SIGINT | SIGQUIT) {
            stops.push((*signal, now));
        }
        if app.ends_within(Duration::from_millis(*gap)) {
            break;
        }
    }
    if stops.is_empty() {
        stops.push((SIGTERM, app.signal(SIGTERM)));
    }
    let case = format!("{sequence:?} with gaps {gaps:?}");
    check_end(&app.wait(), &stops, sequence.contains(&SIGHUP), &case);
}

/// The end after a sequence: in bound, by a known cause, and the level never fell. What was begun before is ended.
fn check_end(output: &Output, stops: &[(Signal, Instant)], reloads: bool, case: &str) {
    let at = stops[0].1;
    // Of signals that are pending at the same time the kernel tells no order: any of them may be the first.
    let causes: Vec<&str> =
        stops.iter().filter(|(_, sent)| *sent - at < 100 * MS).map(|(signal, _)| signal.as_str()).collect();
    let grace = if causes.contains(&"SIGQUIT") { 1600 * MS } else { 400 * MS };
    assert_within(output.after(at), grace + 250 * MS, &format!("exit after {case}"));
    let code = output.code();
    // The stop can come when the old generation has ended and the fresh one has not started.
    let nobody = reloads && output.row("stuck").outcome() == "not-started";
    let known = [124, 130].contains(&code) || (nobody && code == 0);
    assert!(known, "{case}: exit status {code}\n{}", output.said());
    let levels: Vec<String> =
        output.records("stopping", "").iter().map(|record| record.text("stop")).collect();
    let ranks: Vec<_> = levels.iter().map(|level| LEVELS.iter().position(|known| known == level)).collect();
    assert!(ranks.is_sorted(), "{case}: the level fell: {levels:?}");
    let cause = output.report["cause"]["name"].as_str().unwrap_or_default().to_string();
    assert!(causes.contains(&cause.as_str()), "{case}: cause {cause}\n{}", output.said());
    // An INT right after the first signal may come before it has ended.
    if code == 124 && !(reloads && output.row("fine").outcome() == "not-started") {
        output.expect_outcome("fine", "stopped");
    }
    // Each reload that was begun has an end.
    let ends = output.records("reloaded", "").len() + output.records("reload failed", "").len();
    assert_eq!(output.records("reloading", "").len(), ends, "{case}:\n{}", output.said());
}

const LEVELS: [&str; 4] = ["delay", "drain", "cut", "exit"];

/// S4 (conky#233): every ordered pair and triple of TERM, INT, QUIT, HUP, USR1 → the level never falls, exit
/// in bound; each HUP finds a manifest in which everything has changed. The gaps are spread over the times that matter: nothing, within 500 ms, and beyond.
#[test]
fn every_sequence_of_signals_only_raises_the_level() {
    let signals = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1];
    let mut cases: Vec<Vec<Signal>> = Vec::new();
    for one in signals {
        for two in signals {
            cases.push(vec![one, two]);
            cases.extend(signals.map(|three| vec![one, two, three]));
        }
    }
    let gaps = [0, 3, 40, 150, 520];
    let cases = cases.into_iter().enumerate().map(|(number, case)| {
        let gaps = vec![gaps[number % 5], gaps[(number / 5) % 5], 0];
        (case, gaps)
    });
    crate::in_parallel(6, cases.collect(), |(case, gaps)| check_sequence(&case, &gaps));
}

/// S7 (nextest): SIGSTOP for longer than the grace, then CONT → no spurious cut-off.
#[test]
fn a_pause_of_the_process_is_not_counted_as_grace() {
    let manifest = app("grace = \"2s\"")
        + &component("slow", HOSTILE_ASYNC, &keys(&["run=good", "hook=slow", "ms=1000"]))
        + &component("fine", SERVER, "");
    let app = Host::manifest(&manifest).start_ready();
    app.signal(SIGTERM);
    app.wait_for_line("slow | hook called");
    app.signal(SIGSTOP);
    sleep(4000 * MS);
    app.signal(SIGCONT);
    let output = app.wait();
    output.expect_code(0).expect_outcome("slow", "stopped").expect_hook("slow", "ok");
}

/// S8 (avahi#73): every catchable signal but those of faults and job control → only the documented ones do
/// anything.
#[test]
fn ignored_signals_do_nothing() {
    let app = servers("").start_ready();
    let harmless = [SIGPIPE, SIGUSR2, SIGCHLD, SIGWINCH, SIGURG, SIGCONT];
    for signal in harmless.into_iter().chain([SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT]) {
        app.signal(signal);
    }
    // The answer to USR1 comes after all of them were delivered.
    app.signal(SIGUSR1);
    app.wait_for_log("status", "a");
    app.wait_for_log("status", "b");
    assert!(app.records("stopping", "").is_empty(), "something made it stop");
    app.stop().expect_code(0).expect_cause("signal", "SIGTERM");
}

#[test]
fn usr1_tells_one_line_a_component_while_running_and_while_stopping() {
    let app = stuck_and_server("grace = \"20s\"").start_ready();
    app.signal(SIGUSR1);
    app.wait_for_log("status", "stuck");
    app.wait_for_log("status", "fine");
    app.signal(SIGTERM);
    app.wait_for_log("component ended", "fine");
    // Within 500 ms it would count as the same.
    sleep(600 * MS);
    app.signal(SIGUSR1);
    app.wait_for_logs("status", "stuck", 2);
    app.signal(SIGINT);
    // The first INT of its life, but the app is stopping.
    app.wait().expect_code(130);
}

/// Design, signals: HUP reloads; a stop if there is no manifest; and nothing while the app stops.
#[test]
fn hup_reloads_with_a_manifest_and_stops_without_one() {
    let app = servers("").start_ready();
    app.signal(SIGHUP);
    assert_eq!(app.wait_for_reload(1).text("what"), "no component has changed");
    assert!(app.records("stopping", "").is_empty(), "HUP made it stop");
    assert!(app.records("asked to stop", "").is_empty(), "HUP asked somebody to stop");
    app.stop().expect_code(0).expect_cause("signal", "SIGTERM");

    let app = Host::files(&[SERVER, SERVER_CLASSIC]).start_ready();
    app.signal(SIGHUP);
    app.wait().expect_code(0).expect_cause("signal", "SIGHUP");
}

/// Design, signals: under `nohup` a HUP does nothing.
#[test]
fn an_ignored_hup_stays_ignored() {
    let app = servers("").under("nohup", &[]).start_ready();
    app.signal(SIGHUP);
    let output = app.stop();
    output.expect_code(0).expect_cause("signal", "SIGTERM");
    assert!(output.records("reloaded", "").is_empty(), "{}", output.said());
}

/// S10 (sequencer#14166): a second signal after everything has ended → still 0.
#[test]
fn a_signal_after_everything_has_ended_changes_nothing() {
    for signal in [SIGTERM, SIGINT, SIGQUIT, SIGHUP] {
        let app = servers("").start_ready();
        app.signal(SIGTERM);
        app.wait_for_log("component ended", "a");
        app.wait_for_log("component ended", "b");
        app.signal(signal);
        app.wait().expect_code(0).expect_cause("signal", "SIGTERM");
    }
}

/// S20 (nats-server#6336, moby#7240): clean stop on TERM → 0, also as PID 1.
#[test]
fn a_clean_stop_is_0_also_as_pid_1() {
    servers("").start_ready().stop().expect_code(0);
    let permitted = std::process::Command::new("unshare").args(["--pid", "--fork", "true"]).output();
    if !permitted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no permission for a PID namespace");
        return;
    }
    let host = servers("").under("unshare", &["--pid", "--fork", "--kill-child"]);
    let app = host.start_ready();
    let init = only_child(&app);
    app.signal_to(init, SIGTERM);
    app.wait().expect_code(0).expect_cause("signal", "SIGTERM");
}

fn only_child(app: &App) -> nix::unistd::Pid {
    let path = format!("/proc/{0}/task/{0}/children", app.pid());
    let children = std::fs::read_to_string(path).unwrap();
    nix::unistd::Pid::from_raw(children.trim().parse().unwrap())
}
