//! Requests of operators over the control socket. Each is carried out at once, or refused at once with a reason.

use super::event_loop::EventLoop;
use super::generation_record::millis;
use super::waiting_operators::{refusal, reply};
use crate::admin::{OperatorAnswer, OperatorOrder, OperatorRefusal, OperatorRequest, RefusalKind};
use crate::fail_point;
use crate::teardown::{Cause, Event, GenerationId, Level, Phase, Requester, Urgency};

impl EventLoop {
    /// Answers one request.
    pub(super) fn answer(&mut self, request: OperatorRequest) {
        let (order, answer) = match request {
            OperatorRequest::Order(order, answer) => (order, answer),
            OperatorRequest::Snapshot(answer) => {
                let _gone = answer.send(Box::new(self.snapshot()));
                return;
            }
        };
        match order {
            OperatorOrder::Stop { component: None, now } => reply(answer, self.stop_app(now)),
            OperatorOrder::Stop { component: Some(name), now } => match self.stop_component(&name, now) {
                Ok(()) if self.alive(&name).next().is_none() => {
                    reply(answer, Ok(format!("{name} has stopped")))
                }
                Ok(()) => self.waiting.wait_for_stop(name, answer),
                Err(refusal) => reply(answer, Err(refusal)),
            },
            OperatorOrder::Reload => match self.may_change() {
                Err(refusal) if refusal.kind == RefusalKind::Stopping => reply(answer, Err(refusal)),
                _ if self.plan.manifest.is_none() => {
                    reply(answer, refusal(RefusalKind::Busy, "there is no manifest to read again"));
                }
                // One that is under way may have read an older manifest: the next one is theirs.
                Ok(()) | Err(_) => {
                    self.waiting.wait_for_reload(answer);
                    self.feed(Event::ReloadRequested);
                }
            },
            OperatorOrder::Restart { component } => {
                match self.find(&component).and_then(|id| self.may_change().map(|()| id)) {
                    Ok(id) => {
                        fail_point::leave_behind("restart");
                        self.renew(id, Cause::Request(Requester::Operator), Some(answer));
                    }
                    Err(refusal) => reply(answer, Err(refusal)),
                }
            }
        }
    }

    /// Refuses a change while the app loads, changes or stops.
    fn may_change(&self) -> Result<(), OperatorRefusal> {
        if self.machine.level() > Level::Running {
            return Err(self.stopping());
        }
        if self.machine.is_rolling_out() {
            let text = "a reload or a restart is under way: try again when it has ended";
            return refusal(RefusalKind::Busy, text);
        }
        if self.servers.is_none() {
            return refusal(RefusalKind::Busy, "the app is still loading");
        }
        Ok(())
    }

    fn stopping(&self) -> OperatorRefusal {
        let left = millis(self.time_until(|deadlines| deadlines.end));
        let text = format!("the app is stopping already; it has {left} ms left");
        OperatorRefusal { kind: RefusalKind::Stopping, text }
    }

    fn stop_app(&mut self, now: bool) -> OperatorAnswer {
        let (before, urgency) = (self.machine.level(), if now { Urgency::Now } else { Urgency::Graceful });
        self.feed(Event::OperatorStop(urgency));
        match before {
            Level::Running => Ok(format!("{} is stopping", self.plan.app.name)),
            Level::Delay if now => Ok("the delay is over".to_owned()),
            Level::Delay | Level::Drain | Level::Cut | Level::Exit => Err(self.stopping()),
        }
    }

    /// Returns the generation of a name.
    fn find(&self, name: &str) -> Result<GenerationId, OperatorRefusal> {
        let unknown = || {
            let names: Vec<_> = self.registry.current.keys().map(String::as_str).collect();
            let text = format!("there is no component {name:?}; there are {}", names.join(", "));
            OperatorRefusal { kind: RefusalKind::Unknown, text }
        };
        self.registry.id_of(name).ok_or_else(unknown)
    }

    fn stop_component(&mut self, name: &str, now: bool) -> Result<(), OperatorRefusal> {
        let id = self.find(name)?;
        // A service that takes its time to make room can be stopped, which takes the rollout back.
        if !self.machine.yields(id) {
            self.may_change()?;
        }
        let needs = |(other, id): &(&String, &GenerationId)| {
            let after = self.registry.get(**id).map(|record| &record.plan.after);
            let comes_after = after.into_iter().flatten().any(|needed| needed == name);
            comes_after && *other != name && self.machine.phase(**id) != Phase::Ended
        };
        let dependents: Vec<_> =
            self.registry.current.iter().filter(needs).map(|(name, _)| name.as_str()).collect();
        if !dependents.is_empty() {
            let names = dependents.join(", ");
            let text = format!("{names} came after it and would be left without it: stop that first");
            return refusal(RefusalKind::Busy, text);
        }
        self.feed(Event::StopOne(id, if now { Urgency::Now } else { Urgency::Graceful }));
        // Older generations stop already. A stop without grace cuts them off, too.
        let older: Vec<_> = self.alive(name).filter(|other| now && *other != id).collect();
        older.into_iter().for_each(|id| self.feed(Event::StopOne(id, Urgency::Now)));
        Ok(())
    }

    /// Answers the operators that wait for the end of this component, if no generation of it is left.
    pub(super) fn now_ended(&mut self, id: GenerationId, how: &str) {
        let name = self.name(id);
        if self.alive(&name).next().is_none() {
            self.waiting.stopped(&name, how);
        }
    }

    /// Refuses all requests that wait: the app stops.
    pub(super) fn refuse_pending(&mut self) {
        self.waiting.refuse_all(&self.stopping());
    }
}
