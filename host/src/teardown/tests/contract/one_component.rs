//! The rows of the contract about one component that an operator or its health ends while the others go on, each as one test.
//!
//! Invariant: the first comment of a test names its row. Reloads are in `rollout`.

use std::time::Duration;

use super::super::fixtures::{
    A, B, GRACE, after, asks, component, kinds, ms, pair, running, runs, s, signal, starting,
};
use super::*;
use crate::plan::{OnEnd, RestartPlan, SignalProfile};

const A2: GenerationId = GenerationId(10);
const OPERATOR: Cause = Cause::Request(Requester::Operator);

/// A fresh generation of A, and what it stands for.
fn again(policy: GenerationPolicy, cause: Cause, keeps_budget: bool) -> Rollout {
    let incoming = vec![Incoming { id: A2, policy, replaces: Some(A), before: Vec::new(), waits: false }];
    Rollout { incoming, removed: Vec::new(), kept: Vec::new(), policy: None, cause, keeps_budget }
}

fn pool() -> GenerationPolicy {
    let restart = RestartPlan { max: Some(2), within: s(100), backoff: [s(4), s(30)] };
    let (on_failure, on_lost) = (OnEnd::Restart, OnEnd::Restart);
    GenerationPolicy { on_failure, on_lost, restart, pooled: true, ..component() }
}

/// One that was not there before.
fn added(id: GenerationId) -> Incoming {
    Incoming { id, policy: component(), replaces: None, before: Vec::new(), waits: false }
}

#[test]
fn an_operator_stops_one_and_the_others_go_on() {
    // `stop COMPONENT`: with its grace, cause request; whatever its end means otherwise, it means nothing now.
    for outcome in [Outcome::Stopped, Outcome::Failed, Outcome::HookFailed, Outcome::CutOff] {
        for on_end in [OnEnd::StopApp, OnEnd::Restart] {
            let mut app = running(vec![
                GenerationPolicy { on_exit: on_end, on_failure: on_end, ..component() },
                after([A]),
            ]);
            let ask = Action::Ask { id: A, cause: OPERATOR, deadline: s(1 + GRACE) };
            assert_eq!(app.on(s(1), Event::StopOne(A, Urgency::Graceful)), [ask]);
            assert_eq!(app.on(s(1), Event::StopOne(A, Urgency::Graceful)), []);
            assert_eq!(app.on(s(2), Event::Ended(A, outcome)), [], "{outcome:?}");
            assert_eq!((app.level(), app.phase(A), app.outcome(A)), (Level::Running, Phase::Ended, outcome));
            assert_eq!(app.in_service().collect::<Vec<_>>(), [B]);
        }
    }
    // The last one of all: quiet means leave.
    let mut app = running(vec![component()]);
    let _ = app.on(s(1), Event::StopOne(A, Urgency::Graceful));
    let left = app.on(s(1), Event::Ended(A, Outcome::Stopped));
    assert_eq!((left.last(), app.cause()), (Some(&Action::Leave(ExitCode::CLEAN)), None));
}

#[test]
fn an_operator_stops_one_at_once() {
    // `stop --now COMPONENT`: told, and cut off; also one that was asked before.
    let mut app = pair();
    assert_eq!(kinds(&app.on(s(1), Event::StopOne(A, Urgency::Now))), ["Ask", "Cut"]);
    assert_eq!(app.on(s(1), Event::Ended(A, Outcome::CutOff)), []);
    let mut app = pair();
    let _ = app.on(s(1), Event::StopOne(A, Urgency::Graceful));
    assert_eq!(app.on(s(2), Event::StopOne(A, Urgency::Now)), [Action::Cut(A)]);
    assert_eq!(app.on(s(2) + HARD_RESERVE, Event::Clock), [], "if it cannot be ended, that stops nobody");
    assert_eq!((app.level(), app.next_wake()), (Level::Running, None));
}

#[test]
fn an_operator_stops_one_that_is_not_there_yet() {
    // S5: pending → not started; starting → abandoned, and cut off if it does not heed that; entered late → asked.
    let mut app = starting(SignalProfile::Standard, vec![component(), after([A]), component()]);
    assert_eq!(app.on(s(0), Event::StopOne(B, Urgency::Graceful)), []);
    assert_eq!((app.phase(B), app.outcome(B)), (Phase::Ended, Outcome::NotStarted));
    assert_eq!(app.on(s(1), Event::StopOne(A, Urgency::Graceful)), [Action::Abandon(A)]);
    let mut late = app.clone();
    assert_eq!(asks(&late.on(s(2), Event::Entered(A))), [(A, s(1 + GRACE))]);
    assert_eq!(app.clone().on(s(2), Event::Ended(A, Outcome::NotStarted)), []);
    assert_eq!(app.next_wake(), Some(s(1 + GRACE)));
    assert_eq!(app.on(s(1 + GRACE), Event::Clock), [Action::Cut(A)], "it has not failed to start");
    assert_eq!((app.level(), app.outcome(A)), (Level::Running, Outcome::Leaked));
}

#[test]
fn an_operator_restarts_one() {
    // `restart COMPONENT`: a fresh generation first, cause request; its budget is new.
    let mut app = running(vec![pool(), component()]);
    let _ = app.on(s(1), Event::Lost(A));
    assert_eq!(app.roll_out(s(1), again(pool(), OPERATOR, false)), [Action::Start(A2)]);
    assert_eq!(app.next_wake(), Some(s(61)), "on trial, its start is bounded");
    let ask = Action::Ask { id: A, cause: OPERATOR, deadline: s(1 + GRACE) };
    assert_eq!(runs(&mut app, s(1), A2), [Action::Switch, ask]);
    assert_eq!(app.restarts(A2), 0);
    assert_eq!(app.on(s(2), Event::Lost(A)).len(), 1, "it comes back for its last requests");
    assert_eq!(app.restarts(A), 1);
    assert_eq!(app.on(s(2), Event::Ended(A, Outcome::Stopped)), [Action::Forget(A)]);
}

#[test]
fn a_renewal_for_health_keeps_the_budget() {
    // health: R11: what is replaced again and again because it fails spends one budget.
    let mut app = running(vec![pool(), component()]);
    assert_eq!(app.on(s(1), Event::Unhealthy(A)), [Action::Renew(A)]);
    assert_eq!(app.roll_out(s(1), again(pool(), Cause::Failure(A), true)), [Action::Start(A2)]);
    assert_eq!(kinds(&runs(&mut app, s(1), A2)), ["Switch", "Ask"]);
    assert_eq!(app.on(s(1), Event::Unhealthy(A)), [], "it is on its way out");
    assert_eq!(app.restarts(A2), 1);
    assert_eq!(kinds(&app.on(s(2), Event::Lost(A2))), ["Restart"]);
    assert_eq!(app.on(s(3), Event::Lost(A2)), [Action::PutOutOfService(A2)]);
    assert_eq!((app.cause(), app.exit_code()), (None, ExitCode::GAVE_UP));
}

#[test]
fn a_renewal_that_is_rolled_back_is_tried_again_within_the_budget() {
    // I10: the dead one stays, as it is all there is; R11: but not for ever.
    let mut app = running(vec![pool(), component()]);
    let _ = app.on(s(1), Event::Unhealthy(A));
    let _ = app.roll_out(s(1), again(pool(), Cause::Failure(A), true));
    assert_eq!(kinds(&app.on(s(2), Event::Failed(A2))), ["RollBack"]);
    let _ = app.on(s(2), Event::Ended(A2, Outcome::Failed));
    let wake = app.next_wake().unwrap();
    assert!((s(6)..=s(10)).contains(&wake), "the second pause is up to 8 s, {wake:?}");
    assert_eq!(app.on(wake, Event::Clock), [Action::Renew(A)]);
    let _ = app.roll_out(s(12), again(pool(), Cause::Failure(A), true));
    let done = app.on(s(12), Event::Ended(A2, Outcome::Failed));
    assert_eq!(kinds(&done)[..3], ["RollBack", "Forget", "PutOutOfService"]);
    assert_eq!(app.exit_code(), ExitCode::GAVE_UP);
}

#[test]
fn a_renewal_goes_before_a_reload_and_follows_what_is_under_way() {
    // Never concurrent; whoever was replaced, stopped, or has ended meanwhile is not renewed.
    let mut app = running(vec![pool(), component()]);
    assert_eq!(app.on(s(1), Event::ReloadRequested), [Action::Prepare]);
    assert_eq!(app.on(s(1), Event::ReloadRequested), []);
    assert_eq!(app.on(s(2), Event::Unhealthy(A)), []);
    let mut nothing = app.clone();
    assert_eq!(nothing.on(s(3), Event::NothingToChange), [Action::Renew(A)]);
    assert_eq!(nothing.on(s(4), Event::NothingToChange), [Action::Prepare]);
    let mut stopped = app.clone();
    let _ = stopped.on(s(2), Event::StopOne(A, Urgency::Graceful));
    assert_eq!(stopped.on(s(3), Event::NothingToChange), [Action::Prepare], "not of one that goes");
    let _ = app.roll_out(s(3), again(pool(), Cause::Reload, false));
    assert_eq!(
        kinds(&runs(&mut app, s(3), A2)),
        ["Switch", "Ask", "Prepare"],
        "not of one that was replaced"
    );
}

#[test]
fn a_job_that_is_done_before_the_others_are_ready_takes_part() {
    // I10: on-exit = "ignore": its end is what it is there for; with "restart", it comes back, on trial or not.
    let job = |on_exit| GenerationPolicy { on_exit, ..component() };
    for (on_exit, expected) in [(OnEnd::Ignore, "Switch Ask Ask"), (OnEnd::Restart, "")] {
        let mut app = pair();
        let mut rollout = again(job(on_exit), Cause::Reload, false);
        let b2 = GenerationId(11);
        rollout.incoming.push(Incoming {
            id: b2,
            policy: component(),
            replaces: Some(B),
            before: Vec::new(),
            waits: false,
        });
        let _ = app.roll_out(s(1), rollout);
        let _ = runs(&mut app, s(1), A2);
        assert_eq!(kinds(&app.on(s(1), Event::Returned(A2))), ["Ask"]);
        let done = kinds(&app.on(s(1), Event::Ended(A2, Outcome::Finished)));
        assert_eq!(done.is_empty(), on_exit == OnEnd::Ignore, "{done:?}");
        assert_eq!(kinds(&runs(&mut app, s(1), b2)).join(" "), expected);
        if on_exit == OnEnd::Restart {
            assert_eq!(app.on(s(2), Event::Clock), [Action::Start(A2)]);
            assert_eq!(kinds(&runs(&mut app, s(2), A2)), ["Switch", "Ask", "Ask"]);
        }
    }
    // One whose budget is spent on trial is taken back; the app has not failed.
    let mut app = pair();
    let none = RestartPlan { max: Some(0), within: s(60), ..RestartPlan::default() };
    let mut rollout = again(GenerationPolicy { restart: none, ..job(OnEnd::Restart) }, Cause::Reload, false);
    rollout.incoming.push(added(GenerationId(11)));
    let _ = app.roll_out(s(1), rollout);
    let _ = runs(&mut app, s(1), A2);
    let done = app.on(s(1), Event::Ended(A2, Outcome::Finished));
    assert_eq!((kinds(&done), app.level()), (vec!["RollBack", "Forget", "Abandon"], Level::Running));
}

#[test]
fn a_generation_that_was_taken_back_and_hangs_in_its_start_is_cut_off() {
    // I12: nothing is left behind: it does not heed that it is abandoned.
    let mut app = pair();
    let mut rollout = again(component(), Cause::Reload, false);
    rollout.incoming.push(added(GenerationId(11)));
    let _ = app.roll_out(s(1), rollout);
    let done = app.on(s(2), Event::Failed(GenerationId(11)));
    assert_eq!(kinds(&done), ["RollBack", "Abandon"]);
    let _ = app.on(s(2), Event::Ended(GenerationId(11), Outcome::Failed));
    assert_eq!(app.next_wake(), Some(s(2 + GRACE)));
    assert_eq!(app.on(s(2 + GRACE), Event::Clock), [Action::Cut(A2)]);
    assert_eq!(app.on(s(2 + GRACE) + ms(1), Event::Ended(A2, Outcome::CutOff)), [Action::Forget(A2)]);
    assert_eq!((app.next_wake(), signal(&mut app, s(20), Signal::Hup)), (None, vec![Action::Prepare]));
}

#[test]
fn nothing_that_ends_after_the_switch_concerns_the_app() {
    // Reload 5: the old one is drained, hooked and ended, however that goes; only the app's own stop counts it.
    for event in [Event::Failed(A), Event::Ended(A, Outcome::Failed), Event::Returned(A), Event::Unhealthy(A)]
    {
        let mut app = pair();
        let _ = app.roll_out(s(1), again(component(), Cause::Reload, false));
        let _ = runs(&mut app, s(1), A2);
        let done: Vec<_> = app.on(Duration::from_secs(2), event);
        assert!(done.iter().all(|done| *done == Action::Forget(A)), "{done:?}");
        assert_eq!(app.level(), Level::Running);
    }
}
