//! Every event at every level in both profiles, as one table.
//!
//! Invariant: the table is an exhaustive match whose arms bring their own sample, so that a new event does
//! not compile before it has its row. Sequences are in the `contract` files, random ones in `properties`.

use std::time::Duration;

use super::*;
use crate::plan::{OnEnd, RestartPlan, SignalProfile};

pub(super) const A: GenerationId = GenerationId(0);
pub(super) const B: GenerationId = GenerationId(1);
pub(super) const C: GenerationId = GenerationId(2);
const PROFILES: [SignalProfile; 2] = [SignalProfile::Standard, SignalProfile::Nginx];
pub(super) const DELAY: u64 = 2;
pub(super) const GRACE: u64 = 10;
pub(super) const FAIL_GRACE: u64 = 4;
const START_TIMEOUT: u64 = 60;

/// Nothing happens: the level stays, nothing has to be done.
const NONE: &str = "";
/// The same on each profile, and nothing from the first cause on.
const fn once(cell: &'static str) -> [&'static str; 6] {
    [cell, cell, NONE, NONE, NONE, NONE]
}
const STOP: &str = "drain: Abandon Raise Ask Ask";
const CUT: &str = "cut: Abandon Raise Ask Ask Raise Cut Cut Cut";
/// The one it is about is gone: only its sibling is asked.
const ONE_LEFT: &str = "drain: Abandon Raise Ask";

macro_rules! table {
    ($($pattern:pat, $sample:expr => $cells:expr;)*) => {
        fn cells(event: Event) -> [&'static str; 6] {
            match event { $($pattern => $cells,)* }
        }
        pub(super) fn samples() -> Vec<Event> {
            vec![$($sample,)*]
        }
    };
}

// A and B run, C is starting. Each cell: the level behind the event and the kinds of actions, in their order.
//                                 running, standard | running, nginx | delay | drain | cut | exit
table! {
    Event::Loaded, Event::Loaded => [NONE; 6];
    Event::Entered(_), Event::Entered(C) => [NONE, NONE, "delay: Ask", "drain: Ask", NONE, NONE];
    Event::Ready(_), Event::Ready(C) => [NONE; 6];
    Event::Returned(_), Event::Returned(A) => [STOP, STOP, "delay: Ask", NONE, NONE, NONE];
    Event::Lost(_), Event::Lost(A) => [NONE; 6];
    Event::Unhealthy(_), Event::Unhealthy(A) => once("drain: Ask Abandon Raise Ask");
    Event::Failed(_), Event::Failed(A) => [ONE_LEFT, ONE_LEFT, "drain: Raise Ask", NONE, NONE, NONE];
    Event::Ended(_, Outcome::Finished), Event::Ended(A, Outcome::Finished) =>
        once(ONE_LEFT);
    Event::Ended(_, Outcome::Stopped), Event::Ended(A, Outcome::Stopped) => once(ONE_LEFT);
    Event::Ended(_, Outcome::Failed), Event::Ended(A, Outcome::Failed) =>
        [ONE_LEFT, ONE_LEFT, "drain: Raise Ask", NONE, NONE, NONE];
    Event::Ended(_, Outcome::GaveUp), Event::Ended(A, Outcome::GaveUp) =>
        [ONE_LEFT, ONE_LEFT, "drain: Raise Ask", NONE, NONE, NONE];
    Event::Ended(_, Outcome::HookFailed), Event::Ended(A, Outcome::HookFailed) => [NONE; 6];
    Event::Ended(_, Outcome::CutOff), Event::Ended(A, Outcome::CutOff) => [NONE; 6];
    Event::Ended(_, Outcome::Leaked), Event::Ended(A, Outcome::Leaked) => [NONE; 6];
    Event::Ended(_, Outcome::NotStarted), Event::Ended(A, Outcome::NotStarted) => [NONE; 6];
    Event::Signal(Signal::Term), Event::Signal(Signal::Term) =>
        ["delay: Abandon Raise", CUT, "delay: NoteSignal", "drain: NoteSignal", "cut: NoteSignal", NONE];
    Event::Signal(Signal::Int), Event::Signal(Signal::Int) =>
        [STOP, CUT, "drain: Raise Ask Ask", "cut: Raise Cut Cut Cut", "exit: Raise Leave", NONE];
    Event::Signal(Signal::Quit), Event::Signal(Signal::Quit) =>
        [STOP, "delay: Abandon Raise", "drain: Raise Ask Ask", "drain: NoteSignal", "cut: NoteSignal", NONE];
    Event::Signal(Signal::Hup), Event::Signal(Signal::Hup) =>
        ["running: Prepare", "running: Prepare", "delay: NoteSignal",
            "drain: NoteSignal", "cut: NoteSignal", NONE];
    Event::Signal(Signal::Hangup), Event::Signal(Signal::Hangup) =>
        ["delay: Abandon Raise", "delay: Abandon Raise", "delay: NoteSignal",
            "drain: NoteSignal", "cut: NoteSignal", NONE];
    Event::Signal(Signal::Usr1), Event::Signal(Signal::Usr1) =>
        ["running: PrintStatus", "running: PrintStatus", "delay: PrintStatus",
            "drain: PrintStatus", "cut: PrintStatus", NONE];
    Event::StopRequested(Requester::Operator), Event::StopRequested(Requester::Operator) =>
        once(STOP);
    Event::StopRequested(Requester::Component(_)), Event::StopRequested(Requester::Component(A)) =>
        once(STOP);
    Event::OperatorStop(Urgency::Graceful), Event::OperatorStop(Urgency::Graceful) =>
        once("delay: Abandon Raise");
    Event::OperatorStop(Urgency::Now), Event::OperatorStop(Urgency::Now) =>
        [STOP, STOP, "drain: Raise Ask Ask", NONE, NONE, NONE];
    Event::StopOne(_, Urgency::Graceful), Event::StopOne(A, Urgency::Graceful) => once("running: Ask");
    Event::StopOne(_, Urgency::Now), Event::StopOne(A, Urgency::Now) => once("running: Ask Cut");
    Event::ReloadRequested, Event::ReloadRequested =>
        ["running: Prepare", "running: Prepare", "delay: RefuseReload",
            "drain: RefuseReload", "cut: RefuseReload", NONE];
    Event::NothingToChange, Event::NothingToChange => [NONE; 6];
    Event::HostBug(_), Event::HostBug("test") => [STOP, STOP, "drain: Raise Ask Ask", NONE, NONE, NONE];
    Event::Clock, Event::Clock => [NONE; 6];
}

pub(super) fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn member() -> MemberPolicy {
    let (on_exit, on_failure, on_lost) = (OnEnd::StopApp, OnEnd::StopApp, OnEnd::Ignore);
    let (grace, start_timeout, after) = (Some(s(GRACE)), s(START_TIMEOUT), Vec::new());
    let restart = RestartPlan::default();
    MemberPolicy { grace, start_timeout, on_exit, on_failure, on_lost, restart, after, pooled: false }
}

/// A member that comes after others.
pub(super) fn after<const N: usize>(others: [GenerationId; N]) -> MemberPolicy {
    MemberPolicy { after: others.to_vec(), ..member() }
}

/// An app whose components are loaded, and start as soon as they may.
pub(super) fn starting(signals: SignalProfile, members: Vec<MemberPolicy>) -> Machine {
    let (grace, fail_grace, drain_delay) = (s(GRACE), s(FAIL_GRACE), s(DELAY));
    let free = |at: &usize| members[*at].after.is_empty();
    let starts: Vec<_> = (0..members.len()).filter(free).map(|at| Action::Start(GenerationId(at))).collect();
    let mut machine = Machine::new(Policy { grace, fail_grace, drain_delay, signals }, members, 7);
    assert_eq!(machine.on(s(0), Event::Loaded), starts);
    machine
}

/// Has a component run and be ready, and returns what follows.
pub(super) fn runs(machine: &mut Machine, now: Duration, id: GenerationId) -> Vec<Action> {
    assert_eq!(machine.on(now, Event::Entered(id)), []);
    machine.on(now, Event::Ready(id))
}

/// An app in the standard profile whose components are all ready; each comes after none but those before it.
pub(super) fn running(members: Vec<MemberPolicy>) -> Machine {
    let mut machine = starting(SignalProfile::Standard, members);
    for at in 0..machine.members.len() {
        let _starts = runs(&mut machine, s(0), GenerationId(at));
        assert!(machine.is_ready(GenerationId(at)));
    }
    machine
}

pub(super) fn pair() -> Machine {
    running(vec![member(), member()])
}

/// The app of the table at `level`, and a time at which nothing is due.
fn at_level(level: Level, signals: SignalProfile) -> (Machine, Duration) {
    let mut machine = starting(signals, vec![member(); 3]);
    let _ = runs(&mut machine, s(0), A);
    let _ = runs(&mut machine, s(0), B);
    if level == Level::Delay {
        let _ = machine.on(s(0), Event::Signal(Signal::Hangup));
    } else if level > Level::Delay {
        let _ = machine.on(s(0), Event::StopRequested(Requester::Operator));
    }
    let mut now = ms(600);
    for (reached, at) in [(Level::Cut, s(GRACE)), (Level::Exit, s(GRACE + 1))] {
        if level >= reached {
            let _ = machine.on(at, Event::Clock);
            now = at + ms(600);
        }
    }
    assert_eq!(machine.level(), level);
    (machine, now)
}

fn kind(action: &Action) -> &'static str {
    match action {
        Action::Start(_) => "Start",
        Action::FailStart(_) => "FailStart",
        Action::Abandon(_) => "Abandon",
        Action::Raise(_) => "Raise",
        Action::Ask { .. } => "Ask",
        Action::Cut(_) => "Cut",
        Action::Restart { .. } => "Restart",
        Action::GiveUp(_) => "GiveUp",
        Action::Renew(_) => "Renew",
        Action::Prepare => "Prepare",
        Action::Switch => "Switch",
        Action::RollBack(_) => "RollBack",
        Action::Forget(_) => "Forget",
        Action::CannotStart(_) => "CannotStart",
        Action::NoteSignal(_) => "NoteSignal",
        Action::RefuseReload => "RefuseReload",
        Action::PrintStatus => "PrintStatus",
        Action::Leave(_) => "Leave",
    }
}

pub(super) fn kinds(actions: &[Action]) -> Vec<&'static str> {
    actions.iter().map(kind).collect()
}

pub(super) fn asks(actions: &[Action]) -> Vec<(GenerationId, Duration)> {
    let ask = |action: &Action| match *action {
        Action::Ask { id, deadline, .. } => Some((id, deadline)),
        _ => None,
    };
    actions.iter().filter_map(ask).collect()
}

pub(super) fn signal(machine: &mut Machine, now: Duration, signal: Signal) -> Vec<Action> {
    machine.on(now, Event::Signal(signal))
}

pub(super) fn bounds(machine: &Machine) -> (Duration, Duration, Duration) {
    let Deadlines { drain, end, hard } = machine.deadlines().unwrap();
    (drain, end, hard)
}

#[test]
fn every_event_at_every_level_in_both_profiles() {
    for event in samples() {
        let [standard, nginx, stopping @ ..] = cells(event);
        let levels = [Level::Delay, Level::Drain, Level::Cut, Level::Exit];
        for profile in PROFILES {
            let first = if profile == SignalProfile::Nginx { nginx } else { standard };
            for (level, cell) in [(Level::Running, first)].into_iter().chain(levels.into_iter().zip(stopping))
            {
                let (mut machine, now) = at_level(level, profile);
                let done = kinds(&machine.on(now, event));
                let (after, expected) = cell.split_once(": ").unwrap_or((level.word(), ""));
                let found = (machine.level().word(), done.join(" "));
                assert_eq!(found, (after, expected.to_owned()), "{event:?} at {level:?}, {profile:?}");
            }
        }
    }
}
