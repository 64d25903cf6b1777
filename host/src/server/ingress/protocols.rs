//! The kinds that the host listens for, and how connections of each are served.

use crate::runtime::Kind;
use crate::server::address::acceptor::{Accepted, Serve, ServeFuture};
use crate::server::generation::Protocol;
use crate::server::worker::workers::ConnectionSlot;
use crate::server::{http, tcp};

static PROTOCOLS: [(&Protocol, Serve); 2] = [
    (&http::kind::PROTOCOL, |accepted, worker, slot| Box::pin(http::serve::serve(accepted, worker, slot))),
    (&tcp::kind::PROTOCOL, |accepted, worker, slot| Box::pin(tcp::connection::serve(accepted, worker, slot))),
];

/// Returns the protocol of a kind, if the host listens for it.
pub(crate) fn protocol(kind: &'static Kind) -> Option<&'static Protocol> {
    PROTOCOLS.iter().map(|(protocol, _)| *protocol).find(|protocol| protocol.kind == kind)
}

/// Serves a connection to its end, as the kind does that is on its address now.
pub(crate) fn serve(accepted: Accepted, worker: usize, slot: ConnectionSlot) -> ServeFuture {
    let kind = accepted.address.routing().kind();
    let of_kind = PROTOCOLS.iter().find(|(protocol, _)| Some(protocol.kind) == kind);
    match of_kind {
        Some((_, serve)) => serve(accepted, worker, slot),
        // An address without a generation has no connections.
        None => Box::pin(async {}),
    }
}
