//! H5 (node#51677): a request sent at the very moment of the stop → served, with `Connection: close` when the host knew
//! of the stop, or its connection closed before a byte of it was read.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use artifacts::{HELLO_HTTP, HELLO_HTTP_CLASSIC};
use nix::sys::signal::Signal::SIGTERM;

use super::lab::served;
use crate::harness::{App, Cut, Fate, Host, Wire, app, web};

const CONNECTIONS: usize = 24;
const RUNS: u64 = 40;

/// The times at which requests are sent, from so long before the signal to so long after it.
const BEFORE: Duration = Duration::from_micros(1500);
const AFTER: Duration = Duration::from_micros(2500);
/// A machine at work can take longer to close a connection: runs with a longer time after the signal follow, up to this one.
const LONGEST_AFTER: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    told: AtomicU64,
    closed: AtomicU64,
}

/// Sends one request over each connection around the moment of the signal, and tells how many were answered.
fn requests_around_the_signal(app: &App, wires: &mut [Wire], run: u64, after: Duration, seen: &Seen) -> u64 {
    let begin = Instant::now();
    let mut signalled = false;
    let step = (BEFORE + after) / u32::try_from(wires.len()).unwrap();
    // Each run has its requests at other times between two of the run before.
    let shift = step.mul_f64((run % 8) as f64 / 8.0);
    let mut sent = Vec::new();
    for (at, wire) in (0..).zip(wires.iter_mut()) {
        let due = begin + step * at + shift;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        if !signalled && Instant::now() >= begin + BEFORE {
            app.signal(SIGTERM);
            signalled = true;
        }
        let head = wire.head_of("GET", "/", "");
        sent.push(wire.try_send(head).is_ok());
    }
    if !signalled {
        app.signal(SIGTERM);
    }
    let fates = wires.iter_mut().zip(sent).map(|(wire, sent)| check(wire, sent, seen));
    fates.map(u64::from).sum()
}

/// Whether the request was answered; anything but an answer or a close before its first byte fails.
fn check(wire: &mut Wire, sent: bool, seen: &Seen) -> bool {
    match wire.fate() {
        Fate::Answered(answer) => {
            let closes = answer.closes();
            assert_eq!(answer.expect(200).text(), "Hello");
            assert!(sent);
            seen.answered.fetch_add(1, SeqCst);
            seen.told.fetch_add(u64::from(closes), SeqCst);
            // Nothing comes behind the answer, and the connection is closed.
            assert!(
                !closes || wire.end() == Cut::End,
                "an answer that says close is not followed by a reset"
            );
            true
        }
        Fate::Closed | Fate::Reset => {
            seen.closed.fetch_add(1, SeqCst);
            false
        }
        Fate::Aborted { partial, reset } => panic!("a half answer (reset: {reset}): {partial:?}"),
    }
}

fn run(source: &str, kept: bool) {
    let seen = Seen::default();
    let mut after = AFTER;
    runs(source, kept, after, &seen);
    while seen.closed.load(SeqCst) == 0 && after < LONGEST_AFTER {
        after *= 4;
        runs(source, kept, after, &seen);
    }
    let [answered, told, closed] = [seen.answered, seen.told, seen.closed].map(AtomicU64::into_inner);
    assert!(answered > 0 && closed > 0, "no run was about the moment: {answered} answered, {closed} closed");
    eprintln!("at the moment of the stop: {answered} answered, {told} of them told, {closed} closed");
}

fn runs(source: &str, kept: bool, after: Duration, seen: &Seen) {
    crate::in_parallel(2, (0..RUNS).collect(), |number| {
        let app = Host::manifest(&(app("grace = \"30s\"") + &web("web", source, ""))).start_ready();
        let address = app.address("web");
        let mut wires: Vec<Wire> = (0..CONNECTIONS).map(|_| Wire::connect(&address)).collect();
        let mut answered = 0;
        if kept {
            for wire in &mut wires {
                wire.get("/").expect(200);
                answered += 1;
            }
        }
        answered += requests_around_the_signal(&app, &mut wires, number, after, seen);
        let output = app.wait();
        output.expect_code(0).expect_outcome("web", "stopped").expect_hook("web", "ok");
        // What was closed had not been read: the guest has served what was answered, and nothing else.
        assert_eq!(served(&output, "web"), answered, "{}", output.said());
    });
}

#[test]
fn a_request_at_the_moment_of_the_stop_is_served_or_not_begun() {
    run(HELLO_HTTP, true);
}

#[test]
fn a_request_at_the_moment_of_the_stop_is_served_or_not_begun_by_a_classic_component() {
    run(HELLO_HTTP_CLASSIC, true);
}

/// The same for the first request of a connection.
#[test]
fn a_first_request_at_the_moment_of_the_stop_is_served_or_not_begun() {
    run(HELLO_HTTP, false);
    run(HELLO_HTTP_CLASSIC, false);
}
