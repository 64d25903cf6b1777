//! Facts of a kind that the host listens for, beside those of every kind.

use super::stats::Unit;
use crate::runtime::{Kind, Loaded};
use crate::server::instance::handler::HandlerIndex;

/// See the module's documentation. There is one static for each kind.
#[derive(Debug)]
pub(crate) struct Protocol {
    /// The kind.
    pub(crate) kind: &'static Kind,
    /// The scheme of its addresses, without TLS and with it.
    pub(crate) schemes: [&'static str; 2],
    /// The protocols that its TLS offers.
    pub(crate) alpn: &'static [&'static [u8]],
    /// The work that is counted.
    pub(crate) unit: &'static Unit,
    /// Finds the handler of a loaded component.
    pub(crate) handler: fn(&Loaded) -> wasmtime::Result<HandlerIndex>,
}
