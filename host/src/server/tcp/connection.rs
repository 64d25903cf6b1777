//! A TCP connection from its acceptance to its end.
//!
//! Invariant: it is handed in once, counted in once and out once, and in flight for its component from then until its guest
//! and its client are done with it; what was cut short is reset, never closed like a whole answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::kind::TCP;
use super::pipe::{Conversation, Reader, Writer, pipe};
use super::relay::Traffic;
use crate::plan::LimitsPlan;
use crate::server::address::acceptor::{Accepted, Stream};
use crate::server::address::address::{Address, Intake, Stage};
use crate::server::connection::access_log::{AccessRecord, Ending, Logged};
use crate::server::connection::idleness::Idleness;
use crate::server::connection::stream::{LINGER, Meter, MeteredStream, STRAGGLE, Transport, linger};
use crate::server::connection::tls::shake_hands;
use crate::server::generation::generation::Generation;
use crate::server::generation::{Call, ClientFault};
use crate::server::pool::{Claim, Holder, Interest, Job, SubmitError, Work};
use crate::server::worker::workers::{ConnectionSlot, Workers};

/// A connection that has not been handed in yet.
struct Arrival {
    address: Arc<Address>,
    host: Arc<Workers>,
    worker: usize,
    peer: String,
    tls: Option<TlsAcceptor>,
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
    let Accepted { stream, client, address, host, intake, counted } = accepted;
    let (tls, limits) = {
        let routing = address.routing();
        (routing.tls.clone(), routing.limits)
    };
    let accepted = Instant::now();
    let arrival = Arrival { address, host, worker, peer: client, tls, limits, accepted, intake };
    if let Err(error) = begin(arrival, stream).await {
        tracing::debug!(%error, "a connection cannot be served");
    }
    // The order matters: the end of the last connection makes others count the worker's.
    drop(slot);
    drop(counted);
}

async fn begin(mut arrival: Arrival, stream: Stream) -> io::Result<()> {
    match stream {
        Stream::Tcp(stream) => {
            let stream = TcpStream::from_std(stream)?;
            // Without a peer it has left already.
            if let Ok(mut peer) = stream.peer_addr() {
                peer.set_ip(peer.ip().to_canonical());
                arrival.peer = peer.to_string();
                greet(arrival, stream).await;
            }
        }
        Stream::Unix(stream) => greet(arrival, UnixStream::from_std(stream)?).await,
    }
    Ok(())
}

async fn greet<S: Transport>(arrival: Arrival, stream: S) {
    let Some(tls) = arrival.tls.clone() else { return attend(arrival, stream).await };
    // From the handshake on its guest has it.
    let idleness = Arc::new(Idleness::new(Instant::now(), Duration::ZERO));
    arrival.address.idle.add(&idleness);
    let mut stage = arrival.address.watch();
    let drains = async {
        drop(stage.wait_for(|stage| *stage >= Stage::Drain).await);
        idleness.is_fresh(Instant::now())
    };
    let shaken = tokio::select! {
        biased;
        shaken = shake_hands(&tls, stream, arrival.limits.header_timeout, drains) => shaken,
        () = idleness.evicted() => {
            arrival.address.client_fault(ClientFault::Evicted, &arrival.peer);
            None
        }
    };
    drop(idleness);
    if let Some(stream) = shaken {
        attend(arrival, stream).await;
    }
}

async fn attend<S: Transport>(arrival: Arrival, stream: S) {
    let Some((mut in_flight, interest, input, output)) = hand_in(&arrival) else {
        stream.reset();
        return;
    };
    let Arrival { address, limits, accepted, intake, .. } = arrival;
    drop(intake);
    let mut call = in_flight.generation.state.watch();
    let meter = in_flight.meter.clone();
    let stream = MeteredStream::new(stream, meter.clone());
    let (idle, enough) = (limits.idle_timeout, Notify::new());
    let claim = &interest.0;
    let traffic = Traffic { meter: &meter, claim, call: call.clone(), accepted, idle, enough };
    let (mut stream, ending, lingers) = traffic.pass(stream, input, output).await;
    in_flight.ending = ending;
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

/// Hands a connection in to the generation that serves its address now. `None`: no generation takes it.
fn hand_in(arrival: &Arrival) -> Option<(ConnectionInFlight, Interest, Writer, Reader)> {
    let serves = || -> Option<Arc<Generation>> {
        let first = arrival.address.routing().members.first().cloned();
        first.filter(|member| member.loaded.kind == &TCP)
    };
    let (input, from_client) = pipe();
    let (to_client, output) = pipe();
    let mut talk = Conversation { peer: arrival.peer.clone(), input: from_client, output: to_client };
    let mut in_flight = ConnectionInFlight::begin(serves()?, arrival);
    loop {
        let generation = in_flight.generation.clone();
        let claim = Claim::new(&generation.pool, Holder::default());
        let interest = Interest(claim.clone());
        let home = Arc::ptr_eq(&arrival.host, &generation.workers).then_some(arrival.worker);
        let job = Job { work: Work::Connection(talk), claim, has_waited: false };
        let refused = match generation.pool.submit(home, job) {
            Ok(()) => return Some((in_flight, interest, input, output)),
            Err((SubmitError::QueueFull, _)) => return None,
            Err((SubmitError::Stopped | SubmitError::OutOfService, job)) => *job,
        };
        let Work::Connection(again) = refused.work else { return None };
        let other = serves().filter(|other| !Arc::ptr_eq(other, &generation))?;
        in_flight.move_to(other);
        talk = again;
    }
}

/// One connection under way. Dropping it is its end.
#[derive(Debug)]
struct ConnectionInFlight {
    generation: Arc<Generation>,
    meter: Arc<Meter>,
    address: Arc<Address>,
    worker: usize,
    client: String,
    started: Instant,
    ending: Ending,
}

impl ConnectionInFlight {
    fn begin(generation: Arc<Generation>, arrival: &Arrival) -> Self {
        generation.stats.began(arrival.worker);
        Self {
            generation,
            meter: Arc::default(),
            address: arrival.address.clone(),
            worker: arrival.worker,
            client: arrival.peer.clone(),
            started: Instant::now(),
            ending: Ending::CutShort,
        }
    }

    /// Counts it for another component from now on.
    fn move_to(&mut self, generation: Arc<Generation>) {
        generation.stats.began(self.worker);
        let before = std::mem::replace(&mut self.generation, generation);
        before.stats.moved_on(self.worker);
        before.request_ended();
    }
}

impl Drop for ConnectionInFlight {
    fn drop(&mut self) {
        let (took, end) = (self.started.elapsed(), self.ending);
        if let Some(log) = self.address.access.as_ref() {
            log.write(&AccessRecord {
                component: Some(&self.generation.plan.name),
                client: &self.client,
                what: Logged::Connection(self.meter.read()),
                status: 0,
                sent: self.meter.written(),
                took,
                end,
            });
        }
        // Behind everything else: its component may end with it.
        if end == Ending::Complete {
            self.generation.answered_well();
        }
        self.generation.stats.connection_ended(self.worker, end.word(), took, end == Ending::CutShort);
        self.generation.request_ended();
    }
}
