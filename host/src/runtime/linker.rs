//! Which imports are defined: all of WASI's cli world in 0.2 and 0.3, what guests send over
//! `wasi:http`, `wasi:config`, and our own package. What
//! a component may do with them is decided by its state, not here.

use wasmtime::component::Linker;
use wasmtime::{Engine, Result};
use wasmtime_wasi_config::WasiConfig;

use super::adapt::exit_code;
use super::lifecycle;
use super::state::State;

/// Returns the linker that all components are linked with.
///
/// # Errors
/// When two definitions clash, which is a bug of the host.
pub fn new(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut State| WasiConfig::new(&state.config))?;
    lifecycle::add_to_linker(&mut linker)?;
    exit_code::add_to_linker(&mut linker)?;
    Ok(linker)
}
