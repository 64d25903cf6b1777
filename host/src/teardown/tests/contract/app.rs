//! The rows of the contract about signals, causes, bounds and the exit of the whole app, each as one test.
//!
//! Invariant: the first comment of a test names its row. Single events are in `transition_table`, random ones in
//! `properties`.

use super::super::fixtures::{
    A, B, C, FAIL_GRACE, GRACE, asks, bounds, component, kinds, ms, pair, running, s, signal, starting,
};
use super::super::transition_table::samples;
use super::*;
use crate::plan::SignalProfile;

#[test]
fn int_twice_cuts_off_and_leaves_with_130() {
    // S1: the hook sleeps; INT, 1 s, INT → cut off now, exit in 500 ms, code 130.
    let mut app = pair();
    assert_eq!(kinds(&signal(&mut app, s(5), Signal::Int)), ["Raise", "Ask", "Ask"]);
    assert_eq!(
        signal(&mut app, s(6), Signal::Int),
        [Action::Raise(Level::Cut), Action::Cut(A), Action::Cut(B)]
    );
    assert_eq!(bounds(&app), (s(5), s(6), ms(6250)));
    assert_eq!(app.clone().on(ms(6250), Event::Clock).last(), Some(&Action::Leave(ExitCode(130))));
    let _ = app.on(ms(6001), Event::Ended(A, Outcome::CutOff));
    let left = app.on(ms(6002), Event::Ended(B, Outcome::Stopped));
    assert_eq!(left, [Action::Raise(Level::Exit), Action::Leave(ExitCode(130))]);
}

#[test]
fn the_same_signal_within_500_ms_counts_once() {
    // S2: one Ctrl-C delivered twice → counts once; clean stop, 0.
    let mut app = pair();
    let _ = signal(&mut app, s(1), Signal::Int);
    assert_eq!(signal(&mut app, ms(1005), Signal::Int), []);
    assert_eq!(signal(&mut app, ms(1499), Signal::Int), []);
    assert_eq!(
        signal(&mut app, ms(1499), Signal::Term),
        [Action::NoteSignal(Signal::Term)],
        "another signal"
    );
    let mut clean = app.clone();
    let _ = clean.on(ms(1500), Event::Ended(A, Outcome::Stopped));
    assert!(clean.on(ms(1500), Event::Ended(B, Outcome::Stopped)).contains(&Action::Leave(ExitCode::CLEAN)));
    // The time runs from the one that counted.
    let _ = signal(&mut app, ms(1500), Signal::Int);
    assert_eq!(app.level(), Level::Cut);
}

#[test]
fn term_every_second_moves_no_deadline() {
    // S3: TERM, then TERM every second → deadline unchanged, one log line each.
    let mut app = pair();
    assert_eq!(signal(&mut app, s(1), Signal::Term), [Action::Raise(Level::Delay)]);
    let first = bounds(&app);
    assert_eq!(first, (s(3), s(13), s(14)));
    for second in 2..13 {
        let done = signal(&mut app, s(second), Signal::Term);
        assert_eq!(done.iter().filter(|done| **done == Action::NoteSignal(Signal::Term)).count(), 1);
        assert_eq!(bounds(&app), first);
    }
    assert_eq!(app.on(s(13), Event::Clock), [Action::Cut(A), Action::Cut(B), Action::Raise(Level::Cut)]);
    assert!(app.on(s(14), Event::Clock).contains(&Action::Leave(ExitCode::CUT_OFF)));
}

#[test]
fn quit_ends_the_delay() {
    // Signals: QUIT while stopping ends the delay; its rest is not added to the grace.
    let mut app = pair();
    let _ = signal(&mut app, s(1), Signal::Term);
    let done = signal(&mut app, s(2), Signal::Quit);
    assert_eq!(asks(&done), [(A, s(12)), (B, s(12))]);
    assert_eq!(bounds(&app), (s(2), s(12), s(13)));
    assert_eq!(app.cause(), Some(Cause::Signal(Signal::Term)), "I6");
}

#[test]
fn quit_stretches_every_grace_by_four() {
    // Signals: QUIT while running: graceful stop, no delay, grace × 4.
    let mut app = running(vec![component(), GenerationPolicy { grace: Some(s(2)), ..component() }]);
    let done = signal(&mut app, s(1), Signal::Quit);
    assert_eq!(asks(&done), [(A, s(41)), (B, s(9))]);
    assert_eq!(bounds(&app), (s(1), s(41), s(42)));
}

#[test]
fn each_int_rises_one_level_from_the_delay_on() {
    // Signals: TERM, then INT ends the delay, INT cuts off, INT exits at once.
    let mut app = pair();
    let _ = signal(&mut app, ms(0), Signal::Term);
    assert_eq!(kinds(&signal(&mut app, ms(600), Signal::Int)), ["Raise", "Ask", "Ask"]);
    assert_eq!(app.exit_code(), ExitCode::CUT_OFF, "ending the delay is no force");
    assert_eq!(kinds(&signal(&mut app, ms(1200), Signal::Int)), ["Raise", "Cut", "Cut"]);
    let left = signal(&mut app, ms(1800), Signal::Int);
    assert_eq!(left, [Action::Raise(Level::Exit), Action::Leave(ExitCode(130))]);
    // The first to force an app that is being cut off at its deadline anyway leaves at once, too.
    let mut app = pair();
    let _ = app.on(s(0), Event::StopRequested(Requester::Operator));
    let _ = app.on(s(GRACE), Event::Clock);
    let left = signal(&mut app, s(GRACE), Signal::Int);
    assert_eq!(left, [Action::Raise(Level::Exit), Action::Leave(ExitCode(130))]);
}

#[test]
fn in_the_nginx_profile_term_and_int_cut_off_now() {
    // Signals, nginx: TERM and INT while running cut off now; 128+n.
    for (pressed, code) in [(Signal::Term, 143), (Signal::Int, 130)] {
        let mut app = starting(SignalProfile::Nginx, vec![component()]);
        let _ = app.on(s(0), Event::Entered(A));
        let done = signal(&mut app, s(1), pressed);
        let ask = Action::Ask { id: A, cause: Cause::Signal(pressed), deadline: s(1) };
        assert_eq!(done, [Action::Raise(Level::Drain), ask, Action::Raise(Level::Cut), Action::Cut(A)]);
        assert_eq!(app.next_wake(), Some(ms(1250)));
        let left = app.on(ms(1001), Event::Ended(A, Outcome::CutOff));
        assert_eq!(left.last(), Some(&Action::Leave(ExitCode(code))));
    }
}

#[test]
fn whatever_comes_after_the_exit_does_nothing() {
    // S10: a second signal after everything has ended → still 0.
    let mut app = pair();
    let _ = signal(&mut app, s(1), Signal::Int);
    let _ = app.on(s(2), Event::Ended(A, Outcome::Stopped));
    let left = app.on(s(2), Event::Ended(B, Outcome::Stopped));
    assert_eq!(left, [Action::Raise(Level::Exit), Action::Leave(ExitCode::CLEAN)]);
    for event in samples() {
        assert_eq!(app.on(s(3), event), []);
        assert_eq!(app.exit_code(), ExitCode::CLEAN, "{event:?}");
    }
}

#[test]
fn a_failure_stops_the_others_at_once_with_the_fail_grace() {
    // S12, S16, I6: A traps while B never stops → told in the same step, with `fail-grace`.
    let mut app = pair();
    let cause = Cause::Failure(A);
    let ask = Action::Ask { id: B, cause, deadline: s(1 + FAIL_GRACE) };
    assert_eq!(app.on(s(1), Event::Failed(A)), [Action::Raise(Level::Drain), ask]);
    assert_eq!(bounds(&app), (s(1), s(1 + FAIL_GRACE), s(2 + FAIL_GRACE)));
    assert_eq!(app.on(s(1), Event::Ended(A, Outcome::Failed)), []);
    assert_eq!(app.on(s(2), Event::Failed(B)), []);
    assert_eq!(app.cause(), Some(cause));
    let left = app.on(s(2), Event::Ended(B, Outcome::Failed));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::FAILED)));
}

#[test]
fn nothing_that_follows_masks_a_failure() {
    // Exit codes: 1 goes before 124: what is left of a failed component can be cut off, its failure stays.
    for outcome in [Outcome::CutOff, Outcome::Leaked, Outcome::NotStarted] {
        let mut app = running(vec![component()]);
        let _ = app.on(s(1), Event::Failed(A));
        assert_eq!(app.next_wake(), Some(s(1 + FAIL_GRACE)), "it has no time of its own");
        assert_eq!(kinds(&app.on(s(1 + FAIL_GRACE), Event::Clock)), ["Cut", "Raise"]);
        assert_eq!(app.exit_code(), ExitCode::FAILED);
        let left = app.on(s(1 + FAIL_GRACE), Event::Ended(A, outcome));
        assert_eq!(left.last(), Some(&Action::Leave(ExitCode::FAILED)), "{outcome:?}");
    }
}

#[test]
fn the_guardian_knows_the_code_before_everyone_has_ended() {
    // I3, I11: if the control thread is stuck, the guardian leaves with the code that holds now.
    let mut app = starting(SignalProfile::Standard, vec![component(); 3]);
    let _ = app.on(s(0), Event::Entered(A));
    let _ = app.on(s(0), Event::Entered(B));
    let _ = signal(&mut app, s(1), Signal::Int);
    assert_eq!(app.exit_code(), ExitCode::CUT_OFF, "all three would be cut off");
    let _ = app.on(s(2), Event::Ended(A, Outcome::HookFailed));
    let _ = app.on(s(2), Event::Ended(C, Outcome::NotStarted));
    assert_eq!(
        [A, B, C].map(|id| app.outcome(id)),
        [Outcome::HookFailed, Outcome::CutOff, Outcome::NotStarted]
    );
    let _ = app.on(s(1 + GRACE), Event::Clock);
    assert_eq!((app.outcome(B), app.exit_code()), (Outcome::Leaked, ExitCode::CUT_OFF));
    let mut failed = app.clone();
    let _ = failed.on(s(1 + GRACE), Event::Failed(B));
    assert_eq!((failed.outcome(B), failed.exit_code()), (Outcome::Failed, ExitCode::FAILED));
    let _ = app.on(s(1 + GRACE), Event::Ended(B, Outcome::Stopped));
    assert_eq!(app.exit_code(), ExitCode::HOOK_FAILED);
}

#[test]
fn a_bug_in_the_host_stops_the_app_with_70() {
    // S21: an internal host task dies → the host leaves with 70 in bound, also when it dies during the stop.
    let mut app = pair();
    assert_eq!(asks(&app.on(s(1), Event::HostBug("task"))).len(), 2);
    assert_eq!(bounds(&app).1, s(1 + FAIL_GRACE));
    assert_eq!((app.cause(), app.exit_code()), (Some(Cause::HostBug("task")), ExitCode::HOST_BUG));
    let mut app = pair();
    let _ = signal(&mut app, s(1), Signal::Int);
    let _ = signal(&mut app, s(2), Signal::Int);
    let _ = app.on(s(2), Event::HostBug("task"));
    assert_eq!((app.cause(), app.exit_code()), (Some(Cause::Signal(Signal::Int)), ExitCode::HOST_BUG));
}
