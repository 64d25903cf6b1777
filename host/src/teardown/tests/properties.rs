//! Random sequences of events; `checker` and `invariants` check the rules at each step.
//!
//! Invariant: one set of sequences is arbitrary, in the others a world of components and hands reacts to what the machine does, as
//! real ones would, with fail points at each of its actions.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::checker::Checker;
use super::fixtures::ms;
use super::simulator::{Behaviour, Edit, Fault, Simulator};
use super::*;
use crate::plan::{OnEnd, RestartPlan, SignalProfile};

const SIGNALS: [Signal; 6] =
    [Signal::Term, Signal::Int, Signal::Quit, Signal::Hup, Signal::Hangup, Signal::Usr1];

fn on_end() -> impl Strategy<Value = OnEnd> {
    select(vec![OnEnd::StopApp, OnEnd::Ignore, OnEnd::Restart, OnEnd::Restart])
}

fn restart() -> impl Strategy<Value = RestartPlan> {
    (prop::option::weighted(0.9, 0..5_u32), 1..60_000_u64, 0..3_000_u64, 0..20_000_u64).prop_map(
        |(max, within, first, longest)| RestartPlan {
            max,
            within: ms(within),
            backoff: [ms(first), ms(longest)],
        },
    )
}

fn generation_policy() -> impl Strategy<Value = GenerationPolicy> {
    let ends = (on_end(), on_end(), on_end());
    let times = (prop::option::of(0..12_000_u64), 1..9_000_u64, prop_oneof![Just(0), 0..2_000_u64]);
    (times, ends, restart(), prop::bool::weighted(0.3)).prop_map(
        |((grace, start_timeout, trial), (on_exit, on_failure, on_lost), restart, pooled)| {
            let (grace, start_timeout, trial, after) =
                (grace.map(ms), ms(start_timeout), ms(trial), Vec::new());
            let on_lost = if pooled { on_lost } else { OnEnd::Ignore };
            GenerationPolicy {
                grace,
                start_timeout,
                trial,
                on_exit,
                on_failure,
                on_lost,
                restart,
                after,
                pooled,
            }
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let profile = select(vec![SignalProfile::Standard, SignalProfile::Nginx]);
    (0..15_000_u64, 0..6_000_u64, prop_oneof![Just(0), 0..4_000_u64], profile).prop_map(
        |(grace, fail_grace, delay, signals)| {
            let (grace, fail_grace, drain_delay) = (ms(grace), ms(fail_grace), ms(delay));
            Policy { grace, fail_grace, drain_delay, signals }
        },
    )
}

/// Each generation comes after some of those before it.
fn app() -> impl Strategy<Value = (Policy, Vec<GenerationPolicy>)> {
    let generation = (generation_policy(), prop::collection::vec(prop::bool::weighted(0.3), 6));
    (policy(), prop::collection::vec(generation, 1..=6)).prop_map(|(policy, generations)| {
        let in_order = |(at, (generation, edges)): (usize, (GenerationPolicy, Vec<bool>))| {
            let after = (0..at).filter(|before| edges[*before]).map(GenerationId).collect();
            GenerationPolicy { after, ..generation }
        };
        (policy, generations.into_iter().enumerate().map(in_order).collect())
    })
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    use Outcome::{CutOff, Failed, Finished, HookFailed, Leaked, Stopped};
    let enters = prop::option::weighted(0.9, (0..3_000_u64, prop::bool::weighted(0.1)));
    let ready = prop::option::weighted(0.95, prop_oneof![Just(0), 0..3_000_u64]);
    let runs = prop::option::weighted(0.3, (0..30_000_u64, any::<bool>()));
    let ails = (prop::option::weighted(0.2, 0..20_000_u64), prop::option::weighted(0.2, 0..20_000_u64));
    let stops = (0..8_000_u64, select(vec![Stopped, Stopped, Finished, HookFailed, Failed]));
    let dies = (0..2_000_u64, select(vec![CutOff, CutOff, Leaked, Failed]));
    let answers = (prop::option::weighted(0.8, stops), any::<bool>(), prop::option::weighted(0.9, dies));
    (enters, ready, runs, ails, answers).prop_map(
        |(enters, ready, runs, (loses, sick), (stops, heeds, dies))| Behaviour {
            enters,
            ready,
            runs,
            loses,
            sick,
            stops,
            heeds,
            dies,
        },
    )
}

/// Habits for fewer accidents: changes and stops are seen to their end.
fn calm_behaviour() -> impl Strategy<Value = Behaviour> {
    (behaviour(), 0..500_u64, 0..500_u64).prop_map(|(behaviour, enters, ready)| Behaviour {
        enters: Some((enters, false)),
        ready: Some(ready),
        runs: None,
        sick: None,
        ..behaviour
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    let fates = prop::collection::vec(select(vec![0, 0, 1, 2, 3, 4]), 6);
    let rest = (
        prop::collection::vec(generation_policy(), 3),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, policy()),
    );
    (0..2_000_u64, prop::bool::weighted(0.2), fates, rest).prop_map(
        |(takes, fails, fates, (policies, added, app))| Edit { takes, fails, fates, policies, added, app },
    )
}

fn urgency() -> impl Strategy<Value = Urgency> {
    select(vec![Urgency::Graceful, Urgency::Now])
}

fn lively_app() -> impl Strategy<Value = ((Policy, Vec<GenerationPolicy>), Vec<Behaviour>)> {
    let behaviours = prop_oneof![behaviour().boxed(), calm_behaviour().boxed()];
    (app(), prop::collection::vec(behaviours, 8))
}

fn from_outside() -> impl Strategy<Value = Event> {
    let signals = select(SIGNALS.to_vec()).prop_map(Event::Signal);
    let of_one = |at| GenerationId(at);
    let by = (0..6_usize).prop_map(move |at| Event::StopRequested(Requester::Component(of_one(at))));
    let one = (0..6_usize, urgency()).prop_map(move |(at, how)| Event::StopOne(of_one(at), how));
    let all = urgency().prop_map(Event::OperatorStop);
    prop_oneof![
        4 => signals,
        1 => by,
        1 => all,
        2 => one,
        6 => Just(Event::ReloadRequested),
        1 => Just(Event::HostBug("test")),
        1 => Just(Event::Clock),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => from_outside().prop_map(Fault::Event),
        4 => Just(Fault::Fails),
        2 => Just(Fault::Lost),
        2 => Just(Fault::Returned),
        2 => Just(Fault::Unhealthy),
        2 => urgency().prop_map(Fault::StopOne),
    ]
}

fn anything() -> impl Strategy<Value = Event> {
    use Outcome::{CutOff, Failed, Finished, GaveUp, HookFailed, Leaked, NotStarted, Stopped};
    let outcome = select(vec![Finished, Stopped, HookFailed, Failed, CutOff, Leaked, GaveUp, NotStarted]);
    let ids = prop_oneof![0..6_usize, 0..6_usize, 100..112_usize];
    let of_one = (ids, 0..10, outcome).prop_map(|(at, which, outcome)| match (GenerationId(at), which) {
        (id, 0..3) => Event::Entered(id),
        (id, 3..5) => Event::Ready(id),
        (id, 5) => Event::Returned(id),
        (id, 6) => Event::Failed(id),
        (id, 7) => Event::Lost(id),
        (id, 8) => Event::Unhealthy(id),
        (id, _) => Event::Ended(id, outcome),
    });
    prop_oneof![1 => Just(Event::Loaded), 12 => of_one, 2 => from_outside(), 1 => Just(Event::NothingToChange)]
}

/// As many cases as are quickly done in each run of the tests; `make properties` does more.
fn config(cases: u32) -> ProptestConfig {
    let times = std::env::var("CURFEW_PROPERTIES_TIMES").map_or(1, |times| times.parse().expect("a number"));
    ProptestConfig { cases: cases * times, failure_persistence: None, ..ProptestConfig::default() }
}

fn in_time<T: Copy>(gaps: &[(u64, T)]) -> Vec<(Duration, T)> {
    let times = gaps.iter().scan(Duration::ZERO, |now, (gap, what)| {
        *now += ms(*gap);
        Some((*now, *what))
    });
    times.collect()
}

proptest! {
    #![proptest_config(config(1_500))]

    /// All rules, whatever comes in whatever order; the clock may be late.
    #[test]
    fn arbitrary_events_break_no_rule(
        app in app(),
        loaded in prop::bool::weighted(0.9),
        steps in prop::collection::vec((0..3_000_u64, anything(), any::<bool>(), 0..6_usize), 0..60),
        edits in prop::collection::vec((0..60_usize, edit()), 0..4),
    ) {
        let mut checker = Checker::new(app, false);
        let mut simulator = Simulator::new(Vec::new(), Vec::new());
        if loaded {
            checker.feed(Duration::ZERO, Event::Loaded);
        }
        for (at, (gap, event, in_time, id)) in steps.into_iter().enumerate() {
            let now = checker.now + ms(gap);
            if in_time {
                checker.clock(now);
            }
            if let Some((_, edit)) = edits.iter().find(|(when, _)| *when == at) {
                simulator.begin(&mut checker, edit);
            }
            checker.feed(now.max(checker.now), event);
            checker.extend(GenerationId(id), ms(gap));
        }
        checker.end();
    }
}

proptest! {
    #![proptest_config(config(3_000))]

    /// All rules, with components and hands that react as real ones do, and faults in the moment of whatever is done.
    #[test]
    fn a_plausible_world_breaks_no_rule(
        (app, behaviours) in lively_app(),
        outside in prop::collection::vec((0..6_000_u64, from_outside()), 0..12),
        edits in prop::collection::vec(edit(), 1..4),
        faults in prop::collection::vec((0..40_usize, fault()), 0..4),
    ) {
        let mut simulator = Simulator::new(behaviours, in_time(&outside));
        (simulator.edits, simulator.faults) = (edits, faults);
        simulator.happen(app).end();
    }

    /// R4, R6, I10: nothing but reloads, one after the other; and then a stop.
    #[test]
    fn reloads_without_end_break_no_rule(
        (app, behaviours) in (app(), prop::collection::vec(calm_behaviour(), 8)),
        gaps in prop::collection::vec(0..2_000_u64, 1..20),
        edits in prop::collection::vec(edit(), 1..6),
        faults in prop::collection::vec((0..60_usize, fault()), 0..2),
        last in select(SIGNALS.to_vec()),
    ) {
        let reloads: Vec<_> = gaps.iter().map(|gap| (*gap, Event::ReloadRequested)).collect();
        let outside = [reloads.as_slice(), &[(gaps[0], Event::Signal(last))]].concat();
        let mut simulator = Simulator::new(behaviours, in_time(&outside));
        (simulator.edits, simulator.faults) = (edits, faults);
        simulator.happen(app).end();
    }
}

proptest! {
    #![proptest_config(config(60))]

    /// A fail point at each transition in turn: the same schedule, struck in the moment of its first, second, third … action.
    #[test]
    fn a_blow_at_each_transition_breaks_no_rule(
        (app, behaviours) in (app(), prop::collection::vec(calm_behaviour(), 8)),
        edits in prop::collection::vec(edit(), 1..3),
        fault in fault(),
        last in select(SIGNALS.to_vec()),
    ) {
        let outside = [(2_000, Event::ReloadRequested), (4_000, Event::Signal(last))];
        for at in 0..30 {
            let mut simulator = Simulator::new(behaviours.clone(), in_time(&outside));
            (simulator.edits, simulator.faults) = (edits.clone(), vec![(at, fault)]);
            simulator.happen(app.clone()).end();
        }
    }

    /// S4: every ordered pair and triple of signals at random gaps: the level never falls, exit in bound.
    #[test]
    fn all_pairs_and_triples_of_signals_lead_out_in_bound(
        (app, behaviours) in lively_app(),
        gaps in [0..4_000_u64, 0..4_000_u64, 0..4_000_u64],
    ) {
        let signals = [Signal::Term, Signal::Int, Signal::Quit, Signal::Hup, Signal::Usr1];
        let pairs = signals.iter().flat_map(|one| signals.map(|two| vec![*one, two]));
        let longer = |pair: Vec<_>| signals.map(|three| [pair.as_slice(), &[three]].concat());
        let triples = pairs.clone().flat_map(longer);
        for sequence in pairs.chain(triples) {
            let outside: Vec<_> =
                gaps.iter().zip(&sequence).map(|(gap, signal)| (*gap, Event::Signal(*signal))).collect();
            let last: u64 = gaps.iter().take(sequence.len()).sum();
            let checker = Simulator::new(behaviours.clone(), in_time(&outside)).happen(app.clone());
            let stops = sequence.iter().any(|signal| !matches!(signal, Signal::Hup | Signal::Usr1));
            prop_assert!(!stops || checker.left.is_some(), "{sequence:?} leads to the exit");
            let longest = app.0.fail_grace.max(4 * app.0.grace);
            let bound = ms(last) + app.0.drain_delay + longest + HARD_RESERVE;
            prop_assert!(!stops || checker.now <= bound, "{sequence:?} exits at {:?}", checker.now);
            checker.end();
        }
    }
}

proptest! {
    #![proptest_config(config(3_000))]

    /// S11: A traps, its siblings return errors when stopped → the cause is always A, and the code 1.
    #[test]
    fn the_first_failure_is_the_cause(
        mut app in app(),
        first in any::<Index>(),
        fails_after in 0..50_u64,
        entered_after in prop::collection::vec(0..50_u64, 6),
        stops in prop::collection::vec((0..50_u64, select(vec![Outcome::Failed, Outcome::HookFailed])), 6),
    ) {
        let first = first.index(app.1.len());
        let behaviours = entered_after.iter().zip(stops).enumerate().map(|(at, (after, stops))| {
            let (runs, enters) = ((at == first).then_some((fails_after, true)), Some((*after, false)));
            let (loses, sick, ready) = (None, None, Some(0));
            Behaviour { enters, ready, runs, loses, sick, stops: Some(stops), heeds: false, dies: None }
        });
        for generation in &mut app.1 {
            (generation.on_failure, generation.start_timeout) = (OnEnd::StopApp, ms(60));
            (generation.after, generation.pooled) = (Vec::new(), false);
        }
        let mut simulator = Simulator::new(behaviours.collect(), Vec::new());
        simulator.one_behaviour_each = true;
        let checker = simulator.happen(app);
        prop_assert_eq!(checker.machine.cause(), Some(Cause::Failure(GenerationId(first))));
        prop_assert_eq!(checker.left, Some(ExitCode::FAILED));
        checker.end();
    }
}
