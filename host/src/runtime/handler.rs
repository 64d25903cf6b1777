//! A component that the host listens for, ready to be instantiated: which of its exports handles requests or
//! connections.

use wasmtime::component::{ComponentExportIndex, Func, Instance, InstancePre, StreamReader, TypedFunc};
use wasmtime::{Result, Store};
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::{p2, p3};

use super::exports::{Kind, RunExport};
use super::state::State;

/// What handles a TCP connection: its client's address and what that sends go in, what it receives comes out.
pub type TcpFunc = TypedFunc<(String, StreamReader<u8>), (StreamReader<u8>,)>;

/// What is called in an instance.
pub enum Handler {
    /// For a request.
    Http(Proxy),
    /// For a connection.
    Tcp(TcpFunc),
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handler").finish_non_exhaustive()
    }
}

impl Handler {
    /// Returns the function, to see whether it can be called now.
    pub fn func(&self) -> Func {
        match self {
            Self::Http(Proxy::P3(guest)) => *guest.wasi_http_handler().func_handle().func(),
            Self::Http(Proxy::P2(guest)) => *guest.wasi_http_incoming_handler().func_handle().func(),
            Self::Tcp(func) => *func.func(),
        }
    }
}

/// See the module's documentation.
#[derive(Clone)]
pub struct HandlerPre {
    pre: InstancePre<State>,
    indices: Indices,
}

#[derive(Clone)]
enum Indices {
    P2(p2::bindings::ProxyIndices),
    P3(p3::bindings::ServiceIndices),
    Tcp(ComponentExportIndex),
}

impl std::fmt::Debug for HandlerPre {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerPre").finish_non_exhaustive()
    }
}

impl HandlerPre {
    /// Looks the handler up that a component is called by; `None` where it is a service.
    ///
    /// # Errors
    /// When it is not there, or has another type.
    pub fn new(pre: &InstancePre<State>, kind: Kind, run: &RunExport) -> Result<Option<Self>> {
        let indices = match kind {
            Kind::Service => return Ok(None),
            Kind::Http if run.version.starts_with("0.3.") => {
                Indices::P3(p3::bindings::ServiceIndices::new(pre)?)
            }
            Kind::Http => Indices::P2(p2::bindings::ProxyIndices::new(pre)?),
            Kind::Tcp => Indices::Tcp(run.index),
        };
        Ok(Some(Self { pre: pre.clone(), indices }))
    }

    /// Instantiates the component.
    ///
    /// # Errors
    /// When its start traps, or something that it needs cannot be had.
    pub async fn instantiate(&self, store: &mut Store<State>) -> Result<(Handler, Instance)> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let handler = match &self.indices {
            Indices::P2(indices) => Handler::Http(Proxy::P2(indices.load(&mut *store, &instance)?)),
            Indices::P3(indices) => Handler::Http(Proxy::P3(indices.load(&mut *store, &instance)?)),
            Indices::Tcp(index) => Handler::Tcp(instance.get_typed_func(&mut *store, index)?),
        };
        Ok((handler, instance))
    }
}
