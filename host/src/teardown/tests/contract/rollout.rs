//! The rows of the contract about generations: reload, the restart of one component by an operator or for its health, each as one
//! test.
//!
//! Invariant: the first comment of a test names its row. What stops one component alone is here, too.

use std::time::Duration;

use super::super::fixtures::{
    A, B, C, GRACE, after, asks, bounds, component, kinds, ms, pair, policy, running, runs, s, signal,
    starting,
};
use super::*;
use crate::plan::{OnEnd, SignalProfile};

/// The fresh generations of A and B.
pub(super) const A2: GenerationId = GenerationId(10);
pub(super) const B2: GenerationId = GenerationId(11);

pub(super) fn incoming(id: GenerationId, replaces: GenerationId) -> Incoming {
    Incoming { id, policy: component(), replaces: Some(replaces), before: vec![], waits: false }
}

pub(super) fn reload(incoming: Vec<Incoming>) -> Rollout {
    let (removed, kept, cause) = (Vec::new(), Vec::new(), Cause::Reload);
    Rollout { incoming, removed, kept, policy: None, cause, keeps_budget: false }
}

/// Asks for a reload and has it prepared.
pub(super) fn prepared(app: &mut Machine, now: Duration, rollout: Rollout) -> Vec<Action> {
    assert_eq!(app.on(now, Event::ReloadRequested), [Action::Prepare]);
    assert!(app.is_rolling_out());
    app.roll_out(now, rollout)
}

/// Replaces `old` by `id`, and returns what follows from the moment when that is ready.
fn replaced(app: &mut Machine, now: Duration, old: GenerationId, id: GenerationId) -> Vec<Action> {
    assert_eq!(app.roll_out(now, reload(vec![incoming(id, old)])), [Action::Start(id)]);
    runs(app, now, id)
}

pub(super) fn ask(id: GenerationId, cause: Cause, deadline: Duration) -> Action {
    Action::Ask { id, cause, deadline }
}

#[test]
fn the_fresh_ones_take_over_in_one_moment_when_all_of_them_are_ready() {
    // R3: the new one accepts before the old one stops; I9: one moment; cause reload.
    let mut app = pair();
    let rollout = reload(vec![incoming(A2, A), incoming(B2, B)]);
    assert_eq!(prepared(&mut app, s(1), rollout), [Action::Start(A2), Action::Start(B2)]);
    assert_eq!(runs(&mut app, s(2), A2), []);
    assert_eq!(app.on(s(3), Event::Entered(B2)), []);
    assert_eq!(app.in_service().collect::<Vec<_>>(), [A, B], "on trial is not in service");
    let asks = [A, B].map(|id| ask(id, Cause::Reload, s(3 + GRACE)));
    assert_eq!(app.on(s(3), Event::Ready(B2)), [[Action::Switch].as_slice(), &asks].concat());
    assert_eq!((app.in_service().collect::<Vec<_>>(), app.is_rolling_out()), (vec![A2, B2], false));
    assert!(app.is_retired(A) && !app.is_retired(A2));
    assert_eq!(app.on(s(4), Event::Ended(A, Outcome::HookFailed)), [Action::Forget(A)]);
    assert_eq!(app.on(s(3 + GRACE), Event::Clock), [Action::Cut(B)]);
    assert_eq!(app.on(s(14), Event::Ended(B, Outcome::CutOff)), [Action::Forget(B)]);
    assert_eq!((app.level(), app.next_wake(), app.exit_code()), (Level::Running, None, ExitCode::CUT_OFF));
    let _ = signal(&mut app, s(15), Signal::Int);
    let _ = app.on(s(15), Event::Ended(A2, Outcome::Stopped));
    let left = app.on(s(15), Event::Ended(B2, Outcome::Stopped));
    assert_eq!(
        left.last(),
        Some(&Action::Leave(ExitCode::CLEAN)),
        "the forgotten ones are no outcome of the app"
    );
}

#[test]
fn whatever_fails_before_the_switch_changes_nothing() {
    // R1, I10: same instances, nothing asked of them, same bounds; what was started for it ends.
    let ways: [(&[Event], Duration); 6] = [
        (&[Event::Failed(A2)], s(2)),
        (&[Event::Lost(A2)], s(2)),
        (&[Event::Ended(A2, Outcome::Failed)], s(2)),
        (&[Event::Entered(A2), Event::Returned(A2)], s(2)),
        (&[Event::Entered(A2), Event::Ended(A2, Outcome::Finished)], s(2)),
        (&[Event::Entered(A2), Event::Clock], s(61)),
    ];
    for (events, at) in ways {
        let mut app = pair();
        let _ = prepared(&mut app, s(1), reload(vec![incoming(A2, A), incoming(B2, B)]));
        let _ = runs(&mut app, s(1), B2);
        let done: Vec<_> = events.iter().flat_map(|event| app.on(at, *event)).collect();
        assert!(done.contains(&Action::RollBack(Some(A2))), "{events:?}: {done:?}");
        let own = |action: &Action| {
            matches!(action, Action::Ask { id: A2 | B2, .. } | Action::Abandon(A2))
                || matches!(action, Action::RollBack(_) | Action::FailStart(A2) | Action::Cut(A2))
                || *action == Action::Forget(A2)
        };
        assert!(done.iter().all(own), "{events:?}: {done:?}");
        assert!(!app.is_rolling_out() && app.is_retired(B2));
        let _ = app.on(at, Event::Ended(A2, Outcome::Failed));
        assert_eq!(app.on(at, Event::Ended(B2, Outcome::Stopped)), [Action::Forget(B2)]);
        assert_eq!([A, B].map(|id| (app.phase(id), app.is_retired(id))), [(Phase::Running, false); 2]);
        assert_eq!((app.level(), app.next_wake()), (Level::Running, None));
        assert_eq!(app.ids().len(), 2, "I12");
    }
}

#[test]
fn the_late_end_of_one_that_was_taken_back_is_no_outcome_of_the_stop() {
    // Its failure was the reload's, and has been told. The exit code must not hang on whether it ended before the signal.
    let mut app = pair();
    let _ = prepared(&mut app, s(1), reload(vec![incoming(A2, A), incoming(B2, B)]));
    let _ = runs(&mut app, s(1), B2);
    let _ = app.on(s(2), Event::Failed(A2));
    let _ = signal(&mut app, s(3), Signal::Term);
    assert!(app.on(s(3), Event::Ended(A2, Outcome::Failed)).contains(&Action::Forget(A2)));
    assert!(app.on(s(3), Event::Ended(B2, Outcome::CutOff)).contains(&Action::Forget(B2)));
    let _ = app.on(s(3), Event::Ended(A, Outcome::Stopped));
    let left = app.on(s(3), Event::Ended(B, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::CLEAN)));
}

#[test]
fn those_taken_back_with_one_that_overran_its_start_have_their_time() {
    // R1: both are overdue in one moment. The first takes the second with it, whose start is nobody's fault then: it is told,
    // and has its grace.
    let mut app = pair();
    let _ = prepared(&mut app, s(1), reload(vec![incoming(A2, A), incoming(B2, B)]));
    let done = app.on(s(61), Event::Clock);
    let roll_back = [Action::FailStart(A2), Action::RollBack(Some(A2)), Action::Abandon(B2), Action::Cut(A2)];
    assert_eq!(done, roll_back);
    assert_eq!(app.on(s(61 + GRACE), Event::Clock), [Action::Cut(B2)]);
}

#[test]
fn who_waits_for_one_that_never_was_ready_starts_with_its_successor() {
    // The moment in which nobody waits for A any more is the one in which A2 takes over.
    let ignored = GenerationPolicy { on_failure: OnEnd::Ignore, ..component() };
    let mut app = starting(SignalProfile::Standard, vec![ignored.clone(), after([A])]);
    let _ = app.on(s(0), Event::Entered(A));
    let _ = prepared(&mut app, s(59), reload(vec![Incoming { policy: ignored, ..incoming(A2, A) }]));
    assert_eq!(app.on(s(59), Event::Entered(A2)), []);
    assert_eq!(app.on(s(60), Event::Clock), [Action::FailStart(A), Action::Cut(A)]);
    let late = app.on(s(60) + HARD_RESERVE, Event::Ready(A2));
    assert_eq!(late, [Action::Switch, Action::Start(B)]);
}

#[test]
fn who_was_ready_before_it_was_stopped_can_be_come_after() {
    // In the pause before its restart as at any other time.
    let again = GenerationPolicy { on_failure: OnEnd::Restart, ..component() };
    let mut app = running(vec![again, component()]);
    assert_eq!(app.on(s(1), Event::Failed(A)), []);
    assert_eq!(kinds(&app.on(s(1), Event::Ended(A, Outcome::Failed))), ["Restart"]);
    assert_eq!(app.on(s(1), Event::StopOne(A, Urgency::Graceful)), []);
    let added = Incoming { policy: after([A]), replaces: None, ..incoming(C, B) };
    assert_eq!(prepared(&mut app, s(1), reload(vec![added])), [Action::Start(C)]);
}

#[test]
fn whatever_has_ended_is_neither_abandoned_nor_asked() {
    // I1: what is rolled back because it has ended, has.
    let mut app = pair();
    let _ = prepared(&mut app, s(1), reload(vec![incoming(A2, A)]));
    let done = app.on(s(1), Event::Ended(A2, Outcome::Failed));
    assert_eq!(done, [Action::RollBack(Some(A2)), Action::Forget(A2)]);
}

#[test]
fn a_fresh_one_that_needs_one_that_never_was_ready_is_taken_back() {
    // I10: its dependency had ended before; nothing of the change is started.
    let ignored = GenerationPolicy { on_failure: OnEnd::Ignore, ..component() };
    let mut app = starting(SignalProfile::Standard, vec![ignored, component()]);
    let _ = runs(&mut app, s(0), B);
    let _ = app.on(s(0), Event::Ended(A, Outcome::Failed));
    let hopeless = Incoming { policy: after([A]), ..incoming(B2, B) };
    let done = prepared(&mut app, s(1), reload(vec![hopeless]));
    assert_eq!(done, [Action::CannotStart(B2), Action::RollBack(Some(B2)), Action::Forget(B2)]);
}

#[test]
fn what_is_not_changed_is_not_touched() {
    // R5: a change to B → A's instance and connections untouched; what holds for it changes with the switch.
    let mut app = running(vec![GenerationPolicy { on_failure: OnEnd::Ignore, ..component() }, component()]);
    let kept = vec![(A, GenerationPolicy { grace: Some(s(3)), ..component() })];
    let policy = Some(Policy { grace: s(6), ..policy(SignalProfile::Standard) });
    let rollout = Rollout { kept, policy, ..reload(vec![incoming(B2, B)]) };
    assert_eq!(prepared(&mut app, s(1), rollout), [Action::Start(B2)]);
    assert_eq!(runs(&mut app, s(1), B2), [Action::Switch, ask(B, Cause::Reload, s(7))]);
    let _ = app.on(s(2), Event::Ended(B, Outcome::Stopped));
    assert_eq!(asks(&signal(&mut app, s(2), Signal::Int)), [(A, s(5)), (B2, s(8))]);
}

#[test]
fn those_that_go_go_in_their_order() {
    // I2 among those that are replaced or removed; those that stay come after the fresh ones from then on.
    let [c, d] = [C, GenerationId(3)];
    let mut app = running(vec![component(), after([A]), after([A]), after([B])]);
    let new_b = Incoming { policy: after([A2]), ..incoming(B2, B) };
    let rollout = Rollout { removed: vec![d], ..reload(vec![incoming(A2, A), new_b]) };
    assert_eq!(prepared(&mut app, s(1), rollout), [Action::Start(A2)]);
    assert_eq!(runs(&mut app, s(1), A2), [Action::Start(B2)], "they start in their order, too");
    let done = runs(&mut app, s(1), B2);
    assert_eq!((kinds(&done), asks(&done)[0].0), (vec!["Switch", "Ask"], d));
    assert_eq!(asks(&app.on(s(2), Event::Ended(d, Outcome::Stopped)))[0].0, B);
    assert_eq!(asks(&app.on(s(2), Event::Ended(B, Outcome::Stopped)))[0].0, A);
    assert_eq!(app.on(s(2), Event::Ended(A, Outcome::Stopped)), [Action::Forget(A)]);
    let first: Vec<_> = asks(&signal(&mut app, s(3), Signal::Int)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(first, [c, B2]);
    let _ = app.on(s(3), Event::Ended(B2, Outcome::Stopped));
    assert_eq!(app.phase(A2), Phase::Running, "C comes after it now");
    assert_eq!(asks(&app.on(s(3), Event::Ended(c, Outcome::Stopped)))[0].0, A2);
}

pub(super) fn alone(id: GenerationId, replaces: GenerationId) -> Incoming {
    Incoming { waits: true, ..incoming(id, replaces) }
}

#[test]
fn a_service_that_cannot_run_twice_starts_when_all_before_it_have_ended() {
    // Reload 5: the old generation ends before the new one starts unless `overlap = true`.
    let mut app = pair();
    let done = prepared(&mut app, s(1), reload(vec![alone(A2, A)]));
    assert_eq!(done, [ask(A, Cause::Reload, s(1 + GRACE))]);
    assert_eq!((app.phase(A2), app.is_rolling_out()), (Phase::Pending, true));
    assert_eq!(app.in_service().collect::<Vec<_>>(), [A2, B], "the app is as ready as the one that comes");
    assert_eq!(app.clone().on(s(3), Event::Ended(A, Outcome::Stopped)), [Action::Start(A2)]);
    // It is waited for as long as it can be ended.
    assert_eq!(app.on(s(1 + GRACE), Event::Clock), [Action::Cut(A)]);
    assert_eq!(app.on(s(1 + GRACE) + HARD_RESERVE, Event::Clock), [Action::Start(A2)]);
    assert_eq!(runs(&mut app, s(13), A2), [Action::Switch]);
    assert_eq!(app.on(s(13), Event::Ended(A, Outcome::Leaked)), [Action::Forget(A)]);
}

#[test]
fn those_that_come_after_one_that_waits_start_beside_the_one_it_replaces() {
    // R3, and no overlap: the one that it will follow does its work until all others are up.
    let mut app = running(vec![component(), after([A])]);
    let (store, site) = (alone(A2, A), Incoming { policy: after([A2]), ..incoming(B2, B) });
    assert_eq!(prepared(&mut app, s(1), reload(vec![store, site])), [Action::Start(B2)]);
    assert_eq!(runs(&mut app, s(1), B2), [ask(A, Cause::Reload, s(1 + GRACE))], "B serves on");
    assert_eq!(app.on(s(2), Event::Ended(A, Outcome::Stopped)), [Action::Start(A2)]);
    let done = runs(&mut app, s(3), A2);
    assert_eq!((kinds(&done), asks(&done)[0].0), (vec!["Switch", "Forget", "Ask"], B));
}

/// A rollout of A and B, both of which are up; A has made room for its successor.
fn handed_over() -> Machine {
    let mut app = pair();
    let tried = GenerationPolicy { trial: s(1), ..component() };
    let rollout = reload(vec![Incoming { policy: tried, ..alone(A2, A) }, incoming(B2, B)]);
    assert_eq!(prepared(&mut app, s(1), rollout), [Action::Start(B2)]);
    assert_eq!(kinds(&runs(&mut app, s(1), B2)), ["Ask"]);
    assert_eq!(app.on(s(2), Event::Ended(A, Outcome::HookFailed)), [Action::Start(A2)]);
    app
}

#[test]
fn one_that_does_not_say_when_it_is_ready_takes_over_when_it_has_run_for_a_moment() {
    let mut app = handed_over();
    assert_eq!((runs(&mut app, s(2), A2), app.next_wake()), (vec![], Some(s(3))));
    assert_eq!(app.on(s(2), Event::Ready(A2)), [], "the trial does not begin again");
    let done = app.on(s(3), Event::Clock);
    assert_eq!((kinds(&done), asks(&done)[0].0), (vec!["Switch", "Forget", "Ask"], B));
    assert_eq!((app.next_wake(), app.exit_code()), (Some(s(3 + GRACE)), ExitCode::CUT_OFF));
    // A job has nothing to show but its end.
    let job = GenerationPolicy { trial: s(9), on_exit: OnEnd::Ignore, ..component() };
    let mut app = pair();
    let _ = prepared(&mut app, s(1), reload(vec![Incoming { policy: job, ..incoming(A2, A) }]));
    assert_eq!(runs(&mut app, s(1), A2), []);
    assert_eq!(kinds(&app.on(s(2), Event::Returned(A2))), ["Ask", "Switch", "Ask"]);
}

#[test]
fn one_that_made_room_is_put_back_when_its_successor_fails() {
    // I10: the same generation with the same policy, and those beside it are untouched.
    for (event, at) in [
        (Event::Failed(A2), s(2)),
        (Event::Returned(A2), s(2)),
        (Event::Unhealthy(A2), s(2)),
        (Event::Failed(B2), s(2)),
        (Event::Ended(B2, Outcome::Failed), s(2)),
    ] {
        let mut app = handed_over();
        let _ = runs(&mut app, s(2), A2);
        let done = app.on(at, event);
        assert!(kinds(&done).contains(&"RollBack"), "{event:?}: {done:?}");
        let _ = app.on(s(3), Event::Ended(B2, Outcome::Stopped));
        let done = app.on(s(3), Event::Ended(A2, Outcome::Failed));
        assert_eq!(
            done,
            [Action::Forget(A2), Action::Start(A)],
            "{event:?}: it waits for its successor's end"
        );
        assert_eq!(runs(&mut app, s(4), A), []);
        assert_eq!((app.level(), app.next_wake(), app.ids().len()), (Level::Running, None, 2), "{event:?}");
        assert_eq!(app.in_service().collect::<Vec<_>>(), [A, B]);
        assert_eq!((app.restarts(A), app.phase(B), app.is_retired(B)), (0, Phase::Running, false));
    }
}

#[test]
fn one_that_still_makes_room_when_the_rollout_is_taken_back_is_put_back_at_its_end() {
    let mut app = pair();
    let _ = prepared(&mut app, s(1), reload(vec![alone(A2, A), incoming(B2, B)]));
    let _ = runs(&mut app, s(1), B2);
    let done = app.on(s(2), Event::Failed(B2));
    assert_eq!(kinds(&done), ["RollBack", "Forget"], "A2 has never started: {done:?}");
    // The next one makes use of its end; without a failure it is not put back.
    let mut next = app.clone();
    let a3 = GenerationId(12);
    assert_eq!(next.roll_out(s(3), reload(vec![alone(a3, A)])), []);
    assert_eq!(next.on(s(3), Event::Ended(A, Outcome::Stopped)), [Action::Start(a3)]);
    assert_eq!(kinds(&runs(&mut next, s(3), a3)), ["Switch", "Forget"]);
    assert_eq!(app.on(s(3), Event::Ended(A, Outcome::CutOff)), [Action::Start(A)]);
    // Its end is its own again.
    let _ = runs(&mut app, s(4), A);
    assert_eq!(kinds(&app.on(s(5), Event::Failed(A))), ["Raise", "Ask"]);
}

#[test]
fn one_that_cannot_be_ended_to_make_room_is_missed_when_its_successor_fails() {
    let mut app = pair();
    let _ = prepared(&mut app, s(1), reload(vec![alone(A2, A)]));
    let _ = app.on(s(1 + GRACE), Event::Clock);
    assert_eq!(app.on(s(1 + GRACE) + HARD_RESERVE, Event::Clock), [Action::Start(A2)]);
    assert_eq!(app.cause(), None);
    let _ = app.on(s(13), Event::Failed(A2));
    assert_eq!(app.cause(), Some(Cause::Failure(A)), "nothing of the component can run");
}

#[test]
fn an_operator_can_stop_one_that_takes_its_time_to_make_room() {
    let mut app = pair();
    let _ = prepared(&mut app, s(1), reload(vec![alone(A2, A)]));
    let done = app.on(s(2), Event::StopOne(A, Urgency::Now));
    assert_eq!(done, [Action::RollBack(Some(A2)), Action::Forget(A2), Action::Cut(A)]);
    assert_eq!(app.on(s(2), Event::Ended(A, Outcome::CutOff)), []);
    assert_eq!((app.level(), app.is_stopped(A), app.phase(A)), (Level::Running, true, Phase::Ended));
}

#[test]
fn a_stop_while_one_makes_room_stops_both() {
    // R6: TERM in the middle of a reload; nothing is put back.
    let mut app = handed_over();
    let _ = runs(&mut app, s(2), A2);
    let done = signal(&mut app, s(2), Signal::Int);
    assert_eq!(done.first(), Some(&Action::RollBack(None)));
    assert_eq!(asks(&done).into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [B, A2, B2]);
    for id in [B, A2] {
        let _ = app.on(s(3), Event::Ended(id, Outcome::Stopped));
    }
    let left = app.on(s(3), Event::Ended(B2, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::HOOK_FAILED)), "A is an outcome of the stop");
}

#[test]
fn what_comes_after_one_that_makes_room_waits_for_its_successor() {
    let again = GenerationPolicy { on_failure: OnEnd::Restart, ..after([A]) };
    let mut app = running(vec![component(), again]);
    let _ = prepared(&mut app, s(1), reload(vec![alone(A2, A)]));
    assert_eq!(app.on(s(1), Event::Failed(B)), []);
    assert_eq!(kinds(&app.on(s(1), Event::Ended(B, Outcome::Failed))), ["Restart"]);
    let _ = app.on(s(2), Event::Ended(A, Outcome::Stopped));
    assert_eq!(app.on(s(9), Event::Clock), [], "B is due, and A2 is not ready");
    assert_eq!(runs(&mut app, s(9), A2), [Action::Switch, Action::Forget(A), Action::Start(B)]);
}

#[test]
fn at_most_four_generations_are_alive() {
    // R4: one long connection for each of 20 reloads → at most four generations alive, the oldest cut off.
    let mut app = running(vec![GenerationPolicy { grace: None, ..component() }]);
    let mut old = A;
    for at in 1..=20 {
        let (id, now) = (GenerationId(at), ms(at as u64));
        assert_eq!(app.roll_out(now, reload(vec![incoming(id, old)])), [Action::Start(id)]);
        let alive = |id: &GenerationId| (Phase::Starting..=Phase::Asked).contains(&app.phase(*id));
        let alive = app.ids().into_iter().filter(alive).count();
        assert!(alive <= 4, "{alive} with the one on trial");
        let done = kinds(&runs(&mut app, now, id)).join(" ");
        assert_eq!(done, if at > 2 { "Switch Ask Cut" } else { "Switch Ask" });
        if at > 2 {
            let _ = app.on(now, Event::Ended(GenerationId(at - 3), Outcome::CutOff));
        }
        old = id;
    }
    assert_eq!(app.ids().len(), 3, "flat memory");
}

#[test]
fn generations_that_were_taken_back_go_before_those_with_clients() {
    // R4 and I10: reloads that fail one after the other, each of which takes its time to end.
    let mut app = pair();
    for at in 3..=4 {
        let _ = replaced(&mut app, s(1), GenerationId(if at == 3 { 0 } else { 3 }), GenerationId(at));
    }
    for at in 5..=9 {
        let id = GenerationId(at);
        let _ = app
            .roll_out(s(2), reload(vec![incoming(id, GenerationId(4)), incoming(GenerationId(at + 10), B)]));
        let _ = runs(&mut app, s(2), id);
        let done = kinds(&app.on(s(2), Event::Failed(GenerationId(at + 10)))).join(" ");
        assert_eq!(done, "RollBack Ask Cut", "{at}");
        let _ = app.on(s(2), Event::Ended(id, Outcome::CutOff));
        let _ = app.on(s(2), Event::Ended(GenerationId(at + 10), Outcome::Failed));
    }
    assert_eq!(
        [0, 3].map(|at| app.phase(GenerationId(at))),
        [Phase::Asked; 2],
        "nothing has changed for these"
    );
    // The line goes on behind one that has gone before it was replaced.
    let _ = app.on(s(3), Event::StopOne(GenerationId(4), Urgency::Graceful));
    let _ = app.on(s(3), Event::Ended(GenerationId(4), Outcome::Stopped));
    let _ = replaced(&mut app, s(3), GenerationId(4), GenerationId(20));
    let done = replaced(&mut app, s(3), GenerationId(20), GenerationId(21));
    assert!(done.contains(&Action::Cut(A)), "{done:?}");
}

#[test]
fn fifty_requests_are_at_most_two_reloads_and_the_last_one_counts() {
    // R6: fifty HUPs in 100 ms → at most two reloads, the last content wins.
    let mut app = pair();
    let mut prepares = Vec::new();
    let mut note = |at: Duration, done: Vec<Action>| prepares.extend(done.iter().map(|done| (at, *done)));
    for at in (0..100).step_by(2) {
        note(ms(at), signal(&mut app, ms(at), Signal::Hup));
        if at == 50 {
            note(ms(at), app.on(ms(at), Event::NothingToChange));
        }
    }
    assert_eq!(app.next_wake(), Some(ms(500)));
    note(ms(500), app.on(ms(500), Event::Clock));
    note(ms(600), app.on(ms(600), Event::NothingToChange));
    assert_eq!(prepares, [(ms(0), Action::Prepare), (ms(500), Action::Prepare)]);
    assert_eq!((app.next_wake(), app.is_rolling_out()), (None, false));
    // While one takes its time, the next one waits, and begins with its end.
    assert_eq!(app.on(s(2), Event::ReloadRequested), [Action::Prepare]);
    assert_eq!(app.roll_out(s(3), reload(vec![incoming(A2, A)])), [Action::Start(A2)]);
    assert_eq!((signal(&mut app, s(4), Signal::Hup), app.on(s(5), Event::ReloadRequested)), (vec![], vec![]));
    assert_eq!(kinds(&runs(&mut app, s(6), A2)), ["Switch", "Ask", "Prepare"]);
}

#[test]
fn a_reload_waits_until_the_app_is_loaded() {
    // R6, S5: HUP while components compile: what is read must not meet what is not there.
    let policy = policy(SignalProfile::Standard);
    let mut app = Machine::new(policy, vec![component()], 7);
    assert_eq!((signal(&mut app, s(0), Signal::Hup), app.next_wake()), (vec![], None));
    assert_eq!(app.on(s(1), Event::Loaded), [Action::Start(A), Action::Prepare]);
}

#[test]
fn a_stop_in_the_middle_of_a_reload_has_one_bound_for_both_generations() {
    // R6: TERM in the middle of a reload → one bound for both generations; a stop ends any change.
    let mut app = running(vec![GenerationPolicy { grace: None, ..component() }, component(), component()]);
    let _ = replaced(&mut app, s(1), C, GenerationId(9));
    let _ = prepared(&mut app, s(5), reload(vec![incoming(A2, A), incoming(B2, B)]));
    let _ = runs(&mut app, s(5), A2);
    assert_eq!(app.on(s(5), Event::ReloadRequested), [], "and another one is wanted");
    let done = signal(&mut app, s(6), Signal::Int);
    assert_eq!(done.first_chunk(), Some(&[Action::RollBack(None), Action::Abandon(B2)]));
    let who: Vec<_> = asks(&done).into_iter().map(|(id, _)| id).collect();
    assert_eq!(who, [A, B, GenerationId(9), A2]);
    assert_eq!((bounds(&app).1, app.deadline(C)), (s(6 + GRACE), Some(s(1 + GRACE))), "C keeps its own");
    for id in [A, A2, B, GenerationId(9)] {
        assert_eq!(app.deadline(id), Some(s(6 + GRACE)));
        let _ = app.on(s(7), Event::Ended(id, Outcome::Stopped));
    }
    let _ = app.on(s(7), Event::Ended(B2, Outcome::NotStarted));
    let left = app.on(s(7), Event::Ended(C, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::CLEAN)));
}

#[test]
fn during_a_stop_nothing_changes() {
    // R13: reload or restart asked for while stopping → refused.
    let mut app = pair();
    assert_eq!(app.on(s(1), Event::ReloadRequested), [Action::Prepare]);
    let _ = signal(&mut app, s(1), Signal::Int);
    assert_eq!(app.on(s(2), Event::ReloadRequested), [Action::RefuseReload]);
    assert_eq!(app.roll_out(s(2), reload(vec![incoming(A2, A)])), [Action::RollBack(None)]);
    assert_eq!((app.ids().len(), app.is_rolling_out()), (2, false));
    assert_eq!(app.on(s(2), Event::StopOne(A, Urgency::Now)), []);
    assert_eq!(app.on(s(2), Event::NothingToChange), []);
    // One at a time, too.
    let mut app = pair();
    let _ = app.roll_out(s(1), reload(vec![incoming(A2, A)]));
    assert_eq!(app.roll_out(s(1), reload(vec![incoming(B2, B)])), [Action::RollBack(None)]);
    assert!(app.is_rolling_out());
}

#[test]
fn who_is_found_dead_on_trial_does_not_take_over() {
    let mut app = pair();
    prepared(&mut app, s(1), reload(vec![incoming(A2, A), incoming(B2, B)]));
    assert_eq!(runs(&mut app, s(2), A2), []);
    let done = app.on(s(3), Event::Unhealthy(A2));
    assert_eq!(done.first(), Some(&Action::RollBack(Some(A2))), "{done:?}");
    assert_eq!((app.phase(A), app.is_rolling_out()), (Phase::Running, false));
}

#[test]
fn one_that_comes_back_waits_for_its_older_generations() {
    // A reload without it, and another with it again while the first one still ends.
    let mut app = pair();
    let gone = Rollout { removed: vec![A], ..reload(vec![]) };
    assert_eq!(prepared(&mut app, s(1), gone), [Action::Switch, ask(A, Cause::Reload, s(1 + GRACE))]);
    let back = Incoming { replaces: None, before: vec![A], waits: true, ..incoming(A2, A) };
    assert_eq!(prepared(&mut app, s(2), reload(vec![back])), []);
    assert_eq!(app.phase(A2), Phase::Pending);
    assert_eq!(app.on(s(3), Event::Ended(A, Outcome::Stopped)), [Action::Forget(A), Action::Start(A2)]);
    assert_eq!(runs(&mut app, s(3), A2), [Action::Switch]);
}
