//! A TCP connection from its acceptance to its end.
//!
//! Invariant: it is handed in once, and is in flight for its component from then until its guest and its client are done
//! with it; what was cut short is reset, never closed like a whole answer. What passes meanwhile is not here.

use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::in_flight::{ConnectionInFlight, Ending};
use super::kind::TCP;
use super::pipe::{Conversation, Reader, Writer, pipe};
use super::relay::{Passed, Traffic};
use crate::plan::LimitsPlan;
use crate::server::address::acceptor::{Accepted, Stream};
use crate::server::address::address::{Address, Intake, Stage};
use crate::server::connection::linger::{LINGER, STRAGGLE, linger};
use crate::server::connection::transport::Transport;
use crate::server::generation::Call;
use crate::server::generation::generation::Generation;
use crate::server::pool::{Claim, Interest, Job, SubmitError, Work};
use crate::server::worker::workers::{ConnectionSlot, Workers};

/// The peer's name on a unix socket.
const UNIX_CLIENT: &str = "unix";

/// A connection that has not been handed in yet.
struct Arrival {
    address: Arc<Address>,
    host: Arc<Workers>,
    worker: usize,
    peer: String,
    limits: LimitsPlan,
    accepted: Instant,
    /// It can bring itself.
    intake: Intake,
}

/// Serves a connection to its end.
///
/// # Cancel safety
/// Dropping it closes the connection, and ends it for its guest.
pub(crate) async fn serve(accepted: Accepted, worker: usize, slot: ConnectionSlot) {
    let Accepted { stream, client: _, address, host, intake, counted } = accepted;
    let (tls, limits) = {
        let routing = address.routing();
        (routing.tls.clone(), routing.limits)
    };
    let arrive = |peer| Arrival { address, host, worker, peer, limits, accepted: Instant::now(), intake };
    match stream {
        Stream::Tcp(stream) => match TcpStream::from_std(stream) {
            Ok(stream) => match stream.peer_addr() {
                Ok(mut peer) => {
                    peer.set_ip(peer.ip().to_canonical());
                    begin(arrive(peer.to_string()), tls, stream).await;
                }
                // It has left already.
                Err(_unconnected) => {}
            },
            Err(error) => tracing::debug!(%error, "a connection cannot be served"),
        },
        Stream::Unix(stream) => match UnixStream::from_std(stream) {
            Ok(stream) => begin(arrive(UNIX_CLIENT.to_owned()), tls, stream).await,
            Err(error) => tracing::debug!(%error, "a connection cannot be served"),
        },
    }
    // The order matters: the end of the last connection makes others count the worker's.
    drop(slot);
    drop(counted);
}

async fn begin<S: Transport>(arrival: Arrival, tls: Option<TlsAcceptor>, stream: S) {
    match tls {
        None => attend(arrival, stream).await,
        Some(tls) => {
            if let Some(stream) = greet(&arrival, &tls, stream).await {
                attend(arrival, stream).await;
            }
        }
    }
}

/// Shakes hands. A client that is at it when its address drains has a little time left.
async fn greet<S: Transport>(arrival: &Arrival, tls: &TlsAcceptor, stream: S) -> Option<TlsStream<S>> {
    let mut stage = arrival.address.watch();
    let mut greeting = pin!(timeout(arrival.limits.header_timeout, tls.accept(stream)));
    tokio::select! {
        biased;
        greeted = &mut greeting => return greeted.ok()?.ok(),
        _ = stage.wait_for(|stage| *stage >= Stage::Drain) => {}
    }
    timeout(STRAGGLE, greeting).await.ok()?.ok()?.ok()
}

/// A connection that was handed in.
struct Handed {
    in_flight: ConnectionInFlight,
    interest: Interest,
    input: Writer,
    output: Reader,
}

async fn attend<S: Transport>(arrival: Arrival, stream: S) {
    let Some(handed) = hand_in(&arrival) else {
        stream.reset();
        return;
    };
    let Arrival { address, limits, accepted, intake, .. } = arrival;
    drop(intake);
    let Handed { mut in_flight, interest, input, output } = handed;
    let mut call = in_flight.generation.state.watch();
    let bytes = in_flight.bytes.clone();
    let traffic = Traffic {
        bytes: &bytes,
        call: call.clone(),
        accepted,
        idle: limits.idle_timeout,
        enough: Notify::new(),
    };
    let (mut stream, Passed { ending, lingers }) = traffic.pass(stream, input, output).await;
    in_flight.ended(ending);
    if ending != Ending::Complete {
        stream.reset();
        return;
    }
    let asked = *call.borrow() >= Call::Finish;
    drop(in_flight);
    drop(interest);
    let mut waste = [0; 1];
    if lingers || stream.read(&mut waste).now_or_never().is_some_and(|read| read.is_ok_and(|read| read > 0)) {
        let most = if asked { STRAGGLE } else { LINGER };
        tokio::select! {
            () = linger(&address, most, stream) => {}
            _ = call.wait_for(|call| *call == Call::Cut) => {}
        }
    }
}

/// Hands a connection in to whoever serves its address now. `None`: nobody takes it.
fn hand_in(arrival: &Arrival) -> Option<Handed> {
    let serves = || -> Option<Arc<Generation>> {
        let first = arrival.address.routing().members.first().cloned();
        first.filter(|member| member.loaded.kind == &TCP)
    };
    let (input, from_client) = pipe();
    let (to_client, output) = pipe();
    let mut talk = Conversation { peer: arrival.peer.clone(), input: from_client, output: to_client };
    let generation = serves()?;
    let mut in_flight =
        ConnectionInFlight::begin(generation, arrival.address.clone(), arrival.worker, arrival.peer.clone());
    loop {
        let generation = in_flight.generation.clone();
        let claim = Claim::new(&generation.pool);
        let interest = Interest(claim.clone());
        let home = Arc::ptr_eq(&arrival.host, &generation.workers).then_some(arrival.worker);
        let job = Job { work: Work::Connection(talk), claim, has_waited: false };
        let refused = match generation.pool.submit(home, job) {
            Ok(()) => return Some(Handed { in_flight, interest, input, output }),
            Err((SubmitError::QueueFull, _)) => return None,
            Err((SubmitError::Stopped, job)) => *job,
        };
        let Work::Connection(again) = refused.work else { return None };
        let other = serves().filter(|other| !Arc::ptr_eq(other, &generation))?;
        in_flight.move_to(other);
        talk = again;
    }
}
