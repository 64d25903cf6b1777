//! Carries out the actions of the machine. Decides nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};

use super::event_loop::EventLoop;
use super::generation_record::{GenerationRecord, millis};
use crate::runtime::{Link, Notice, NoticeCause};
use crate::teardown::{Action, Cause, Deadlines, GenerationId, Level, Phase, Requester};

impl EventLoop {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Start(id) => self.start(id),
            Action::FailStart(id) => self.fail_start(id),
            Action::Abandon(id) => {
                self.with_link(id, |link| link.orders.abandon());
                self.runtime.bump();
            }
            Action::Raise(level) => self.raised(level),
            Action::Ask { id, cause, deadline } => self.ask(id, cause, deadline),
            Action::Cut(id) => {
                if let Some(record) = self.registry.get_mut(id) {
                    record.run.in_flight_cut = Some(record.in_flight());
                }
                self.with_link(id, |link| link.orders.cut());
                self.runtime.bump();
                warn!(component = self.name(id), "cut off");
            }
            Action::Restart { id, pause } => self.restart(id, pause),
            Action::GiveUp(id) => {
                let (component, restarts) = (self.name(id), self.machine.restarts(id));
                error!(component, restarts, "component gave up: its restart budget is spent");
            }
            Action::PutOutOfService(id) => self.put_out_of_service(id),
            Action::CannotStart(id) => self.cannot_start(id),
            Action::Renew(id) => self.renew(id, Cause::Failure(id), None),
            Action::Prepare => self.prepare_reload(),
            Action::Switch => self.switch(),
            Action::RollBack(because) => self.roll_back(because),
            Action::Forget(id) => self.forget(id),
            Action::NoteSignal(signal) => {
                let left_ms = millis(self.time_until(|deadlines| deadlines.end));
                info!(signal = signal.name(), left_ms, note = "the stop goes on", "signal");
            }
            Action::RefuseReload => warn!("no reload: the app is stopping"),
            Action::PrintStatus => self.print_status(),
            Action::Leave(code) => {
                self.startup = None;
                if let Some(servers) = &self.servers {
                    servers.leave();
                }
                self.stop.exit_code = Some(code);
            }
        }
    }

    fn raised(&mut self, level: Level) {
        let cause = self.cause().map(|cause| cause.to_string()).unwrap_or_default();
        let left = |bound: fn(&Deadlines) -> Duration| millis(self.time_until(bound));
        let (stop, deadline_ms) = (level.word(), left(|deadlines| deadlines.end));
        match level {
            Level::Running | Level::Exit => {}
            Level::Delay => {
                let (drain_ms, deadline) = (left(|deadlines| deadlines.drain), self.wall_deadline());
                info!(stop, cause, drain_ms, deadline_ms, deadline, "stopping");
                let links = self.registry.iter().filter_map(|(_, record)| record.run.link.as_deref());
                links.for_each(|link| link.orders.wind_down());
            }
            Level::Drain => info!(stop, cause, deadline_ms, deadline = self.wall_deadline(), "stopping"),
            Level::Cut => {
                let hard_ms = left(|deadlines| deadlines.hard);
                warn!(stop, cause, hard_ms, "the grace is over");
            }
        }
        // The end of the app can have come closer for generations that were asked earlier.
        for (id, record) in self.registry.iter() {
            if let (Some(link), Some(deadline)) = (&record.run.link, self.machine.deadline(id)) {
                link.orders.set_deadline(deadline);
            }
        }
    }

    /// Returns the absolute deadline of the stop in seconds since 1970, as other logs of the machine have it.
    fn wall_deadline(&self) -> f64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = since.saturating_add(self.time_until(|deadlines| deadlines.end));
        (at.as_secs_f64() * 1000.0).round() / 1000.0
    }

    fn with_link(&self, id: GenerationId, order: impl FnOnce(&Link)) {
        if let Some(link) = self.registry.get(id).and_then(|record| record.run.link.as_deref()) {
            order(link);
        }
    }

    fn restart(&mut self, id: GenerationId, pause: Duration) {
        if let Some((record, counters)) = self.registry.with_counters(id) {
            counters.metrics.restarts += 1;
            let (component, restart) = (&record.plan.name, counters.metrics.restarts);
            let because = record.any_failure().map_or("it has ended", |failure| &failure.summary);
            let failing_ms = self.machine.failing_for(id, self.now).map(millis);
            warn!(component, restart, pause_ms = millis(pause), failing_ms, because, "component restarts");
        }
        self.with_link(id, |link| link.restarts.restart_after(pause));
    }

    /// Has a pool that has spent its budget refuse its clients, and says what brings it back.
    fn put_out_of_service(&mut self, id: GenerationId) {
        let (component, restarts) = (self.name(id), self.machine.restarts(id));
        let failure = self.registry.get(id).and_then(GenerationRecord::any_failure);
        let because = failure.map(|failure| &failure.summary);
        let note = match (&self.plan.app.control, &self.plan.manifest) {
            (Some(_), _) => format!("`curfew restart {component}` or a reload brings it back"),
            (None, Some(_)) => "a reload (HUP) brings it back".to_owned(),
            (None, None) => "a new start of curfew brings it back".to_owned(),
        };
        error!(
            component,
            restarts, because, note, "component is out of service: its restart budget is spent"
        );
        self.with_link(id, |link| link.orders.put_out_of_service());
    }

    fn forget(&mut self, id: GenerationId) {
        self.now_ended(id, "it was replaced");
        if let Some(servers) = self.servers.as_mut() {
            servers.forget(id);
        }
        self.registry.forget(id);
    }

    fn ask(&mut self, id: GenerationId, cause: Cause, deadline: Duration) {
        let grace = deadline.saturating_sub(self.now);
        let cause = match cause {
            Cause::Signal(signal) => NoticeCause::Signal(signal.name().to_owned()),
            Cause::Failure(id) => NoticeCause::Failure(self.name(id)),
            Cause::Finished(id) => NoticeCause::Finished(self.name(id)),
            Cause::Request(Requester::Operator) => NoticeCause::Request("operator".to_owned()),
            Cause::Request(Requester::Component(id)) => NoticeCause::Request(self.name(id)),
            Cause::Reload => NoticeCause::Reload,
            Cause::HostBug(_) => NoticeCause::Failure("curfew".to_owned()),
        };
        info!(component = self.name(id), grace_ms = millis(grace), "asked to stop");
        if let Some(record) = self.registry.get_mut(id) {
            record.run.asked = Some(self.now);
            record.run.in_flight_asked = Some(record.in_flight());
        }
        self.with_link(id, |link| link.orders.ask(Notice { cause, grace }, deadline));
    }

    fn print_status(&self) {
        let left_ms = |at: Duration| millis(at.saturating_sub(self.now));
        let end = self.machine.deadlines().map(|deadlines| left_ms(deadlines.end));
        warn!(app = self.machine.level().word(), left_ms = end, "status");
        for (id, record) in self.registry.iter() {
            let phase = self.machine.phase(id);
            let own_line = record.run.link.as_ref().map(|link| link.vitals.status());
            let is_counted = record.stats.as_ref().is_some_and(|stats| stats.unit().is_some());
            let deadline = self.machine.deadline(id).filter(|_| phase >= Phase::Asked);
            warn!(
                component = record.plan.name,
                state = self.state_of(id, record),
                in_flight = is_counted.then(|| record.in_flight()),
                busy_ms = self.busy(id).map(millis),
                hook_ms = record.hook_time(self.now).map(millis),
                left_ms = deadline.map(left_ms),
                line = own_line.filter(|line| !line.is_empty()),
                "status"
            );
        }
    }
}
