//! The rows of the contract about single components: their notice, time, failure and end, each as one test.
//!
//! Invariant: the first comment of a test names its row. Single events are in `transition_table`, random ones in
//! `properties`.

use std::time::Duration;

use super::super::fixtures::{
    A, B, C, DELAY, FAIL_GRACE, GRACE, asks, bounds, component, kinds, ms, pair, policy, running, runs, s,
    signal, starting,
};
use super::*;
use crate::plan::{OnEnd, SignalProfile};

#[test]
fn all_are_asked_in_the_same_step() {
    // S13: the first one's hook hangs → its siblings are asked at the same time; I1: nobody is asked again.
    let mut app = running(vec![component(); 5]);
    let all: Vec<_> = (0..5).map(|at| (GenerationId(at), s(1 + GRACE))).collect();
    assert_eq!(asks(&app.on(s(1), Event::StopRequested(Requester::Component(A)))), all);
    assert_eq!(app.on(s(1), Event::StopRequested(Requester::Operator)), []);
    assert_eq!(asks(&app.on(s(1), Event::Failed(C))), []);
    assert_eq!(app.on(s(2), Event::Returned(B)), []);
}

#[test]
fn on_exit_ignore_asks_only_the_one_that_returned() {
    // on-exit = "ignore": only it is asked, and cut off at a deadline of its own; the app goes on.
    let quiet = GenerationPolicy { grace: Some(s(3)), on_exit: OnEnd::Ignore, ..component() };
    let mut app = running(vec![quiet, component()]);
    let ask = Action::Ask { id: A, cause: Cause::Finished(A), deadline: s(4) };
    assert_eq!(app.on(s(1), Event::Returned(A)), [ask]);
    assert_eq!((app.cause(), app.deadlines(), app.next_wake()), (None, None, Some(s(4))));
    let mut ended = app.clone();
    assert_eq!(ended.on(s(2), Event::Ended(A, Outcome::Finished)), []);
    assert_eq!((ended.level(), ended.next_wake()), (Level::Running, None));
    assert_eq!(app.on(s(4), Event::Clock), [Action::Cut(A)]);
    assert_eq!(app.on(s(5), Event::Returned(B)).len(), 2, "a level and one notice: A has had its own");
    assert_eq!(app.cause(), Some(Cause::Finished(B)));
}

#[test]
fn on_failure_ignore_lets_the_others_go_on() {
    // on-failure = "ignore": the others go on; exit code 1 at the end; a failed one gets no notice.
    let mut app = running(vec![GenerationPolicy { on_failure: OnEnd::Ignore, ..component() }, component()]);
    assert_eq!(app.on(s(1), Event::Failed(A)), []);
    assert_eq!(app.on(s(1), Event::Ended(A, Outcome::Failed)), []);
    assert_eq!((app.level(), app.cause()), (Level::Running, None));
    assert_eq!(asks(&signal(&mut app, s(2), Signal::Int)), [(B, s(2 + GRACE))]);
    let left = app.on(s(3), Event::Ended(B, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::FAILED)));
}

#[test]
fn whoever_overruns_its_start_timeout_is_cut_off_and_has_failed() {
    // R9, start-timeout: one never becomes ready → it is cut off and has failed, the others are asked.
    for on_failure in [OnEnd::StopApp, OnEnd::Ignore] {
        let late = GenerationPolicy { start_timeout: s(1), on_failure, ..component() };
        let mut app = starting(SignalProfile::Standard, vec![component(), late]);
        let _ = runs(&mut app, s(0), A);
        assert_eq!(app.next_wake(), Some(s(1)));
        let done = kinds(&app.on(s(1), Event::Clock));
        let stops = on_failure == OnEnd::StopApp;
        assert_eq!(
            done,
            if stops { vec!["FailStart", "Raise", "Ask", "Cut"] } else { vec!["FailStart", "Cut"] }
        );
        assert_eq!(app.cause(), stops.then_some(Cause::Failure(B)));
        assert_eq!(app.on(s(1), Event::Entered(B)), [], "too late");
        let _ = app.on(s(2), Event::Ended(B, Outcome::CutOff));
        assert_eq!((app.outcome(B), app.exit_code()), (Outcome::Failed, ExitCode::FAILED));
    }
}

#[test]
fn a_late_start_leaves_nobody_behind_with_no_time_left() {
    // I4: a sibling without any grace is cut off in the step in which it is asked, wherever it stands.
    let (hasty, late) = (component(), GenerationPolicy { start_timeout: s(1), ..component() });
    let mut app =
        starting(SignalProfile::Standard, vec![GenerationPolicy { grace: Some(s(0)), ..hasty }, late]);
    let _ = runs(&mut app, s(0), A);
    assert_eq!(kinds(&app.on(s(1), Event::Clock)), ["FailStart", "Raise", "Ask", "Cut", "Cut"]);
    assert_eq!(app.next_wake(), Some(s(1 + FAIL_GRACE)));
}

#[test]
fn whoever_enters_while_it_is_abandoned_is_asked() {
    // S5, I1: hooks only for what was started, and for all of it.
    let mut app = starting(SignalProfile::Standard, vec![component(); 3]);
    let _ = app.on(s(0), Event::Entered(A));
    let done = signal(&mut app, s(1), Signal::Int);
    assert_eq!(done.first_chunk(), Some(&[Action::Abandon(B), Action::Abandon(C)]));
    assert_eq!(asks(&done), [(A, s(1 + GRACE))]);
    assert_eq!(asks(&app.on(s(2), Event::Entered(B))), [(B, s(1 + GRACE))], "never past the app's end");
    assert_eq!(app.on(s(2), Event::Ended(C, Outcome::NotStarted)), []);
    let _ = app.on(s(3), Event::Ended(A, Outcome::Stopped));
    assert!(app.on(s(3), Event::Ended(B, Outcome::Stopped)).contains(&Action::Leave(ExitCode::CLEAN)));
    // Before anything is loaded there is nobody to wait for.
    let policy = policy(SignalProfile::Standard);
    let done = Machine::new(policy, vec![component()], 7).on(s(0), Event::Signal(Signal::Term));
    assert_eq!(done.last(), Some(&Action::Leave(ExitCode::CLEAN)));
}

#[test]
fn extra_time_never_ends_after_the_app() {
    // extend-grace: answered with what was granted, never past the app's end, and never taken back.
    let mut app = running(vec![GenerationPolicy { grace: Some(s(2)), ..component() }, component()]);
    assert_eq!(app.extend(A, s(1)), s(0), "before the notice there is nothing to extend");
    let _ = signal(&mut app, s(1), Signal::Int);
    for (by, granted, deadline) in [(s(3), 3, 6), (s(0), 0, 6), (Duration::MAX, 5, 11), (s(1), 0, 11)] {
        assert_eq!(app.extend(A, by), s(granted));
        assert_eq!(app.deadline(A), Some(s(deadline)));
    }
    assert_eq!(app.extend(B, s(1)), s(0), "it had all there is");
    assert_eq!(app.extend(GenerationId(7), s(1)), s(0));
    assert_eq!(bounds(&app), (s(1), s(11), s(12)));
    let _ = app.on(s(11), Event::Clock);
    assert_eq!(app.extend(A, s(1)), s(0), "it was cut off");
    assert_eq!(app.deadline(A), None);
}

#[test]
fn whatever_ends_the_app_earlier_ends_every_deadline_earlier() {
    // 3.2: components get slices of the app's time; budgets never add up past it.
    let mut app = running(vec![GenerationPolicy { on_exit: OnEnd::Ignore, ..component() }, component()]);
    let _ = app.on(s(0), Event::Returned(A));
    assert_eq!(app.deadline(A), Some(s(GRACE)));
    let _ = app.on(s(1), Event::Failed(B));
    assert_eq!(app.deadline(A), Some(s(1 + FAIL_GRACE)));
    let mut app = pair();
    let _ = signal(&mut app, s(0), Signal::Term);
    let _ = app.on(s(0), Event::Returned(A));
    assert_eq!(app.extend(A, s(60)), s(DELAY), "the delay is time, too");
    let _ = signal(&mut app, s(1), Signal::Quit);
    assert_eq!((app.deadline(A), app.deadline(B)), (Some(s(1 + GRACE)), Some(s(1 + GRACE))));
    assert_eq!(app.extend(A, s(60)), s(0));
}

#[test]
fn a_shorter_grace_of_its_own_cuts_off_only_that_one() {
    // A component's grace below the app's: it alone is cut off; 124; the app leaves with the last one.
    let mut app = running(vec![GenerationPolicy { grace: Some(s(2)), ..component() }, component()]);
    assert_eq!(asks(&signal(&mut app, s(1), Signal::Int)), [(A, s(3)), (B, s(11))]);
    assert_eq!(app.on(ms(2999), Event::Clock), []);
    assert_eq!(app.on(s(3), Event::Clock), [Action::Cut(A)]);
    assert_eq!(app.level(), Level::Drain);
    assert_eq!(app.on(s(3), Event::Ended(A, Outcome::CutOff)), []);
    let left = app.on(s(4), Event::Ended(B, Outcome::Stopped));
    assert_eq!(left, [Action::Raise(Level::Exit), Action::Leave(ExitCode::CUT_OFF)]);
}

#[test]
fn the_next_wake_is_the_next_thing_that_is_due() {
    // I3, I4: nothing is waited for but what is due; without a cause and a deadline nothing is.
    let late = GenerationPolicy { start_timeout: s(3), ..component() };
    let mut app =
        starting(SignalProfile::Standard, vec![GenerationPolicy { grace: Some(s(4)), ..component() }, late]);
    assert_eq!(app.next_wake(), Some(s(3)), "the start timeout");
    let _ = app.on(s(0), Event::Entered(B));
    assert_eq!(app.next_wake(), Some(s(3)), "until it is ready");
    let _ = app.on(s(0), Event::Ready(B));
    let _ = runs(&mut app, s(0), A);
    assert_eq!(app.next_wake(), None);
    let _ = signal(&mut app, s(1), Signal::Term);
    for (due, then) in [(1 + DELAY, "Raise Ask Ask"), (7, "Cut"), (13, "Cut Raise"), (14, "Raise Leave")] {
        assert_eq!(app.next_wake(), Some(s(due)), "{then}");
        assert_eq!(app.on(s(due) - ms(1), Event::Clock), []);
        assert_eq!(kinds(&app.on(s(due), Event::Clock)).join(" "), then);
    }
}

#[test]
fn without_a_grace_of_its_own_a_component_has_all_of_the_apps() {
    // grace: within what the app has; alone, as long as the app would have.
    let open = GenerationPolicy { grace: None, on_exit: OnEnd::Ignore, ..component() };
    let mut app = running(vec![open, component()]);
    assert_eq!(asks(&app.clone().on(s(1), Event::Returned(A))), [(A, s(1 + GRACE))]);
    assert_eq!(asks(&app.clone().on(s(1), Event::Failed(B))), [(A, s(1 + FAIL_GRACE))]);
    assert_eq!(asks(&signal(&mut app, s(1), Signal::Quit)).first(), Some(&(A, s(1 + 4 * GRACE))));
}

#[test]
fn an_instance_that_fails_alone_stops_the_app_only_if_the_manifest_says_so() {
    // on-failure for http: `ignore` by default, `stop-app` when the manifest says so; the component is asked like all.
    let mut app = running(vec![component(), component()]);
    assert_eq!(app.on(s(1), Event::Lost(A)), []);
    assert_eq!((app.level(), app.outcome(A)), (Level::Running, Outcome::CutOff));
    let mut app = running(vec![GenerationPolicy { on_lost: OnEnd::StopApp, ..component() }, component()]);
    let all = [(A, s(1 + FAIL_GRACE)), (B, s(1 + FAIL_GRACE))];
    assert_eq!(asks(&app.on(s(1), Event::Lost(A))), all, "the rest of it drains and gets its hook");
    assert_eq!(app.cause(), Some(Cause::Failure(A)));
    assert_eq!(app.on(s(2), Event::Ended(B, Outcome::Stopped)), []);
    let left = app.on(s(2), Event::Ended(A, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::FAILED)));
    assert_eq!(app.outcome(A), Outcome::Failed);
}
