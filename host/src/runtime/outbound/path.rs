//! Paths of requests as guests set them: one without its slash gets it.
//!
//! `wasmtime-wasi-http` 48.0.8 refuses such a path, since an absolute URI in its place would name another host. Guests that run on
//! versions before that set it.

use wasmtime::Result;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types as v0_2;
use wasmtime_wasi_http::p3::bindings::http::types as v0_3;

use crate::runtime::State;

/// The interfaces as `wasmtime-wasi-http` has them.
const TYPES_P2: &str = "wasi:http/types@0.2.12";
const TYPES_P3: &str = "wasi:http/types@0.3.0";

/// Replaces one function of each version of WASI.
pub(in crate::runtime) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    linker.instance(TYPES_P2)?.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store, (request, path): (Resource<v0_2::OutgoingRequest>, Option<String>)| {
            let http = &mut store.data_mut().http();
            Ok((v0_2::HostOutgoingRequest::set_path_with_query(http, request, path.map(with_slash))?,))
        },
    )?;
    linker.instance(TYPES_P3)?.func_wrap(
        "[method]request.set-path-with-query",
        |mut store, (request, path): (Resource<v0_3::Request>, Option<String>)| {
            let http = &mut store.data_mut().http();
            Ok((v0_3::HostRequest::set_path_with_query(http, request, path.map(with_slash))?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn with_slash(path: String) -> String {
    match path.as_bytes().first() {
        None | Some(b'/' | b'?') => path,
        Some(_) => format!("/{path}"),
    }
}
