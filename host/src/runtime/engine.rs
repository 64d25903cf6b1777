//! The one `wasmtime::Config`, and the parts that all components share.

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig, Result, bail,
};
use wasmtime_wasi_config::WasiConfig;

use super::cache::copy_to;
use super::code::Code;
use super::outbound::{self, Quotas};
use super::{AppMemory, Cache, Kind, RunClock, State, lifecycle, names, probe, program};

/// The interface through which adapted core modules exit (`adapt::exit_code`).
const EXIT_CODE: &str = "curfew:adapter/exit@1.0.0";

/// Bytes of the pages that an instance has written which stay in memory for the next one in its place. Pages beyond go back to the
/// system, which costs the next instance a page fault for each.
const KEPT_MEMORY: usize = 4 << 20;
/// The same for a table.
const KEPT_TABLE: usize = 64 << 10;
/// Elements that a table can grow to.
const TABLE_ELEMENTS: usize = 1 << 16;
const NO_EXEC: &str = "a compiled component is machine code: run curfew without systemd's `MemoryDenyWriteExecute=yes`, and \
     without a filter of system calls that forbids `mprotect`";

/// Choices of an embedder about the engine.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Keeps compiled components; `None` compiles each time.
    pub cache: Option<Cache>,
    /// Lets a spinning guest be interrupted. False is for measurements: a CPU-bound guest can run faster.
    pub interruptible: bool,
    /// The kinds of component that can run.
    pub kinds: Vec<&'static Kind>,
}

/// The parts that all components of an app share. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Arc<Linker<State>>,
    /// The imports of core modules that run as they are.
    pub(crate) programs: Arc<wasmtime::Linker<State>>,
    pub(crate) cache: Option<Cache>,
    pub(crate) interruptible: bool,
    pub(crate) kinds: Arc<[&'static Kind]>,
    pub(crate) clock: Arc<RunClock>,
    /// The settings of the engine.
    config: Arc<Config>,
    /// The engines with a pool.
    pools: Arc<Mutex<Vec<EngineWeak>>>,
    pub(crate) memory: Arc<AppMemory>,
    pub(super) quotas: Arc<Quotas>,
}

opaque_debug!(Runtime);

impl Runtime {
    /// # Errors
    /// When this machine cannot run the code that wasmtime compiles, or has too little address space.
    pub fn new(options: RuntimeOptions) -> Result<Self> {
        if let Err(error) = probe::executable_memory() {
            bail!("the system gives no executable memory: {}\nhint: {NO_EXEC}", error.desc());
        }
        let has_memory_files = probe::has_memory_files();
        if !has_memory_files {
            let reason = "the system refuses `memfd_create`";
            tracing::warn!(reason, "instances start slower: each gets a copy of its component's data");
        }
        let config = config(options.interruptible, has_memory_files);
        let engine = Engine::new(&config)?;
        Ok(Self {
            linker: Arc::new(linker(&engine)?),
            programs: Arc::new(program::linker(&engine)?),
            engine,
            cache: options.cache,
            interruptible: options.interruptible,
            kinds: options.kinds.into(),
            clock: Arc::new(RunClock::start()),
            config: Arc::new(config),
            pools: Arc::default(),
            memory: Arc::default(),
            quotas: Arc::default(),
        })
    }

    /// Returns a runtime for one component, with memory for so many of its instances at a time, and the component in it. An
    /// instance there costs no system call: it takes the place of an earlier one. The memory is reserved, not used.
    ///
    /// # Errors
    /// When the system does not give the address space, or an instance is larger than a place can be.
    pub(super) fn pooled(&self, code: &Code, instances: u32) -> Result<(Self, Code)> {
        let mut config = Config::clone(&self.config);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(code, instances)));
        let engine = Engine::new(&config)?;
        let code = copy_to(&engine, code)?;
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.upgrade().is_some());
        pools.push(engine.weak());
        drop(pools);
        Ok((Self { linker: Arc::new(linker(&engine)?), engine, ..self.clone() }, code))
    }

    pub(crate) fn clock(&self) -> &Arc<RunClock> {
        &self.clock
    }

    /// Has every running store look at its orders. Takes some nanoseconds.
    pub(crate) fn bump(&self) {
        self.engine.increment_epoch();
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(EngineWeak::upgrade).for_each(|engine| engine.increment_epoch());
    }
}

fn config(interruptible: bool, has_memory_files: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(interruptible)
        .memory_init_cow(has_memory_files)
        .wasm_component_model_async(true)
        .wasm_component_model_more_async_builtins(true)
        .wasm_component_model_async_stackful(true)
        .wasm_exceptions(true)
        // Only native debuggers read it, and loading is faster without.
        .native_unwind_info(false);
    config
}

/// Returns the limits of a pool for so many instances of one component.
fn pool(code: &Code, instances: u32) -> PoolingAllocationConfig {
    let needs = code.resources_required();
    let each = |count: fn(&wasmtime::ResourcesRequired) -> u32| {
        needs.as_ref().map_or(instances, |needs| instances.saturating_mul(count(needs).max(1)))
    };
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        // A component has a few modules, most of them for its imports.
        .total_core_instances(instances.saturating_mul(32))
        .total_memories(each(|needs| needs.num_memories))
        .total_tables(each(|needs| needs.num_tables))
        .total_gc_heaps(instances)
        .total_stacks(instances.saturating_mul(2))
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEPT_MEMORY)
        .table_keep_resident(KEPT_TABLE)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Returns all imports of the host. The state of a component, not the linker, decides what it may do with them.
fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut State| WasiConfig::new(&state.config))?;
    lifecycle::add_to_linker(&mut linker)?;
    names::add_to_linker(&mut linker)?;
    outbound::path::add_to_linker(&mut linker)?;
    let mut exit = linker.instance(EXIT_CODE)?;
    exit.func_wrap("with-code", |_, (code,): (u32,)| -> Result<()> { Err(program::exit(code)) })?;
    Ok(linker)
}
