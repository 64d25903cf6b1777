//! The data of one store: its component's grants, its limits, and its link to the supervisor. wasmtime's own limits hold for
//! each memory; these hold for all memories and tables of an instance together.

use std::sync::Arc;

use wasmtime::{Engine, ResourceLimiter, Result};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::AppMemory;
use super::app_memory::AppMemoryFull;
use super::fullness::FullnessWatch;
use super::link::{Link, Vitals};
use super::network::Network;
use super::outbound::HttpHooks;
use crate::plan::ComponentPlan;

/// Elements of all tables of one instance together.
pub(super) const TABLE_ELEMENTS: usize = 1 << 20;
/// Entries of each table of the host's for one instance: resources of the host (sockets, files, streams), and tasks, streams
/// and futures.
pub(super) const HANDLES: usize = 10_000;
/// Handles of one instance: more than both tables have entries, so that those are full first. They can be counted.
pub(super) const GUEST_HANDLES: usize = 3 * HANDLES;
/// Bytes that the host copies out of a guest in one call.
pub(super) const HOSTCALL_BYTES: usize = 8 << 20;

/// The answer to code that runs at an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// It goes on.
    None,
    /// Others on its thread have to run.
    Yield,
    /// It has to end.
    Trap,
}

/// Decides at an epoch about the running code of one store.
pub(crate) type AtEpoch = Box<dyn Fn() -> Interruption + Send + Sync>;

/// The data of one store.
pub struct State {
    pub(super) engine: Engine,
    /// WASI preview 1, and all that it has in common with later ones: the context and the table of resources.
    pub(super) wasi: WasiP1Ctx,
    pub(super) network: Arc<Network>,
    pub(super) http: WasiHttpCtx,
    pub(super) http_hooks: HttpHooks,
    pub(super) config: WasiConfigVariables,
    pub(super) link: Arc<Link>,
    pub(super) limits: Limits,
    pub(super) fullness: FullnessWatch,
    pub(super) at_epoch: Option<AtEpoch>,
}

opaque_debug!(State);

impl State {
    /// Returns what the functions of WASI preview 1 work on.
    pub(super) fn preview_1(&mut self) -> &mut WasiP1Ctx {
        self.note_call();
        &mut self.wasi
    }

    /// Notes that the guest calls the host: a guest that does so for long without waiting gives its turn up.
    fn note_call(&self) {
        if self.link.note_call() {
            self.engine.increment_epoch();
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.note_call();
        self.wasi.ctx()
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.note_call();
        WasiHttpCtxView { ctx: &mut self.http, table: self.wasi.ctx().table, hooks: &mut self.http_hooks }
    }
}

#[derive(Debug)]
pub(super) struct Limits {
    memory: usize,
    memory_used: usize,
    tables_used: usize,
    /// The last growth that was allowed. It is handed back if it fails after all.
    last_growth: usize,
    /// The last growth was refused.
    refused: bool,
    vitals: Arc<Vitals>,
    component: String,
    app: Arc<AppMemory>,
}

impl Limits {
    pub(super) fn new(plan: &ComponentPlan, vitals: Arc<Vitals>, app: Arc<AppMemory>) -> Self {
        let memory = usize::try_from(plan.memory).unwrap_or(usize::MAX);
        let component = plan.name.clone();
        let [memory_used, tables_used, last_growth] = [0; 3];
        Self { memory, memory_used, tables_used, last_growth, refused: false, vitals, component, app }
    }

    /// Returns the used and the allowed bytes of memory, and elements of tables.
    pub(super) fn used(&self) -> ((usize, usize), (usize, usize)) {
        ((self.memory_used, self.memory), (self.tables_used, TABLE_ELEMENTS))
    }

    /// Returns whether the instance was refused more memory, and has got none since.
    pub(super) fn has_refused_memory(&self) -> bool {
        self.refused
    }

    fn use_memory(&mut self, used: usize) {
        self.vitals.memory_changed(self.memory_used, used);
        self.memory_used = used;
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.app.give_back(self.memory_used);
        self.use_memory(0);
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let growth = desired.saturating_sub(current);
        let used = self.memory_used.saturating_add(growth);
        let fits = used <= self.memory && maximum.is_none_or(|most| desired <= most);
        let allowed = fits && self.app.take(growth, &self.component);
        self.last_growth = if allowed { growth } else { 0 };
        self.refused = used > self.memory;
        if allowed {
            self.use_memory(used);
        } else if fits && current == 0 {
            // The instance cannot be made, which is not its component's fault.
            return Err(AppMemoryFull.into());
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        let growth = std::mem::take(&mut self.last_growth);
        self.app.give_back(growth);
        self.use_memory(self.memory_used.saturating_sub(growth));
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let used = self.tables_used.saturating_add(desired.saturating_sub(current));
        let allowed = used <= TABLE_ELEMENTS && maximum.is_none_or(|most| desired <= most);
        if allowed {
            self.tables_used = used;
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::is_shortage;

    fn limits(app: &Arc<AppMemory>) -> Limits {
        let plan = ComponentPlan { memory: 100, ..ComponentPlan::default() };
        Limits::new(&plan, Arc::default(), app.clone())
    }

    #[test]
    fn all_instances_of_an_app_stay_below_its_limit() {
        let app = Arc::new(AppMemory::default());
        app.set_limit(Some(120));
        let [mut one, mut other] = [limits(&app), limits(&app)];
        assert!(one.memory_growing(0, 60, None).unwrap() && other.memory_growing(0, 60, None).unwrap());
        assert!(!one.memory_growing(60, 61, None).unwrap());
        assert!(is_shortage(&limits(&app).memory_growing(0, 1, None).unwrap_err()));
        other.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert!(one.memory_growing(60, 100, None).unwrap());
        drop(one);
        assert!(other.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn all_memories_together_stay_below_the_limit() {
        let mut limits = limits(&Arc::default());
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 60, None).unwrap(), "a second memory is no way around it");
        assert!(limits.memory_growing(0, 40, None).unwrap());
        assert!(!limits.memory_growing(40, 41, None).unwrap());
    }

    #[test]
    fn a_growth_that_fails_is_handed_back() {
        let mut limits = limits(&Arc::default());
        assert!(limits.memory_growing(0, 60, None).unwrap());
        limits.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert!(limits.memory_growing(0, 100, None).unwrap());
        assert!(!limits.memory_growing(100, 101, None).unwrap());
        limits.memory_grow_failed(wasmtime::Error::msg("refused anyway")).unwrap();
        assert!(!limits.memory_growing(100, 101, None).unwrap(), "a refusal hands nothing back");
    }
}
