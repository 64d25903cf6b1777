//! Reloads: the manifest is read again and becomes a rollout of the machine. Invariant (I10): until the machine says `Switch`, the
//! running app is not touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event_loop::EventLoop;
use super::generation_record::millis;
use super::inbox::{Message, ReloadEvent};
use super::log_events;
use super::policies::{generation_policy, policy};
use super::reload_state::PendingRollout;
use crate::admin::{OperatorRefusal, RefusalKind};
use crate::plan::Plan;
use crate::runtime::{Known, LoadEvent, Loaded, load_all};
use crate::server::IncomingGeneration;
use crate::teardown::{Cause, Event, GenerationId, Incoming, Level, Rollout};

impl EventLoop {
    /// Begins a reload: the manifest is read on a thread of its own.
    pub(super) fn prepare_reload(&mut self) {
        self.waiting.reload_begins();
        self.reloads.begins(self.now);
        log_events::reloading();
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

    /// Hears from the threads of a reload.
    pub(super) fn hear_reload(&mut self, event: ReloadEvent) {
        if !self.reloads.is_under_way() {
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
                if let Some(plan) = self.reloads.take_loaded()
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
            Ok(loading) => self.reloads.loads(plan, loading),
            Err(error) => self.reload_failed(format!("no thread to load components: {error}")),
        }
    }

    /// Turns the loaded components into a rollout. Loading returned unchanged components as they run.
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
                    kept.push((old, Arc::new(component.clone()), loaded.clone()));
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
        let kept = kept
            .into_iter()
            .map(|(id, plan, loaded)| (id, generation_policy(&plan, Some(&loaded), &ids)))
            .collect();
        let policy = Some(policy(&plan.app));
        let rollout = Rollout {
            incoming: Vec::new(),
            removed,
            kept,
            policy,
            cause: Cause::Reload,
            keeps_budget: false,
        };
        let fresh = made.iter().map(|(id, _)| *id).collect();
        self.begin_rollout(rollout, made, PendingRollout { plan: Some(plan), ids, incoming: fresh, what })
    }

    /// Prepares the incoming generations, then lets the machine begin.
    pub(super) fn begin_rollout(
        &mut self,
        mut rollout: Rollout,
        made: Vec<(GenerationId, Option<GenerationId>)>,
        pending: PendingRollout,
    ) -> Result<(), String> {
        let stale: Vec<_> =
            made.iter().filter_map(|(_, old)| *old).chain(rollout.removed.iter().copied()).collect();
        let (mut prepared, mut incoming) = (Vec::new(), Vec::new());
        for (id, old) in &made {
            let Some(record) = self.registry.get(*id) else { continue };
            let Some(loaded) = record.loaded.clone() else { continue };
            let plan = record.plan.clone();
            // Generations of an earlier manifest count, and those of a restart that did not wait for its end.
            let before: Vec<_> = self.alive(&plan.name).filter(|other| other != id).collect();
            let waits = !before.is_empty() && !loaded.kind.is_pooled && !plan.overlap;
            let policy = generation_policy(&plan, Some(&loaded), &pending.ids);
            incoming.push(Incoming { id: *id, policy, replaces: *old, before, waits });
            prepared.push(IncomingGeneration { id: *id, plan, loaded });
        }
        let servers = self.servers.as_mut().ok_or("nothing has started yet")?;
        if let Err(error) = servers.prepare(prepared, &stale) {
            for (id, _) in made {
                self.registry.take_back(id);
            }
            return Err(error.to_string());
        }
        for (id, _) in &made {
            let stats = servers.stats(*id);
            if let Some(record) = self.registry.get_mut(*id) {
                record.stats = stats;
            }
        }
        rollout.incoming = incoming;
        self.reloads.set_rollout(pending);
        let before = self.machine.level();
        let actions = self.machine.roll_out(self.now, rollout);
        self.follow(before, actions);
        Ok(())
    }

    /// The moment in which the fresh ones become the app.
    pub(super) fn switch(&mut self) {
        if let Some(servers) = self.servers.as_mut() {
            servers.switch();
        }
        let Some(PendingRollout { plan, ids, incoming, what }) = self.reloads.take_rollout() else { return };
        self.registry.set_current(ids);
        let Some(plan) = plan else {
            return incoming.into_iter().for_each(|id| self.took_over(id));
        };
        for component in &plan.components {
            if let Some(id) = self.registry.id_of(&component.name)
                && let Some(record) = self.registry.get_mut(id)
            {
                record.plan = Arc::new(component.clone());
            }
        }
        self.plan = *plan;
        self.reload_ended(Ok(what));
    }

    /// Fails a reload whose manifest is still being read or loaded: the app stops.
    pub(super) fn give_up_reading(&mut self) {
        if self.reloads.is_preparing() {
            self.reload_failed("the app stops".to_owned());
        }
    }

    /// Takes back the rollout that waits for its switch.
    pub(super) fn roll_back(&mut self, because: Option<GenerationId>) {
        if let Some(servers) = self.servers.as_mut() {
            servers.roll_back();
        }
        let Some(pending) = self.reloads.take_rollout() else { return };
        let why = match because {
            Some(id) => format!("{}: {}", self.name(id), self.why_failed(id)),
            None => "the app stops".to_owned(),
        };
        // The machine has done so already, and can be at the next one.
        if pending.plan.is_some() {
            self.note_reload_failed(why);
        } else {
            pending.incoming.iter().for_each(|id| self.never_ready(*id, &why));
        }
    }

    /// Returns the failure of a generation in words.
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
        log_events::reload_failed(&why);
        self.reload_ended(Err(why));
    }

    fn reload_ended(&mut self, result: Result<String, String>) {
        let took = self.reloads.ends(self.now, &result);
        let (told, answer) = match result {
            Ok(what) => {
                log_events::reloaded(self.reloads.ok(), &what, took);
                (format!("reloaded: {what}"), Ok(format!("reloaded: {what} ({} ms)", millis(took))))
            }
            Err(text) => {
                (format!("reload failed: {text}"), Err(OperatorRefusal { kind: RefusalKind::Failed, text }))
            }
        };
        self.waiting.reload_ended(&answer);
        if self.machine.level() == Level::Running {
            self.service_manager.reloaded(&told);
        }
    }
}
