//! Events of the control thread: each is recorded, logged, and fed to the machine. Decides nothing.

use std::time::Duration;

use tracing::{error, info, warn};

use super::app::AppError;
use super::event_loop::{EventLoop, generation_policy};
use super::generation_record::millis;
use super::inbox::Message;
use crate::plan::OnEnd;
use crate::runtime::{Failure, HookResult, InstanceEvent, LoadEvent};
use crate::teardown::{Event, GenerationId, GenerationPolicy, Outcome, Requester};

fn log_hook_end(component: &str, instance: Option<u32>, result: &HookResult, ms: u64) {
    match result {
        HookResult::Ok => info!(component, instance, ms, result = "ok", "hook ended"),
        HookResult::Error(text) => {
            let error = text.as_deref().unwrap_or("no text");
            warn!(component, instance, ms, result = "error", error, "hook ended");
        }
        HookResult::Trapped(failure) => {
            error!(component, instance, ms, result = "trapped", error = %failure, "hook ended");
        }
    }
}

impl EventLoop {
    pub(super) fn hear(&mut self, message: Message) -> Result<(), AppError> {
        match message {
            Message::Load(LoadEvent::Done(component)) => self.one_loaded(component),
            Message::Load(LoadEvent::Ended(result)) => self.loaded(result?)?,
            Message::Load(LoadEvent::Died) => self.host_bug("a loading thread"),
            Message::Reload(event) => self.hear_reload(event),
            Message::OperatorRequest(request) => self.answer(request),
            Message::Instance(id, event) => self.hear_instance(id, None, event),
            Message::Stop => self.feed(Event::StopRequested(Requester::Operator)),
            Message::HostBug(what) => self.host_bug(what),
        }
        Ok(())
    }

    pub(super) fn host_bug(&mut self, what: &'static str) {
        error!(what, "a part of the host died, which is a bug: stopping");
        self.feed(Event::HostBug(what));
    }

    /// Takes an event of a generation; `instance` is the number of its instance where it has several.
    fn hear_instance(&mut self, id: GenerationId, instance: Option<u32>, event: InstanceEvent) {
        let now = self.now;
        let component = self.name(id);
        let Some((record, counters)) = self.registry.with_counters(id) else {
            return;
        };
        match event {
            InstanceEvent::Entered if instance.is_some() => info!(component, instance, "instance started"),
            InstanceEvent::Entered => self.entered(id, &component),
            InstanceEvent::Ready => {
                info!(component, "component ready");
                record.run.said_ready = true;
                if record.waits_for_word() {
                    self.is_ready(id);
                }
            }
            InstanceEvent::Returned => {
                record.run.returned = Some(now);
                self.feed(Event::Returned(id));
            }
            InstanceEvent::Lost { failure, counts } => self.lost(id, instance, failure, counts),
            InstanceEvent::ExtraFailed(failure) => {
                let note = "the others serve on";
                warn!(component, instance, error = %failure, note, "one more instance cannot be started");
                self.note_failure(id, failure.summary);
            }
            InstanceEvent::Failed(failure) => self.failed(id, failure),
            InstanceEvent::HookStarted => {
                record.hook_starts(now, instance);
                info!(component, instance, "hook started");
            }
            InstanceEvent::HookEnded(result) => {
                let took = record.hook_ends(now, instance, &result).unwrap_or_default();
                counters.metrics.hook.add(took);
                log_hook_end(&component, instance, &result, millis(took));
            }
            InstanceEvent::Down { why, requests, outcome } => {
                let outcome = outcome.word();
                info!(component, instance, why, requests, outcome, "instance ended");
            }
            InstanceEvent::InPool(number, event) => self.hear_instance(id, Some(number), *event),
            InstanceEvent::Drained => record.run.returned = record.run.returned.or(Some(now)),
            InstanceEvent::Extend(by, answer) => {
                // The instance can have ended by now.
                let _gone = answer.send(self.extend(id, by));
            }
            InstanceEvent::StopRequested => self.feed(Event::StopRequested(Requester::Component(id))),
            InstanceEvent::Unhealthy(why) => self.unhealthy(id, why),
            InstanceEvent::HostBug => self.host_bug("an instance's thread"),
            InstanceEvent::Ended(outcome) => self.ended(id, outcome),
        }
    }

    /// Takes the failure of an instance in whose place others come.
    fn lost(&mut self, id: GenerationId, instance: Option<u32>, failure: Failure, counts: bool) {
        let now = self.now;
        if let Some(record) = self.registry.get_mut(id) {
            if let Some(before) = record.told_failures.next(now) {
                let (component, not_told) = (&record.plan.name, (before > 0).then_some(before));
                error!(component, instance, not_told, error = %failure, "instance failed");
            }
            let summary = format!("an instance {}", failure.summary);
            record.run.lost = Some(Failure { summary, ..failure.clone() });
        }
        self.note_failed(id, failure);
        if counts {
            self.feed(Event::Lost(id));
        }
    }

    fn failed(&mut self, id: GenerationId, failure: Failure) {
        let Some(record) = self.registry.get_mut(id) else { return };
        let component = &record.plan.name;
        // A single program that leaves with a status has said it all: to its user that is no news.
        let has_status = failure.exit_code.is_some_and(|code| code != 0);
        if self.plan.passthrough && has_status && record.kind().is_some_and(|kind| kind.is_program) {
            info!(component, %failure, "left");
        } else {
            error!(component, error = %failure, "failed");
        }
        record.run.failure = Some(failure.clone());
        self.note_failed(id, failure);
        self.feed(Event::Failed(id));
    }

    fn entered(&mut self, id: GenerationId, name: &str) {
        // A single file says where it serves also when the log is quiet: its user has to know.
        let urls = self.servers.as_ref().map(|servers| servers.urls(id)).unwrap_or_default();
        if self.plan.passthrough && !urls.is_empty() {
            self.options.output.say(&format!("serving {name} on {}", urls.join(", ")));
        }
        info!(component = name, "component started");
        self.feed(Event::Entered(id));
        let record = self.registry.get(id);
        if !record.is_some_and(|record| record.waits_for_word() && !record.run.said_ready) {
            self.is_ready(id);
        }
    }

    fn is_ready(&mut self, id: GenerationId) {
        if let Some(record) = self.registry.get_mut(id) {
            record.run.ready = Some(self.now);
        }
        self.feed(Event::Ready(id));
    }

    fn ended(&mut self, id: GenerationId, outcome: Outcome) {
        let now = self.now;
        let Some((record, counters)) = self.registry.with_counters(id) else { return };
        record.run.ended = Some(now);
        let is_forced = matches!(outcome, Outcome::CutOff | Outcome::Leaked);
        counters.metrics.cut_offs += u64::from(is_forced);
        record.drain_time(now).into_iter().for_each(|took| counters.metrics.drain.add(took));
        let before = self.machine.level();
        let actions = self.machine.on(now, Event::Ended(id, outcome));
        // The machine can have forgotten it. The log tells the consequences after the end.
        let outcome = if self.machine.knows(id) { self.machine.outcome(id) } else { outcome };
        let (component, detail) = (&record.plan.name, record.detail(outcome).unwrap_or_default());
        info!(component, outcome = outcome.word(), detail, "component ended");
        self.now_ended(id, outcome.word());
        self.follow(before, actions);
    }

    /// Notes the last failure of a component, for the status. The failure of a generation on trial belongs to its reload.
    pub(super) fn note_failure(&mut self, id: GenerationId, summary: String) {
        let serves = !self.reloads.is_on_trial(id) && !self.machine.is_retired(id);
        if let Some((_, counters)) = self.registry.with_counters(id).filter(|_| serves) {
            counters.last_failure = Some(summary);
        }
    }

    /// Notes the failure of a component or of an instance. A shortage stops an app that has not started yet, whatever failures of
    /// the component mean later: it would be tried again and again on a machine that is too small for it.
    fn note_failed(&mut self, id: GenerationId, failure: Failure) {
        self.note_failure(id, failure.summary);
        let starts = !self.readiness.started && self.machine.cause().is_none();
        let Some(record) = self.registry.get(id).filter(|_| failure.is_shortage && starts) else { return };
        let policy = generation_policy(&record.plan, record.loaded.as_deref(), &self.registry.current);
        if policy.on_failure != OnEnd::Ignore {
            self.stop.is_by_shortage = true;
            let (on_failure, on_lost) = (OnEnd::StopApp, OnEnd::StopApp);
            self.machine.set_policy(id, GenerationPolicy { on_failure, on_lost, ..policy });
        }
    }

    fn extend(&mut self, id: GenerationId, by: Duration) -> Duration {
        let granted = self.machine.extend(id, by);
        if let (Some(record), Some(deadline)) = (self.registry.get_mut(id), self.machine.deadline(id)) {
            // A guest can ask in a loop: the first time is told, the report has the sum.
            if !granted.is_zero() && record.run.extended.is_zero() {
                let (component, asked_ms) = (&record.plan.name, millis(by));
                info!(component, asked_ms, granted_ms = millis(granted), "grace extended");
            }
            record.run.extended += granted;
            if let Some(link) = &record.run.link {
                link.orders.set_deadline(deadline);
            }
        }
        granted
    }
}
