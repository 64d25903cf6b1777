//! The app as operators see it: status and figures at one moment. Decides nothing.

use super::event_loop::EventLoop;
use super::generation_record::{GenerationRecord, millis};
use super::report::CauseReport;
use crate::admin::{ComponentStatus, LastReload, Metrics, Snapshot, Status};
use crate::output::Channel;
use crate::teardown::{GenerationId, Phase};

impl EventLoop {
    /// Returns everything there is to tell.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { status: self.status(), metrics: self.metrics() }
    }

    fn status(&self) -> Status {
        let now = self.runtime.clock().now();
        let because = self.not_ready_because();
        let names = self.plan.components.iter().map(|component| component.name.as_str());
        let components = self.registry.in_order(names);
        Status {
            app: self.plan.app.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            level: self.machine.level().word().to_owned(),
            ready: because.is_empty(),
            not_ready_because: because,
            cause: self.cause().map(|cause| cause.to_string()),
            uptime_ms: millis(now),
            left_ms: self.machine.deadlines().map(|all| millis(all.end.saturating_sub(now))),
            reloads: self.reloads.ok(),
            failed_reloads: self.reloads.failed(),
            last_reload: self.reloads.last().map(|last| LastReload {
                ok: last.ok,
                text: last.text.clone(),
                ago_ms: millis(now.saturating_sub(last.at)),
            }),
            reloading: self.reloads.is_under_way(),
            components: components.into_iter().map(|(id, record)| self.component(id, record, now)).collect(),
        }
    }

    fn component(
        &self,
        id: GenerationId,
        record: &GenerationRecord,
        now: std::time::Duration,
    ) -> ComponentStatus {
        let phase = self.machine.phase(id);
        let line = record.link.as_ref().map(|link| link.vitals.status()).filter(|line| !line.is_empty());
        let counters = self.registry.counters(&record.plan.name);
        let since = record.started.filter(|_| record.lives());
        ComponentStatus {
            name: record.plan.name.clone(),
            kind: record.kind().to_owned(),
            state: match self.machine.is_ready(id) || phase != Phase::Running {
                true => record.doing(phase).to_owned(),
                false => "not ready".to_owned(),
            },
            generation: record.generation,
            instances: self.instances(id),
            in_flight: record.in_flight_now(),
            restarts: counters.map_or(0, |counters| counters.restarts),
            uptime_ms: since.map_or(0, |since| millis(now.saturating_sub(since))),
            memory_bytes: record.memory(),
            line,
            last_failure: counters.and_then(|counters| counters.last_failure.clone()),
            addresses: self.servers.as_ref().map(|servers| servers.urls(id)).unwrap_or_default(),
            hook_ms: record.hooks.is_open().then(|| record.hook_time(now).map(millis)).flatten(),
            left_ms: match phase {
                Phase::Asked => self.machine.deadline(id).map(|end| millis(end.saturating_sub(now))),
                _ => None,
            },
        }
    }

    fn instances(&self, id: GenerationId) -> u64 {
        self.servers.as_ref().map_or(0, |servers| servers.instances(id) as u64)
    }

    fn metrics(&self) -> Metrics {
        let component = |component: &crate::plan::ComponentPlan| {
            let name = component.name.as_str();
            let mine = self.registry.iter().filter(|(_, record)| record.plan.name == name);
            let living = mine.map(|(id, record)| (record, self.instances(id)));
            self.registry.counters(name).map(|counters| counters.metrics(name, living))
        };
        Metrics {
            components: self.plan.components.iter().filter_map(component).collect(),
            log_lines_dropped: [Channel::Stdout, Channel::Stderr]
                .map(|channel| self.options.output.host(channel).dropped())
                .iter()
                .sum(),
            reloads_ok: self.reloads.ok(),
            reloads_failed: self.reloads.failed(),
        }
    }

    pub(super) fn cause(&self) -> Option<CauseReport> {
        self.machine.cause().map(|cause| CauseReport::new(cause, |id| self.name(id)))
    }
}
