//! The making of a store: its WASI context from the plan's grants, its limits, and its interruption.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::ResourceTable;
use wasmtime::{Result, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::cli::StdoutStream;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

use super::network::UdpPeers;
use super::outbound::HttpHooks;
use super::state::{HANDLES, HOSTCALL_BYTES, Limits};
use super::{Fairness, Link, Loaded, Outbound, Runtime, State};
use crate::plan::{Access, ComponentPlan};

pub(crate) struct Stdio {
    pub(crate) stdout: Box<dyn StdoutStream + Sync>,
    pub(crate) stderr: Box<dyn StdoutStream + Sync>,
}

/// Returns a fresh store for one instance of a component. Orders interrupt its code at the next epoch, and at each entry.
///
/// # Errors
/// When a directory that is granted cannot be opened.
pub(crate) fn new_store(
    runtime: &Runtime,
    loaded: &Loaded,
    plan: &ComponentPlan,
    stdio: Stdio,
    link: Arc<Link>,
    outbound: Outbound,
    fairness: Option<Fairness>,
) -> Result<Store<State>> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES);
    let state = State {
        wasi: wasi(loaded, plan, stdio)?,
        http: WasiHttpCtx::new(),
        http_hooks: HttpHooks::new(loaded.outbound.clone(), outbound),
        table,
        config: plan.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        limits: Limits::new(plan, link.vitals.clone(), runtime.memory.clone()),
        link,
        fairness,
    };
    let mut store = Store::new(&runtime.engine, state);
    store.limiter(|state| &mut state.limits);
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    store.set_max_component_handles(HANDLES);
    if let Some(tasks) = store.concurrent_resource_table() {
        tasks.set_max_capacity(HANDLES);
    }
    if runtime.interruptible {
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context: StoreContextMut<'_, State>| {
            let state = context.data();
            if state.link.orders.must_trap() {
                return Err(wasmtime::Trap::Interrupt.into());
            }
            Ok(match &state.fairness {
                Some(must_yield) if must_yield() => UpdateDeadline::Yield(1),
                Some(_) | None => UpdateDeadline::Continue(1),
            })
        });
    }
    Ok(store)
}

fn wasi(loaded: &Loaded, plan: &ComponentPlan, stdio: Stdio) -> Result<WasiCtx> {
    let mut wasi = WasiCtxBuilder::new();
    // Other hosts, too, name a program by its file without the path.
    let program = plan.source.file_name().map_or(plan.name.as_str().into(), OsStr::to_string_lossy);
    wasi.arg(program).args(&plan.args).stdout(stdio.stdout).stderr(stdio.stderr);
    for (key, value) in &plan.env {
        wasi.env(key, value);
    }
    if plan.stdin {
        wasi.inherit_stdin();
    }
    for dir in &plan.dirs {
        let access = match dir.access {
            Access::ReadOnly => FsPerms::ReadOnly,
            Access::ReadWrite => FsPerms::ReadWrite,
        };
        wasi.preopened_dir(&dir.host, &dir.guest, access)?;
    }
    let network = loaded.network.clone();
    wasi.allow_ip_name_lookup(network.names);
    wasi.allow_tcp(true).allow_udp(true);
    let peers = Mutex::new(UdpPeers::default());
    wasi.socket_addr_check(move |address, usage| {
        let mut peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = network.allows(address, usage, &mut peers);
        Box::pin(std::future::ready(allowed))
    });
    Ok(wasi.build())
}
