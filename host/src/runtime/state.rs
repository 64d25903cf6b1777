//! The data of one store: its component's grants, its limits, and its link to the supervisor.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::limits::Limits;
use super::link::Link;
use super::outbound::HttpHooks;

/// Returns at an epoch whether the running code has to let others on its thread run.
pub type Fairness = Box<dyn Fn() -> bool + Send + Sync>;

/// The data of one store.
pub struct State {
    pub(super) wasi: WasiCtx,
    pub(super) http: WasiHttpCtx,
    pub(super) http_hooks: HttpHooks,
    pub(super) table: ResourceTable,
    pub(super) config: WasiConfigVariables,
    pub(super) link: Arc<Link>,
    pub(super) limits: Limits,
    pub(super) fairness: Option<Fairness>,
}

opaque_debug!(State);

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.http_hooks }
    }
}
