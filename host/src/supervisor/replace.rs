//! Replacements of one component by a fresh generation of itself: because an operator wants it, or because it was found dead. How a
//! service that ended by itself is started again is not here: it keeps its generation.
//!
//! Invariant: the log and the operator hear the end of each restart once: the fresh generation is ready, or never will be.

use tokio::sync::oneshot;

use super::event_loop::EventLoop;
use super::log_events;
use super::policies::generation_policy;
use super::reload_state::PendingRollout;
use super::waiting_operators::reply;
use crate::admin::{OperatorAnswer, OperatorRefusal, RefusalKind};
use crate::teardown::{Cause, Event, GenerationId, Phase, Rollout};

impl EventLoop {
    /// Replaces a component by a fresh generation of itself. If the fresh generation cannot be prepared, the component goes on as it is.
    pub(super) fn renew(
        &mut self,
        id: GenerationId,
        cause: Cause,
        answer: Option<oneshot::Sender<OperatorAnswer>>,
    ) {
        let Some(record) = self.registry.get(id) else {
            return self.feed(Event::NothingToChange);
        };
        let (plan, loaded) = (record.plan.clone(), record.loaded.clone());
        let mut ids = self.registry.current().clone();
        let fresh = self.registry.add(plan.clone(), loaded);
        ids.insert(plan.name.clone(), fresh);
        let policies = |(name, id): (&String, &GenerationId)| {
            let record = self.registry.get(*id).filter(|_| name != &plan.name)?;
            let loaded = record.loaded.as_deref();
            Some((*id, generation_policy(&record.plan, loaded, &ids)))
        };
        let kept = ids.iter().filter_map(policies).collect();
        let keeps_budget = matches!(cause, Cause::Failure(_));
        let rollout =
            Rollout { incoming: Vec::new(), removed: Vec::new(), kept, policy: None, cause, keeps_budget };
        self.waiting.restart_begins(fresh, plan.name.clone(), answer);
        let pending = PendingRollout { plan: None, ids, incoming: vec![fresh], what: String::new() };
        if let Err(why) = self.begin_rollout(rollout, vec![(fresh, Some(id))], pending) {
            self.never_ready(fresh, &why);
            self.feed(Event::NothingToChange);
        }
    }

    /// A fresh generation has taken over; it can be ready, or begin when the one before it has ended.
    pub(super) fn took_over(&mut self, id: GenerationId) {
        if let Some((_, counters)) = self.registry.with_counters(id) {
            counters.restarts += 1;
        }
        self.now_ready(id);
    }

    /// Answers the operator that waits for this generation, if it is ready and has taken over.
    pub(super) fn now_ready(&mut self, id: GenerationId) {
        if !self.machine.is_ready(id) || self.reloads.is_on_trial(id) {
            return;
        }
        let Some((name, operator)) = self.waiting.restart_ended(id) else { return };
        let what = format!("{name} has been restarted");
        log_events::restarted(&what);
        if let Some(operator) = operator {
            reply(operator, Ok(what));
        }
    }

    /// Tells the operator that waits for this generation that it came to nothing.
    pub(super) fn never_ready(&mut self, id: GenerationId, why: &str) {
        let Some((name, operator)) = self.waiting.restart_ended(id) else { return };
        log_events::restart_failed(&name, why);
        if let Some(operator) = operator {
            reply(operator, Err(OperatorRefusal { kind: RefusalKind::Failed, text: why.to_owned() }));
        }
    }

    /// Returns the generations of a name of which something is left.
    pub(super) fn alive(&self, name: &str) -> impl Iterator<Item = GenerationId> {
        let lives = |id: GenerationId| !matches!(self.machine.phase(id), Phase::Pending | Phase::Ended);
        let named = self.registry.iter().filter(move |(id, record)| record.plan.name == name && lives(*id));
        // The youngest first.
        let mut found: Vec<_> = named.map(|(id, _)| id).collect();
        found.reverse();
        found.into_iter()
    }
}
