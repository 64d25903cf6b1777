//! A `Watch` around the machine, for `properties`: checks every rule at each step on books of its own.
//!
//! Invariant: what each component saw is kept from events and actions alone, never copied from the machine.

use std::time::Duration;

use super::*;
use crate::plan::OnEnd;

/// What has been seen of one component.
#[derive(Clone, Default)]
struct Book {
    started: bool,
    entered: bool,
    failed: bool,
    /// One of its instances failed, and that counts.
    lost: bool,
    cut: bool,
    asked: bool,
    ended: Option<Outcome>,
}

impl Book {
    fn is_gone(&self) -> bool {
        self.failed || self.cut || self.ended.is_some()
    }
}

/// A machine, and all that was seen of it.
pub(super) struct Watch {
    pub(super) machine: Machine,
    twin: Machine,
    books: Vec<Book>,
    pub(super) now: Duration,
    /// As told by the actions so far.
    level: Level,
    host_bug: bool,
    pub(super) left: Option<ExitCode>,
}

impl Watch {
    pub(super) fn new((policy, members): (Policy, Vec<MemberPolicy>)) -> Self {
        let books = vec![Book::default(); members.len()];
        let machine = Machine::new(policy, members);
        let (twin, now) = (machine.clone(), Duration::ZERO);
        Self { machine, twin, books, now, level: Level::Running, host_bug: false, left: None }
    }

    /// Feeds one event and checks every rule.
    pub(super) fn feed(&mut self, now: Duration, event: Event) -> Vec<Action> {
        self.now = now;
        let before = self.machine.clone();
        let actions = self.machine.on(now, event);
        assert_eq!(actions, self.twin.on(now, event), "the same events give the same actions");
        if self.left.is_some() {
            assert_eq!(actions, [], "no action after Leave");
        } else {
            self.note_event(&before, event);
            actions.iter().for_each(|action| self.note_action(now, *action));
            self.check_step(&before, &actions);
        }
        actions
    }

    fn note_event(&mut self, before: &Machine, event: Event) {
        self.host_bug |= matches!(event, Event::HostBug(_));
        let (Event::Entered(id) | Event::Failed(id) | Event::Lost(id) | Event::Ended(id, _)) = event else {
            return;
        };
        let counts = before.members.get(id.0).is_some_and(|member| member.policy.on_lost == OnEnd::StopApp);
        let Some(book) = self.books.get_mut(id.0) else {
            return;
        };
        match event {
            Event::Entered(_) => book.entered |= book.started && !book.is_gone(),
            Event::Failed(_) => book.failed |= book.started && book.ended.is_none(),
            Event::Lost(_) => book.lost |= counts && book.started && book.ended.is_none(),
            // Nothing that follows masks a failure.
            Event::Ended(_, outcome) if (book.failed || book.lost) && outcome != Outcome::GaveUp => {
                book.ended = book.ended.or(Some(Outcome::Failed));
            }
            Event::Ended(_, outcome) if book.started || before.cause.is_none() => {
                book.ended = book.ended.or(Some(outcome));
            }
            _ => {}
        }
    }

    fn note_action(&mut self, now: Duration, action: Action) {
        assert_eq!(self.left, None, "Leave is the last action");
        match action {
            Action::Start(id) => {
                let book = &mut self.books[id.0];
                assert!(
                    !book.started && self.machine.cause.is_none(),
                    "{id:?} is started once, before a stop"
                );
                book.started = true;
            }
            Action::Ask { id, cause, deadline } => {
                let book = &mut self.books[id.0];
                assert!(book.entered && !book.is_gone(), "I1: {id:?} is asked while it can be entered");
                assert!(!book.asked, "I1: {id:?} is asked once");
                book.asked = true;
                match self.machine.deadlines.filter(|_| self.level > Level::Running) {
                    Some(all) => assert!(Some(cause) == self.machine.cause && deadline <= all.end),
                    None => assert!(cause == Cause::Finished(id) && deadline >= now),
                }
            }
            Action::Cut(id) => {
                let book = &mut self.books[id.0];
                // A start that overran its time has failed; one that was abandoned before has not.
                let cause_is_it = self.machine.cause == Some(Cause::Failure(id));
                book.failed |= !book.entered && (self.level == Level::Running || cause_is_it);
                assert!(book.started, "no Cut before Start");
                assert!(!book.cut && book.ended.is_none(), "{id:?} is cut off once, while it is there");
                assert!(
                    book.asked || book.failed || !book.entered,
                    "I1: {id:?} is asked before it is cut off"
                );
                book.cut = true;
            }
            Action::FailStart(id) => {
                let book = &mut self.books[id.0];
                assert!(book.started && !book.entered && !book.is_gone());
                book.failed = true;
            }
            Action::Abandon(id) => {
                let book = &self.books[id.0];
                assert!(book.started && !book.entered && !book.is_gone());
            }
            Action::Leave(code) => self.left = Some(code),
            Action::Raise(level) => self.level = level,
            Action::NoteSignal(_) | Action::RefuseReload | Action::PrintStatus => {}
        }
    }

    fn check_step(&self, before: &Machine, actions: &[Action]) {
        let machine = &self.machine;
        let raised =
            actions.iter().filter_map(|action| if let Action::Raise(to) = action { Some(*to) } else { None });
        let levels: Vec<_> = [before.level].into_iter().chain(raised).collect();
        assert!(levels.is_sorted_by(|low, high| low < high), "I5: levels only rise: {levels:?}");
        assert_eq!(levels.last(), Some(&machine.level), "each rise is told");
        let phases =
            |machine: &Machine| machine.members.iter().map(|member| member.phase).collect::<Vec<_>>();
        assert!(phases(before).iter().zip(phases(machine)).all(|(old, new)| *old <= new), "I5: phases");
        if before.cause.is_some() {
            assert_eq!(machine.cause, before.cause, "I6");
        }
        assert_eq!(machine.cause.is_some(), machine.deadlines.is_some());
        if let (Some(old), Some(new)) = (before.deadlines, machine.deadlines) {
            assert!(
                new.drain <= old.drain && new.end <= old.end && new.hard <= old.hard,
                "I5: {old:?} {new:?}"
            );
        }
        self.check_bounds();
        self.check_end(before);
    }

    fn check_bounds(&self) {
        let machine = &self.machine;
        let behind = machine.next_wake().is_some_and(|at| at <= self.now);
        assert!(self.left.is_some() || !behind, "what is due has been done");
        if let Some(all) = machine.deadlines {
            assert!(all.end <= all.hard);
            let due = if machine.level < Level::Cut { all.end } else { all.hard };
            assert!(self.left.is_some() || machine.next_wake().is_some_and(|at| at <= due), "I3");
            assert!(self.now < all.hard || self.left.is_some(), "I3: left by {:?}", all.hard);
            let late = |at| machine.deadline(ComponentId(at)).is_some_and(|own| own > all.end);
            assert!(!(0..self.books.len()).any(late), "nobody has time past the app's end");
        }
        if machine.level >= Level::Drain && self.left.is_none() {
            let mut there = self.books.iter().filter(|book| book.entered && !book.is_gone());
            assert!(there.all(|book| book.asked), "I1: everyone who was started is asked");
        }
    }

    fn check_end(&self, before: &Machine) {
        let machine = &self.machine;
        let stops = machine.cause.is_some();
        let quiet = self.books.iter().all(|book| book.ended.is_some() || (stops && !book.started));
        let over = machine.deadlines.is_some_and(|all| self.now >= all.hard);
        let at_once = before.level == Level::Cut && matches!(machine.forced, Some(Signal::Int));
        assert!(!quiet || self.left.is_some(), "I4: quiet means leave");
        assert!(self.left.is_none() || quiet || over || at_once, "it leaves for a reason");
        assert_eq!(self.left.is_some(), machine.level == Level::Exit);
        if let Some(code) = self.left {
            self.check_code(code);
        }
    }

    /// I11, from the books.
    fn check_code(&self, code: ExitCode) {
        let outcome = |book: &Book| match book {
            Book { ended: Some(outcome), .. } => *outcome,
            Book { failed: true, .. } | Book { lost: true, .. } => Outcome::Failed,
            Book { started: false, .. } => Outcome::NotStarted,
            Book { cut: true, .. } => Outcome::Leaked,
            _ => Outcome::CutOff,
        };
        let outcomes: Vec<_> = self.books.iter().map(outcome).collect();
        let found: Vec<_> = (0..outcomes.len()).map(|at| self.machine.outcome(ComponentId(at))).collect();
        assert_eq!(found, outcomes);
        assert_eq!(code, exit_code(self.host_bug, self.machine.forced, &outcomes), "I11");
        assert_eq!(code, self.machine.exit_code());
    }

    /// Feeds the clock whenever it is due, up to `until`.
    pub(super) fn clock(&mut self, until: Duration) {
        while let Some(at) = self.machine.next_wake().filter(|at| *at <= until && self.left.is_none()) {
            let at = at.max(self.now);
            self.feed(at, Event::Clock);
            assert!(
                self.left.is_some() || self.machine.next_wake().is_none_or(|next| next > at),
                "it gets on"
            );
        }
    }

    /// I3: nothing but the clock comes any more.
    pub(super) fn end(mut self) {
        self.clock(Duration::MAX);
        assert!(self.machine.cause.is_none() || self.left.is_some(), "I3: a cause leads to the exit");
        for event in [Event::Clock, Event::Signal(Signal::Int), Event::Failed(ComponentId(0))] {
            if self.left.is_some() {
                self.feed(self.now + Duration::from_millis(700), event);
            }
        }
    }

    pub(super) fn extend(&mut self, id: ComponentId, by: Duration) {
        let before = self.machine.deadline(id);
        let granted = self.machine.extend(id, by);
        assert_eq!(self.twin.extend(id, by), granted);
        assert!(granted <= by && self.machine.deadline(id) == before.map(|before| before + granted));
        self.check_bounds();
    }
}
