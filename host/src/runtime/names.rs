//! Look-ups of names by guests. WASI's own implementation does them, or refuses them; this one takes note of the name first.

use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{self as v0_2, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, SocketError};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup as v0_3;
use wasmtime_wasi::p3::bindings::sockets::types::IpAddress as IpAddressP3;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

use super::State;

/// Replaces the interface in both versions.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    v0_2::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    v0_3::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl v0_2::Host for State {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        self.network.note_lookup(&name);
        v0_2::Host::resolve_addresses(&mut self.sockets(), network, name)
    }
}

impl v0_2::HostResolveAddressStream for State {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        v0_2::HostResolveAddressStream::resolve_next_address(&mut self.sockets(), stream)
    }

    fn subscribe(&mut self, stream: Resource<ResolveAddressStream>) -> Result<Resource<DynPollable>> {
        v0_2::HostResolveAddressStream::subscribe(&mut self.sockets(), stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> Result<()> {
        v0_2::HostResolveAddressStream::drop(&mut self.sockets(), stream)
    }
}

/// The errors of look-ups are those of this interface.
impl network::Host for State {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        network::Host::convert_error_code(&mut self.sockets(), error)
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        network::Host::network_error_code(&mut self.sockets(), error)
    }
}

impl network::HostNetwork for State {
    fn drop(&mut self, network: Resource<Network>) -> Result<()> {
        network::HostNetwork::drop(&mut self.sockets(), network)
    }
}

impl v0_3::Host for State {}

impl v0_3::HostWithStore<State> for HasSelf<State> {
    async fn resolve_addresses(
        accessor: &Accessor<State, Self>,
        name: String,
    ) -> Result<Result<Vec<IpAddressP3>, v0_3::ErrorCode>> {
        accessor.with(|mut access| access.get().network.note_lookup(&name));
        let sockets = accessor.with_getter::<WasiSockets>(State::sockets);
        <WasiSockets as v0_3::HostWithStore<State>>::resolve_addresses(&sockets, name).await
    }
}
