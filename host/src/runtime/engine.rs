//! The one `wasmtime::Config`, and the parts that all components share.

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{Config, Engine, Result, bail};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_config::WasiConfig;

use super::{AppMemory, Cache, Kind, RunClock, State, lifecycle, probe};

/// The interface through which adapted core modules exit (`adapt::exit_code`).
const EXIT_CODE: &str = "curfew:adapter/exit@1.0.0";

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
    pub(crate) cache: Option<Cache>,
    pub(crate) interruptible: bool,
    pub(crate) kinds: Arc<[&'static Kind]>,
    pub(crate) clock: Arc<RunClock>,
    pub(crate) memory: Arc<AppMemory>,
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
        let engine = Engine::new(&config(&options, has_memory_files))?;
        Ok(Self {
            linker: Arc::new(linker(&engine)?),
            engine,
            cache: options.cache,
            interruptible: options.interruptible,
            kinds: options.kinds.into(),
            clock: Arc::new(RunClock::start()),
            memory: Arc::default(),
        })
    }

    pub(crate) fn clock(&self) -> &Arc<RunClock> {
        &self.clock
    }

    /// Has every running store look at its orders. Takes some nanoseconds.
    pub(crate) fn bump(&self) {
        self.engine.increment_epoch();
    }
}

fn config(options: &RuntimeOptions, has_memory_files: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(options.interruptible)
        .memory_init_cow(has_memory_files)
        .wasm_component_model_async(true)
        .wasm_component_model_more_async_builtins(true)
        .wasm_component_model_async_stackful(true)
        .wasm_exceptions(true)
        // Only native debuggers read it, and loading is faster without.
        .native_unwind_info(false);
    config
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
    linker.instance(EXIT_CODE)?.func_wrap("with-code", |_, (code,): (u32,)| -> Result<()> {
        // No system has statuses that are larger.
        Err(I32Exit(i32::try_from(code).unwrap_or(i32::MAX)).into())
    })?;
    Ok(linker)
}
