//! Liveness and readiness, as Kubernetes' probes ask for them. A service is alive while it calls `alive` as often as its `health`
//! says. The app is ready while it runs and each component in service is ready. Reads clocks and flags, asks no guest.

use std::time::Duration;

use tracing::{error, info, warn};

use super::event_loop::EventLoop;
use super::generation_record::millis;
use crate::fail_point;
use crate::runtime::Failure;
use crate::systemd::activation;
use crate::teardown::{Event, GenerationId, Level, Phase};
use crate::text::units::format_duration;

impl EventLoop {
    pub(super) fn check_liveness(&mut self) {
        let late: Vec<_> = self.watched().filter(|(_, due)| self.now >= *due).map(|(id, _)| id).collect();
        for id in late {
            let Some(record) = self.registry.get_mut(id) else { continue };
            record.run.unhealthy = true;
            let Some(health) = &record.plan.health else { continue };
            let limit = health.every.saturating_mul(health.failures);
            self.unhealthy(id, format!("it has not called `alive` for {}", format_duration(limit)));
        }
    }

    /// Returns the time at which the next service will have been silent for too long.
    pub(super) fn next_liveness_check(&self) -> Option<Duration> {
        self.watched().map(|(_, due)| due).min()
    }

    /// Returns the services that have to call `alive`, and until when.
    fn watched(&self) -> impl Iterator<Item = (GenerationId, Duration)> {
        let running = self.machine.level() == Level::Running;
        self.registry.iter().filter(move |_| running).filter_map(|(id, record)| {
            let health = record.plan.health.as_ref()?;
            // A pool's own controller asks its instances.
            let watched =
                !record.is_pooled() && !record.run.unhealthy && self.machine.phase(id) == Phase::Running;
            // Before it is ready it has its start-timeout.
            let last = record.run.link.as_ref().filter(|_| watched)?.vitals.alive().max(record.run.ready?);
            Some((id, last.saturating_add(health.every.saturating_mul(health.failures))))
        })
    }

    /// Fails a component that is not alive as its `health` asks for.
    pub(super) fn unhealthy(&mut self, id: GenerationId, why: String) {
        error!(component = self.name(id), why, "component is not alive");
        self.note_failure(id, why.clone());
        if let Some(record) = self.registry.get_mut(id) {
            let failure = Some(Failure { summary: why, ..Failure::default() });
            match record.is_pooled() {
                true => record.run.lost = record.run.lost.take().or(failure),
                false => record.run.failure = failure,
            }
        }
        self.feed(Event::Unhealthy(id));
    }

    /// Logs changes of the app's readiness.
    pub(super) fn log_readiness(&mut self) {
        if self.servers.is_none() && self.machine.level() == Level::Running {
            return;
        }
        let stops = self.stop.began.is_some();
        let ready = self.machine.level() == Level::Running
            && self.machine.in_service().all(|id| self.machine.is_ready(id));
        let was_ready = std::mem::replace(&mut self.readiness.ready, ready);
        if ready && !std::mem::replace(&mut self.readiness.started, true) {
            let components = self.machine.in_service().count();
            info!(components, ms = millis(self.now), "app started");
            for socket in activation::unclaimed() {
                warn!(
                    socket,
                    "no component listens on this socket, which was passed to the process: its clients wait in vain"
                );
            }
            self.service_manager.started(&self.plan.app.name, components);
        } else if ready && !was_ready {
            info!("app ready");
        } else if !ready && (was_ready || (stops && !self.readiness.stop_told)) {
            self.readiness.stop_told |= stops;
            info!(because = self.not_ready_because().join("; "), "app not ready");
        }
        if self.readiness.started {
            fail_point::reach("control");
        }
    }

    /// Returns the reasons why the app does not take work; none when it does.
    pub(super) fn not_ready_because(&self) -> Vec<String> {
        if self.machine.level() > Level::Running {
            let cause = self.cause().map(|cause| cause.to_string()).unwrap_or_default();
            return vec![format!("the app is stopping: {cause}")];
        }
        let waits = |id: &GenerationId| !self.machine.is_ready(*id);
        let reason = |id: GenerationId| {
            let record = self.registry.get(id)?;
            let why = if self.machine.is_out_of_service(id) { ": its restart budget is spent" } else { "" };
            Some(format!("{}: {}{why}", record.plan.name, self.state_of(id, record)))
        };
        self.machine.in_service().filter(waits).filter_map(reason).collect()
    }
}
