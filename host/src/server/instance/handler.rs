//! The export that handles requests or connections: found when a component is loaded, looked up in each instance.

use wasmtime::component::{ComponentExportIndex, Func, Instance, InstancePre, StreamReader, TypedFunc};
use wasmtime::{Result, Store};
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::{p2, p3};

use crate::runtime::State;

/// The handler of a TCP connection: its client's address and its bytes go in, the bytes for the client come out.
pub(crate) type TcpFunc = TypedFunc<(String, StreamReader<u8>), (StreamReader<u8>,)>;

/// The handler of one instance.
pub(crate) enum Handler {
    /// For a request.
    Http(Proxy),
    /// For a connection.
    Tcp(TcpFunc),
}

impl Handler {
    /// Returns the function, to see whether it can be called now.
    pub(crate) fn func(&self) -> Func {
        match self {
            Self::Http(Proxy::P3(guest)) => *guest.wasi_http_handler().func_handle().func(),
            Self::Http(Proxy::P2(guest)) => *guest.wasi_http_incoming_handler().func_handle().func(),
            Self::Tcp(func) => *func.func(),
        }
    }
}

/// Where a component's handler is in its instances.
#[derive(Clone)]
pub(crate) enum HandlerIndex {
    P2(p2::bindings::ProxyIndices),
    P3(p3::bindings::ServiceIndices),
    Tcp(ComponentExportIndex),
}

impl std::fmt::Debug for HandlerIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerIndex").finish_non_exhaustive()
    }
}

impl HandlerIndex {
    /// Finds the handler of requests.
    ///
    /// # Errors
    /// When it has another type than the published one.
    pub(crate) fn http(pre: &InstancePre<State>, version: &str) -> Result<Self> {
        match version.starts_with("0.3.") {
            true => p3::bindings::ServiceIndices::new(pre).map(Self::P3),
            false => p2::bindings::ProxyIndices::new(pre).map(Self::P2),
        }
    }

    /// Looks the handler up in an instance.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn load(&self, store: &mut Store<State>, instance: &Instance) -> Result<Handler> {
        Ok(match self {
            Self::P2(indices) => Handler::Http(Proxy::P2(indices.load(&mut *store, instance)?)),
            Self::P3(indices) => Handler::Http(Proxy::P3(indices.load(&mut *store, instance)?)),
            Self::Tcp(index) => Handler::Tcp(instance.get_typed_func(&mut *store, index)?),
        })
    }
}
