//! Readiness of the app: it is ready while it runs and each component in service is ready.

use super::event_loop::EventLoop;
use super::log_events;
use crate::fail_point;
use crate::teardown::{GenerationId, Level, Phase};

impl EventLoop {
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
        if self.readiness.started {
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

/// A change of readiness that the log tells.
enum Flip {
    /// Ready for the first time.
    Started,
    Ready,
    NotReady,
}

/// The last readiness that the log told.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    started: bool,
    ready: bool,
    /// The log has told that the app is not ready because it stops.
    stop_told: bool,
}

impl Readiness {
    fn flip(&mut self, ready: bool, stops: bool) -> Option<Flip> {
        let was_ready = std::mem::replace(&mut self.ready, ready);
        if ready {
            let first = !std::mem::replace(&mut self.started, true);
            return match (first, was_ready) {
                (true, _) => Some(Flip::Started),
                (false, false) => Some(Flip::Ready),
                (false, true) => None,
            };
        }
        let tells = was_ready || (stops && !self.stop_told);
        self.stop_told |= tells && stops;
        tells.then_some(Flip::NotReady)
    }
}
