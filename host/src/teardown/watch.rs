//! A `Watch` around the machine, for `properties`: follows what it hears and says, and checks each action as it is said.
//!
//! Invariant: what is known is in `books`; the rules that hold behind each step are in `rules`.

use std::time::Duration;

use super::books::{Book, Books, Seen};
use super::*;
use crate::plan::OnEnd;

/// When everyone was told to go, for how long, and how many there were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) at: Duration,
    pub(super) total: Duration,
    pub(super) count: u32,
}

/// A machine, and all that was seen of it.
pub(super) struct Watch {
    pub(super) machine: Machine,
    twin: Machine,
    pub(super) books: Books,
    pub(super) now: Duration,
    /// As told by the actions so far.
    pub(super) level: Level,
    pub(super) loaded: bool,
    pub(super) host_bug: bool,
    pub(super) left: Option<ExitCode>,
    /// What is on trial.
    pub(super) change: Option<Change>,
    /// Something is being prepared.
    pub(super) busy: bool,
    pub(super) wanted: bool,
    pub(super) prepared: Option<Duration>,
    pub(super) drain: Option<Drain>,
    /// Everyone was cut off without waiting.
    pub(super) forced: bool,
    /// Whether the clock is fed when it is due.
    pub(super) punctual: bool,
}

impl Watch {
    pub(super) fn new((policy, members): (Policy, Vec<MemberPolicy>), punctual: bool) -> Self {
        let ids = members.iter().enumerate().map(|(at, policy)| (GenerationId(at), policy));
        let books = Books(ids.map(|(id, policy)| (id, Book::new(policy.clone(), id))).collect());
        let machine = Machine::new(policy, members, 7);
        let (twin, level) = (machine.clone(), Level::Running);
        let (loaded, host_bug, busy, wanted, forced) = (false, false, false, false, false);
        let (left, change, prepared, drain, now) = (None, None, None, None, Duration::ZERO);
        Self {
            machine,
            twin,
            books,
            now,
            level,
            loaded,
            host_bug,
            left,
            change,
            busy,
            wanted,
            prepared,
            drain,
            forced,
            punctual,
        }
    }

    /// Feeds one event and checks every rule.
    pub(super) fn feed(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let knew = self.left.is_none();
        let ended = matches!(event, Event::Ended(id, _) if self.books.0.get(&id).is_some_and(Book::lives));
        if knew {
            self.now = now;
            self.note_event(event);
        }
        let actions = self.step(now, |machine| machine.on(now, event));
        if let (true, Event::Ended(id, _), true) = (ended, event, knew) {
            self.check_comes_back(id);
        }
        actions
    }

    /// Begins a change and checks every rule.
    pub(super) fn change(&mut self, now: Duration, change: Change) -> Vec<Action> {
        self.busy = false;
        if self.level > Level::Running || self.change.is_some() {
            let refused = self.machine.change(now, change.clone());
            assert_eq!(refused, [Action::RollBack(None)], "R13");
            assert_eq!(self.twin.change(now, change), refused);
            return Vec::new();
        }
        for fresh in &change.fresh {
            let root = fresh.replaces.map_or(fresh.id, |old| self.books.get(old).root);
            let waits = fresh.waits && (fresh.replaces.is_some() || !fresh.before.is_empty());
            let book = Book { trial: true, waits, ..Book::new(fresh.policy.clone(), root) };
            self.books.0.insert(fresh.id, book);
        }
        self.change = Some(change.clone());
        self.step(now, |machine| machine.change(now, change.clone()))
    }

    fn step(&mut self, now: Duration, act: impl Fn(&mut Machine) -> Vec<Action>) -> Vec<Action> {
        self.now = now;
        let before = self.machine.clone();
        let just_stuck = self.note_who_is_stuck();
        let actions = act(&mut self.machine);
        assert_eq!(actions, act(&mut self.twin), "the same events give the same actions");
        if self.left.is_some() {
            let nothing = |action: &Action| *action == Action::RollBack(None);
            assert!(actions.iter().all(nothing), "nothing is done after Leave: {actions:?}");
        } else {
            actions.iter().for_each(|action| self.note_action(&before, *action));
            self.check_step(&before, &actions);
            // A stop that begins in that moment gives everyone its own time.
            for id in just_stuck.into_iter().filter(|_| self.level > Level::Running) {
                self.books.0.entry(id).and_modify(|book| book.stuck = false);
            }
        }
        actions
    }

    fn note_event(&mut self, event: Event) {
        let runs = self.level == Level::Running;
        match event {
            Event::Loaded => self.loaded = true,
            Event::HostBug(_) => self.host_bug = true,
            Event::Signal(Signal::Hup) | Event::ReloadRequested => self.wanted |= runs,
            Event::NothingToChange => self.busy = false,
            Event::Entered(id)
            | Event::Ready(id)
            | Event::Returned(id)
            | Event::Failed(id)
            | Event::Lost(id)
            | Event::Unhealthy(id)
            | Event::Ended(id, _)
            | Event::StopOne(id, _) => {
                if let Some(book) = self.books.0.get_mut(&id) {
                    note_of_one(book, event, runs);
                }
            }
            Event::Signal(_) | Event::StopRequested(_) | Event::OperatorStop(_) | Event::Clock => {}
        }
    }

    fn note_action(&mut self, before: &Machine, action: Action) {
        assert_eq!(self.left, None, "Leave is the last action");
        let (now, stops) = (self.now, self.level > Level::Running || self.machine.cause.is_some());
        match action {
            Action::Start(id) => self.note_start(id),
            Action::Ask { id, cause, deadline } => self.note_ask(id, cause, deadline),
            Action::Cut(id) => self.note_cut(id),
            Action::FailStart(id) => {
                let book = self.books.get_mut(id);
                let since = book.seen.started.expect("it was started");
                assert!(book.starts() || book.runs(), "{id:?} is there");
                assert!(!book.seen.ready || !book.seen.entered, "it is not ready");
                assert!(!book.seen.abandoned && now >= since + book.policy.start_timeout);
                book.seen.failed = true;
            }
            Action::Abandon(id) => {
                let book = self.books.get_mut(id);
                assert!(book.starts() && !book.seen.abandoned, "{id:?} is abandoned once, while it starts");
                book.seen.abandoned = true;
            }
            Action::Restart { id, pause } => self.note_restart(before, id, pause),
            Action::GiveUp(id) => {
                let book = self.books.get_mut(id);
                assert!(book.counts() && !book.trial && self.level == Level::Running);
                assert!(book.recent(now) >= book.policy.restart.max as usize, "R11: its budget is spent");
                book.gave_up = true;
                book.ended = book.ended.map(|_| Outcome::GaveUp);
                assert_eq!(self.machine.cause, Some(Cause::Failure(id)), "R11");
            }
            Action::CannotStart(id) => {
                let book = self.books.get(id);
                assert!(!book.lives() && book.counts() && self.books.lacks(id), "{id:?} waits in vain");
                self.books.get_mut(id).hopeless = true;
            }
            Action::Renew(id) => {
                let book = self.books.get(id);
                assert!(book.lives() && book.counts() && !book.trial, "{id:?} takes part");
                assert!(!self.busy && self.change.is_none() && !stops, "one change at a time");
                self.busy = true;
            }
            Action::Prepare => {
                assert!(!self.busy && self.change.is_none() && !stops, "R6: never concurrent");
                assert!(self.wanted && self.loaded, "somebody has asked for it");
                let soon = self.prepared.is_some_and(|last| now < last + Duration::from_millis(500));
                assert!(!soon, "R6: coalesced");
                (self.busy, self.wanted, self.prepared) = (true, false, Some(now));
            }
            Action::Switch => self.note_switch(),
            Action::RollBack(because) => self.note_roll_back(because),
            Action::Forget(id) => {
                let book = self.books.0.remove(&id).expect("it is forgotten once");
                let runs = self.level == Level::Running;
                assert!(book.retired && !book.lives() && runs, "what is forgotten has ended");
            }
            Action::Leave(code) => self.left = Some(code),
            Action::Raise(level) => self.note_level(level),
            Action::RefuseReload => assert!(self.level > Level::Running),
            Action::NoteSignal(_) | Action::PrintStatus => {}
        }
    }

    /// While the app runs, whoever was cut off some time ago is waited for no longer.
    fn note_who_is_stuck(&mut self) -> Vec<GenerationId> {
        let (now, runs) = (self.now, self.level == Level::Running);
        let mut just = Vec::new();
        for (id, book) in self.books.0.iter_mut().filter(|(_, book)| book.lives() && runs && !book.stuck) {
            book.stuck = book.seen.cut.is_some_and(|at| now >= at + HARD_RESERVE);
            just.extend(book.stuck.then_some(*id));
        }
        just
    }

    fn note_level(&mut self, level: Level) {
        self.level = level;
        self.wanted = false;
        if let (Level::Drain, Some(all)) = (level, self.machine.deadlines) {
            let living = self.books.0.values_mut().filter(|book| book.lives()).collect::<Vec<_>>();
            let count = u32::try_from(living.len()).unwrap().max(1);
            // A force in the same step takes the end away; nothing is divided then.
            let total = all.end.saturating_sub(self.now);
            self.drain = Some(Drain { at: self.now, total, count });
            for book in living {
                let slice = self.now + total / count;
                book.seen.slice = Some(book.seen.slice.map_or(slice, |old| old.min(slice)));
            }
        }
        self.forced |= level == Level::Cut;
    }

    fn note_start(&mut self, id: GenerationId) {
        assert!(self.machine.cause.is_none() || self.level == Level::Running, "nothing is started in a stop");
        let book = self.books.get(id);
        assert!(self.loaded && !book.lives() && book.counts() && !book.hopeless, "{id:?} can be started");
        assert!(book.seen.started.is_none() || book.again.is_some_and(|at| self.now >= at), "R12");
        assert!(self.books.may_start(id), "{id:?} starts when those it comes after are ready");
        let book = self.books.get_mut(id);
        book.seen = Seen { started: Some(self.now), ..Seen::default() };
        (book.ended, book.again) = (None, None);
    }

    fn note_ask(&mut self, id: GenerationId, cause: Cause, deadline: Duration) {
        let stops = self.machine.cause.filter(|_| self.level > Level::Running);
        let (now, end) = (self.now, self.machine.deadlines.map(|all| all.end));
        let book = self.books.get_mut(id);
        assert!(book.lives() && book.seen.entered && !book.seen.failed && book.seen.cut.is_none(), "I1");
        assert!(book.seen.asked.is_none(), "I1: {id:?} is asked once");
        let own = match cause {
            Cause::Finished(of) => of == id && book.seen.returned,
            Cause::Failure(of) if of == id && book.seen.dead => true,
            Cause::Request(Requester::Operator) if book.halted => true,
            _ => book.retired,
        };
        assert!(own || stops == Some(cause), "{id:?} is told {cause:?}");
        assert!(stops.is_none() || end.is_none_or(|end| deadline <= end), "never past the app's end");
        book.seen.asked = Some(deadline);
        if self.level < Level::Drain {
            book.seen.slice = Some(book.seen.slice.map_or(now, |old| old.min(now)));
        }
    }

    fn note_cut(&mut self, id: GenerationId) {
        let cut_all = self.level >= Level::Cut;
        let book = self.books.get_mut(id);
        assert!(book.lives() && book.seen.cut.is_none(), "{id:?} is cut off once, while it is there");
        let seen = &book.seen;
        assert!(seen.asked.is_some() || seen.failed || !seen.entered, "I1: asked before it is cut off");
        assert!(seen.entered || seen.failed || seen.abandoned || cut_all, "a start has its time");
        book.seen.cut = Some(self.now);
    }

    fn note_restart(&mut self, before: &Machine, id: GenerationId, pause: Duration) {
        let (now, stops) = (self.now, self.level > Level::Running);
        let book = self.books.get_mut(id);
        let plan = book.policy.restart;
        if !book.lives() {
            assert!(book.comes_back() && book.counts() && !stops, "{id:?} comes back after {:?}", book.ended);
            assert!(book.again.is_none(), "once");
            book.again = Some(now + pause);
        } else {
            assert_eq!(book.policy.on_lost, OnEnd::Restart);
            if stops || !book.counts() {
                return assert!(pause <= Duration::from_millis(100), "there is no time");
            }
        }
        assert_eq!(self.machine.restarts(id), before.restarts(id) + 1, "R11: each one counts");
        let least = plan.first_pause.min(plan.longest_pause) * 3 / 4;
        let in_range = pause + Duration::from_nanos(9) >= least && pause <= plan.longest_pause;
        assert!(in_range, "R12: {pause:?} of {plan:?}");
    }

    fn note_switch(&mut self) {
        let change = self.change.take().expect("something takes over");
        assert!(self.level == Level::Running, "a stop ends any change");
        for fresh in &change.fresh {
            let book = self.books.get(fresh.id);
            let up = book.seen.ready && book.seen.entered && !book.seen.failed;
            let there = book.lives() || book.ended == Some(Outcome::Finished);
            assert!(book.waits || (up && there && book.again.is_none()), "I9: {:?} is ready", fresh.id);
            let old = fresh.replaces.filter(|_| change.keeps_budget).map(|old| self.books.get(old).clone());
            let (spent, counted) = old.map_or((Vec::new(), 0), |old| (old.spent, old.counted));
            let book = self.books.get_mut(fresh.id);
            (book.trial, book.spent, book.counted) = (false, spent, counted);
        }
        for (id, policy) in change.kept {
            if let Some(book) = self.books.0.get_mut(&id) {
                book.policy = policy;
            }
        }
        let replaced = change.fresh.iter().filter_map(|fresh| fresh.replaces);
        for id in replaced.chain(change.removed) {
            self.retire(id);
        }
        for book in self.books.0.values_mut().filter(|book| !book.retired) {
            for needed in &mut book.policy.after {
                let heir = change.fresh.iter().find(|fresh| fresh.replaces == Some(*needed));
                *needed = heir.map_or(*needed, |heir| heir.id);
            }
        }
    }

    fn note_roll_back(&mut self, because: Option<GenerationId>) {
        let Some(change) = self.change.take() else {
            return assert_eq!(because, None);
        };
        let fresh: Vec<_> = change.fresh.iter().map(|fresh| fresh.id).collect();
        assert!(because.is_some_and(|id| fresh.contains(&id)) || self.machine.cause.is_some(), "{because:?}");
        for id in fresh {
            self.retire(id);
        }
    }

    fn retire(&mut self, id: GenerationId) {
        let now = self.now;
        let book = self.books.get_mut(id);
        (book.trial, book.retired) = (false, true);
        book.seen.slice.get_or_insert(now);
    }

    pub(super) fn extend(&mut self, id: GenerationId, by: Duration) {
        let before = self.machine.deadline(id);
        let granted = self.machine.extend(id, by);
        assert_eq!(self.twin.extend(id, by), granted);
        assert!(granted <= by && self.machine.deadline(id) == before.map(|before| before + granted));
        if let Some(asked) = self.books.0.get_mut(&id).and_then(|book| book.seen.asked.as_mut()) {
            *asked += granted;
        }
        self.check_bounds();
    }
}

/// What an event says of one component, if it is one that can be.
fn note_of_one(book: &mut Book, event: Event, app_runs: bool) {
    let takes_part = app_runs && book.counts() && !book.trial;
    match event {
        Event::Entered(_) => book.seen.entered |= book.starts(),
        Event::Ready(_) => book.seen.ready |= book.starts() || book.runs(),
        Event::Returned(_) => book.seen.returned |= book.runs(),
        Event::Failed(_) => book.seen.failed |= book.lives() && !book.seen.dead,
        Event::Lost(_) => {
            let stops_app = book.policy.on_lost == OnEnd::StopApp;
            book.seen.lost |= stops_app && book.lives() && book.counts() && !book.trial;
        }
        Event::Unhealthy(_) if takes_part && book.runs() => match book.policy.pooled {
            true => book.seen.lost |= book.policy.on_failure == OnEnd::StopApp,
            false => book.seen.dead = true,
        },
        Event::Ended(_, outcome) if book.lives() => book.ends(outcome),
        // From then on, its slice is its own.
        Event::StopOne(..) if app_runs => (book.halted, book.seen.slice) = (true, Some(Duration::ZERO)),
        _ => {}
    }
}
