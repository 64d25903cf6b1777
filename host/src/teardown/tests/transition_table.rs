//! Every event at every level in both profiles, as one table.
//!
//! Invariant: the table is an exhaustive match whose arms bring their own sample, so that a new event does
//! not compile before it has its row. Sequences are in `contract`, random ones in `properties`.

use std::time::Duration;

use super::fixtures::{A, B, C, GRACE, component, kinds, ms, runs, s, starting};
use super::*;
use crate::plan::SignalProfile;

const PROFILES: [SignalProfile; 2] = [SignalProfile::Standard, SignalProfile::Nginx];

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

/// The app of the table at `level`, and a time at which nothing is due.
fn at_level(level: Level, signals: SignalProfile) -> (Machine, Duration) {
    let mut machine = starting(signals, vec![component(); 3]);
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
