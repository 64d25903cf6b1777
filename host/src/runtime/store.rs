//! The making of a store: its WASI context from the plan's grants, its limits, and its interruption.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{Result, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::cli::StdoutStream;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;

use super::fullness::FullnessWatch;
use super::network::UdpPeers;
use super::outbound::HttpHooks;
use super::state::{GUEST_HANDLES, HANDLES, HOSTCALL_BYTES, Limits};
use super::stdin::StdinUntilAsked;
use super::{AtEpoch, Interruption, Link, Loaded, Outbound, Runtime, State};
use crate::plan::{Access, ComponentPlan};

pub(crate) struct Stdio {
    pub(crate) stdout: Box<dyn StdoutStream + Sync>,
    pub(crate) stderr: Box<dyn StdoutStream + Sync>,
}

/// Makes the streams of one instance, and what is done with them when it has ended.
pub(crate) type MakeStdio = Arc<dyn Fn() -> (Stdio, Box<dyn FnOnce() + Send>) + Send + Sync>;

/// Returns a fresh store for one instance of a component. Orders interrupt its code at the next epoch, and at each entry; so does
/// `at_epoch`.
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
    at_epoch: Option<AtEpoch>,
) -> Result<Store<State>> {
    let mut wasi = wasi(loaded, plan, stdio, link.clone())?;
    wasi.ctx().table.set_max_capacity(HANDLES);
    let state = State {
        engine: loaded.engine().clone(),
        wasi,
        network: loaded.network.clone(),
        http: WasiHttpCtx::new(),
        http_hooks: HttpHooks::new(loaded.outbound.clone(), outbound),
        config: plan.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        limits: Limits::new(plan, link.vitals.clone(), runtime.memory.clone()),
        fullness: FullnessWatch::default(),
        link,
        at_epoch,
    };
    let mut store = Store::new(loaded.engine(), state);
    store.limiter(|state| &mut state.limits);
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    store.set_max_component_handles(GUEST_HANDLES);
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
            let verdict = match &state.at_epoch {
                Some(at_epoch) => at_epoch(),
                None if state.link.must_yield() => Interruption::Yield,
                None => Interruption::None,
            };
            match verdict {
                Interruption::None => Ok(UpdateDeadline::Continue(1)),
                Interruption::Yield => Ok(UpdateDeadline::Yield(1)),
                Interruption::Trap => Err(wasmtime::Trap::Interrupt.into()),
            }
        });
    }
    Ok(store)
}

fn wasi(loaded: &Loaded, plan: &ComponentPlan, stdio: Stdio, link: Arc<Link>) -> Result<WasiP1Ctx> {
    let mut wasi = WasiCtxBuilder::new();
    // Other hosts, too, name a program by its file without the path.
    let program = plan.source.file_name().map_or(plan.name.as_str().into(), OsStr::to_string_lossy);
    wasi.arg(program).args(&plan.args).stdout(stdio.stdout).stderr(stdio.stderr);
    for (key, value) in &plan.env {
        wasi.env(key, value);
    }
    if plan.stdin && loaded.hears_of_a_stop() {
        wasi.inherit_stdin();
    } else if plan.stdin {
        wasi.stdin(StdinUntilAsked(link.clone()));
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
        let allowed = network.check(address, usage, &mut peers);
        if allowed && matches!(usage, SocketAddrUse::TcpListen) {
            link.listeners.add(address.port());
        }
        Box::pin(std::future::ready(allowed))
    });
    Ok(wasi.build_p1())
}
