//! A component of kind `http`, ready to be instantiated: which of its exports handles requests.

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Result, Store};
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::{p2, p3};

use super::state::State;

/// See the module's documentation.
#[derive(Clone)]
pub struct ProxyPre {
    pre: InstancePre<State>,
    indices: Indices,
}

#[derive(Clone)]
enum Indices {
    P2(p2::bindings::ProxyIndices),
    P3(p3::bindings::ServiceIndices),
}

impl std::fmt::Debug for ProxyPre {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyPre").finish_non_exhaustive()
    }
}

impl ProxyPre {
    /// Looks the handler up: `wasi:http/handler@0.3.x` if `is_p3`, else `wasi:http/incoming-handler@0.2.x`.
    ///
    /// # Errors
    /// When it is not there, or has another type.
    pub fn new(pre: &InstancePre<State>, is_p3: bool) -> Result<Self> {
        let indices = match is_p3 {
            true => Indices::P3(p3::bindings::ServiceIndices::new(pre)?),
            false => Indices::P2(p2::bindings::ProxyIndices::new(pre)?),
        };
        Ok(Self { pre: pre.clone(), indices })
    }

    /// Instantiates the component.
    ///
    /// # Errors
    /// When its start traps, or something that it needs cannot be had.
    pub async fn instantiate(&self, store: &mut Store<State>) -> Result<(Proxy, Instance)> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let proxy = match &self.indices {
            Indices::P2(indices) => Proxy::P2(indices.load(&mut *store, &instance)?),
            Indices::P3(indices) => Proxy::P3(indices.load(&mut *store, &instance)?),
        };
        Ok((proxy, instance))
    }
}
