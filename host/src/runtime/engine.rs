//! The one `wasmtime::Config`, and what is made once for all components: engine, linker, cache.

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{Config, Engine, Result};

use super::cache::Cache;
use super::clock::RunClock;
use super::linker;
use super::state::State;

/// What an embedder can choose about the engine.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Where compiled components are kept; `None` compiles each time.
    pub cache: Option<Cache>,
    /// Whether a spinning guest can be interrupted. Without it a CPU-bound guest can run faster, and only the
    /// end of the process ends it: for measurements.
    pub interruptible: bool,
}

/// What all components of an app share. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Arc<Linker<State>>,
    pub(crate) cache: Option<Cache>,
    pub(crate) interruptible: bool,
    pub(crate) clock: Arc<RunClock>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Makes the engine and the linker.
    ///
    /// # Errors
    /// When this machine cannot run the code that wasmtime compiles.
    pub fn new(options: RuntimeOptions) -> Result<Self> {
        let engine = Engine::new(&config(&options))?;
        let linker = Arc::new(linker::new(&engine)?);
        let (cache, interruptible) = (options.cache, options.interruptible);
        Ok(Self { engine, linker, cache, interruptible, clock: Arc::new(RunClock::start()) })
    }

    /// Returns the clock that all deadlines are on.
    pub fn clock(&self) -> &Arc<RunClock> {
        &self.clock
    }

    /// Lets every running store look whether it is to end. Takes some nanoseconds.
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
        // Only native debuggers read it; loading a component is faster without. Guests' backtraces need it not.
        .native_unwind_info(false);
    config
}
