//! The rows of the contract about the order among components: waves, slices and reserves, each as one test.
//!
//! Invariant: the first comment of a test names its row. Restarts and generations are in `restarts` and
//! `rollout`.

use std::time::Duration;

use super::super::fixtures::{
    A, B, C, FAIL_GRACE, GRACE, after, asks, component, kinds, ms, running, runs, s, signal, starting,
};
use super::*;
use crate::plan::{OnEnd, RestartPlan, SignalProfile};

/// Generations that were asked, and when they are cut off.
fn asked(app: &mut Machine, now: Duration, event: Event) -> Vec<(GenerationId, Duration)> {
    asks(&app.on(now, event))
}

fn with_grace(grace: Option<u64>, policy: GenerationPolicy) -> GenerationPolicy {
    GenerationPolicy { grace: grace.map(s), ..policy }
}

/// A store (A), a queue (B) that comes after it, and a site (C) that comes after the queue; all have the app's grace.
fn chain() -> Vec<GenerationPolicy> {
    [component(), after([A]), after([B])].map(|policy| with_grace(None, policy)).to_vec()
}

/// A store (A) with a grace of 2 s, and a site (B) that comes after it.
fn site_and_store(grace_of_the_site: Option<u64>) -> Machine {
    running(vec![with_grace(Some(2), component()), with_grace(grace_of_the_site, after([A]))])
}

#[test]
fn whoever_comes_after_others_starts_when_all_of_them_are_ready() {
    // after: it starts after those are ready, not when they have merely been entered.
    let mut app = starting(SignalProfile::Standard, vec![component(), component(), after([A, B])]);
    assert_eq!(runs(&mut app, s(1), A), []);
    assert_eq!(app.on(s(2), Event::Entered(B)), []);
    assert_eq!(app.on(s(3), Event::Ready(B)), [Action::Start(C)]);
    assert_eq!(app.next_wake(), Some(s(63)), "its start timeout runs from its own start");
    // A guest can say that it is ready before its `run` is entered.
    let mut app = starting(SignalProfile::Standard, vec![component(), after([A])]);
    assert_eq!(app.on(s(1), Event::Ready(A)), []);
    assert!(!app.is_ready(A));
    assert_eq!(app.on(s(2), Event::Entered(A)), [Action::Start(B)]);
    assert!(app.is_ready(A));
}

#[test]
fn nobody_is_asked_before_those_that_come_after_it_have_ended() {
    // I2, R7: web after queue after db; web's hook calls db → db answers until web has ended. I4: quiet means on.
    let mut app = running(chain());
    let share = s(GRACE) / 3;
    assert_eq!(asked(&mut app, s(0), Event::Signal(Signal::Int)), [(C, s(GRACE) - 2 * share)]);
    assert_eq!(app.phase(A), Phase::Running);
    assert_eq!(asked(&mut app, ms(10), Event::Ended(C, Outcome::Stopped)), [(B, s(GRACE) - share)]);
    assert_eq!(asked(&mut app, ms(20), Event::Ended(B, Outcome::Stopped)), [(A, s(GRACE))]);
    let left = app.on(ms(30), Event::Ended(A, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::CLEAN)));
}

#[test]
fn all_of_a_wave_are_asked_in_the_same_step() {
    // 3.4: every component of the wave is asked in parallel; S13: one that hangs holds up nobody beside it.
    let generations = [component(), after([A]), after([A]), after([B]), after([C])].to_vec();
    let mut app = running(generations);
    let [d, e] = [GenerationId(3), GenerationId(4)];
    let ids = |asked: Vec<(GenerationId, Duration)>| asked.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(asked(&mut app, s(0), Event::Signal(Signal::Int))), [d, e]);
    assert_eq!(ids(asked(&mut app, s(1), Event::Ended(d, Outcome::Stopped))), [B], "its own are gone");
    assert_eq!(ids(asked(&mut app, s(1), Event::Ended(B, Outcome::Stopped))), []);
    assert_eq!(ids(asked(&mut app, s(2), Event::Ended(e, Outcome::Stopped))), [C]);
    assert_eq!(ids(asked(&mut app, s(2), Event::Ended(C, Outcome::Stopped))), [A]);
}

#[test]
fn the_last_wave_keeps_its_reserve() {
    // R8: the first wave uses all its time → the last wave still gets its reserve, also when the first is never gone.
    let mut app = site_and_store(None);
    assert_eq!(asked(&mut app, s(0), Event::Signal(Signal::Int)), [(B, s(8))]);
    assert_eq!(app.next_wake(), Some(s(8)));
    let ask = Action::Ask { id: A, cause: Cause::Signal(Signal::Int), deadline: s(10) };
    assert_eq!(app.on(s(8), Event::Clock), [Action::Cut(B), ask]);
    // The last wave does not get the rest of the first one: its own grace holds.
    let mut app = site_and_store(None);
    let _ = signal(&mut app, s(0), Signal::Int);
    assert_eq!(asked(&mut app, s(1), Event::Ended(B, Outcome::Stopped)), [(A, s(3))]);
}

#[test]
fn the_slices_are_of_the_grace_that_holds() {
    // Signals: QUIT stretches every grace by four, reserves too; S16: after a failure it is `fail-grace` that is divided.
    let mut app = site_and_store(None);
    assert_eq!(asks(&signal(&mut app, s(0), Signal::Quit)), [(B, s(4 * GRACE - 8))]);
    let mut app = running(vec![with_grace(None, component()), with_grace(None, after([A])), component()]);
    assert_eq!(asked(&mut app, s(0), Event::Failed(C)), [(B, s(FAIL_GRACE / 2))]);
    // 3.2: the delay's rest is not added to anybody's slice.
    let mut app = site_and_store(None);
    let _ = signal(&mut app, s(0), Signal::Term);
    assert_eq!(asks(&signal(&mut app, s(1), Signal::Quit)), [(B, s(9))]);
}

#[test]
fn whoever_is_cut_off_before_its_slice_ends_holds_back_the_next_ones_until_then_at_most() {
    // I2: "have ended, or their slice is over"; I4: not a moment longer.
    let mut app = site_and_store(Some(3));
    assert_eq!(asked(&mut app, s(0), Event::Signal(Signal::Int)), [(B, s(3))]);
    assert_eq!(app.on(s(3), Event::Clock), [Action::Cut(B)]);
    assert_eq!(app.next_wake(), Some(s(8)), "the end of its slice");
    assert_eq!(asked(&mut app.clone(), s(4), Event::Ended(B, Outcome::CutOff)), [(A, s(6))]);
    assert_eq!(asked(&mut app, s(8), Event::Clock), [(A, s(10))]);
    assert_eq!(app.next_wake(), Some(s(10)), "a slice that is over wakes nobody");
}

#[test]
fn a_slice_that_is_over_is_never_due_again() {
    // I4: what is over wakes nobody, while others still wait for a later one.
    let mut app = running(chain());
    let _ = signal(&mut app, s(0), Signal::Int);
    for until in [s(GRACE) - 2 * (s(GRACE) / 3), s(GRACE) - s(GRACE) / 3, s(GRACE), s(GRACE + 1)] {
        assert_eq!(app.next_wake(), Some(until), "nobody ever ends");
        assert_ne!(app.on(until, Event::Clock), []);
    }
    assert_eq!(app.level(), Level::Exit);
}

#[test]
fn extra_time_ends_with_the_slice() {
    // extend-grace: never past the slice of its wave: one component's extension never takes from another's reserve.
    let mut app = site_and_store(Some(3));
    let _ = signal(&mut app, s(0), Signal::Int);
    assert_eq!(app.extend(B, s(1)), s(1));
    assert_eq!(app.extend(B, Duration::MAX), s(4));
    assert_eq!((app.extend(B, s(1)), app.deadline(B)), (s(0), Some(s(8))));
    assert_eq!((app.extend(A, s(1)), app.deadline(A)), (s(0), None), "it was not asked yet");
    assert_eq!(kinds(&app.on(s(8), Event::Clock)), ["Cut", "Ask"]);
}

#[test]
fn a_start_that_fails_stops_what_had_started_in_reverse() {
    // R9: component 3 of 5 never becomes ready → 1 and 2 stopped in reverse, 4 and 5 never started.
    let late = GenerationPolicy { start_timeout: s(5), ..after([B]) };
    let generations = vec![component(), after([A]), late, after([C]), after([GenerationId(3)])];
    let mut app = starting(SignalProfile::Standard, generations);
    assert_eq!(runs(&mut app, s(0), A), [Action::Start(B)]);
    assert_eq!(runs(&mut app, s(0), B), [Action::Start(C)]);
    assert_eq!(app.on(s(1), Event::Entered(C)), [], "entered is not ready");
    let late = app.on(s(5), Event::Clock);
    assert_eq!(late, [Action::FailStart(C), Action::Raise(Level::Drain), Action::Cut(C)]);
    assert_eq!(app.cause(), Some(Cause::Failure(C)));
    assert_eq!(asked(&mut app, s(5), Event::Ended(C, Outcome::CutOff)).len(), 1);
    assert_eq!((app.phase(B), app.phase(A)), (Phase::Asked, Phase::Running));
    let next = asked(&mut app, s(6), Event::Ended(B, Outcome::Stopped));
    assert_eq!(next, [(A, s(5 + FAIL_GRACE))]);
    let left = app.on(s(6), Event::Ended(A, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::FAILED)));
    let outcomes = [3, 4].map(|at| app.outcome(GenerationId(at)));
    assert_eq!(outcomes, [Outcome::NotStarted; 2]);
}

#[test]
fn whoever_needs_one_that_never_was_ready_never_starts() {
    // on-failure = "ignore" of a dependency that fails before it is ready; a job that was ready and is done is enough.
    let ignored = |policy| GenerationPolicy { on_failure: OnEnd::Ignore, on_exit: OnEnd::Ignore, ..policy };
    let mut app = starting(
        SignalProfile::Standard,
        vec![ignored(component()), ignored(after([A])), after([B]), component()],
    );
    let _ = runs(&mut app, s(0), GenerationId(3));
    let _ = app.on(s(1), Event::Entered(A));
    let _ = app.on(s(1), Event::Failed(A));
    let told = [Action::CannotStart(B), Action::CannotStart(C)];
    assert_eq!(app.on(s(1), Event::Ended(A, Outcome::Failed)), told);
    assert_eq!(app.level(), Level::Running);
    assert_eq!([B, C].map(|id| app.outcome(id)), [Outcome::NotStarted; 2]);
    assert_eq!([B, C].map(|id| app.phase(id)), [Phase::Ended; 2]);
    let mut app = starting(SignalProfile::Standard, vec![ignored(component()), after([A]), after([B])]);
    assert_eq!(runs(&mut app, s(0), A), [Action::Start(B)]);
    let _ = app.on(s(1), Event::Ended(A, Outcome::Finished));
    assert_eq!(runs(&mut app, s(1), B), [Action::Start(C)]);
}

#[test]
fn an_abandoned_start_holds_back_the_others_until_its_slice_ends_at_most() {
    // I2, I4: one that hangs in its start, comes after others, and does not heed that it is abandoned.
    let mut app = starting(
        SignalProfile::Standard,
        vec![with_grace(Some(2), component()), with_grace(Some(1), after([A]))],
    );
    let _ = runs(&mut app, s(0), A);
    assert_eq!(kinds(&signal(&mut app, s(0), Signal::Int)), ["Abandon", "Raise"]);
    assert_eq!(app.next_wake(), Some(s(8)));
    assert_eq!(asked(&mut app.clone(), s(8), Event::Clock), [(A, s(10))]);
    assert_eq!(asked(&mut app.clone(), s(1), Event::Ended(B, Outcome::NotStarted)), [(A, s(3))]);
    // If it slips in, it is asked before those it comes after.
    assert_eq!(asked(&mut app, s(2), Event::Entered(B)), [(B, s(3))]);
    assert_eq!(app.phase(A), Phase::Running);
    // Past its slice, it has no time left.
    let mut late = starting(SignalProfile::Standard, vec![with_grace(Some(2), component()), after([A])]);
    let _ = runs(&mut late, s(0), A);
    let _ = signal(&mut late, s(0), Signal::Int);
    let _ = late.on(s(8), Event::Clock);
    assert_eq!(kinds(&late.on(s(9), Event::Entered(B))), ["Ask", "Cut"]);
}

#[test]
fn a_dependency_that_enters_late_is_asked_in_its_turn() {
    // I2: a restarted dependency that slips in while it is abandoned, with those that come after it still there.
    for pressed in [Signal::Int, Signal::Term] {
        let mut app =
            running(vec![GenerationPolicy { on_failure: OnEnd::Restart, ..component() }, after([A])]);
        let _ = app.on(s(1), Event::Ended(A, Outcome::Failed));
        assert_eq!(app.on(s(2), Event::Clock), [Action::Start(A)]);
        assert_eq!(app.phase(B), Phase::Running, "a restart of what it comes after does not touch it");
        let _ = signal(&mut app, s(3), pressed);
        assert_eq!(asked(&mut app, s(4), Event::Entered(A)), []);
        let _ = app.on(s(5), Event::Clock);
        assert_eq!((app.phase(A), app.phase(B)), (Phase::Running, Phase::Asked), "{pressed:?}");
        assert_eq!(asked(&mut app, s(6), Event::Ended(B, Outcome::Stopped)).len(), 1);
    }
}

#[test]
fn those_in_between_that_have_ended_keep_the_order() {
    // R7: the queue is in a back-off, or done, when the stop begins: the site still goes before the store.
    let between = |policy| GenerationPolicy { on_exit: OnEnd::Ignore, on_failure: OnEnd::Restart, ..policy };
    for outcome in [Outcome::Finished, Outcome::Failed] {
        let mut app = running(vec![component(), between(after([A])), after([B])]);
        let _ = app.on(s(1), Event::Ended(B, outcome));
        assert_eq!(asks(&signal(&mut app, s(1), Signal::Int)), [(C, s(1) + s(GRACE) / 2)], "{outcome:?}");
        assert_eq!(asked(&mut app, s(2), Event::Ended(C, Outcome::Stopped)).len(), 1);
    }
}

#[test]
fn force_waits_for_no_wave() {
    // S1: INT, INT → all are cut off now, and nobody without having been told.
    let mut app = running(chain());
    let _ = signal(&mut app, s(1), Signal::Int);
    let done = signal(&mut app, s(2), Signal::Int);
    assert_eq!(kinds(&done), ["Raise", "Ask", "Cut", "Ask", "Cut", "Cut"]);
    assert_eq!(asks(&done), [(A, s(2)), (B, s(2))]);
}

#[test]
fn whoever_ends_by_itself_waits_for_nobody() {
    // I1: its `run` has returned, so its hook comes now, whoever comes after it; and only once.
    let mut app = running(vec![GenerationPolicy { on_exit: OnEnd::Ignore, ..component() }, after([A])]);
    assert_eq!(asked(&mut app, s(1), Event::Returned(A)), [(A, s(1 + GRACE))]);
    assert_eq!(asks(&signal(&mut app, s(2), Signal::Int)), [(B, s(2) + s(GRACE) / 2)]);
    // While it waits for its turn, too.
    let mut app = running(vec![component(), after([A])]);
    let _ = signal(&mut app, s(2), Signal::Int);
    let ask = Action::Ask { id: A, cause: Cause::Signal(Signal::Int), deadline: s(5 + 7) };
    assert_eq!(app.on(s(5), Event::Returned(A)), [ask], "never past the app's end");
}

#[test]
fn whoever_was_asked_before_the_stop_gets_no_more_time_by_it() {
    // 3.2: slices never add up past the app's end; a deadline that was told only comes closer.
    let quiet = GenerationPolicy { on_exit: OnEnd::Ignore, ..after([A]) };
    let mut app = running(vec![with_grace(Some(2), component()), quiet]);
    assert_eq!(asked(&mut app, s(0), Event::Returned(B)), [(B, s(GRACE))]);
    let _ = signal(&mut app, s(1), Signal::Int);
    assert_eq!(app.deadline(B), Some(s(9)), "its slice");
    assert_eq!(app.extend(B, s(5)), s(0));
    let mut app = running(vec![
        with_grace(Some(2), component()),
        GenerationPolicy { on_exit: OnEnd::Ignore, ..after([A]) },
    ]);
    let _ = app.on(s(0), Event::Returned(B));
    let _ = signal(&mut app, s(9), Signal::Int);
    assert_eq!((app.deadline(B), app.extend(B, s(5))), (Some(s(GRACE)), s(0)), "its own end is sooner");
}

#[test]
fn a_restart_waits_for_those_it_comes_after() {
    // after: whoever needs one that is down would spend its budget for nothing.
    let plan = RestartPlan { max: Some(5), within: s(60), backoff: [s(4), s(30)] };
    let first = GenerationPolicy { on_failure: OnEnd::Restart, restart: plan, ..component() };
    let mut app = running(vec![first, GenerationPolicy { on_failure: OnEnd::Restart, ..after([A]) }]);
    let _ = app.on(s(1), Event::Ended(A, Outcome::Failed));
    assert_eq!(kinds(&app.on(s(1), Event::Ended(B, Outcome::Failed))), ["Restart"]);
    assert_eq!(app.on(s(2), Event::Clock), []);
    assert_eq!((app.phase(B), app.outcome(B)), (Phase::Pending, Outcome::Failed));
    assert_eq!(app.on(s(5), Event::Clock), [Action::Start(A)]);
    assert_eq!(runs(&mut app, s(6), A), [Action::Start(B)]);
}
