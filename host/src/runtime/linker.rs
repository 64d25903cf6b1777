//! The imports that are defined: all of WASI's cli world in 0.2 and 0.3, `wasi:http` for sending, `wasi:config`, and curfew's
//! own packages. What a component may do with them depends on its state, not on the linker.

use wasmtime::component::Linker;
use wasmtime::{Engine, Result};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_config::WasiConfig;

use super::lifecycle;
use super::state::State;

/// The interface that adapted core modules exit through, with a code; see `adapt::exit_code`.
const EXIT_CODE: &str = "curfew:adapter/exit@1.0.0";

/// Returns the linker that all components are linked with.
pub(super) fn new(engine: &Engine) -> Result<Linker<State>> {
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
