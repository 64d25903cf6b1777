//! The report at the end of the app, and the exit code in it.

use super::event_loop::EventLoop;
use super::generation_record::{GenerationRecord, millis};
use super::report::{ComponentReport, Report};
use crate::teardown::{ExitCode, GenerationId};

impl EventLoop {
    /// Returns the report of the app as it is now.
    pub(super) fn report(&self) -> Report {
        let now = self.now;
        let names = self.plan.components.iter().map(|component| component.name.as_str());
        let components =
            self.registry.in_order(names).into_iter().map(|(id, record)| self.report_of(id, record));
        Report {
            app: self.plan.app.name.clone(),
            cause: self.cause(),
            exit_code: self.final_code().0,
            duration_ms: millis(now),
            stop_ms: self.stop.began().map(|began| millis(now.saturating_sub(began))),
            components: components.collect(),
        }
    }

    /// Returns one generation's part of it.
    pub(super) fn report_of(&self, id: GenerationId, record: &GenerationRecord) -> ComponentReport {
        let name = &record.plan.name;
        ComponentReport {
            replaced: self.registry.id_of(name) != Some(id),
            restarts: self.registry.counters(name).map_or(0, |counters| counters.restarts),
            ..record.report(self.machine.outcome(id), self.now)
        }
    }

    /// Returns the exit code. A single bare file that failed by its own exit status passes that on, as users
    /// of `wasmtime run` expect.
    fn final_code(&self) -> ExitCode {
        let code = self.stop.exit_code().unwrap_or_else(|| self.machine.exit_code());
        let own = self.registry.iter().next().and_then(|(_, record)| record.failure.as_ref()?.exit_code);
        match own {
            Some(own) if self.plan.passthrough && code == ExitCode::FAILED => ExitCode(own),
            _ => code,
        }
    }
}
