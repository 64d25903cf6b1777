//! Random sequences of events; `watch` checks the rules at each step.
//!
//! Invariant: one set of sequences is arbitrary, in the others a world of components reacts to what the
//! machine does, as real ones would.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::watch::Watch;
use super::*;
use crate::plan::{OnEnd, SignalProfile};

const SIGNALS: [Signal; 6] =
    [Signal::Term, Signal::Int, Signal::Quit, Signal::Hup, Signal::Hangup, Signal::Usr1];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What one component does when it is left alone, and how it answers; times in milliseconds.
#[derive(Clone, Debug)]
struct Habit {
    /// When it enters its `run`, if ever, and whether it fails instead.
    enters: Option<(u64, bool)>,
    /// When its `run` ends by itself, if ever, and whether with an error.
    runs: Option<(u64, bool)>,
    stops: Option<(u64, Outcome)>,
    /// Whether it is gone when it is abandoned, or enters nevertheless.
    heeds: bool,
    dies: Option<(u64, Outcome)>,
}

/// Components that react as real ones do, and what comes from outside.
struct World {
    habits: Vec<Habit>,
    coming: Vec<(Duration, Event)>,
}

impl World {
    fn fail(&mut self, at: Duration, id: ComponentId) {
        self.coming.extend([(at, Event::Failed(id)), (at + ms(1), Event::Ended(id, Outcome::Failed))]);
    }

    fn react(&mut self, now: Duration, action: Action) {
        let (Action::Start(id) | Action::Abandon(id) | Action::Ask { id, .. } | Action::Cut(id)) = action
        else {
            return;
        };
        let habit = self.habits[id.0].clone();
        let end = match action {
            Action::Start(_) => return self.start(now, id, &habit),
            Action::Abandon(_) => habit.heeds.then_some((1, Outcome::NotStarted)),
            Action::Ask { .. } => habit.stops,
            _ => habit.dies,
        };
        let of_it = |event: Event| match event {
            Event::Entered(whose) | Event::Returned(whose) | Event::Failed(whose) => whose == id,
            Event::Ended(whose, _) => whose == id,
            _ => false,
        };
        if end.is_some() || matches!(action, Action::Cut(_)) {
            self.coming.retain(|(_, event)| !of_it(*event));
        }
        match end {
            Some((after, Outcome::Failed)) => self.fail(now + ms(after), id),
            Some((after, outcome)) => self.coming.push((now + ms(after), Event::Ended(id, outcome))),
            None => {}
        }
    }

    fn start(&mut self, now: Duration, id: ComponentId, habit: &Habit) {
        match habit.enters {
            Some((after, true)) => self.fail(now + ms(after), id),
            Some((after, false)) => {
                let entered = now + ms(after);
                self.coming.push((entered, Event::Entered(id)));
                match habit.runs {
                    Some((after, true)) => self.fail(entered + ms(after), id),
                    Some((after, false)) => self.coming.push((entered + ms(after), Event::Returned(id))),
                    None => {}
                }
            }
            None => {}
        }
    }

    /// Lets it all happen, with the clock fed when it is due, and returns how it ended.
    fn happen(mut self, app: (Policy, Vec<MemberPolicy>)) -> Watch {
        let mut watch = Watch::new(app);
        self.coming.push((Duration::ZERO, Event::Loaded));
        while watch.left.is_none() {
            let next = (0..self.coming.len()).min_by_key(|at| self.coming[*at].0);
            let due = next.map_or(Duration::MAX, |at| self.coming[at].0);
            let (now, event) = match (watch.machine.next_wake().filter(|wake| *wake < due), next) {
                (Some(wake), _) => (wake.max(watch.now), Event::Clock),
                (None, Some(at)) => self.coming.remove(at),
                (None, None) => break,
            };
            for action in watch.feed(now, event) {
                self.react(now, action);
            }
        }
        watch
    }
}

fn on_end() -> impl Strategy<Value = OnEnd> {
    select(vec![OnEnd::StopApp, OnEnd::StopApp, OnEnd::Ignore])
}

fn member() -> impl Strategy<Value = MemberPolicy> {
    (prop::option::of(0..12_000_u64), 1..9_000_u64, on_end(), on_end(), on_end()).prop_map(
        |(grace, start_timeout, on_exit, on_failure, on_lost)| {
            let (grace, start_timeout) = (grace.map(ms), ms(start_timeout));
            MemberPolicy { grace, start_timeout, on_exit, on_failure, on_lost }
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

fn app() -> impl Strategy<Value = (Policy, Vec<MemberPolicy>)> {
    (policy(), prop::collection::vec(member(), 1..=5))
}

fn habit() -> impl Strategy<Value = Habit> {
    use Outcome::{CutOff, Failed, Finished, HookFailed, Leaked, Stopped};
    let enters = prop::option::weighted(0.9, (0..5_000_u64, prop::bool::weighted(0.1)));
    let runs = prop::option::weighted(0.4, (0..20_000_u64, any::<bool>()));
    let stops = (0..8_000_u64, select(vec![Stopped, Stopped, Finished, HookFailed, Failed]));
    let dies = (0..2_000_u64, select(vec![CutOff, CutOff, Leaked, Failed]));
    let answers = (prop::option::weighted(0.8, stops), any::<bool>(), prop::option::weighted(0.8, dies));
    (enters, runs, answers).prop_map(|(enters, runs, (stops, heeds, dies))| Habit {
        enters,
        runs,
        stops,
        heeds,
        dies,
    })
}

fn lively_app() -> impl Strategy<Value = ((Policy, Vec<MemberPolicy>), Vec<Habit>)> {
    (app(), prop::collection::vec(habit(), 5))
}

fn from_outside() -> impl Strategy<Value = Event> {
    let signals = select(SIGNALS.to_vec()).prop_map(Event::Signal);
    let by = (0..6_usize).prop_map(|at| Event::StopRequested(Requester::Component(ComponentId(at))));
    prop_oneof![8 => signals, 1 => by, 1 => Just(Event::HostBug("test")), 1 => Just(Event::Clock)]
}

fn anything() -> impl Strategy<Value = Event> {
    use Outcome::{CutOff, Failed, Finished, GaveUp, HookFailed, Leaked, NotStarted, Stopped};
    let outcome = select(vec![Finished, Stopped, HookFailed, Failed, CutOff, Leaked, GaveUp, NotStarted]);
    let of_one =
        (0..6_usize, 0..7, outcome).prop_map(|(at, which, outcome)| match (ComponentId(at), which) {
            (id, 0..3) => Event::Entered(id),
            (id, 3) => Event::Returned(id),
            (id, 4) => Event::Failed(id),
            (id, 5) => Event::Lost(id),
            (id, _) => Event::Ended(id, outcome),
        });
    prop_oneof![1 => Just(Event::Loaded), 8 => of_one, 3 => from_outside()]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(1_000))]

    /// All rules, whatever comes in whatever order; the clock may be late.
    #[test]
    fn arbitrary_events_break_no_rule(
        app in app(),
        loaded in prop::bool::weighted(0.8),
        steps in prop::collection::vec((0..3_000_u64, anything(), any::<bool>(), 0..6_usize), 0..60),
    ) {
        let mut watch = Watch::new(app);
        if loaded {
            watch.feed(Duration::ZERO, Event::Loaded);
        }
        for (gap, event, in_time, at) in steps {
            let now = watch.now + ms(gap);
            if in_time {
                watch.clock(now);
            }
            watch.feed(now, event);
            watch.extend(ComponentId(at), ms(gap));
        }
        watch.end();
    }

    /// All rules, with components that react as real ones do.
    #[test]
    fn a_plausible_world_breaks_no_rule(
        (app, habits) in lively_app(),
        outside in prop::collection::vec((0..3_000_u64, from_outside()), 0..20),
    ) {
        let times = outside.iter().scan(Duration::ZERO, |now, (gap, _)| { *now += ms(*gap); Some(*now) });
        let coming = times.zip(outside.iter().map(|(_, event)| *event)).collect();
        World { habits, coming }.happen(app).end();
    }

    /// S4: every ordered pair and triple of signals at random gaps: the level never falls, exit in bound.
    #[test]
    fn all_pairs_and_triples_of_signals_lead_out_in_bound(
        (app, habits) in lively_app(),
        gaps in [0..4_000_u64, 0..4_000_u64, 0..4_000_u64],
    ) {
        let signals = [Signal::Term, Signal::Int, Signal::Quit, Signal::Hup, Signal::Usr1];
        let pairs = signals.iter().flat_map(|one| signals.map(|two| vec![*one, two]));
        let longer = |pair: Vec<_>| signals.map(|three| [pair.as_slice(), &[three]].concat());
        let triples = pairs.clone().flat_map(longer);
        for sequence in pairs.chain(triples) {
            let mut now = Duration::ZERO;
            let mut coming = Vec::new();
            for (gap, signal) in gaps.iter().zip(&sequence) {
                now += ms(*gap);
                coming.push((now, Event::Signal(*signal)));
            }
            let watch = World { habits: habits.clone(), coming }.happen(app.clone());
            let stops = sequence.iter().any(|signal| !matches!(signal, Signal::Hup | Signal::Usr1));
            prop_assert!(!stops || watch.left.is_some(), "{sequence:?} leads to the exit");
            let longest = app.0.fail_grace.max(4 * app.0.grace);
            let bound = now + app.0.drain_delay + longest + HARD_RESERVE;
            prop_assert!(!stops || watch.now <= bound, "{sequence:?} exits at {:?}", watch.now);
            watch.end();
        }
    }
}

proptest! {
    #![proptest_config(config(10_000))]

    /// S11: A traps, its siblings return errors when stopped → the cause is always A, and the code 1.
    #[test]
    fn the_first_failure_is_the_cause(
        mut app in app(),
        first in any::<prop::sample::Index>(),
        fails_after in 0..50_u64,
        entered_after in prop::collection::vec(0..50_u64, 5),
        stops in prop::collection::vec((0..50_u64, select(vec![Outcome::Failed, Outcome::HookFailed])), 5),
    ) {
        let first = first.index(app.1.len());
        let habits = entered_after.iter().zip(stops).enumerate().map(|(at, (after, stops))| {
            let (runs, enters) = ((at == first).then_some((fails_after, true)), Some((*after, false)));
            Habit { enters, runs, stops: Some(stops), heeds: false, dies: None }
        });
        for member in &mut app.1 {
            (member.on_failure, member.start_timeout) = (OnEnd::StopApp, ms(60));
        }
        let watch = World { habits: habits.collect(), coming: Vec::new() }.happen(app);
        prop_assert_eq!(watch.machine.cause, Some(Cause::Failure(ComponentId(first))));
        prop_assert_eq!(watch.left, Some(ExitCode::FAILED));
        watch.end();
    }
}
