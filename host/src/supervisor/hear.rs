//! What the control thread does with what it hears: it notes it, says it, and feeds the machine. Decides nothing.

use std::time::Duration;

use super::AppError;
use super::control::Control;
use super::inbox::Message;
use super::narrate;
use crate::output::Channel;
use crate::runtime::{InstanceEvent, LoadEvent};
use crate::teardown::{ComponentId, Event, Level, Requester};

impl Control {
    /// Hears one message.
    pub(super) fn hear(&mut self, message: Message) -> Result<(), AppError> {
        match message {
            Message::Load(LoadEvent::Done(at)) => {
                if let (Some(progress), Some(component)) = (&self.progress, self.components.get(at)) {
                    progress.step(&component.name);
                }
            }
            Message::Load(LoadEvent::Ended(result)) => self.loaded(result?)?,
            Message::Load(LoadEvent::Died) => self.host_bug("a loading thread"),
            Message::Instance(id, event) => self.hear_instance(id, event),
            Message::Stop => self.feed(Event::StopRequested(Requester::Operator)),
            Message::HostBug(what) => self.host_bug(what),
        }
        Ok(())
    }

    fn host_bug(&mut self, what: &'static str) {
        narrate::host_bug(what);
        self.feed(Event::HostBug(what));
    }

    fn hear_instance(&mut self, id: ComponentId, event: InstanceEvent) {
        let now = self.now;
        let name = self.name(id);
        let Some(record) = self.records.get_mut(id.0) else {
            return;
        };
        match event {
            InstanceEvent::Entered => {
                self.say_where_it_serves(id, &name);
                narrate::started(&name);
                self.feed(Event::Entered(id));
                self.count_entered();
            }
            InstanceEvent::Ready => narrate::ready(&name),
            InstanceEvent::Returned => {
                record.returned = Some(now);
                self.feed(Event::Returned(id));
            }
            InstanceEvent::Failed(failure) => {
                narrate::failed(&name, &failure);
                record.failure = Some(failure);
                self.feed(Event::Failed(id));
            }
            InstanceEvent::HookStarted | InstanceEvent::HookEnded(_) | InstanceEvent::Down { .. } => {
                self.hear_of_instance(id, None, event);
            }
            InstanceEvent::InPool(number, event) => self.hear_of_instance(id, Some(number), *event),
            InstanceEvent::Drained => record.returned = record.returned.or(Some(now)),
            InstanceEvent::Extend(by, answer) => {
                let granted = self.extend(id, by);
                // Whoever asked can be gone by now.
                let _gone = answer.send(granted);
            }
            InstanceEvent::StopRequested => self.feed(Event::StopRequested(Requester::Component(id))),
            InstanceEvent::Unhealthy(_) => {}
            InstanceEvent::HostBug => self.host_bug("an instance's thread"),
            InstanceEvent::Ended(outcome) => {
                record.ended = Some(now);
                self.feed(Event::Ended(id, outcome));
                if let Some(record) = self.records.get(id.0) {
                    narrate::ended(&record.report(&name, self.machine.outcome(id), now));
                }
            }
        }
    }

    /// Hears what happened to one instance; `number` says which where there are several.
    fn hear_of_instance(&mut self, id: ComponentId, number: Option<u32>, event: InstanceEvent) {
        let now = self.now;
        let name = self.name(id);
        let Some(record) = self.records.get_mut(id.0) else {
            return;
        };
        match event {
            InstanceEvent::HookStarted => {
                record.hook_starts(now, number);
                narrate::hook_started(&name, number);
            }
            InstanceEvent::HookEnded(result) => {
                let took = record.hook_ends(now, number, &result);
                narrate::hook_ended(&name, number, &result, took);
            }
            InstanceEvent::Entered => narrate::instance_started(&name, number),
            InstanceEvent::Failed(failure) => {
                narrate::instance_failed(&name, number, &failure);
                record.lost.get_or_insert(failure);
                if let Some(link) = record.link.as_ref().filter(|_| self.machine.level() == Level::Running) {
                    link.restart_after(Duration::from_millis(200));
                }
                self.feed(Event::Lost(id));
            }
            InstanceEvent::Down { why, requests, outcome } => {
                narrate::instance_ended(&name, number, why, requests, outcome.word());
            }
            other => self.hear_instance(id, other),
        }
    }

    fn extend(&mut self, id: ComponentId, by: Duration) -> Duration {
        let granted = self.machine.extend(id, by);
        let name = self.name(id);
        if let (Some(record), Some(deadline)) = (self.records.get_mut(id.0), self.machine.deadline(id)) {
            // A guest can ask in a loop: the first time is told, the report has the sum.
            let told = !record.extended.is_zero();
            record.extended += granted;
            if let Some(link) = &record.link {
                link.set_deadline(deadline);
            }
            if !granted.is_zero() && !told {
                narrate::extended(&name, by, granted);
            }
        }
        granted
    }

    /// A single file says where it serves also when the log is quiet: its user has to know.
    fn say_where_it_serves(&self, id: ComponentId, name: &str) {
        let urls = self.front.as_ref().map(|front| front.urls(id)).unwrap_or_default();
        if self.plan.passthrough && !urls.is_empty() {
            let line = format!("serving {name} on {}\n", urls.join(", "));
            self.options.output.host(Channel::Stderr).push(line.into_bytes());
        }
    }

    fn count_entered(&mut self) {
        self.not_entered = self.not_entered.saturating_sub(1);
        if self.not_entered == 0 {
            narrate::app_started(self.components.len(), self.now);
        }
    }
}
