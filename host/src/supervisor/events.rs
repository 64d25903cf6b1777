//! Events of the control thread: each is recorded, logged, and fed to the machine. Decides nothing.

use std::time::Duration;

use super::error::AppError;
use super::event_loop::EventLoop;
use super::inbox::Message;
use super::log_events;
use crate::output::Channel;
use crate::plan::ReadyWhen;
use crate::runtime::{Failure, InstanceEvent, LoadEvent};
use crate::teardown::{Event, GenerationId, Outcome, Phase, Requester};

impl EventLoop {
    /// Hears one message.
    pub(super) fn hear(&mut self, message: Message) -> Result<(), AppError> {
        match message {
            Message::Load(LoadEvent::Done(component)) => self.one_loaded(component),
            Message::Load(LoadEvent::Ended(result)) => self.loaded(result?)?,
            Message::Load(LoadEvent::Died) => self.host_bug("a loading thread"),
            Message::Reload(event) => self.hear_reload(event),
            Message::OperatorRequest(question) => self.answer(question),
            Message::Instance(id, event) => self.hear_instance(id, event),
            Message::Stop => self.feed(Event::StopRequested(Requester::Operator)),
            Message::HostBug(what) => self.host_bug(what),
        }
        Ok(())
    }

    pub(super) fn host_bug(&mut self, what: &'static str) {
        log_events::host_bug(what);
        self.feed(Event::HostBug(what));
    }

    fn hear_instance(&mut self, id: GenerationId, event: InstanceEvent) {
        let now = self.now;
        let name = self.name(id);
        let Some(record) = self.registry.get_mut(id) else {
            return;
        };
        match event {
            InstanceEvent::Entered => self.entered(id, &name),
            InstanceEvent::Ready => {
                log_events::ready(&name);
                record.said_ready = true;
                if record.waits_for_word() {
                    self.is_ready(id);
                }
            }
            InstanceEvent::Returned => {
                record.returned = Some(now);
                self.feed(Event::Returned(id));
            }
            InstanceEvent::Failed(failure) => {
                // A single program that leaves with a status has said it all: to its user that is no news.
                let has_status = failure.exit_code.is_some_and(|code| code != 0);
                if self.plan.passthrough && record.is(|kind| kind.is_program) && has_status {
                    log_events::left(&name, &failure);
                } else {
                    log_events::failed(&name, &failure);
                }
                record.failure = Some(failure.clone());
                self.note_failure(id, failure.summary);
                self.feed(Event::Failed(id));
            }
            InstanceEvent::HookStarted | InstanceEvent::HookEnded(_) | InstanceEvent::Down { .. } => {
                self.hear_of_instance(id, None, event);
            }
            InstanceEvent::InPool(number, event) => self.hear_of_instance(id, Some(number), *event),
            InstanceEvent::Drained => record.returned = record.returned.or(Some(now)),
            InstanceEvent::Extend(by, answer) => {
                let granted = self.extend(id, by);
                // The instance can have ended by now.
                let _gone = answer.send(granted);
            }
            InstanceEvent::StopRequested => self.feed(Event::StopRequested(Requester::Component(id))),
            InstanceEvent::Unhealthy(why) => self.unhealthy(id, why),
            InstanceEvent::HostBug => self.host_bug("an instance's thread"),
            InstanceEvent::Ended(outcome) => self.ended(id, outcome),
        }
    }

    fn entered(&mut self, id: GenerationId, name: &str) {
        self.say_where_it_serves(id, name);
        log_events::started(name);
        self.feed(Event::Entered(id));
        let waits = self.registry.get(id).is_some_and(|record| record.waits_for_word() && !record.said_ready);
        if !waits {
            self.is_ready(id);
        }
    }

    fn is_ready(&mut self, id: GenerationId) {
        if let Some(record) = self.registry.get_mut(id) {
            record.ready = Some(self.now);
        }
        self.feed(Event::Ready(id));
        self.now_ready(id);
    }

    fn ended(&mut self, id: GenerationId, outcome: Outcome) {
        let now = self.now;
        let Some((record, counters)) = self.registry.with_counters(id) else { return };
        record.ended = Some(now);
        counters.ended(record, outcome, now);
        let mut report = record.report(outcome, now);
        let before = self.machine.level();
        let actions = self.machine.on(now, Event::Ended(id, outcome));
        // The machine can have forgotten it, or be about to begin anew with it. The log tells the consequences after the end.
        if let (Some(record), true) = (self.registry.get(id), self.machine.knows(id)) {
            report = self.report_of(id, record);
        }
        log_events::ended(&report);
        self.now_ended(id, report.outcome);
        if self.machine.phase(id) == Phase::Ended {
            self.never_ready(id, &self.why_failed(id));
        }
        self.follow(before, actions);
    }

    /// Handles an event of one instance; `number` is its number where there are several.
    fn hear_of_instance(&mut self, id: GenerationId, number: Option<u32>, event: InstanceEvent) {
        let now = self.now;
        let name = self.name(id);
        let Some((record, counters)) = self.registry.with_counters(id) else {
            return;
        };
        match event {
            InstanceEvent::HookStarted => {
                record.hook_starts(now, number);
                log_events::hook_started(&name, number);
            }
            InstanceEvent::HookEnded(result) => {
                let took = record.hook_ends(now, number, &result);
                counters.hook.add(took.unwrap_or_default());
                log_events::hook_ended(&name, number, &result, took);
            }
            InstanceEvent::Entered => log_events::instance_started(&name, number),
            InstanceEvent::Failed(failure) => {
                log_events::instance_failed(&name, number, &failure);
                self.note_failure(id, failure.summary.clone());
                self.lost(id, failure);
            }
            InstanceEvent::Down { why, requests, outcome } => {
                log_events::instance_ended(&name, number, why, requests, outcome.word());
            }
            other => self.hear_instance(id, other),
        }
    }

    /// Notes the last failure of a component, for the status. The failure of a generation on trial belongs to its reload.
    pub(super) fn note_failure(&mut self, id: GenerationId, summary: String) {
        let serves = !self.reloads.is_on_trial(id) && !self.machine.is_retired(id);
        if let Some((_, counters)) = self.registry.with_counters(id).filter(|_| serves) {
            counters.last_failure = Some(summary);
        }
    }

    fn lost(&mut self, id: GenerationId, failure: Failure) {
        if let Some(record) = self.registry.get_mut(id) {
            let summary = format!("an instance {}", failure.summary);
            record.lost = Some(Failure { summary, ..failure });
        }
        self.feed(Event::Lost(id));
    }

    fn extend(&mut self, id: GenerationId, by: Duration) -> Duration {
        let granted = self.machine.extend(id, by);
        let deadline = self.machine.deadline(id);
        let name = self.name(id);
        if let (Some(record), Some(deadline)) = (self.registry.get_mut(id), deadline) {
            // A guest can ask in a loop: the first time is told, the report has the sum.
            let told = !record.extended.is_zero();
            record.extended += granted;
            if let Some(link) = &record.link {
                link.orders.set_deadline(deadline);
            }
            if !granted.is_zero() && !told {
                log_events::extended(&name, by, granted);
            }
        }
        granted
    }

    /// A single file says where it serves also when the log is quiet: its user has to know.
    fn say_where_it_serves(&self, id: GenerationId, name: &str) {
        let urls = self.servers.as_ref().map(|servers| servers.urls(id)).unwrap_or_default();
        if self.plan.passthrough && !urls.is_empty() {
            let line = format!("serving {name} on {}\n", urls.join(", "));
            self.options.output.host(Channel::Stderr).push(line.into_bytes());
        }
    }
}

impl super::generation_record::GenerationRecord {
    /// Returns whether its guest has to call `ready`.
    fn waits_for_word(&self) -> bool {
        let ready = self.loaded.as_ref().map(|loaded| self.plan.resolve(&loaded.defaults).ready);
        ready == Some(ReadyWhen::Said)
    }
}
