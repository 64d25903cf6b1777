//! Part G × HUP for services: a fresh generation of a guest that misbehaves takes its place, next to it or after it.
//! The old one is gone, or given up, within its grace; its sibling does not notice; the app goes on to be asked and stopped.

use std::time::Instant;

use artifacts::{HOSTILE_ASYNC, HOSTILE_CLASSIC, SERVER, SPIN_AT_START};
use nix::sys::signal::Signal::{SIGHUP, SIGTERM};

use super::cases::{CASES, Case, IN_LANGUAGES, Kind};
use super::{Event, GRACE, MS, exit_code, keys_of, source_of, start};
use crate::harness::{App, CONTROL, Host, app, assert_within, component, keys, until};

/// What is added to a grace by those who are cut off.
const CUT: u32 = 250;
/// How long a reload takes at most when nothing has to be compiled, besides the grace of a generation that makes room.
const RELOAD: u32 = 1000;
/// The time after a cut-off in which nothing takes the place of one that cannot be ended.
const STUCK: u32 = 1000;

fn ms(millis: u32) -> std::time::Duration {
    MS * millis
}

/// The guests next to a sibling; the plan of each guest is another one in each generation.
fn manifest(generation: u32, grace: u32, guests: &[(String, &str, String)]) -> String {
    let mut text = app(&format!("grace = \"{grace}ms\"\nfail-grace = \"30s\"\n{CONTROL}"));
    for (name, source, keys) in guests {
        text += &component(name, source, &format!("{keys}\nenv = {{ GENERATION = \"{generation}\" }}"));
    }
    text + &component("sibling", SERVER, "")
}

/// How many lines are just this one.
fn lines(app: &App, line: &str) -> usize {
    app.look(|said| said.lines.iter().filter(|said| *said == line).count())
}

/// The sibling is the instance that it was, and nobody has asked it to stop.
#[track_caller]
fn expect_untouched(app: &App) {
    let sibling = app.generations("sibling");
    assert_eq!(sibling.len(), 1, "{sibling:?}");
    assert_eq!((sibling[0].number("generation"), sibling[0].text("state")), (1, "running"), "{sibling:?}");
    assert_eq!(lines(app, "sibling | start"), 1);
    assert!(app.records("asked to stop", "sibling").is_empty());
}

/// Waits for the end of the old generation, or until it is given up, and says how it ended.
#[track_caller]
fn end_of_the_old(app: &App, case: &Case, grace: u32, asked: Instant) -> String {
    if case.outcome == "leaked" {
        let cut = app.wait_for_log("cut off", "guest");
        assert_within(cut.at - asked, ms(grace + CUT), "cut-off of the old generation");
        // Its thread cannot be ended; that keeps nobody from taking its place.
        until("a generation next to the one that leaked", || {
            let numbers: Vec<_> =
                app.generations("guest").iter().map(|one| one.number("generation")).collect();
            (numbers == [1, 2]).then_some(())
        });
        return "leaked".to_string();
    }
    let ended = app.wait_for_log("component ended", "guest");
    if !case.early {
        assert_within(ended.at - asked, ms(grace + CUT), "end of the old generation");
    }
    ended.text("outcome")
}

pub fn check_cell(case: &Case, kind: Kind) -> String {
    // Each guest is replaced in both ways, each kind of it in one of them.
    let number = CASES.iter().chain(IN_LANGUAGES).position(|other| other.what == case.what).unwrap();
    let grace = kind.grace();
    // One that is never ready cannot take over from one that lives: that is a test of its own.
    let overlap =
        number.is_multiple_of(2) == matches!(kind, Kind::Async | Kind::Python) && case.run != "never-ready";
    let guest = |generation| {
        let timeout = if case.run == "never-ready" { "start-timeout = \"4s\"" } else { "" };
        let keys = format!("{}\noverlap = {overlap}\n{timeout}", keys_of(case));
        manifest(generation, grace, &[("guest".to_string(), source_of(kind), keys)])
    };
    let app = start(&guest(1));
    app.wait_for_line("guest | run entered");
    if case.early {
        app.wait_for_log("component ended", "guest");
    }
    let asked = Instant::now();
    app.rewrite(&guest(2));
    app.signal(SIGHUP);
    let old = end_of_the_old(&app, case, grace, asked);
    assert_eq!(old, case.outcome, "outcome of the old generation");
    if case.hook == "request-stop" {
        // Whoever asks for it is heard, also on the way out.
        let output = app.wait();
        assert_within(output.after(asked), ms(grace + CUT), "exit");
        output.expect_code(0).expect_cause("request", "guest").expect_outcome("sibling", "stopped");
        return format!("{old}, the app stopped");
    }
    let reloaded = app.wait_for_reload(1);
    if case.run == "never-ready" {
        assert_eq!(reloaded.message(), "reload failed");
        until("the old generation again", || (lines(&app, "guest | run entered") == 3).then_some(()));
    } else {
        let room = if overlap { 0 } else { grace + CUT + if old == "leaked" { STUCK } else { 0 } };
        assert_eq!(reloaded.message(), "reloaded");
        assert_within(reloaded.at - asked, ms(RELOAD + room), "reload");
        until("the fresh generation", || (lines(&app, "guest | run entered") == 2).then_some(()));
    }
    if case.early {
        app.wait_for_logs("component ended", "guest", 2);
    }
    expect_untouched(&app);
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    assert_within(output.after(asked), ms(grace + CUT), "exit");
    output.expect_outcome("guest", case.outcome).expect_code(exit_code(Event::Term, case.outcome));
    output.expect_outcome("sibling", "stopped").expect_hook("sibling", "ok");
    let end = if case.run == "never-ready" { "put back" } else { "reloaded" };
    format!("{old}, {end}")
}

/// G: spins while instantiating × HUP: the fresh generation does, too, next to it or after it, and neither keeps the app
/// from being asked and stopped.
#[test]
fn a_guest_that_spins_while_it_starts_can_be_replaced() {
    crate::in_parallel(2, vec![false, true], |overlap| {
        let guest = |generation| {
            manifest(
                generation,
                GRACE,
                &[("guest".to_string(), SPIN_AT_START, format!("overlap = {overlap}"))],
            )
        };
        let app = Host::manifest(&guest(1)).start();
        app.wait_for_line("sibling | start");
        app.rewrite(&guest(2));
        let asked = app.signal(SIGHUP);
        if overlap {
            until("two that start", || (app.generations("guest").len() == 2).then_some(()));
        } else {
            let ended = app.wait_for_log("component ended", "guest");
            assert_within(ended.at - asked, ms(GRACE + CUT), "end of the old generation");
        }
        expect_untouched(&app);
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        assert_within(output.after(asked), ms(GRACE + CUT), "exit");
        output.expect_outcome("sibling", "stopped").expect_hook("guest", "none").expect_code(0);
        assert_eq!(output.records("reload failed", "").len(), 1, "{}", output.said());
    });
}

/// G: never becomes ready × HUP with `overlap`: the reload fails when its time is over, and the old one goes on.
#[test]
fn a_guest_that_never_is_ready_does_not_take_over() {
    for source in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let guest = |generation, run: &str| {
            let keys = format!("{}\noverlap = true\nstart-timeout = \"500ms\"", keys(&[run]));
            manifest(generation, GRACE, &[("guest".to_string(), source, keys)])
        };
        let app = Host::manifest(&guest(1, "run=good")).start_ready();
        let asked = Instant::now();
        let failed = app.reload_fails(&guest(2, "run=never-ready"));
        assert!(failed.at - asked >= ms(500), "it had {:?}", failed.at - asked);
        assert_within(failed.at - asked, ms(500 + RELOAD), "reload");
        until("the old generation alone", || {
            let all = app.generations("guest");
            (all.len() == 1 && all[0].number("generation") == 1).then_some(())
        });
        assert_eq!(app.component("guest").text("state"), "running");
        expect_untouched(&app);
        app.stop().expect_code(0).expect_outcome("guest", "stopped").expect_hook("guest", "ok");
    }
}

/// G: more spinning components than cores × HUP: all of them are replaced, and all of those are cut off.
#[test]
fn more_spinning_guests_than_cores_can_be_replaced() {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let guests = |overlap: bool| -> Vec<_> {
        let keys = format!("{}\noverlap = {overlap}", keys(&["run=spin"]));
        let source = |number: usize| if number.is_multiple_of(2) { Kind::Async } else { Kind::Classic };
        (0..cores + 2)
            .map(|number| (format!("spin{number}"), source_of(source(number)), keys.clone()))
            .collect()
    };
    for overlap in [false, true] {
        let app = start(&manifest(1, GRACE, &guests(overlap)));
        let asked = Instant::now();
        let reloaded = app.reload(&manifest(2, GRACE, &guests(overlap)));
        let room = if overlap { 0 } else { GRACE + CUT };
        assert_within(reloaded.at - asked, ms(RELOAD + room), "reload");
        let ended = app.wait_for_logs("component ended", "", cores + 2);
        assert_within(ended[cores + 1].at - asked, ms(GRACE + CUT), "end of the old generations");
        for number in 0..cores + 2 {
            until("the fresh generations", || {
                (lines(&app, &format!("spin{number} | run entered")) == 2).then_some(())
            });
        }
        expect_untouched(&app);
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        assert_within(output.after(asked), ms(GRACE + CUT), "exit");
        output.expect_code(124).expect_outcome("sibling", "stopped");
    }
}
