//! A world around a `Watch`: components and hands that react to what the machine says as real ones do.
//!
//! Invariant: an instance says nothing before its start nor after its end; what was asked for is answered, sooner or later.

use std::time::Duration;

use super::watch::Watch;
use super::*;
use crate::plan::OnEnd;

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What one instance does when it is left alone, and how it answers; times in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Habit {
    /// When it enters its `run`, if ever, and whether it fails instead.
    pub(super) enters: Option<(u64, bool)>,
    /// When it is ready then, if ever.
    pub(super) ready: Option<u64>,
    /// When its `run` ends by itself, if ever, and whether with an error.
    pub(super) runs: Option<(u64, bool)>,
    /// When one of its own instances fails, and when it is found dead.
    pub(super) loses: Option<u64>,
    pub(super) sick: Option<u64>,
    pub(super) stops: Option<(u64, Outcome)>,
    /// Whether it is gone when it is abandoned, or enters nevertheless.
    pub(super) heeds: bool,
    pub(super) dies: Option<(u64, Outcome)>,
}

/// What a manifest says when it is read the next time.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    /// How long it takes to prepare.
    pub(super) takes: u64,
    pub(super) fails: bool,
    /// What becomes of each component: 0 it stays, 1 and 2 it is replaced, 3 replaced after its end, 4 removed.
    pub(super) fates: Vec<u8>,
    pub(super) policies: Vec<MemberPolicy>,
    pub(super) added: bool,
    pub(super) app: Option<Policy>,
}

/// What comes from outside in the very moment in which something is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blow {
    Event(Event),
    Fails,
    Lost,
    Returned,
    Unhealthy,
    StopOne(Urgency),
}

#[derive(Clone, Copy, Debug)]
enum Coming {
    Event(Event),
    /// What was asked for has been prepared.
    Prepared(Option<GenerationId>),
}

/// Components that react as real ones do, and what comes from outside.
pub(super) struct World {
    pub(super) habits: Vec<Habit>,
    pub(super) edits: Vec<Edit>,
    /// After which action each comes.
    pub(super) blows: Vec<(usize, Blow)>,
    /// Each component has a habit of its own, the same at each start.
    pub(super) one_habit_each: bool,
    coming: Vec<(Duration, Coming)>,
    next: usize,
    births: usize,
    edited: usize,
    done: usize,
}

impl World {
    pub(super) fn new(habits: Vec<Habit>, coming: Vec<(Duration, Event)>) -> Self {
        let coming = coming.into_iter().map(|(at, event)| (at, Coming::Event(event))).collect();
        let (edits, blows, one_habit_each) = (Vec::new(), Vec::new(), false);
        Self { habits, edits, blows, one_habit_each, coming, next: 0, births: 0, edited: 0, done: 0 }
    }

    fn push(&mut self, at: Duration, event: Event) {
        self.coming.push((at, Coming::Event(event)));
    }

    fn fail(&mut self, at: Duration, id: GenerationId) {
        self.push(at, Event::Failed(id));
        self.push(at + ms(1), Event::Ended(id, Outcome::Failed));
    }

    /// Takes back what one would have said.
    fn silence(&mut self, id: GenerationId) {
        let says = |event: &Event| {
            let (Event::Entered(of) | Event::Ready(of) | Event::Returned(of) | Event::Failed(of)) = event
            else {
                return matches!(event, Event::Ended(of, _) | Event::Lost(of) | Event::Unhealthy(of) if *of == id);
            };
            *of == id
        };
        self.coming.retain(|(_, coming)| !matches!(coming, Coming::Event(event) if says(event)));
    }

    fn habit(&self, id: GenerationId) -> Habit {
        let births = if self.one_habit_each { 0 } else { self.births };
        self.habits[(id.0 + 3 * births) % self.habits.len()].clone()
    }

    fn react(&mut self, watch: &Watch, action: Action) {
        let now = watch.now;
        let (id, end) = match action {
            Action::Start(id) => {
                self.births += 1;
                return self.start(watch, now, id);
            }
            // It tries again by itself.
            Action::Restart { id, pause } if watch.books.get(id).starts() => {
                self.births += 1;
                return self.start(watch, now + pause, id);
            }
            Action::Abandon(id) => (id, self.habit(id).heeds.then_some((1, Outcome::NotStarted))),
            Action::Ask { id, .. } => (id, self.habit(id).stops),
            Action::Cut(id) => (id, self.habit(id).dies),
            Action::Renew(id) => return self.prepare(now, Some(id)),
            Action::Prepare => return self.prepare(now, None),
            _ => return,
        };
        if end.is_some() || matches!(action, Action::Cut(_)) {
            self.silence(id);
        }
        match end {
            Some((after, Outcome::Failed)) => self.fail(now + ms(after), id),
            Some((after, outcome)) => self.push(now + ms(after), Event::Ended(id, outcome)),
            None => {}
        }
    }

    fn start(&mut self, watch: &Watch, now: Duration, id: GenerationId) {
        let (habit, policy) = (self.habit(id), &watch.books.get(id).policy);
        let tries_again = policy.pooled && policy.on_lost == OnEnd::Restart;
        let (after, fails) = match habit.enters {
            Some((after, fails)) => (ms(after), fails),
            None if tries_again => (policy.start_timeout, true),
            None => return,
        };
        let entered = now + after;
        match (fails, tries_again) {
            (true, true) => return self.push(entered, Event::Lost(id)),
            (true, false) => return self.fail(entered, id),
            (false, _) => {}
        }
        self.push(entered, Event::Entered(id));
        let later = [
            (habit.ready, Event::Ready(id)),
            (habit.loses, Event::Lost(id)),
            (habit.sick, Event::Unhealthy(id)),
        ];
        for (after, event) in later {
            after.into_iter().for_each(|after| self.push(entered + ms(after), event));
        }
        match habit.runs {
            Some((after, true)) => self.fail(entered + ms(after), id),
            Some((after, false)) => self.push(entered + ms(after), Event::Returned(id)),
            None => {}
        }
    }

    fn prepare(&mut self, now: Duration, renews: Option<GenerationId>) {
        let takes = self.edits.get(self.edited % self.edits.len().max(1)).map_or(0, |edit| edit.takes);
        self.coming.push((now + ms(takes), Coming::Prepared(renews)));
    }

    /// Begins a change that nobody asked for.
    pub(super) fn begin(&mut self, watch: &mut Watch, edit: &Edit) {
        let change = self.draw_up(watch, edit, None);
        watch.change(watch.now, change);
    }

    /// What has been prepared takes its course.
    fn prepared(&mut self, watch: &mut Watch, renews: Option<GenerationId>) -> Vec<Action> {
        let edit = self.edits.get(self.edited % self.edits.len().max(1)).cloned();
        self.edited += 1;
        let Some(edit) = edit.filter(|edit| !edit.fails) else {
            return watch.feed(watch.now, Event::NothingToChange);
        };
        let change = self.draw_up(watch, &edit, renews);
        watch.change(watch.now, change)
    }

    /// Compares what a manifest says with what is there.
    fn draw_up(&mut self, watch: &Watch, edit: &Edit, renews: Option<GenerationId>) -> Change {
        let cause = renews.map_or(Cause::Reload, Cause::Failure);
        let (removed, kept, policy) = (Vec::new(), Vec::new(), edit.app.clone().filter(|_| renews.is_none()));
        let mut change =
            Change { fresh: Vec::new(), removed, kept, policy, cause, keeps_budget: renews.is_some() };
        self.next = self.next.max(100);
        let current = watch.books.0.iter().filter(|(_, book)| !book.retired && !book.trial);
        for (at, (id, book)) in current.enumerate() {
            let fate = match renews {
                Some(dead) => u8::from(dead == *id),
                None => edit.fates[at % edit.fates.len()],
            };
            let policy = &edit.policies[at % edit.policies.len()];
            match fate {
                0 => change.kept.push((*id, book.policy.clone())),
                4 => change.removed.push(*id),
                _ => {
                    // Who is renewed comes back as it was.
                    let policy = if renews.is_some() { &book.policy } else { policy };
                    let policy = MemberPolicy { after: book.policy.after.clone(), ..policy.clone() };
                    let id = (GenerationId(self.next), Some(*id));
                    change.fresh.push(Fresh {
                        id: id.0,
                        policy,
                        replaces: id.1,
                        before: Vec::new(),
                        waits: fate == 3,
                    });
                    self.next += 1;
                }
            }
        }
        let heirs: Vec<_> = change.fresh.iter().map(|fresh| (fresh.replaces, fresh.id)).collect();
        for after in change.fresh.iter_mut().map(|fresh| &mut fresh.policy.after) {
            after.retain(|id| !change.removed.contains(id));
            for id in after {
                *id = heirs.iter().find(|(old, _)| *old == Some(*id)).map_or(*id, |(_, heir)| *heir);
            }
        }
        for (_, policy) in &mut change.kept {
            policy.after.retain(|id| !change.removed.contains(id));
        }
        if edit.added && renews.is_none() {
            let after = change.kept.iter().map(|(id, _)| *id).take(1);
            let after = after.chain(change.fresh.iter().map(|fresh| fresh.id).take(1)).collect();
            let policy = MemberPolicy { after, ..edit.policies[0].clone() };
            change.fresh.push(Fresh {
                id: GenerationId(self.next),
                policy,
                replaces: None,
                before: Vec::new(),
                waits: false,
            });
            self.next += 1;
        }
        change
    }

    /// A fail point: something strikes in the very moment in which something is done.
    fn strike(&mut self, watch: &Watch, action: Action) {
        let now = watch.now;
        let of = match action {
            Action::Start(id) | Action::Abandon(id) | Action::Ask { id, .. } | Action::Cut(id) => id,
            Action::FailStart(id) | Action::Restart { id, .. } | Action::Renew(id) => id,
            _ => GenerationId(self.done % 3),
        };
        let due: Vec<_> =
            self.blows.iter().filter(|(at, _)| *at == self.done).map(|(_, blow)| *blow).collect();
        self.done += 1;
        let there = watch.books.0.get(&of).is_some_and(|book| book.lives());
        for blow in due {
            let event = match blow {
                Blow::Event(event) => event,
                Blow::StopOne(urgency) => Event::StopOne(of, urgency),
                _ if !there => continue,
                Blow::Fails => {
                    self.silence(of);
                    self.fail(now, of);
                    continue;
                }
                Blow::Lost => Event::Lost(of),
                Blow::Returned => Event::Returned(of),
                Blow::Unhealthy => Event::Unhealthy(of),
            };
            self.coming.insert(0, (now, Coming::Event(event)));
        }
    }

    /// Lets it all happen for some time, with the clock fed when it is due, and returns how it ended.
    pub(super) fn happen(mut self, app: (Policy, Vec<MemberPolicy>)) -> Watch {
        let mut watch = Watch::new(app, true);
        self.push(Duration::ZERO, Event::Loaded);
        for _ in 0..2_000 {
            let next = (0..self.coming.len()).min_by_key(|at| self.coming[*at].0);
            let due = next.map_or(Duration::MAX, |at| self.coming[at].0);
            let actions = match (watch.machine.next_wake().filter(|wake| *wake < due), next) {
                _ if watch.left.is_some() => break,
                (Some(wake), _) => watch.feed(wake.max(watch.now), Event::Clock),
                (None, Some(at)) => {
                    let (now, coming) = self.coming.remove(at);
                    watch.now = now;
                    match coming {
                        Coming::Event(event) => watch.feed(now, event),
                        Coming::Prepared(renews) => self.prepared(&mut watch, renews),
                    }
                }
                (None, None) => break,
            };
            for action in actions {
                self.react(&watch, action);
                self.strike(&watch, action);
            }
        }
        self.check_nothing_is_left(&watch);
        watch
    }

    /// I12: when nothing more can happen, nothing is on trial, and of those that were replaced only those are left that cannot
    /// be ended.
    fn check_nothing_is_left(&self, watch: &Watch) {
        if !self.coming.is_empty() || watch.machine.next_wake().is_some() || watch.left.is_some() {
            return;
        }
        for (id, book) in &watch.books.0 {
            assert!(!book.retired || book.seen.cut.is_some(), "I12: {id:?}");
            assert!(!book.trial, "a change comes to its end");
        }
        assert!(!watch.machine.is_changing());
    }
}
