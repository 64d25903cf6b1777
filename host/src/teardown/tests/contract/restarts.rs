//! The rows of the contract about restarts and health, each as one test.
//!
//! Invariant: the first comment of a test names its row. Pauses themselves are tested in `restart`.

use std::time::Duration;

use super::super::fixtures::{
    A, B, C, FAIL_GRACE, GRACE, asks, component, kinds, ms, running, runs, s, signal, starting,
};
use super::*;
use crate::plan::{OnEnd, RestartPlan, SignalProfile};

const MAX: u32 = 3;

fn plan() -> RestartPlan {
    RestartPlan { max: Some(MAX), within: s(100), backoff: [s(1), s(30)] }
}

/// A service that is started again.
fn service() -> GenerationPolicy {
    GenerationPolicy { on_failure: OnEnd::Restart, restart: plan(), ..component() }
}

/// One with instances of its own, in which the failed ones are replaced.
fn pool() -> GenerationPolicy {
    GenerationPolicy { on_lost: OnEnd::Restart, pooled: true, ..service() }
}

fn pause(actions: &[Action]) -> Duration {
    match actions {
        [Action::Restart { pause, .. }] => *pause,
        others => panic!("one restart, and not {others:?}"),
    }
}

/// Whether a pause is that many seconds, less up to a quarter.
fn about(pause: Duration, seconds: u64) -> bool {
    (s(seconds) * 3 / 4..=s(seconds)).contains(&pause)
}

/// Has A fail and end.
fn fails(app: &mut Machine, now: Duration) -> Vec<Action> {
    assert_eq!(app.on(now, Event::Failed(A)), []);
    app.on(now, Event::Ended(A, Outcome::Failed))
}

#[test]
fn a_service_is_started_again_until_its_budget_is_spent() {
    // R11: a restart budget is spent → exit 75, cause named. R12: back-off doubles with jitter.
    let mut app = running(vec![service(), component()]);
    let mut now = s(0);
    for (count, seconds) in [(1, 1), (2, 2), (3, 4)] {
        let pause = pause(&fails(&mut app, now));
        assert!(about(pause, seconds), "{pause:?}");
        assert_eq!((app.phase(A), app.outcome(A)), (Phase::Backoff, Outcome::Failed));
        now += pause;
        assert_eq!(app.next_wake(), Some(now));
        assert_eq!(app.on(now - ms(1), Event::Clock), []);
        assert_eq!(app.on(now, Event::Clock), [Action::Start(A)]);
        assert_eq!(runs(&mut app, now, A), []);
        assert_eq!(app.restarts(A), count);
    }
    let last = fails(&mut app, now);
    let ask = Action::Ask { id: B, cause: Cause::Failure(A), deadline: now + s(FAIL_GRACE) };
    assert_eq!(last, [Action::GiveUp(A), Action::Raise(Level::Drain), ask]);
    assert_eq!(app.outcome(A), Outcome::GaveUp);
    let left = app.on(now, Event::Ended(B, Outcome::Failed));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::GAVE_UP)), "75 goes before 1");
}

#[test]
fn a_budget_is_about_a_period() {
    // restart = { max, within }: what lies longer ago counts no more.
    let mut app = running(vec![service(), component()]);
    for at in [0, 40, 80, 100, 140, 180, 220] {
        let pause = pause(&fails(&mut app, s(at)));
        let _ = app.on(s(at) + pause, Event::Clock);
        let _ = runs(&mut app, s(at) + pause, A);
    }
    assert_eq!(app.restarts(A), 7);
    assert_eq!(kinds(&fails(&mut app, s(239))).first(), Some(&"GiveUp"), "140, 180, 220");
}

#[test]
fn a_start_that_fails_counts_as_any_failure() {
    // R12: a component traps at start, or is never ready: back-off, and nobody else is touched.
    let mut app = starting(
        SignalProfile::Standard,
        vec![GenerationPolicy { start_timeout: s(5), ..service() }, component()],
    );
    let _ = runs(&mut app, s(0), B);
    assert!(about(pause(&fails(&mut app, s(1))), 1));
    assert_eq!(app.on(s(2), Event::Clock), [Action::Start(A)]);
    assert_eq!(app.next_wake(), Some(s(7)), "each start has its timeout");
    assert_eq!(app.on(s(7), Event::Clock), [Action::FailStart(A), Action::Cut(A)]);
    assert!(about(pause(&app.on(s(7), Event::Ended(A, Outcome::CutOff))), 2));
    assert_eq!((app.level(), app.phase(B)), (Level::Running, Phase::Running));
}

#[test]
fn a_stop_ends_a_back_off_at_once() {
    // R12, I4: a stop during back-off ends at once; its last end is its outcome.
    let mut app = running(vec![GenerationPolicy { on_exit: OnEnd::Restart, ..service() }]);
    let mut finished = app.clone();
    let _ = fails(&mut app, s(1));
    let left = signal(&mut app, ms(1100), Signal::Int);
    assert_eq!(kinds(&left), ["Raise", "Raise", "Leave"]);
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::FAILED)));
    let _ = finished.on(s(1), Event::Ended(A, Outcome::Finished));
    let left = signal(&mut finished, ms(1100), Signal::Term);
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::CLEAN)), "no delay for nobody");
    // In the pause or in the wait behind it, an operator's stop of that one does the same.
    let mut app = running(vec![service(), component()]);
    let _ = fails(&mut app, s(1));
    assert_eq!(app.on(ms(1100), Event::StopOne(A, Urgency::Graceful)), []);
    assert_eq!((app.phase(A), app.next_wake()), (Phase::Ended, None));
}

#[test]
fn whoever_is_to_be_restarted_when_it_ends_is() {
    // on-exit = "restart": it is asked, gets its hook, and is started again; the others never notice.
    let mut app = running(vec![GenerationPolicy { on_exit: OnEnd::Restart, ..service() }, component()]);
    let ask = Action::Ask { id: A, cause: Cause::Finished(A), deadline: s(1 + GRACE) };
    assert_eq!(app.on(s(1), Event::Returned(A)), [ask]);
    assert!(about(pause(&app.on(s(2), Event::Ended(A, Outcome::Finished))), 1));
    assert_eq!(app.on(s(3), Event::Clock), [Action::Start(A)]);
    assert_eq!(runs(&mut app, s(3), A), []);
    assert_eq!(asks(&signal(&mut app, s(4), Signal::Int)).len(), 2, "I1: a new instance, a new notice");
    assert_eq!(app.on(s(4), Event::Ended(A, Outcome::Finished)), [], "nothing is started during a stop");
    let left = app.on(s(5), Event::Ended(B, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::CLEAN)));
    // It stops the app if that is what its end means, whatever its failure means.
    let mut app = running(vec![service(), component()]);
    assert_eq!(kinds(&app.on(s(1), Event::Returned(A))), ["Raise", "Ask", "Ask"]);
}

#[test]
fn instances_of_a_pool_come_back_within_the_budget_of_their_component() {
    // http: on-failure = "restart": the others go on, the pause doubles; budget spent: it is out of service alone.
    let mut app = running(vec![pool(), component()]);
    for (at, seconds) in [(1, 1), (2, 2), (3, 4)] {
        assert!(about(pause(&app.on(s(at), Event::Lost(A))), seconds));
        assert_eq!((app.phase(A), app.next_wake()), (Phase::Running, None), "it pauses by itself");
    }
    assert_eq!(app.on(s(4), Event::Lost(A)), [Action::PutOutOfService(A)]);
    assert_eq!((app.level(), app.cause(), app.outcome(A)), (Level::Running, None, Outcome::GaveUp));
    assert_eq!((app.is_out_of_service(A), app.is_ready(A), app.is_ready(B)), (true, false, true));
    for late in [Event::Lost(A), Event::Unhealthy(A), Event::Ready(A)] {
        assert_eq!(app.on(s(5), late), [], "it has given up");
    }
    assert!(!app.is_ready(A) && app.next_wake().is_none());
    // A later stop asks it as the others, and the code tells.
    assert_eq!(asks(&signal(&mut app, s(6), Signal::Int)).len(), 2);
    let _ = app.on(s(7), Event::Ended(B, Outcome::Stopped));
    let left = app.on(s(7), Event::Ended(A, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::GAVE_UP)), "however it ends then");
}

#[test]
fn an_app_lives_when_all_of_it_is_out_of_service() {
    // Nothing that a client can cause ends the app. One that never started is asked, too: it refuses its clients.
    let mut app =
        starting(SignalProfile::Standard, vec![pool(), GenerationPolicy { after: vec![A], ..pool() }]);
    for at in 1..=3 {
        let _ = pause(&app.on(s(at), Event::Lost(A)));
    }
    assert_eq!(app.on(s(4), Event::Lost(A)), [Action::PutOutOfService(A)]);
    assert_eq!((app.phase(A), app.phase(B)), (Phase::Running, Phase::Pending), "B waits for its return");
    assert_eq!(app.on(s(5), Event::Entered(A)), [], "too late");
    let left = signal(&mut app, s(6), Signal::Int);
    assert_eq!(kinds(&left), ["Raise", "Ask"]);
    let left = app.on(s(7), Event::Ended(A, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::GAVE_UP)));
}

#[test]
fn a_fresh_generation_brings_a_pool_back_into_service() {
    // curfew restart, or a reload: with a budget of its own. The old one leaves no trace.
    let rollout = |of: GenerationId, policy: GenerationPolicy| Rollout {
        incoming: vec![Incoming { id: C, policy, replaces: Some(of), before: Vec::new(), waits: false }],
        removed: Vec::new(),
        kept: Vec::new(),
        policy: None,
        cause: Cause::Request(Requester::Operator),
        keeps_budget: false,
    };
    let dependent = GenerationPolicy { after: vec![A], ..component() };
    let mut app = running(vec![pool(), dependent.clone()]);
    for at in 1..=4 {
        let _ = app.on(s(at), Event::Lost(A));
    }
    assert!(app.is_out_of_service(A));
    let mut other = app.clone();
    assert_eq!(app.roll_out(s(5), rollout(A, pool())), [Action::Start(C)]);
    let switched = runs(&mut app, s(6), C);
    assert_eq!(kinds(&switched), ["Switch", "Ask"]);
    assert_eq!(app.on(s(6), Event::Ended(A, Outcome::Stopped)), [Action::Forget(A)]);
    assert_eq!((app.is_ready(C), app.restarts(C)), (true, 0));
    assert!(about(pause(&app.on(s(7), Event::Lost(C))), 1));
    let _ = signal(&mut app, s(8), Signal::Int);
    let _ = app.on(s(8), Event::Ended(B, Outcome::Stopped));
    let left = app.on(s(9), Event::Ended(C, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::CLEAN)));
    // The restart of one that comes after it does not wait for it: nobody else could bring it back meanwhile.
    let taken_back = other.roll_out(s(5), rollout(B, dependent));
    assert_eq!(kinds(&taken_back), ["CannotStart", "RollBack", "Forget"]);
    assert_eq!((other.phase(B), other.is_rolling_out()), (Phase::Running, false));
}

#[test]
fn no_rollout_waits_for_one_that_is_out_of_service() {
    // I12: also not through another one that waits for it. Only another rollout brings it back.
    let mut app =
        starting(SignalProfile::Standard, vec![pool(), GenerationPolicy { after: vec![A], ..component() }]);
    for at in 1..=4 {
        let _ = app.on(s(at), Event::Lost(A));
    }
    assert_eq!((app.is_out_of_service(A), app.phase(B)), (true, Phase::Pending));
    let policy = GenerationPolicy { after: vec![B], ..component() };
    let rollout = Rollout {
        incoming: vec![Incoming { id: C, policy, replaces: None, before: Vec::new(), waits: false }],
        removed: Vec::new(),
        kept: Vec::new(),
        policy: None,
        cause: Cause::Reload,
        keeps_budget: false,
    };
    assert_eq!(kinds(&app.roll_out(s(5), rollout)), ["CannotStart", "RollBack", "Forget"]);
    assert!(!app.is_rolling_out());
}

#[test]
fn the_pauses_of_a_pool_begin_anew_after_a_stable_time() {
    // R12: resets after stable time, also where no start of a component is seen.
    let mut app = running(vec![pool()]);
    assert!(about(pause(&app.on(s(0), Event::Lost(A))), 1));
    assert!(about(pause(&app.on(s(2), Event::Lost(A))), 2));
    assert!(about(pause(&app.on(s(50), Event::Lost(A))), 1));
}

#[test]
fn a_pool_tries_its_first_instance_as_often_as_its_budget_lasts() {
    // http: a first instance that fails to start is treated the same: no bound for all of them together.
    let mut app = starting(SignalProfile::Standard, vec![pool()]);
    assert_eq!(app.next_wake(), None);
    assert!(about(pause(&app.on(s(70), Event::Lost(A))), 1));
    assert_eq!((app.phase(A), app.next_wake()), (Phase::Starting, None));
    assert_eq!(app.on(s(80), Event::Entered(A)), []);
    assert_eq!(app.next_wake(), Some(s(140)), "from then on, it has its time to be ready");
    assert_eq!(app.on(s(81), Event::Ready(A)), []);
    assert_eq!((app.is_ready(A), app.next_wake()), (true, None));
}

#[test]
fn during_a_stop_instances_come_back_soon_and_cost_nothing() {
    // H1: each accepted request is answered; the budget is none of a stop's, and no trap at each start fills a core.
    let mut app = running(vec![pool()]);
    let _ = signal(&mut app, s(1), Signal::Int);
    for _ in 0..10 {
        assert_eq!(app.on(s(2), Event::Lost(A)), [Action::Restart { id: A, pause: ms(100) }]);
    }
    assert_eq!((app.restarts(A), app.outcome(A)), (0, Outcome::CutOff));
}

#[test]
fn a_service_that_is_not_alive_ends_as_a_failed_one() {
    // health of a service: it is asked (it is not known to be dead), and what its failure means follows.
    let dead = Cause::Failure(A);
    let ask = Action::Ask { id: A, cause: dead, deadline: s(1 + FAIL_GRACE) };
    let mut app = running(vec![service(), component()]);
    assert_eq!(app.on(s(1), Event::Unhealthy(A)), [ask]);
    assert_eq!(app.on(s(1), Event::Unhealthy(A)), []);
    let again = app.on(s(2), Event::Ended(A, Outcome::Stopped));
    assert!(about(pause(&again), 1));
    assert_eq!(app.outcome(A), Outcome::Failed);
    let mut app = running(vec![component(), component()]);
    assert_eq!(kinds(&app.on(s(1), Event::Unhealthy(A))), ["Ask", "Raise", "Ask"]);
    assert_eq!((app.cause(), app.outcome(A)), (Some(dead), Outcome::Failed));
    let mut app = running(vec![GenerationPolicy { on_failure: OnEnd::Ignore, ..component() }, component()]);
    assert_eq!(kinds(&app.on(s(1), Event::Unhealthy(A))), ["Ask"]);
    assert_eq!(app.on(s(1 + FAIL_GRACE), Event::Clock), [Action::Cut(A)]);
    assert_eq!(app.on(s(6), Event::Ended(A, Outcome::CutOff)), []);
    assert_eq!((app.level(), app.outcome(A)), (Level::Running, Outcome::Failed));
}

#[test]
fn a_pool_that_is_not_alive_is_replaced_as_a_whole() {
    // health of http: a fresh generation takes over; it stays until then, as it is all there is.
    let mut app = running(vec![pool(), component()]);
    assert_eq!(app.on(s(1), Event::Unhealthy(A)), [Action::Renew(A)]);
    assert_eq!((app.phase(A), app.restarts(A)), (Phase::Running, 1));
    let mut app = running(vec![GenerationPolicy { on_failure: OnEnd::StopApp, ..pool() }, component()]);
    assert_eq!(kinds(&app.on(s(1), Event::Unhealthy(A))), ["Raise", "Ask", "Ask"]);
    let mut app = running(vec![GenerationPolicy { on_failure: OnEnd::Ignore, ..pool() }, component()]);
    assert_eq!(app.on(s(1), Event::Unhealthy(A)), []);
    let mut app =
        running(vec![GenerationPolicy { restart: RestartPlan { max: Some(0), ..plan() }, ..pool() }]);
    assert_eq!(app.on(s(1), Event::Unhealthy(A)), [Action::PutOutOfService(A)]);
}

#[test]
fn a_renewal_that_comes_to_nothing_is_tried_again_within_the_budget() {
    // R11: a dead component is told once; if it cannot be replaced, it is not left as it is.
    let mut app = running(vec![pool(), component()]);
    assert_eq!(app.on(s(1), Event::Unhealthy(A)), [Action::Renew(A)]);
    for (at, seconds) in [(10, 2), (20, 4)] {
        assert_eq!(app.on(s(at), Event::NothingToChange), []);
        let wake = app.next_wake().unwrap();
        assert!(about(wake - s(at), seconds), "{wake:?}");
        assert_eq!(app.on(wake - ms(1), Event::Clock), []);
        assert_eq!(app.on(wake, Event::Clock), [Action::Renew(A)]);
    }
    assert_eq!(app.on(s(30), Event::NothingToChange), [Action::PutOutOfService(A)]);
    assert_eq!((app.exit_code(), app.level()), (ExitCode::GAVE_UP, Level::Running));
}

#[test]
fn one_that_cannot_be_ended_stops_the_app_unless_it_is_ignored() {
    // G, S18: it can neither be started again nor be forgotten. I4: and nobody waits for it.
    let mut app = running(vec![GenerationPolicy { on_exit: OnEnd::Restart, ..service() }, component()]);
    let _ = app.on(s(0), Event::Returned(A));
    assert_eq!(app.on(s(GRACE), Event::Clock), [Action::Cut(A)]);
    let done = app.on(s(GRACE) + HARD_RESERVE, Event::Clock);
    assert_eq!((kinds(&done), app.cause()), (vec!["Raise", "Ask"], Some(Cause::Failure(A))));
    let left = app.on(s(12), Event::Ended(B, Outcome::Stopped));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::CUT_OFF)), "leaked");
    // Ignored: the others go on, and when they have ended, the app has.
    let quiet = GenerationPolicy { on_exit: OnEnd::Ignore, on_failure: OnEnd::Ignore, ..component() };
    let mut app = running(vec![quiet.clone(), quiet]);
    let _ = app.on(s(0), Event::Returned(A));
    let _ = app.on(s(GRACE), Event::Clock);
    assert_eq!(app.on(s(GRACE) + HARD_RESERVE, Event::Clock), []);
    assert_eq!((app.level(), app.next_wake()), (Level::Running, None));
    let left = app.on(s(50), Event::Ended(B, Outcome::Finished));
    assert_eq!(left.last(), Some(&Action::Leave(ExitCode::CUT_OFF)));
}

#[test]
fn a_stop_that_overtakes_a_cut_off_leaves_no_wake_behind() {
    // I4: cut off while the app runs, and the stop begins before it is gone.
    let mut app = running(vec![GenerationPolicy { on_exit: OnEnd::Ignore, ..component() }, component()]);
    let _ = app.on(s(0), Event::Returned(A));
    let _ = app.on(s(GRACE), Event::Clock);
    let _ = signal(&mut app, ms(10_500), Signal::Int);
    assert_eq!(app.next_wake(), Some(ms(20_500)));
    assert_eq!(app.on(s(11), Event::Clock), []);
    assert_eq!(app.next_wake(), Some(ms(20_500)));
}
