//! Carries out the actions of the machine. Decides nothing.

use std::time::Duration;

use super::event_loop::EventLoop;
use super::log_events;
use crate::runtime::{Link, Notice, NoticeCause};
use crate::teardown::{Action, Cause, GenerationId, Level, Phase, Requester};

impl EventLoop {
    /// Does one thing that the machine says.
    pub(super) fn perform(&mut self, now: Duration, action: Action) {
        match action {
            Action::Start(id) => self.start(id),
            Action::FailStart(id) => self.fail_start(id),
            Action::Abandon(id) => {
                self.with_link(id, |link| link.orders.abandon());
                self.runtime.bump();
            }
            Action::Raise(level) => self.raised(now, level),
            Action::Ask { id, cause, deadline } => self.ask(now, id, cause, deadline),
            Action::Cut(id) => {
                if let Some(record) = self.registry.get_mut(id) {
                    record.in_flight_cut = Some(record.in_flight());
                }
                self.with_link(id, |link| link.orders.cut());
                self.runtime.bump();
                log_events::cut_off(&self.name(id));
            }
            Action::Restart { id, pause } => self.restart(id, pause),
            Action::GiveUp(id) => {
                log_events::gave_up(&self.name(id), self.machine.restarts(id));
            }
            Action::CannotStart(id) => self.cannot_start(id),
            Action::Renew(id) => self.renew(id, Cause::Failure(id), None),
            Action::Prepare => self.prepare_reload(),
            Action::Switch => self.switch(),
            Action::RollBack(because) => self.roll_back(because),
            Action::Forget(id) => self.forget(id),
            Action::NoteSignal(signal) => {
                let end = self.machine.deadlines().map_or(now, |deadlines| deadlines.end);
                log_events::noted(signal, end.saturating_sub(now));
            }
            Action::RefuseReload => log_events::no_reload(),
            Action::PrintStatus => self.print_status(now),
            Action::Leave(code) => {
                self.end_loading();
                if let Some(servers) = &self.servers {
                    servers.leave();
                }
                self.stop.leave(code);
            }
        }
    }

    fn raised(&mut self, now: Duration, level: Level) {
        let cause = self.cause().map(|cause| cause.to_string()).unwrap_or_default();
        log_events::raised(level, &cause, self.machine.deadlines(), now);
        if level == Level::Delay {
            let links = self.registry.iter().filter_map(|(_, record)| record.link.as_deref());
            links.for_each(|link| link.orders.wind_down());
        }
        self.tell_deadlines();
    }

    /// Moves the deadlines of generations that were asked earlier: the end of the app has come closer.
    fn tell_deadlines(&self) {
        for (id, record) in self.registry.iter() {
            if let (Some(link), Some(deadline)) = (&record.link, self.machine.deadline(id)) {
                link.orders.set_deadline(deadline);
            }
        }
    }

    fn with_link(&self, id: GenerationId, order: impl FnOnce(&Link)) {
        if let Some(link) = self.registry.get(id).and_then(|record| record.link.as_deref()) {
            order(link);
        }
    }

    fn restart(&mut self, id: GenerationId, pause: Duration) {
        let (name, why) = (self.name(id), self.why_failed(id));
        if let Some((record, counters)) = self.registry.with_counters(id) {
            counters.restarts += 1;
            let why = if record.failure.is_none() && record.lost.is_none() { "it has ended" } else { &why };
            log_events::restarts(&name, counters.restarts, pause, why);
        }
        self.with_link(id, |link| link.restarts.restart_after(pause));
    }

    fn forget(&mut self, id: GenerationId) {
        self.never_ready(id, "it was replaced, or taken back, before it was ready");
        self.now_ended(id, "it was replaced");
        if let Some(servers) = self.servers.as_mut() {
            servers.forget(id);
        }
        self.registry.forget(id);
    }

    fn ask(&mut self, now: Duration, id: GenerationId, cause: Cause, deadline: Duration) {
        let grace = deadline.saturating_sub(now);
        let cause = match cause {
            Cause::Signal(signal) => NoticeCause::Signal(signal.name().to_owned()),
            Cause::Failure(id) => NoticeCause::Failure(self.name(id)),
            Cause::Finished(id) => NoticeCause::Finished(self.name(id)),
            Cause::Request(Requester::Operator) => NoticeCause::Request("operator".to_owned()),
            Cause::Request(Requester::Component(id)) => NoticeCause::Request(self.name(id)),
            Cause::Reload => NoticeCause::Reload,
            Cause::HostBug(_) => NoticeCause::Failure("curfew".to_owned()),
        };
        log_events::asked(&self.name(id), grace);
        if let Some(record) = self.registry.get_mut(id) {
            record.asked = Some(now);
            record.in_flight_asked = Some(record.in_flight());
        }
        self.with_link(id, |link| link.orders.ask(Notice { cause, grace }, deadline));
    }

    fn print_status(&self, now: Duration) {
        log_events::status_app(self.machine.level(), self.machine.deadlines(), now);
        for (id, record) in self.registry.iter() {
            let status = record.link.as_ref().map(|link| link.vitals.status()).unwrap_or_default();
            let asked = self.machine.phase(id) >= Phase::Asked;
            let left =
                self.machine.deadline(id).filter(|_| asked).map(|deadline| deadline.saturating_sub(now));
            let doing = record.doing(self.machine.phase(id));
            let requests = record.unit().map(|_| record.in_flight());
            log_events::status(&record.plan.name, doing, requests, record.hook_time(now), left, &status);
        }
    }
}
