//! The app at one moment: status and figures for operators, and the report at its end. Decides nothing.

use std::time::Duration;

use super::event_loop::EventLoop;
use super::generation_record::{GenerationRecord, millis};
use super::registry::add_counts;
use super::report::{CauseReport, Report};
use crate::admin::{ComponentMetrics, ComponentStatus, LastReload, Metrics, Snapshot, Status};
use crate::output::Channel;
use crate::teardown::{Cause, ExitCode, GenerationId, Phase, Requester};

/// A component is told to be busy when it has not paused for this long.
const BUSY: Duration = Duration::from_secs(1);

impl EventLoop {
    /// Returns all that operators can see.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { status: self.status(), metrics: self.metrics() }
    }

    fn status(&self) -> Status {
        let now = self.runtime.clock().now();
        let because = self.not_ready_because();
        let components = self.registry.in_order(&self.plan);
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
            reloads: self.reloads.ok,
            failed_reloads: self.reloads.failed,
            last_reload: self.reloads.last.as_ref().map(|last| LastReload {
                ok: last.ok,
                text: last.text.clone(),
                ago_ms: millis(now.saturating_sub(last.at)),
            }),
            reloading: self.reloads.is_under_way(),
            components: components.into_iter().map(|(id, record)| self.component(id, record, now)).collect(),
        }
    }

    fn component(&self, id: GenerationId, record: &GenerationRecord, now: Duration) -> ComponentStatus {
        let phase = self.machine.phase(id);
        let line = record.run.link.as_ref().map(|link| link.vitals.status()).filter(|line| !line.is_empty());
        let counters = self.registry.counters.get(&record.plan.name);
        let since = record.run.started.filter(|_| record.lives());
        let is_hook_open = !record.run.hooks.open.is_empty();
        let deadline = self.machine.deadline(id).filter(|_| phase == Phase::Asked);
        ComponentStatus {
            name: record.plan.name.clone(),
            kind: record.kind().map_or("", |kind| kind.name).to_owned(),
            state: self.state_of(id, record).to_owned(),
            generation: record.generation,
            instances: self.instances(id),
            in_flight: self.in_flight(id, record),
            waiting: self.waiting(id),
            busy_ms: self.busy(id).map(millis),
            restarts: counters.map_or(0, |counters| counters.metrics.restarts),
            failing_ms: self.machine.failing_for(id, now).map(millis),
            failures: self.failures(&record.plan.name),
            uptime_ms: since.map_or(0, |since| millis(now.saturating_sub(since))),
            memory_bytes: record.memory(),
            line,
            last_failure: counters.and_then(|counters| counters.last_failure.clone()),
            addresses: self.servers.as_ref().map(|servers| servers.urls(id)).unwrap_or_default(),
            hook_ms: record.hook_time(now).filter(|_| is_hook_open).map(millis),
            left_ms: deadline.map(|end| millis(end.saturating_sub(now))),
        }
    }

    /// Returns the state of a generation in words.
    pub(super) fn state_of(&self, id: GenerationId, record: &GenerationRecord) -> &'static str {
        match self.machine.phase(id) {
            Phase::Running if self.machine.is_out_of_service(id) => "out of service",
            Phase::Running if !self.machine.is_ready(id) => "not ready",
            phase => record.doing(phase),
        }
    }

    /// Returns how often a component, or an instance of it, has failed, over all its generations.
    fn failures(&self, name: &str) -> u64 {
        self.metrics_of(name).map_or(0, |metrics| metrics.traps)
    }

    fn instances(&self, id: GenerationId) -> u64 {
        self.servers.as_ref().map_or(0, |servers| servers.instances(id) as u64)
    }

    /// Returns what is under way, with the calls whose clients have left.
    fn in_flight(&self, id: GenerationId, record: &GenerationRecord) -> u64 {
        let orphans = self.servers.as_ref().map_or(0, |servers| servers.orphans(id) as u64);
        record.in_flight_now() + orphans
    }

    fn waiting(&self, id: GenerationId) -> u64 {
        self.servers.as_ref().map_or(0, |servers| servers.waiting(id) as u64)
    }

    /// Returns the time for which a generation has not paused, if that is long.
    pub(super) fn busy(&self, id: GenerationId) -> Option<Duration> {
        self.servers.as_ref().map(|servers| servers.busy(id)).filter(|time| *time >= BUSY)
    }

    fn metrics(&self) -> Metrics {
        let names = self.plan.components.iter().map(|component| component.name.as_str());
        let dropped = |channel| self.options.output.host(channel).dropped();
        Metrics {
            components: names.filter_map(|name| self.metrics_of(name)).collect(),
            log_lines_dropped: [Channel::Stdout, Channel::Stderr].map(dropped).iter().sum(),
            reloads_ok: self.reloads.ok,
            reloads_failed: self.reloads.failed,
        }
    }

    fn metrics_of(&self, name: &str) -> Option<ComponentMetrics> {
        let mut all = self.registry.counters.get(name)?.metrics.clone();
        all.name = name.to_owned();
        for (id, record) in self.registry.iter().filter(|(_, record)| record.plan.name == name) {
            add_counts(&mut all, record);
            all.kind = record.kind().map_or("", |kind| kind.name).to_owned();
            all.in_flight += self.in_flight(id, record);
            all.waiting += self.waiting(id);
            all.instances += self.instances(id);
            all.memory_bytes += record.memory();
        }
        Some(all)
    }

    /// Returns the cause of the stop, with names.
    pub(super) fn cause(&self) -> Option<CauseReport> {
        let (kind, name) = match self.machine.cause()? {
            Cause::Signal(signal) => ("signal", signal.name().to_owned()),
            Cause::Failure(id) => ("failure", self.name(id)),
            Cause::Finished(id) => ("finished", self.name(id)),
            Cause::Request(Requester::Operator) => ("request", "operator".to_owned()),
            Cause::Request(Requester::Component(id)) => ("request", self.name(id)),
            Cause::Reload => ("reload", String::new()),
            Cause::HostBug(what) => ("host-bug", what.to_owned()),
        };
        Some(CauseReport { kind, name })
    }

    pub(super) fn report(&self) -> Report {
        let now = self.now;
        let components = self.registry.in_order(&self.plan).into_iter().map(|(id, record)| {
            let replaced = self.registry.id_of(&record.plan.name) != Some(id);
            let counters = self.registry.counters.get(&record.plan.name);
            let restarts = counters.map_or(0, |counters| counters.metrics.restarts);
            let failures = self.failures(&record.plan.name);
            record.report(self.machine.outcome(id), now, replaced, restarts, failures)
        });
        Report {
            app: self.plan.app.name.clone(),
            cause: self.cause(),
            exit_code: self.final_code().0,
            duration_ms: millis(now),
            stop_ms: self.stop.began.map(|began| millis(now.saturating_sub(began))),
            components: components.collect(),
        }
    }

    /// Returns the exit code. A single bare file that failed by its own exit status passes that on, as users
    /// of `wasmtime run` expect. A machine that is too small for the app's start is no failure of a component.
    fn final_code(&self) -> ExitCode {
        let code = self.stop.exit_code.unwrap_or_else(|| self.machine.exit_code());
        let own = self.registry.iter().next().and_then(|(_, record)| record.run.failure.as_ref()?.exit_code);
        match own {
            _ if self.stop.is_by_shortage && code == ExitCode::FAILED => ExitCode::UNAVAILABLE,
            Some(own) if self.plan.passthrough && code == ExitCode::FAILED => ExitCode(own),
            _ => code,
        }
    }
}
