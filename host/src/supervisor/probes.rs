//! Liveness and readiness, as Kubernetes' probes ask for them. A service is alive while it calls `alive` as often as its `health`
//! says. The app is ready while it runs and each component in service is ready. Reads clocks and flags, asks no guest.

use std::time::Duration;

use super::event_loop::EventLoop;
use super::generation_record::GenerationRecord;
use super::log_events;
use super::readiness::Flip;
use crate::fail_point;
use crate::teardown::{Event, GenerationId, Level, Phase};
use crate::text::units::format_duration;

impl EventLoop {
    /// Notes which services have not said for too long that they are alive.
    pub(super) fn check_liveness(&mut self) {
        let late: Vec<_> = self.watched().filter(|(_, _, due)| self.now >= *due).map(|(id, ..)| id).collect();
        for id in late {
            let Some(record) = self.registry.get_mut(id) else { continue };
            record.unhealthy = true;
            let Some(health) = &record.plan.health else { continue };
            let limit = health.every.saturating_mul(health.failures);
            self.unhealthy(id, format!("it has not called `alive` for {}", format_duration(limit)));
        }
    }

    /// Returns when the next service will have been silent for too long.
    pub(super) fn next_liveness_check(&self) -> Option<Duration> {
        self.watched().map(|(_, _, due)| due).min()
    }

    /// The services that have to call `alive`, and until when.
    fn watched(&self) -> impl Iterator<Item = (GenerationId, &GenerationRecord, Duration)> {
        let running = self.machine.level() == Level::Running;
        self.registry.iter().filter(move |_| running).filter_map(|(id, record)| {
            let health = record.plan.health.as_ref()?;
            // A pool's own controller asks its instances.
            let watched = !record.is(|kind| kind.is_pooled)
                && !record.unhealthy
                && self.machine.phase(id) == Phase::Running;
            // Before it is ready it has its start-timeout.
            let last = record.link.as_ref().filter(|_| watched)?.vitals.alive().max(record.ready?);
            Some((id, record, last.saturating_add(health.every.saturating_mul(health.failures))))
        })
    }

    /// Hears that a component is not alive as its `health` asks for.
    pub(super) fn unhealthy(&mut self, id: GenerationId, why: String) {
        let name = self.name(id);
        log_events::unhealthy(&name, &why);
        self.note_failure(id, why.clone());
        if let Some(record) = self.registry.get_mut(id) {
            let failure = crate::runtime::Failure { summary: why, backtrace: None, exit_code: None };
            match record.is(|kind| kind.is_pooled) {
                true => record.lost = record.lost.take().or(Some(failure)),
                false => record.failure = Some(failure),
            }
        }
        self.feed(Event::Unhealthy(id));
    }

    /// Logs when the app becomes ready, and when it is not ready any more.
    pub(super) fn tell_readiness(&mut self) {
        if self.servers.is_none() && self.machine.level() == Level::Running {
            return;
        }
        let stops = self.stop.has_begun();
        let ready = self.machine.level() == Level::Running
            && self.machine.in_service().all(|id| self.machine.is_ready(id));
        match self.readiness.flip(ready, stops) {
            Some(Flip::Started) => {
                let count = self.machine.in_service().count();
                log_events::app_started(count, self.now);
                self.service_manager.started(&self.plan.app.name, count);
            }
            Some(Flip::Ready) => log_events::app_ready(),
            Some(Flip::NotReady) => log_events::not_ready(&self.not_ready_because().join("; ")),
            None => {}
        }
        if self.readiness.has_started() {
            fail_point::reach("control");
        }
    }

    /// Returns why the app does not take work, one reason an entry; none: it does.
    pub(super) fn not_ready_because(&self) -> Vec<String> {
        if self.machine.level() > Level::Running {
            return vec![format!(
                "the app is stopping: {}",
                self.cause().map(|cause| cause.to_string()).unwrap_or_default()
            )];
        }
        let waits = |id: &GenerationId| !self.machine.is_ready(*id);
        let reason = |id: GenerationId| {
            let record = self.registry.get(id)?;
            let phase = self.machine.phase(id);
            let doing = if phase == Phase::Running { "not ready" } else { record.doing(phase) };
            Some(format!("{}: {doing}", record.plan.name))
        };
        self.machine.in_service().filter(waits).filter_map(reason).collect()
    }
}
