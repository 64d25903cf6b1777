//! The rows of the contract about a generation that makes room for a successor which cannot run beside it, where something else
//! goes wrong meanwhile.
//!
//! Invariant: no rollout waits for ever, and one that is taken back has stopped nobody in vain (I10).

use super::super::fixtures::{
    A, B, C, DELAY, GRACE, after, asks, component, kinds, pair, running, runs, s, starting,
};
use super::rollout::{A2, B2, alone, ask, incoming, prepared, reload};
use super::*;
use crate::plan::{OnEnd, RestartPlan, SignalProfile};

const C2: GenerationId = GenerationId(12);

#[test]
fn nobody_waits_for_one_that_can_neither_be_ended_nor_put_back() {
    // Such a rollout would never end, and no other could begin. With `on-failure = "ignore"` the app goes on without it.
    let ignored = GenerationPolicy { on_failure: OnEnd::Ignore, ..component() };
    let mut app = running(vec![ignored, component()]);
    let _ = prepared(&mut app, s(1), reload(vec![alone(A2, A)]));
    assert_eq!(app.on(s(1 + GRACE), Event::Clock), [Action::Cut(A)]);
    assert_eq!(app.on(s(1 + GRACE) + HARD_RESERVE, Event::Clock), [Action::Start(A2)]);
    assert_eq!(app.on(s(13), Event::Failed(A2)), [Action::RollBack(Some(A2))]);
    let user = Incoming { policy: after([A]), ..incoming(B2, B) };
    assert_eq!(app.roll_out(s(14), reload(vec![user])), [Action::Start(B2)]);
    assert_eq!(kinds(&runs(&mut app, s(14), B2)), ["Switch", "Ask"]);
    // If it ends after all, it is put back.
    let _ = app.on(s(15), Event::Ended(A2, Outcome::Failed));
    assert_eq!(app.on(s(15), Event::Ended(A, Outcome::CutOff)), [Action::Start(A)]);
}

#[test]
fn one_that_stays_starts_again_when_the_successor_of_the_one_it_needs_is_up() {
    // C2 waits for B, and B for A: if B waited for the switch, that would never come.
    let restart = RestartPlan { max: Some(5), within: s(60), backoff: [s(1), s(1)] };
    let again = GenerationPolicy { on_failure: OnEnd::Restart, restart, ..after([A]) };
    let mut app = running(vec![component(), again, after([B])]);
    let first = Incoming { policy: GenerationPolicy { trial: s(2), ..component() }, ..alone(A2, A) };
    let last = Incoming { policy: after([B]), ..alone(C2, C) };
    let done = prepared(&mut app, s(1), reload(vec![first, last]));
    assert_eq!(asks(&done).into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [A, C]);
    assert_eq!(kinds(&app.on(s(2), Event::Ended(B, Outcome::Failed))), ["Restart"]);
    assert_eq!(app.on(s(2), Event::Ended(C, Outcome::Stopped)), []);
    assert_eq!(app.on(s(2), Event::Ended(A, Outcome::Stopped)), [Action::Start(A2)]);
    assert_eq!(runs(&mut app, s(3), A2), [], "it is on trial");
    assert_eq!(app.on(s(5), Event::Clock), [Action::Start(B)]);
    assert_eq!(runs(&mut app, s(5), B), [Action::Start(C2)]);
    assert_eq!(runs(&mut app, s(5), C2), [Action::Switch, Action::Forget(A), Action::Forget(C)]);
}

#[test]
fn an_operator_stops_one_that_is_to_come_back_without_harm_to_the_next_rollout() {
    let mut app = pair();
    let _ = prepared(&mut app, s(1), reload(vec![alone(A2, A)]));
    assert_eq!(app.on(s(1), Event::StopOne(A2, Urgency::Graceful))[0], Action::RollBack(Some(A2)));
    assert_eq!(app.roll_out(s(2), reload(vec![incoming(B2, B)])), [Action::Start(B2)]);
    assert_eq!(app.on(s(2), Event::StopOne(A, Urgency::Graceful)), [], "it was asked already");
    assert_eq!(app.on(s(2), Event::Ended(A, Outcome::Stopped)), [], "it is not put back");
    assert_eq!(kinds(&runs(&mut app, s(3), B2)), ["Switch", "Ask"]);
}

#[test]
fn nobody_makes_room_for_a_rollout_that_cannot_succeed() {
    // I10: C2 waits for B, which has ended and was never ready.
    let job = GenerationPolicy { on_exit: OnEnd::Ignore, ..component() };
    let mut app = starting(SignalProfile::Standard, vec![component(), job, component()]);
    for id in [A, C] {
        assert_eq!(runs(&mut app, s(0), id), []);
    }
    let _ = app.on(s(0), Event::Entered(B));
    let _ = app.on(s(0), Event::Ended(B, Outcome::Finished));
    let last = Incoming { policy: after([B]), ..alone(C2, C) };
    let done = prepared(&mut app, s(1), reload(vec![alone(A2, A), last]));
    assert_eq!(kinds(&done), ["CannotStart", "RollBack", "Forget", "Forget"], "{done:?}");
    assert!(app.is_ready(A) && app.is_ready(C) && !app.is_rolling_out());
}

/// An app in which A is to make room, and is not asked yet, because a replaced generation is not done with it.
fn about_to_make_room() -> Machine {
    let mut app = running(vec![component(), after([A])]);
    assert_eq!(prepared(&mut app, s(1), reload(vec![incoming(B2, B)])), [Action::Start(B2)]);
    assert_eq!(runs(&mut app, s(1), B2), [Action::Switch, ask(B, Cause::Reload, s(1 + GRACE))]);
    assert_eq!(app.roll_out(s(2), reload(vec![alone(A2, A)])), []);
    assert!(app.yields(A) && app.is_ready(A));
    app
}

#[test]
fn one_that_was_not_asked_yet_goes_on_when_the_rollout_is_taken_back() {
    // I10: the same instance.
    let mut app = about_to_make_room();
    let done = app.on(s(3), Event::StopOne(A2, Urgency::Graceful));
    assert_eq!(done, [Action::RollBack(Some(A2)), Action::Forget(A2)]);
    assert_eq!(app.on(s(4), Event::Ended(B, Outcome::Stopped)), [Action::Forget(B)]);
    assert_eq!((app.yields(A), app.is_ready(A), app.next_wake()), (false, true, None));
    assert_eq!(kinds(&app.on(s(5), Event::Failed(A))), ["Raise", "Ask"], "its end is its own again");
}

#[test]
fn one_that_was_not_asked_yet_serves_during_the_delay_of_a_stop() {
    // 3.3: nobody else does its work.
    let mut app = about_to_make_room();
    let done = app.on(s(3), Event::OperatorStop(Urgency::Graceful));
    assert_eq!(done, [Action::RollBack(None), Action::Raise(Level::Delay)]);
    assert_eq!(app.on(s(4), Event::Ended(B, Outcome::Stopped)), []);
    let done = app.on(s(3 + DELAY), Event::Clock);
    assert_eq!(asks(&done).into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [A, B2]);
}

#[test]
fn one_on_trial_that_cannot_be_ended_takes_the_rollout_back() {
    // I10: it is no reason to stop the app either. A job has returned before it was ready, and its hook never ends.
    let job = GenerationPolicy { on_exit: OnEnd::Ignore, ..component() };
    let mut app = pair();
    let _ = prepared(&mut app, s(1), reload(vec![Incoming { policy: job, ..incoming(A2, A) }]));
    let _ = app.on(s(1), Event::Entered(A2));
    let _ = app.on(s(1), Event::Returned(A2));
    assert_eq!(app.on(s(1 + GRACE), Event::Clock), [Action::Cut(A2)]);
    let done = app.on(s(1 + GRACE) + HARD_RESERVE, Event::Clock);
    assert_eq!(done, [Action::RollBack(Some(A2))]);
    assert_eq!((app.level(), app.is_rolling_out(), app.is_ready(A)), (Level::Running, false, true));
}

#[test]
fn whoever_waits_to_be_asked_stops_before_those_that_it_needs() {
    // I2: its slice is over, but C serves during the delay, so it is not asked yet.
    let restart = RestartPlan { max: Some(5), within: s(60), backoff: [s(0), s(0)] };
    let again = |policy| GenerationPolicy { on_failure: OnEnd::Restart, restart, ..policy };
    let mut app = running(vec![again(component()), again(after([A])), after([B])]);
    for id in [B, A] {
        assert_eq!(kinds(&app.on(s(1), Event::Ended(id, Outcome::Failed))), ["Restart", "Start"]);
    }
    let second = Incoming { policy: after([A2]), ..alone(B2, B) };
    let done = prepared(&mut app, s(2), reload(vec![alone(A2, A), second]));
    assert_eq!(done, [Action::Abandon(A), Action::Abandon(B)]);
    let done = app.on(s(6), Event::OperatorStop(Urgency::Graceful));
    assert_eq!(done, [Action::RollBack(None), Action::Raise(Level::Delay)]);
    for id in [A, B] {
        assert_eq!(app.on(s(6), Event::Entered(id)), []);
    }
    assert_eq!(app.on(s(2) + s(GRACE) / 2, Event::Clock), []);
    assert_eq!(
        asks(&app.on(s(6 + DELAY), Event::Clock)).into_iter().map(|(id, _)| id).collect::<Vec<_>>(),
        [C]
    );
}
