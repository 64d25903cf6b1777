//! Reloads: from a manifest that is read again to a change for the machine, and what became of it. Invariant (I10): until the machine says `Switch`, the running app is not touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::event_loop::EventLoop;
use super::generation_record::millis;
use super::inbox::Message;
use super::log_events;
use super::policies::{is_pooled, member_policy, policy};
use super::replace::Replacements;
use crate::admin::{OperatorAnswer, OperatorRefusal, RefusalKind};
use crate::plan::{Plan, PlanError};
use crate::runtime::{Known, LoadEvent, Loaded, Loading, load_all};
use crate::server::http::FreshComponent;
use crate::teardown::{Cause, Change, Event, Fresh, GenerationId, Level};

/// What the threads of a reload tell.
#[derive(Debug)]
pub enum ReloadEvent {
    /// The manifest was read.
    Read(Box<Result<Plan, PlanError>>),
    /// Loading got further.
    Load(LoadEvent),
}

/// What takes over at the switch.
pub(super) struct TakeOver {
    /// The plan that holds then, if it is another one.
    pub(super) plan: Option<Box<Plan>>,
    /// What names mean then.
    pub(super) ids: BTreeMap<String, GenerationId>,
    /// Those that are new.
    pub(super) fresh: Vec<GenerationId>,
    /// What has changed, in words.
    pub(super) what: String,
}

/// Reloads and restarts, under way and done.
#[derive(Default)]
pub struct Reloads {
    /// Reloads that took over.
    pub ok: u64,
    /// Reloads that failed.
    pub failed: u64,
    /// How the last one ended: whether well, in words, and when.
    pub last: Option<(bool, String, Duration)>,
    began: Duration,
    reads: bool,
    plan: Option<Box<Plan>>,
    loading: Option<Loading>,
    taking_over: Option<TakeOver>,
    /// Who waits for the reload that is under way.
    answers: Vec<oneshot::Sender<OperatorAnswer>>,
    /// Who waits for the one after it.
    queued: Vec<oneshot::Sender<OperatorAnswer>>,
    /// Generations that restarts wait for.
    pub(super) restarts: Replacements,
}

impl std::fmt::Debug for Reloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloads").field("ok", &self.ok).field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Reloads {
    /// Returns whether the manifest is being read, or what it says is about to take over.
    pub fn is_under_way(&self) -> bool {
        self.reads || self.taking_over.as_ref().is_some_and(|it| it.plan.is_some())
    }

    /// Returns whether this generation has not taken over yet.
    pub fn is_on_trial(&self, id: GenerationId) -> bool {
        self.taking_over.as_ref().is_some_and(|it| it.fresh.contains(&id))
    }

    /// Notes who wants to know how the next reload ends.
    pub fn wait(&mut self, answer: oneshot::Sender<OperatorAnswer>) {
        self.queued.push(answer);
    }

    /// Tells everybody who waits that it comes to nothing.
    pub fn refuse_all(&mut self, refusal: &OperatorRefusal) {
        let all = self.answers.drain(..).chain(self.queued.drain(..));
        for answer in all.chain(self.restarts.drain()) {
            // Whoever asked can be gone by now.
            let _gone = answer.send(Err(refusal.clone()));
        }
    }
}

impl EventLoop {
    /// Begins a reload: the manifest is read on a thread of its own.
    pub(super) fn prepare_reload(&mut self) {
        let reloads = &mut self.reloads;
        reloads.answers.append(&mut reloads.queued);
        (reloads.began, reloads.reads) = (self.now, true);
        log_events::reloading();
        // Another name than that of the thread which dies below: both cannot be tested at once.
        crate::fail_point::leave_behind("reload-leaves");
        self.manager.reloading();
        let Some(manifest) = self.plan.manifest.clone() else {
            return self.reload_failed("there is no manifest to read again".to_owned());
        };
        let (inbox, overrides) = (self.inbox.clone(), self.options.overrides.clone());
        let read = move || {
            let _death = inbox.on_death("the thread that reads the manifest");
            crate::fail_point::reach("reload");
            let plan = Plan::from_manifest(&manifest).map(|mut plan| {
                plan.apply(overrides);
                plan
            });
            inbox.send(Message::Reload(ReloadEvent::Read(Box::new(plan))));
        };
        if let Err(error) = std::thread::Builder::new().name("curfew-reload".to_owned()).spawn(read) {
            self.reload_failed(format!("no thread to read the manifest: {error}"));
        }
    }

    /// Hears from the threads of a reload.
    pub(super) fn hear_reload(&mut self, event: ReloadEvent) {
        if !self.reloads.reads {
            return;
        }
        if self.machine.level() > Level::Running {
            return self.reload_failed("the app stops".to_owned());
        }
        match event {
            ReloadEvent::Read(plan) => match *plan {
                Ok(plan) => match self.plan.cannot_reload_to(&plan) {
                    None => self.load_again(plan),
                    Some(why) => self.reload_failed(why),
                },
                Err(error) => self.reload_failed(error.to_string()),
            },
            ReloadEvent::Load(LoadEvent::Done(_)) => {}
            ReloadEvent::Load(LoadEvent::Ended(Ok(loaded))) => {
                self.reloads.loading = None;
                if let Some(plan) = self.reloads.plan.take()
                    && let Err(why) = self.take_over(plan, loaded)
                {
                    self.reload_failed(why);
                }
            }
            ReloadEvent::Load(LoadEvent::Ended(Err(error))) => self.reload_failed(error.to_string()),
            ReloadEvent::Load(LoadEvent::Died) => self.host_bug("a loading thread"),
        }
    }

    fn load_again(&mut self, plan: Plan) {
        let known = |(name, id): (&String, &GenerationId)| {
            let record = self.registry.get(*id)?;
            Some((name.clone(), (record.plan.clone(), record.loaded.clone()?)))
        };
        let known: Known = self.registry.current().iter().filter_map(known).collect();
        let inbox = self.inbox.clone();
        let tell = Box::new(move |event| inbox.send(Message::Reload(ReloadEvent::Load(event))));
        match load_all(&self.runtime, &plan, known, tell) {
            Ok(loading) => {
                self.reloads.loading = Some(loading);
                self.reloads.plan = Some(Box::new(plan));
            }
            Err(error) => self.reload_failed(format!("no thread to load components: {error}")),
        }
    }

    /// Turns what was loaded into a change. What has not changed was given back as it runs.
    fn take_over(&mut self, plan: Box<Plan>, loaded: Vec<Arc<Loaded>>) -> Result<(), String> {
        let (mut ids, mut made) = (BTreeMap::new(), Vec::new());
        let (mut added, mut kept) = (0, Vec::new());
        for (component, loaded) in plan.components.iter().zip(loaded) {
            let old = self.registry.id_of(&component.name);
            let same = |id: &GenerationId| {
                let known = self.registry.get(*id).and_then(|record| record.loaded.as_ref());
                known.is_some_and(|known| Arc::ptr_eq(known, &loaded))
            };
            let id = match old.filter(same) {
                Some(old) => {
                    kept.push((old, Arc::new(component.clone())));
                    old
                }
                None => {
                    added += usize::from(old.is_none());
                    let id = self.registry.add(Arc::new(component.clone()), Some(loaded));
                    made.push((id, old));
                    id
                }
            };
            ids.insert(component.name.clone(), id);
        }
        let gone = |(name, _): &(&String, &GenerationId)| !ids.contains_key(*name);
        let removed: Vec<_> = self.registry.current().iter().filter(gone).map(|(_, id)| *id).collect();
        let what = match (made.len() - added, added, removed.len()) {
            (0, 0, 0) => "no component has changed".to_owned(),
            (changed, added, removed) => format!("{changed} changed, {added} added, {removed} removed"),
        };
        let kept = kept.into_iter().map(|(id, plan)| (id, member_policy(&plan, &ids))).collect();
        let policy = Some(policy(&plan.app));
        let change =
            Change { fresh: Vec::new(), removed, kept, policy, cause: Cause::Reload, keeps_budget: false };
        let fresh = made.iter().map(|(id, _)| *id).collect();
        self.begin_change(change, made, TakeOver { plan: Some(plan), ids, fresh, what })
    }

    /// Gets what the fresh ones need, then lets the machine begin.
    pub(super) fn begin_change(
        &mut self,
        mut change: Change,
        made: Vec<(GenerationId, Option<GenerationId>)>,
        taking_over: TakeOver,
    ) -> Result<(), String> {
        let stale: Vec<_> =
            made.iter().filter_map(|(_, old)| *old).chain(change.removed.iter().copied()).collect();
        let (mut pooled, mut fresh) = (Vec::new(), Vec::new());
        for (id, old) in &made {
            let Some(record) = self.registry.get(*id) else { continue };
            let (plan, is_pooled) = (record.plan.clone(), is_pooled(&record.plan));
            // Also those of an earlier manifest, or of a restart that was not waited for.
            let before: Vec<_> = self.alive(&plan.name).filter(|other| other != id).collect();
            let waits = !before.is_empty() && !is_pooled && !plan.overlap;
            let policy = member_policy(&plan, &taking_over.ids);
            fresh.push(Fresh { id: *id, policy, replaces: *old, before, waits });
            if let Some(loaded) = record.loaded.clone().filter(|_| is_pooled) {
                pooled.push(FreshComponent { id: *id, plan, loaded });
            }
        }
        let front = self.front.as_mut().ok_or("nothing has started yet")?;
        if let Err(error) = front.prepare(pooled, &stale) {
            for (id, _) in made {
                self.registry.take_back(id);
            }
            return Err(error.to_string());
        }
        for (id, _) in &made {
            let stats = front.stats(*id);
            if let Some(record) = self.registry.get_mut(*id) {
                record.stats = stats;
            }
        }
        change.fresh = fresh;
        self.reloads.taking_over = Some(taking_over);
        let before = self.machine.level();
        let actions = self.machine.change(self.now, change);
        self.follow(before, actions);
        Ok(())
    }

    /// The moment in which the fresh ones become the app.
    pub(super) fn switch(&mut self) {
        if let Some(front) = self.front.as_mut() {
            front.switch();
        }
        let Some(TakeOver { plan, ids, fresh, what }) = self.reloads.taking_over.take() else { return };
        self.registry.set_current(ids);
        let Some(plan) = plan else {
            return fresh.into_iter().for_each(|id| self.took_over(id));
        };
        for component in &plan.components {
            if let Some(id) = self.registry.id_of(&component.name)
                && let Some(record) = self.registry.get_mut(id)
            {
                record.plan = Arc::new(component.clone());
            }
        }
        self.plan = *plan;
        self.reloads.ok += 1;
        log_events::reloaded(self.reloads.ok, &what, self.now.saturating_sub(self.reloads.began));
        self.reload_ended(Ok(what));
    }

    /// The app stops while a manifest is read, or what it says is loaded: nothing comes of it.
    pub(super) fn give_up_reading(&mut self) {
        if self.reloads.reads && self.reloads.taking_over.is_none() {
            self.reload_failed("the app stops".to_owned());
        }
    }

    /// Takes back what was to take over.
    pub(super) fn roll_back(&mut self, because: Option<GenerationId>) {
        if let Some(front) = self.front.as_mut() {
            front.roll_back();
        }
        let Some(taking_over) = self.reloads.taking_over.take() else { return };
        let why = match because {
            Some(id) => format!("{}: {}", self.name(id), self.why_failed(id)),
            None => "the app stops".to_owned(),
        };
        // The machine has done so already, and can be at the next one.
        if taking_over.plan.is_some() {
            self.note_reload_failed(why);
        } else {
            taking_over.fresh.iter().for_each(|id| self.never_ready(*id, &why));
        }
    }

    /// Returns what went wrong with a generation, in words.
    pub(super) fn why_failed(&self, id: GenerationId) -> String {
        let record = self.registry.get(id);
        let failure = record.and_then(|record| record.failure.as_ref().or(record.lost.as_ref()));
        failure.map_or("it did not become ready".to_owned(), |failure| failure.summary.clone())
    }

    /// A reload came to nothing before it changed anything.
    fn reload_failed(&mut self, why: String) {
        self.note_reload_failed(why);
        self.feed(Event::NothingToChange);
    }

    fn note_reload_failed(&mut self, why: String) {
        self.reloads.failed += 1;
        log_events::reload_failed(&why);
        self.reload_ended(Err(why));
    }

    fn reload_ended(&mut self, result: Result<String, String>) {
        let reloads = &mut self.reloads;
        (reloads.reads, reloads.plan, reloads.loading) = (false, None, None);
        let (ok, text) = match &result {
            Ok(what) => (true, what.clone()),
            Err(why) => (false, why.clone()),
        };
        let answer = match result {
            Ok(what) => {
                Ok(format!("reloaded: {what} ({} ms)", millis(self.now.saturating_sub(reloads.began))))
            }
            Err(text) => Err(OperatorRefusal { kind: RefusalKind::Failed, text }),
        };
        for waiting in reloads.answers.drain(..) {
            let _gone = waiting.send(answer.clone());
        }
        if self.machine.level() == Level::Running {
            let told = if ok { format!("reloaded: {text}") } else { format!("reload failed: {text}") };
            self.manager.reloaded(&told);
        }
        reloads.last = Some((ok, text, self.now));
    }
}
