//! The one `wasmtime::Config`, and the parts that all components share.

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{Config, Engine, Result};

use super::cache::Cache;
use super::clock::RunClock;
use super::kind::Kind;
use super::linker;
use super::state::State;

/// Choices of an embedder about the engine.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Keeps compiled components; `None` compiles each time.
    pub cache: Option<Cache>,
    /// Whether a spinning guest can be interrupted. Without it a CPU-bound guest can run faster, and only the end of the
    /// process ends it: for measurements.
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
}

opaque_debug!(Runtime);

impl Runtime {
    /// # Errors
    /// When this machine cannot run the code that wasmtime compiles.
    pub fn new(options: RuntimeOptions) -> Result<Self> {
        let engine = Engine::new(&config(&options))?;
        let linker = Arc::new(linker::new(&engine)?);
        let RuntimeOptions { cache, interruptible, kinds } = options;
        Ok(Self {
            engine,
            linker,
            cache,
            interruptible,
            kinds: kinds.into(),
            clock: Arc::new(RunClock::start()),
        })
    }

    /// Returns the clock that all deadlines are on.
    pub fn clock(&self) -> &Arc<RunClock> {
        &self.clock
    }

    /// Has every running store look at its orders. Takes some nanoseconds.
    pub fn bump(&self) {
        self.engine.increment_epoch();
    }
}

fn config(options: &RuntimeOptions) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(options.interruptible)
        .wasm_component_model_async(true)
        .wasm_component_model_more_async_builtins(true)
        .wasm_component_model_async_stackful(true)
        .wasm_exceptions(true)
        // Only native debuggers read it, guests' backtraces do not need it; loading a component is faster without.
        .native_unwind_info(false);
    config
}
