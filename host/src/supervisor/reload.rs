//! Rollouts of fresh generations: a reload of the manifest, and the replacement of one component by a fresh generation of itself,
//! because an operator wants it or because it was found dead. A service that is started again keeps its generation: not here.
//!
//! Invariant (I10): until the machine says `Switch`, the running app is not touched, but for services that make room for their
//! successors; those are put back if the rollout is. At most one rollout waits for its switch. A reload ends once, well or not. The
//! log and the operator hear the end of each restart once.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};

use super::event_loop::{EventLoop, generation_policy, policy};
use super::generation_record::millis;
use super::inbox::{Message, ReloadEvent};
use super::waiting_operators::{Reply, refusal, reply};
use crate::admin::RefusalKind;
use crate::plan::{ComponentPlan, Plan, PlanError};
use crate::runtime::{Known, LoadEvent, Loaded, Loading, load_all};
use crate::server::IncomingGeneration;
use crate::teardown::{Cause, Event, GenerationId, Incoming, Level, Phase, Rollout};

/// The reloads so far, and the rollout that waits for its switch.
#[derive(Default)]
pub(super) struct ReloadState {
    /// Reloads that took over.
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) last: Option<ReloadResult>,
    began: Duration,
    step: Step,
    rollout: Option<PendingRollout>,
}

pub(super) struct ReloadResult {
    pub(super) ok: bool,
    /// The change in words, or the error.
    pub(super) text: String,
    pub(super) at: Duration,
}

#[derive(Default)]
enum Step {
    #[default]
    Idle,
    Reading,
    /// The components of this plan are loaded. Dropping `Loading` gives them up.
    Loading(Box<Plan>, #[expect(dead_code, reason = "held for its drop")] Loading),
    /// A rollout with the new plan waits for its switch.
    RollingOut,
}

/// The change that takes place at the switch.
struct PendingRollout {
    /// The plan that holds from then on; `None` for a restart, which keeps the plan.
    plan: Option<Box<Plan>>,
    /// The generation of each name from then on.
    ids: BTreeMap<String, GenerationId>,
    /// The generations that are new, each with the one that it replaces.
    incoming: Vec<(GenerationId, Option<GenerationId>)>,
    what: String,
}

/// The changes of a reload, by the names of components.
#[derive(Default)]
struct Changes {
    changed: Vec<String>,
    added: Vec<String>,
    removed: Vec<String>,
    /// Components that go on with other settings, each with the keys.
    settings: Vec<String>,
}

impl Changes {
    fn keep(&mut self, component: &ComponentPlan, was: Option<&ComponentPlan>) {
        let keys = was.map(|was| was.settings_changed_in(component)).unwrap_or_default();
        if !keys.is_empty() {
            self.settings.push(format!("settings of {}: {}", component.name, keys.join(", ")));
        }
    }

    /// Returns the changes in words; `app` has those of the app's own settings.
    fn told(self, app: &[String]) -> String {
        let lists = [(self.changed, "changed"), (self.added, "added"), (self.removed, "removed")];
        let named = lists.iter().filter(|(names, _)| !names.is_empty());
        let mut parts: Vec<_> = named.map(|(names, what)| format!("{} {what}", names.join(", "))).collect();
        if parts.is_empty() {
            parts.push("no component has changed".to_owned());
        }
        parts.extend(self.settings);
        if !app.is_empty() {
            parts.push(format!("settings of the app: {}", app.join(", ")));
        }
        parts.join("; ")
    }
}

/// Returns why the manifest was not read.
fn not_read(error: &PlanError) -> String {
    match error {
        PlanError::Unreadable { path, cause, .. } if cause.kind() == ErrorKind::NotFound => {
            format!("the manifest is gone: {} does not exist any more", path.display())
        }
        error => error.to_string(),
    }
}

impl ReloadState {
    /// Returns whether a reload has begun and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self.step, Step::Idle)
    }

    /// Returns whether this generation waits for the switch.
    pub(super) fn is_on_trial(&self, id: GenerationId) -> bool {
        self.rollout.iter().flat_map(|rollout| &rollout.incoming).any(|(incoming, _)| *incoming == id)
    }
}

impl EventLoop {
    /// Begins a reload: the manifest is read on a thread of its own.
    pub(super) fn prepare_reload(&mut self) {
        self.waiting.reload_begins();
        (self.reloads.began, self.reloads.step) = (self.now, Step::Reading);
        info!("reloading");
        // Another name than that of the thread which dies below: both cannot be tested at once.
        crate::fail_point::leave_behind("reload-leaves");
        self.service_manager.reloading();
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

    pub(super) fn hear_reload(&mut self, event: ReloadEvent) {
        if !self.reloads.is_under_way() {
            return;
        }
        if self.machine.level() > Level::Running {
            return self.reload_failed("the app stops".to_owned());
        }
        let result = match event {
            ReloadEvent::Read(plan) => plan.map_err(|e| not_read(&e)).and_then(|plan| self.load_again(plan)),
            ReloadEvent::Load(LoadEvent::Done(_)) => Ok(()),
            ReloadEvent::Load(LoadEvent::Ended(loaded)) => {
                loaded.map_err(|e| e.to_string()).and_then(|loaded| self.take_over(loaded))
            }
            ReloadEvent::Load(LoadEvent::Died) => return self.host_bug("a loading thread"),
        };
        if let Err(why) = result {
            self.reload_failed(why);
        }
    }

    fn load_again(&mut self, plan: Plan) -> Result<(), String> {
        if let Some(why) = self.plan.cannot_reload_to(&plan) {
            return Err(why);
        }
        let known = |(name, id): (&String, &GenerationId)| {
            let record = self.registry.get(*id)?;
            Some((name.clone(), (record.plan.clone(), record.loaded.clone()?)))
        };
        let known: Known = self.registry.current.iter().filter_map(known).collect();
        let inbox = self.inbox.clone();
        let tell = Box::new(move |event| inbox.send(Message::Reload(ReloadEvent::Load(event))));
        let loading = load_all(&self.runtime, &plan, known, tell)
            .map_err(|error| format!("no thread to load components: {error}"))?;
        self.reloads.step = Step::Loading(Box::new(plan), loading);
        Ok(())
    }

    /// Turns the loaded components into a rollout. Loading returned unchanged components as they run.
    fn take_over(&mut self, loaded: Vec<Arc<Loaded>>) -> Result<(), String> {
        let plan = match std::mem::replace(&mut self.reloads.step, Step::RollingOut) {
            Step::Loading(plan, _) => plan,
            other => {
                self.reloads.step = other;
                return Ok(());
            }
        };
        let (mut ids, mut incoming, mut kept) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut changes = Changes::default();
        for (component, loaded) in plan.components.iter().zip(loaded) {
            let old = self.registry.id_of(&component.name);
            // One that is out of service comes back, changed or not.
            let same = |id: &GenerationId| {
                let known = self.registry.get(*id).and_then(|record| record.loaded.as_ref());
                let is_known = known.is_some_and(|known| Arc::ptr_eq(known, &loaded));
                is_known && !self.machine.is_out_of_service(*id)
            };
            let id = if let Some(old) = old.filter(same) {
                let was = self.registry.get(old).map(|record| record.plan.clone());
                changes.keep(component, was.as_deref());
                kept.push((old, component, loaded));
                old
            } else {
                let names = if old.is_some() { &mut changes.changed } else { &mut changes.added };
                names.push(component.name.clone());
                let id = self.registry.add(Arc::new(component.clone()), Some(loaded));
                incoming.push((id, old));
                id
            };
            ids.insert(component.name.clone(), id);
        }
        let gone = |(name, _): &(&String, &GenerationId)| !ids.contains_key(*name);
        let (names, removed): (Vec<_>, Vec<_>) = self.registry.current.iter().filter(gone).unzip();
        changes.removed = names.into_iter().cloned().collect();
        let removed = removed.into_iter().copied().collect();
        let what = changes.told(&self.plan.app.changes_to(&plan.app));
        let kept = kept.into_iter();
        let rollout = Rollout {
            incoming: Vec::new(),
            removed,
            kept: kept.map(|(id, plan, loaded)| (id, generation_policy(plan, Some(&loaded), &ids))).collect(),
            policy: Some(policy(&plan.app)),
            cause: Cause::Reload,
            keeps_budget: false,
        };
        self.begin_rollout(rollout, PendingRollout { plan: Some(plan), ids, incoming, what })
    }

    /// Replaces a component by a fresh generation of itself. If that fails, the component goes on as it is.
    pub(super) fn renew(&mut self, id: GenerationId, cause: Cause, answer: Option<Reply>) {
        let Some(record) = self.registry.get(id) else {
            return self.feed(Event::NothingToChange);
        };
        let (plan, loaded) = (record.plan.clone(), record.loaded.clone());
        let mut ids = self.registry.current.clone();
        let fresh = self.registry.add(plan.clone(), loaded);
        ids.insert(plan.name.clone(), fresh);
        let policies = |id: &GenerationId| {
            let record = self.registry.get(*id).filter(|_| *id != fresh)?;
            Some((*id, generation_policy(&record.plan, record.loaded.as_deref(), &ids)))
        };
        let kept = ids.values().filter_map(policies).collect();
        let keeps_budget = matches!(cause, Cause::Failure(_));
        let rollout =
            Rollout { incoming: Vec::new(), removed: Vec::new(), kept, policy: None, cause, keeps_budget };
        self.waiting.restart_begins(fresh, plan.name.clone(), answer);
        let incoming = vec![(fresh, Some(id))];
        let pending = PendingRollout { plan: None, ids, incoming, what: String::new() };
        if let Err(why) = self.begin_rollout(rollout, pending) {
            self.restart_ended(fresh, Err(&why));
            self.feed(Event::NothingToChange);
        }
    }

    /// Prepares the incoming generations, then lets the machine begin.
    fn begin_rollout(&mut self, mut rollout: Rollout, pending: PendingRollout) -> Result<(), String> {
        let replaced = pending.incoming.iter().filter_map(|(_, old)| *old);
        let stale: Vec<_> = replaced.chain(rollout.removed.iter().copied()).collect();
        let mut prepared = Vec::new();
        for (id, replaces) in pending.incoming.iter().copied() {
            let Some(record) = self.registry.get(id) else { continue };
            let Some(loaded) = record.loaded.clone() else { continue };
            let plan = record.plan.clone();
            // Generations of an earlier manifest count, and those of a restart that did not wait for its end.
            let before: Vec<_> = self.alive(&plan.name).filter(|other| *other != id).collect();
            // One that has not started yet is not to start meanwhile.
            let is_due = replaces.is_some_and(|old| self.machine.phase(old) == Phase::Pending);
            let waits = (is_due || !before.is_empty()) && !loaded.kind.is_pooled && !plan.overlap;
            let policy = generation_policy(&plan, Some(&loaded), &pending.ids);
            rollout.incoming.push(Incoming { id, policy, replaces, before, waits });
            prepared.push(IncomingGeneration { id, plan, loaded });
        }
        let servers = self.servers.as_mut().ok_or("nothing has started yet")?;
        if let Err(error) = servers.prepare(prepared, &stale) {
            pending.incoming.iter().for_each(|(id, _)| self.registry.take_back(*id));
            return Err(error.to_string());
        }
        self.registry.set_stats(servers);
        self.reloads.rollout = Some(pending);
        let before = self.machine.level();
        let actions = self.machine.roll_out(self.now, rollout);
        self.follow(before, actions);
        Ok(())
    }

    /// Lets the incoming generations become the app.
    pub(super) fn switch(&mut self) {
        if let Some(servers) = self.servers.as_mut() {
            servers.switch();
        }
        let Some(PendingRollout { plan, ids, incoming, what }) = self.reloads.rollout.take() else { return };
        self.registry.current = ids;
        let Some(plan) = plan else {
            return incoming.into_iter().for_each(|(id, _)| self.took_over(id));
        };
        for component in &plan.components {
            if let Some(id) = self.registry.id_of(&component.name)
                && let Some(record) = self.registry.get_mut(id)
            {
                record.plan = Arc::new(component.clone());
            }
        }
        self.plan = *plan;
        self.runtime.memory.set_limit(self.plan.app.memory);
        self.reload_ended(Ok(what));
    }

    /// Fails a reload whose manifest is still being read or loaded: the app stops.
    pub(super) fn give_up_reading(&mut self) {
        if matches!(self.reloads.step, Step::Reading | Step::Loading(..)) {
            self.reload_failed("the app stops".to_owned());
        }
    }

    /// Takes back the rollout that waits for its switch.
    pub(super) fn roll_back(&mut self, because: Option<GenerationId>) {
        if let Some(servers) = self.servers.as_mut() {
            servers.roll_back();
        }
        let Some(pending) = self.reloads.rollout.take() else { return };
        let replaced =
            |id| pending.incoming.iter().find(|(incoming, _)| *incoming == id).and_then(|(_, old)| *old);
        let why = match because {
            Some(id) if replaced(id).is_some_and(|old| self.machine.is_stopped(old)) => {
                format!("{}: it was stopped by an operator", self.name(id))
            }
            Some(id) => format!("{}: {}", self.name(id), self.why_failed(id)),
            None => "the app stops".to_owned(),
        };
        let has_made_room = |id: &GenerationId| {
            let was_asked = self.registry.get(*id).is_some_and(|record| record.run.asked.is_some());
            was_asked && self.machine.in_service().any(|serves| serves == *id)
        };
        let old = pending.incoming.iter().filter_map(|(_, old)| *old);
        let back: Vec<_> = old.filter(has_made_room).map(|id| self.name(id)).collect();
        // The machine has left the rollout already, and can be at the next one: it is not told again.
        if pending.plan.is_some() {
            self.reload_taken_back(why, &back);
        } else {
            let why = if back.is_empty() { why } else { format!("{why}; it starts again as it was") };
            pending.incoming.iter().for_each(|(id, _)| self.restart_ended(*id, Err(&why)));
        }
    }

    fn why_failed(&self, id: GenerationId) -> String {
        let Some(record) = self.registry.get(id) else { return String::new() };
        let has_ended = record.run.returned.or(record.run.ended).is_some();
        match record.any_failure() {
            Some(failure) => failure.summary.clone(),
            None if !has_ended => "it did not become ready".to_owned(),
            None if record.run.ready.is_none() => "it ended before it was ready".to_owned(),
            None => "it ended, which would stop the app (`on-exit`)".to_owned(),
        }
    }

    /// Ends a reload that has changed nothing, and lets the machine go on.
    fn reload_failed(&mut self, why: String) {
        self.reload_taken_back(why, &[]);
        self.feed(Event::NothingToChange);
    }

    /// Ends a reload that has failed. The services of these names had made room for it.
    fn reload_taken_back(&mut self, why: String, back: &[String]) {
        let note = match back {
            [] => "nothing has changed".to_owned(),
            names => format!("nothing has changed; starting again as before: {}", names.join(", ")),
        };
        self.reload_ended(Err((why, note)));
    }

    fn reload_ended(&mut self, result: Result<String, (String, String)>) {
        let took = millis(self.now.saturating_sub(self.reloads.began));
        self.reloads.step = Step::Idle;
        let ok = result.is_ok();
        let (told, answer, text) = match result {
            Ok(what) => {
                self.reloads.ok += 1;
                info!(reloads = self.reloads.ok, what, ms = took, "reloaded");
                (format!("reloaded: {what}"), Ok(format!("reloaded: {what} ({took} ms)")), what)
            }
            Err((why, note)) => {
                self.reloads.failed += 1;
                error!(error = why, note, "reload failed");
                let text = format!("reload failed: {why}");
                (text.clone(), refusal(RefusalKind::Failed, format!("{text}\nnote: {note}")), why)
            }
        };
        self.reloads.last = Some(ReloadResult { ok, text, at: self.now });
        self.waiting.reload_ended(&answer);
        if self.machine.level() == Level::Running {
            self.service_manager.reloaded(&told);
        }
    }

    /// Counts a restart, and ends it: its fresh generation has taken over.
    fn took_over(&mut self, id: GenerationId) {
        if let Some((_, counters)) = self.registry.with_counters(id) {
            counters.metrics.restarts += 1;
        }
        self.restart_ended(id, Ok(()));
    }

    fn restart_ended(&mut self, id: GenerationId, result: Result<(), &str>) {
        let Some((component, operator)) = self.waiting.restart_ended(id) else { return };
        let answer = match result {
            Ok(()) => {
                let what = format!("{component} has been restarted");
                info!(what, "restarted");
                Ok(what)
            }
            Err(error) => {
                error!(component, error, "restart failed");
                refusal(RefusalKind::Failed, error)
            }
        };
        if let Some(operator) = operator {
            reply(operator, answer);
        }
    }

    /// Returns the generations of a name of which something is left, the youngest first.
    pub(super) fn alive(&self, name: &str) -> impl Iterator<Item = GenerationId> {
        let lives = |id: GenerationId| !matches!(self.machine.phase(id), Phase::Pending | Phase::Ended);
        let named = self.registry.iter().rev().filter(move |(_, record)| record.plan.name == name);
        named.map(|(id, _)| id).filter(move |id| lives(*id))
    }
}
