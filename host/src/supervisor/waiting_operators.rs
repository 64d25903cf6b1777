//! Operators whose request has no answer yet, by the event that each waits for.
//!
//! Invariant: each of them gets one answer: when its event has happened or never will, or when the app stops.

use tokio::sync::oneshot;

use crate::admin::{OperatorAnswer, OperatorRefusal, RefusalKind};
use crate::teardown::GenerationId;

pub(super) type Reply = oneshot::Sender<OperatorAnswer>;

#[derive(Debug, Default)]
pub(super) struct WaitingOperators {
    /// For the end of the component of this name.
    stops: Vec<(String, Reply)>,
    /// For the reload under way.
    reload: Vec<Reply>,
    /// For the reload after it.
    next_reload: Vec<Reply>,
    restarts: Vec<Restart>,
}

/// The restart of a component by a fresh generation. No operator waits where the generation before it was dead.
#[derive(Debug)]
struct Restart {
    fresh: GenerationId,
    component: String,
    reply: Option<Reply>,
}

/// Sends an answer. The client can have left by now.
pub(super) fn reply(to: Reply, answer: OperatorAnswer) {
    let _gone = to.send(answer);
}

/// Returns the answer to a request that is not carried out.
pub(super) fn refusal<T>(kind: RefusalKind, text: impl Into<String>) -> Result<T, OperatorRefusal> {
    Err(OperatorRefusal { kind, text: text.into() })
}

impl WaitingOperators {
    pub(super) fn wait_for_stop(&mut self, component: String, from: Reply) {
        self.stops.push((component, from));
    }

    /// Answers those that wait for the end of this component.
    pub(super) fn stopped(&mut self, component: &str, how: &str) {
        for (_, to) in self.stops.extract_if(.., |(waits_for, _)| waits_for == component) {
            reply(to, Ok(format!("{component} has ended: {how}")));
        }
    }

    /// Notes a client that waits for a reload. The reload under way may have read an older manifest: the next one counts.
    pub(super) fn wait_for_reload(&mut self, from: Reply) {
        self.next_reload.push(from);
    }

    /// Notes that a reload begins: those that asked for the next one wait for this one now.
    pub(super) fn reload_begins(&mut self) {
        self.reload.append(&mut self.next_reload);
    }

    /// Answers those that wait for the reload under way.
    pub(super) fn reload_ended(&mut self, answer: &OperatorAnswer) {
        self.reload.drain(..).for_each(|to| reply(to, answer.clone()));
    }

    /// Notes that `fresh` is to replace the component's generation.
    pub(super) fn restart_begins(&mut self, fresh: GenerationId, component: String, from: Option<Reply>) {
        self.restarts.push(Restart { fresh, component, reply: from });
    }

    /// Ends the restart that waits for this generation, if there is one. Returns the component and its operator.
    pub(super) fn restart_ended(&mut self, fresh: GenerationId) -> Option<(String, Option<Reply>)> {
        let restart = self.restarts.extract_if(.., |restart| restart.fresh == fresh).next()?;
        Some((restart.component, restart.reply))
    }

    /// Refuses all requests that wait: the app stops.
    pub(super) fn refuse_all(&mut self, refusal: &OperatorRefusal) {
        let reloads = self.reload.drain(..).chain(self.next_reload.drain(..));
        let restarts = self.restarts.drain(..).filter_map(|restart| restart.reply);
        let stops = self.stops.drain(..).map(|(_, to)| to);
        reloads.chain(restarts).chain(stops).for_each(|to| reply(to, Err(refusal.clone())));
    }
}
