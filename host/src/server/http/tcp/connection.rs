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

use super::guest::Talk;
use super::pipe::{Reader, Writer, pipe};
use super::traffic::{Passed, Traffic};
use super::visit::{Ending, Visit};
use crate::plan::LimitsPlan;
use crate::runtime::Kind;
use crate::server::http::call::{Claim, Interest, Job, Work};
use crate::server::http::component::Component;
use crate::server::http::connection::{Accepted, Stream};
use crate::server::http::group::{Group, Intake, Stage};
use crate::server::http::lanes::{Lanes, Seat};
use crate::server::http::linger::{LINGER, linger};
use crate::server::http::pace::STRAGGLE;
use crate::server::http::peer::Peer;
use crate::server::http::pool::Refusal;
use crate::server::http::standing::Call;

/// What the client of a unix socket is called.
const UNIX_CLIENT: &str = "unix";

/// A connection that has not been handed in yet.
struct Arrival {
    group: Arc<Group>,
    host: Arc<Lanes>,
    lane: usize,
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
pub async fn serve(accepted: Accepted, lane: usize, seat: Seat) {
    let Accepted { stream, client: _, group, host, intake, counted } = accepted;
    let (tls, limits) = {
        let routing = group.routing();
        (routing.tls.clone(), routing.limits)
    };
    let arrive = |peer| Arrival { group, host, lane, peer, limits, accepted: Instant::now(), intake };
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
    // Who hears that the last connection is gone may count those of the lane.
    drop(seat);
    drop(counted);
}

async fn begin<S: Peer>(arrival: Arrival, tls: Option<TlsAcceptor>, stream: S) {
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
async fn greet<S: Peer>(arrival: &Arrival, tls: &TlsAcceptor, stream: S) -> Option<TlsStream<S>> {
    let mut stage = arrival.group.watch();
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
    visit: Visit,
    interest: Interest,
    input: Writer,
    output: Reader,
}

async fn attend<S: Peer>(arrival: Arrival, stream: S) {
    let Some(handed) = hand_in(&arrival) else {
        stream.reset();
        return;
    };
    let Arrival { group, limits, accepted, intake, .. } = arrival;
    drop(intake);
    let Handed { mut visit, interest, input, output } = handed;
    let mut call = visit.component.standing.watch();
    let bytes = visit.bytes.clone();
    let traffic = Traffic {
        bytes: &bytes,
        call: call.clone(),
        accepted,
        idle: limits.idle_timeout,
        enough: Notify::new(),
    };
    let (mut stream, Passed { ending, lingers }) = traffic.pass(stream, input, output).await;
    visit.ended(ending);
    if ending != Ending::Complete {
        stream.reset();
        return;
    }
    let asked = *call.borrow() >= Call::Finish;
    drop(visit);
    drop(interest);
    let mut waste = [0; 1];
    if lingers || stream.read(&mut waste).now_or_never().is_some_and(|read| read.is_ok_and(|read| read > 0)) {
        let most = if asked { STRAGGLE } else { LINGER };
        tokio::select! {
            () = linger(&group, most, stream) => {}
            _ = call.wait_for(|call| *call == Call::Cut) => {}
        }
    }
}

/// Hands a connection in to whoever serves its address now. `None`: nobody takes it.
fn hand_in(arrival: &Arrival) -> Option<Handed> {
    let serves = || -> Option<Arc<Component>> {
        let first = arrival.group.routing().members.first().cloned();
        first.filter(|member| member.loaded.kind == Kind::Tcp)
    };
    let (input, from_client) = pipe();
    let (to_client, output) = pipe();
    let mut talk = Talk { peer: arrival.peer.clone(), input: from_client, output: to_client };
    let component = serves()?;
    let mut visit = Visit::begin(component, arrival.group.clone(), arrival.lane, arrival.peer.clone());
    loop {
        let component = visit.component.clone();
        let claim = Claim::new(&component.pool);
        let interest = Interest(claim.clone());
        let home = Arc::ptr_eq(&arrival.host, &component.lanes).then_some(arrival.lane);
        let job = Job { work: Work::Connection(talk), claim, has_waited: false };
        let refused = match component.pool.submit(home, job) {
            Ok(()) => return Some(Handed { visit, interest, input, output }),
            Err((Refusal::QueueFull, _)) => return None,
            Err((Refusal::Stopped, job)) => *job,
        };
        let Work::Connection(again) = refused.work else { return None };
        let other = serves().filter(|other| !Arc::ptr_eq(other, &component))?;
        visit.move_to(other);
        talk = again;
    }
}
