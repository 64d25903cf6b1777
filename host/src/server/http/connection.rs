//! State of one client's HTTP connection, and of each request on it from its arrival to the end of its answer.
//!
//! Invariant: each request is counted in once and out once.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Context;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use http::{HeaderValue, Version};
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};

use super::body::RequestError;
use super::framing::Framing;
use crate::plan::{Forwarded, LimitsPlan};
use crate::server::address::acceptor::{Accepted, Stream};
use crate::server::address::address::{Address, CountedConnection, Intake, Stage};
use crate::server::address::client_connections::network;
use crate::server::connection::access_log::{AccessRecord, Ending, Logged, LoggedRequest};
use crate::server::connection::idleness::Idleness;
use crate::server::connection::pace::{DRAIN_WINDOW, FOUND_OUT_WINDOW, MinRate, Pressure};
use crate::server::connection::round_trip::round_trip;
use crate::server::connection::stream::{LAST_LOOK, Meter};
use crate::server::generation::ClientFault;
use crate::server::generation::generation::Generation;
use crate::server::pool::{Holder, Places, Pool, Upset};
use crate::server::worker::workers::Workers;

/// Time without a request after which a connection is at rest.
const REST: Duration = Duration::from_secs(1);

/// State of one connection, as its requests and the code that serves it share it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) address: Arc<Address>,
    client: String,
    /// The network that its client counts for.
    network: Option<IpAddr>,
    pub(super) host: Arc<Workers>,
    /// The slot of its thread.
    pub(super) worker: usize,
    /// The `forwarded` header for guests.
    pub(super) forwarded: HeaderValue,
    /// Its limits, as its address had them when it came.
    pub(super) limits: LimitsPlan,
    pub(super) is_tls: bool,
    pub(super) meter: Arc<Meter>,
    /// Requests without their whole answer.
    in_flight: AtomicUsize,
    /// Requests that have begun.
    pub(super) begun: AtomicU64,
    pub(super) framing: Framing,
    last: LastRequest,
    /// Bytes that had been read when the last request ended.
    pub(super) mark: AtomicU64,
    /// An answer broke off that the client would take for whole if the connection just closed.
    pub(super) broke_off: AtomicBool,
    /// The host has given it up: its client was too slow.
    pub(super) timed_out: AtomicBool,
    /// Bodies of requests that have begun and not ended.
    pub(super) bodies: AtomicUsize,
    /// It brings one request at a time.
    pub(super) serial: AtomicBool,
    pub(super) drains: AtomicBool,
    /// No request was in flight when it began to drain.
    closed_idle: AtomicBool,
    pub(super) idleness: Arc<Idleness>,
    /// Its address drains, and a request that is on its way is waited for.
    awaits_request: AtomicBool,
    request_began: Notify,
    /// Its address drained before its first request came.
    turned_away: AtomicBool,
    /// It was closed idle, and its client had sent more.
    left_unread: AtomicBool,
    intake: Mutex<Option<Intake>>,
    /// Its places in the pools of its requests.
    places: Mutex<Vec<(Weak<Pool>, Arc<Places>)>>,
    /// Bodies of HTTP/2 that come in behind whole answers.
    uploads_behind: AtomicUsize,
    /// Its client has stood still in one of its requests, while a stop waited for it.
    found_out: AtomicBool,
}

/// An upload behind its answer, counted while it exists.
pub(super) struct UploadBehind(Arc<Connection>);

impl Drop for UploadBehind {
    fn drop(&mut self) {
        self.0.uploads_behind.fetch_sub(1, SeqCst);
    }
}

impl Connection {
    /// Returns a connection on which nothing has come in yet, and the rest of what was accepted.
    pub(super) fn new(
        accepted: Accepted,
        worker: usize,
        is_tls: bool,
    ) -> (Arc<Self>, Stream, CountedConnection) {
        let Accepted { stream, client, address, host, intake, counted } = accepted;
        let round_trip = match &stream {
            Stream::Tcp(stream) => round_trip(stream),
            Stream::Unix(_) => Duration::ZERO,
        };
        let connection = Self {
            forwarded: forwarded_for(&client, is_tls),
            limits: address.routing().limits,
            address,
            network: client.parse().ok().map(network),
            client,
            host,
            worker,
            is_tls,
            meter: Arc::default(),
            in_flight: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            framing: Framing::default(),
            last: LastRequest::default(),
            mark: AtomicU64::new(0),
            broke_off: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            bodies: AtomicUsize::new(0),
            serial: AtomicBool::new(true),
            drains: AtomicBool::new(false),
            closed_idle: AtomicBool::new(false),
            idleness: Arc::new(Idleness::new(Instant::now().into(), round_trip)),
            awaits_request: AtomicBool::new(false),
            request_began: Notify::new(),
            turned_away: AtomicBool::new(false),
            left_unread: AtomicBool::new(false),
            intake: Mutex::new(Some(intake)),
            places: Mutex::default(),
            uploads_behind: AtomicUsize::new(0),
            found_out: AtomicBool::new(false),
        };
        (Arc::new(connection), stream, counted)
    }

    /// Has an HTTP/1 connection end with the answer that is under way.
    pub(super) fn take_no_more(&self) {
        self.last.is_here.store(true, SeqCst);
        self.last.task.wake();
    }

    /// Returns whether it takes no more requests, and has this task woken when it does not.
    pub(super) fn poll_takes_no_more(&self, context: &Context<'_>) -> bool {
        self.last.task.register(context.waker());
        self.takes_no_more()
    }

    pub(super) fn takes_no_more(&self) -> bool {
        self.last.is_here.load(SeqCst)
    }

    /// Notes that the bytes behind a request cannot be read: they would be as of another one.
    pub(super) fn lose_framing(&self) {
        self.framing.lose();
        self.body_began();
        self.take_no_more();
    }

    /// Logs and counts bytes that are no request, with the id of their answer.
    pub(super) fn unreadable(&self, refused: RequestError, id: &HeaderValue) {
        if let Some(fault) = refused.client_fault() {
            self.client_fault(fault);
        }
        let Some(log) = self.address.access.as_ref() else { return };
        log.write(&AccessRecord {
            component: None,
            client: &self.client,
            what: Logged::Unreadable(id),
            status: refused.answer().0.as_u16(),
            sent: refused.text().len() as u64,
            took: Duration::ZERO,
            end: Ending::Complete,
        });
    }

    pub(super) fn body_began(&self) {
        // Of several on an HTTP/1 connection those before were read: only the last one counts.
        if self.is_serial() {
            self.bodies.store(1, SeqCst)
        } else {
            self.bodies.fetch_add(1, SeqCst);
        }
    }

    pub(super) fn body_ended(&self) {
        let _least = self.bodies.fetch_update(SeqCst, SeqCst, |bodies| bodies.checked_sub(1));
    }

    /// Returns whose share of this pool its requests are of.
    pub(super) fn holder(&self, pool: &Arc<Pool>, forwarded: Forwarded) -> Holder {
        // Behind a proxy that is trusted, its address is that of many.
        let client = self.network.filter(|_| forwarded == Forwarded::Replace);
        Holder { places: self.places(pool), client }
    }

    /// Returns its places in this pool, if it can have several.
    fn places(&self, pool: &Arc<Pool>) -> Option<Arc<Places>> {
        if self.is_serial() {
            return None;
        }
        let mut all = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.iter().find(|(of, _)| std::ptr::eq(of.as_ptr(), Arc::as_ptr(pool)));
        if let Some((_, places)) = own {
            return Some(places.clone());
        }
        all.retain(|(of, _)| of.strong_count() > 0);
        let places = Arc::<Places>::default();
        all.push((Arc::downgrade(pool), places.clone()));
        Some(places)
    }

    /// Returns the calls of its requests that go on although it has given them up.
    pub(super) fn orphans(&self) -> usize {
        let all = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(_, places)| places.orphans()).sum()
    }

    /// Returns the rate that its client has to hold now.
    pub(super) fn min_rate(&self) -> MinRate {
        let pressure = if self.address.stage() >= Stage::Drain {
            Pressure::Stop(match self.found_out.load(SeqCst) {
                true => FOUND_OUT_WINDOW,
                false => self.address.drain_window().min(DRAIN_WINDOW),
            })
        } else if self.address.routing().members.iter().any(|member| member.pool.has_waiting()) {
            Pressure::Queue
        } else {
            Pressure::None
        };
        MinRate::new(&self.limits, pressure)
    }

    /// Counts and logs a fault of its client that concerns no request of its own.
    pub(super) fn client_fault(&self, fault: ClientFault) {
        if matches!(fault, ClientFault::SlowReader | ClientFault::SlowRequest) && self.drains.load(SeqCst) {
            self.found_out.store(true, SeqCst);
        }
        self.address.client_fault(fault, &self.client);
    }

    /// Counts an upload that goes on behind its answer, until it is dropped.
    pub(super) fn upload_behind(self: &Arc<Self>) -> UploadBehind {
        self.uploads_behind.fetch_add(1, SeqCst);
        UploadBehind(self.clone())
    }

    /// Returns whether a request is in flight, or an upload goes on behind its answer.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight() > 0 || self.uploads_behind.load(SeqCst) > 0
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    pub(super) fn is_serial(&self) -> bool {
        self.serial.load(SeqCst)
    }

    /// Notes that its address drains. An HTTP/1 connection brings no more requests when it has one: the answer
    /// to that will be its last.
    pub(super) fn drain(&self) {
        self.drains.store(true, SeqCst);
        if self.in_flight() > 0 {
            self.request_taken();
        } else {
            // Bytes that a guest left unread were read behind it, or the connection would not be here any more.
            self.bodies.store(0, SeqCst);
            self.closed_idle.store(true, SeqCst);
        }
    }

    /// Notes that a request was handed over.
    pub(super) fn request_taken(&self) {
        if self.drains.load(SeqCst) && self.is_serial() {
            self.release_intake();
        }
    }

    /// Returns the end of an answer that nobody asks for any more.
    fn ending_of_unfinished(&self) -> Ending {
        if self.timed_out.load(SeqCst) {
            Ending::TimedOut
        } else if self.address.stage() == Stage::Cut {
            Ending::CutShort
        } else {
            Ending::ClientLeft
        }
    }

    /// Returns once no request that was sent before its address drained is on its way any more. The socket is looked at
    /// once more at least. Called when the address drains.
    pub(super) async fn last_look(&self) {
        let drained = Instant::now();
        sleep(LAST_LOOK).await;
        self.awaits_request.store(true, SeqCst);
        if self.is_quiet() {
            tokio::select! {
                () = self.request_began.notified() => {}
                () = self.next_bytes_are_due(drained) => {}
            }
        }
        if self.idleness.is_fresh(drained.into()) {
            self.turn_away();
        }
    }

    /// Returns once it has to make room for another, and is idle.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub(super) async fn evicted(&self) {
        loop {
            self.idleness.evicted().await;
            // A stream of HTTP/2 that has just come is a task that has not run yet.
            tokio::task::yield_now().await;
            let is_taking = self.meter.is_blocked() || self.meter.unsent() > 0;
            if self.in_flight() == 0 && !is_taking {
                return self.address.client_fault(ClientFault::Evicted, &self.client);
            }
            if is_taking {
                // Its client has not taken its answer yet.
                self.idleness.end(Instant::now().into());
            }
            self.address.idle.add(&self.idleness);
        }
    }

    /// Returns once bytes that were sent before its address drained, at `drained`, have come, or when it is cut off.
    pub(super) async fn next_bytes_are_due(&self, drained: Instant) {
        let mut stage = self.address.watch();
        tokio::select! {
            () = sleep_until(self.idleness.next_bytes_by(drained.into())) => {}
            _ = stage.wait_for(|stage| *stage == Stage::Cut) => {}
        }
    }

    /// Returns whether it has brought a request, and nothing has been under way on it for a while: no request, no body, no answer
    /// that waits to be taken.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_quiet()
            && self.bodies.load(SeqCst) == 0
            && !self.meter.is_blocked()
            && self.idleness.rank().is_some_and(|rank| rank.has_asked && rank.since.elapsed() >= REST)
    }

    /// Returns whether no request is in flight, and none has begun to arrive.
    fn is_quiet(&self) -> bool {
        self.in_flight() == 0 && !(self.is_serial() && self.meter.read() > self.mark.load(SeqCst))
    }

    /// Notes that it is closed unless its first request comes now.
    pub(super) fn turn_away(&self) {
        self.turned_away.store(true, SeqCst);
    }

    /// Notes that its client has sent more than was read. One without a request is turned away anyway.
    pub(super) fn leave_unread(&self) {
        let is_turned_away = self.closed_idle.load(SeqCst) && self.idleness.has_asked();
        self.left_unread.store(is_turned_away, SeqCst);
    }

    /// Counts it, once, if a stop closes it though its client can expect an answer.
    pub(super) fn count_turned_away(&self) {
        let is_unasked = self.turned_away.swap(false, SeqCst) && !self.idleness.has_asked();
        if self.left_unread.swap(false, SeqCst) || is_unasked {
            self.address.count_turned_away();
        }
    }

    pub(super) fn release_intake(&self) {
        // Its component may end with it, and is told before.
        self.count_turned_away();
        drop(self.intake.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Whether an HTTP/1 connection takes no more requests, and the task that serves it.
#[derive(Debug, Default)]
struct LastRequest {
    is_here: AtomicBool,
    task: AtomicWaker,
}

/// Returns the `forwarded` header of a client at this address.
fn forwarded_for(client: &str, tls: bool) -> HeaderValue {
    let proto = if tls { "https" } else { "http" };
    // RFC 7239: an address with colons stands in brackets and quotes, a client without an address is unknown.
    let node = match client.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => address.to_string(),
        Ok(std::net::IpAddr::V6(address)) => format!("\"[{address}]\""),
        Err(_) => "unknown".to_owned(),
    };
    HeaderValue::try_from(format!("for={node};proto={proto}"))
        .unwrap_or_else(|_| HeaderValue::from_static("for=unknown"))
}

/// One request under way. Dropping it is its end.
#[derive(Debug)]
pub(crate) struct RequestInFlight {
    pub(super) generation: Option<Arc<Generation>>,
    pub(super) connection: Arc<Connection>,
    version: Version,
    started: Instant,
    status: u16,
    /// The answer is its guest's, and says that all is well.
    is_good: bool,
    pub(super) bytes: u64,
    /// `ClientLeft` as long as the end of its answer has not been reached.
    end: Ending,
    logged: Option<Box<LoggedRequest>>,
}

impl RequestInFlight {
    pub(crate) fn begin(
        generation: Option<Arc<Generation>>,
        connection: Arc<Connection>,
        version: Version,
        logged: Option<LoggedRequest>,
    ) -> Self {
        connection.begun.fetch_add(1, SeqCst);
        if connection.in_flight.fetch_add(1, SeqCst) == 0 {
            connection.idleness.begin();
        }
        if connection.awaits_request.load(SeqCst) {
            connection.request_began.notify_one();
        }
        if let Some(generation) = &generation {
            generation.stats.began(connection.worker);
        }
        let (started, end, logged) = (Instant::now(), Ending::ClientLeft, logged.map(Box::new));
        Self { generation, connection, version, started, status: 0, is_good: false, bytes: 0, end, logged }
    }

    /// Counts it for another component from now on.
    pub(crate) fn move_to(&mut self, generation: &Arc<Generation>) {
        generation.stats.began(self.connection.worker);
        if let Some(before) = self.generation.replace(generation.clone()) {
            before.stats.moved_on(self.connection.worker);
            before.request_ended();
        }
    }

    /// Notes the status. `bodiless` answers are complete with their head.
    pub(crate) fn answered(&mut self, status: u16, bodiless: bool) {
        self.status = status;
        if bodiless {
            self.end = Ending::Complete;
        }
    }

    /// Notes that the answer is the guest's own.
    pub(crate) fn answered_by_guest(&mut self) {
        self.is_good = self.status < 500;
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.end == Ending::Complete
    }

    pub(crate) fn complete(&mut self) {
        if self.end == Ending::ClientLeft {
            self.end = Ending::Complete;
        }
    }

    /// Notes that its client is too slow for the rest of its answer.
    pub(crate) fn time_out(&mut self) {
        if self.end == Ending::ClientLeft {
            self.end = Ending::TimedOut;
        }
    }

    /// Logs that its answer is not what the client asked for.
    pub(crate) fn report(&self, reason: &'static str, error: Option<String>) {
        if let Some(generation) = &self.generation {
            generation.faults.report(self.status, reason, error);
        }
    }

    /// Counts and logs a fault of its client.
    pub(crate) fn client_fault(&self, fault: ClientFault) {
        match &self.generation {
            Some(generation) => generation.client_fault(fault, &self.connection.client),
            None => self.connection.client_fault(fault),
        }
    }

    /// Notes that its answer broke off, by its client's doing if that is known.
    pub(crate) fn broke_off(&mut self, upset: Option<Upset>) {
        self.end = match upset {
            None => Ending::CutShort,
            Some(Upset::BrokenOff) => Ending::ClientLeft,
            Some(Upset::TooSlow) => Ending::TimedOut,
        };
        // HTTP/1.0 has no other sign that an answer is whole than the end of its connection. A reset takes from other clients
        // what they have not read yet.
        self.connection.broke_off.fetch_or(self.version < Version::HTTP_11, SeqCst);
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let now = Instant::now();
        let took = now - self.started;
        let connection = &self.connection;
        if self.end == Ending::ClientLeft {
            self.end = connection.ending_of_unfinished();
        }
        if let (Some(request), Some(log)) = (self.logged.as_deref(), connection.address.access.as_ref()) {
            log.write(&AccessRecord {
                component: self.generation.as_ref().map(|generation| generation.plan.name.as_str()),
                client: &connection.client,
                what: Logged::Request(request),
                status: self.status,
                sent: self.bytes,
                took,
                end: self.end,
            });
        }
        connection.mark.store(connection.meter.read(), SeqCst);
        if connection.in_flight.fetch_sub(1, SeqCst) == 1 {
            connection.idleness.end(now.into());
        }
        // Behind everything else: its component may end with it.
        if let Some(generation) = &self.generation {
            if self.is_good && self.end == Ending::Complete {
                generation.answered_well();
            }
            generation.stats.ended(connection.worker, self.status, took, self.end == Ending::CutShort);
            generation.request_ended();
        }
    }
}
