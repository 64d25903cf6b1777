//! Making the store of one instance: its WASI context from the plan's grants, its limits, and its interruption.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::ResourceTable;
use wasmtime::{Result, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::cli::StdoutStream;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

use super::component::Loaded;
use super::engine::Runtime;
use super::limits::{HANDLES, HOSTCALL_BYTES, Limits};
use super::link::Link;
use super::network::UdpPeers;
use super::outbound::{HttpHooks, Outbound};
use super::state::{Fairness, State};
use crate::plan::{Access, ComponentPlan};

/// Standard output and standard error of one instance.
pub struct Stdio {
    /// Its standard output.
    pub stdout: Box<dyn StdoutStream + Sync>,
    /// Its standard error.
    pub stderr: Box<dyn StdoutStream + Sync>,
}

/// The parts of a store, besides its component.
pub struct StoreParts {
    /// Where its output goes.
    pub stdio: Stdio,
    /// Its connection to the supervisor.
    pub link: Arc<Link>,
    /// The client of its thread, for the requests that it sends.
    pub outbound: Outbound,
    /// Asked at each epoch, when others share its thread.
    pub fairness: Option<Fairness>,
}

opaque_debug!(Stdio, StoreParts);

/// Returns a fresh store for one instance of a component. Orders interrupt its code at the next epoch, and each entry
/// looks at the orders first.
///
/// # Errors
/// When a directory that is granted cannot be opened.
pub fn new_store(
    runtime: &Runtime,
    loaded: &Loaded,
    plan: &ComponentPlan,
    parts: StoreParts,
) -> Result<Store<State>> {
    let StoreParts { stdio, link, outbound, fairness } = parts;
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES);
    let state = State {
        wasi: wasi(loaded, plan, stdio)?,
        http: WasiHttpCtx::new(),
        http_hooks: HttpHooks::new(loaded.outbound.clone(), outbound),
        table,
        config: plan.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        limits: Limits::new(plan.memory, Some(link.vitals.clone())),
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

/// Returns the name of the file without its path, as other hosts name a program.
fn program(plan: &ComponentPlan) -> Cow<'_, str> {
    plan.source.file_name().map_or(Cow::Borrowed(plan.name.as_str()), OsStr::to_string_lossy)
}

fn wasi(loaded: &Loaded, plan: &ComponentPlan, stdio: Stdio) -> Result<WasiCtx> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.arg(program(plan)).args(&plan.args).stdout(stdio.stdout).stderr(stdio.stderr);
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
