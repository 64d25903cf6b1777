//! Times, policies, machines and shorthands that more than one file of these tests uses. No assertion of a rule stands here.

use std::time::Duration;

use super::*;
use crate::plan::{OnEnd, RestartPlan, SignalProfile};

pub(super) const A: GenerationId = GenerationId(0);
pub(super) const B: GenerationId = GenerationId(1);
pub(super) const C: GenerationId = GenerationId(2);
pub(super) const DELAY: u64 = 2;
pub(super) const GRACE: u64 = 10;
pub(super) const FAIL_GRACE: u64 = 4;
const START_TIMEOUT: u64 = 60;

pub(super) fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn component() -> GenerationPolicy {
    let (on_exit, on_failure, on_lost) = (OnEnd::StopApp, OnEnd::StopApp, OnEnd::Ignore);
    let (grace, start_timeout, after) = (Some(s(GRACE)), s(START_TIMEOUT), Vec::new());
    let restart = RestartPlan { max: Some(5), within: s(60), ..RestartPlan::default() };
    let (trial, pooled) = (Duration::ZERO, false);
    GenerationPolicy { grace, start_timeout, trial, on_exit, on_failure, on_lost, restart, after, pooled }
}

/// A generation that comes after others.
pub(super) fn after<const N: usize>(others: [GenerationId; N]) -> GenerationPolicy {
    GenerationPolicy { after: others.to_vec(), ..component() }
}

pub(super) fn policy(signals: SignalProfile) -> Policy {
    Policy { grace: s(GRACE), fail_grace: s(FAIL_GRACE), drain_delay: s(DELAY), signals }
}

/// An app whose components are loaded, and start as soon as they may.
pub(super) fn starting(signals: SignalProfile, generations: Vec<GenerationPolicy>) -> Machine {
    let free = |at: &usize| generations[*at].after.is_empty();
    let starts: Vec<_> =
        (0..generations.len()).filter(free).map(|at| Action::Start(GenerationId(at))).collect();
    let mut machine = Machine::new(policy(signals), generations, 7);
    assert_eq!(machine.on(s(0), Event::Loaded), starts);
    machine
}

/// Has a component run and be ready, and returns what follows.
pub(super) fn runs(machine: &mut Machine, now: Duration, id: GenerationId) -> Vec<Action> {
    assert_eq!(machine.on(now, Event::Entered(id)), []);
    machine.on(now, Event::Ready(id))
}

/// An app in the standard profile whose components are all ready; each comes after none but those before it.
pub(super) fn running(generations: Vec<GenerationPolicy>) -> Machine {
    let mut machine = starting(SignalProfile::Standard, generations);
    for at in 0..machine.ids().len() {
        let _starts = runs(&mut machine, s(0), GenerationId(at));
        assert!(machine.is_ready(GenerationId(at)));
    }
    machine
}

pub(super) fn pair() -> Machine {
    running(vec![component(), component()])
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
        Action::PutOutOfService(_) => "PutOutOfService",
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
