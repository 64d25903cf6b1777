//! State of one client's HTTP connection, as its requests and whoever serves it share it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use tokio::sync::Notify;

use super::forwarded::forwarded_for;
use crate::plan::LimitsPlan;
use crate::server::address::address::{Address, Intake, Stage};
use crate::server::connection::metered_stream::Meter;
use crate::server::worker::workers::Workers;

/// State of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Where it came in.
    pub(crate) address: Arc<Address>,
    /// The client's address.
    pub(crate) client: String,
    /// On whose threads it is served.
    pub(crate) host: Arc<Workers>,
    /// On which of them: that of this slot.
    pub(crate) worker: usize,
    /// The `forwarded` header for guests.
    pub(crate) forwarded: HeaderValue,
    /// Its limits, as its address had them when it came.
    pub(crate) limits: LimitsPlan,
    /// Whether TLS is spoken on it.
    pub(crate) is_tls: bool,
    pub(crate) meter: Arc<Meter>,
    in_flight: AtomicUsize,
    /// Read when the last request ended.
    pub(crate) mark: AtomicUsize,
    pub(super) broke_off: AtomicBool,
    pub(super) bodies: AtomicUsize,
    pub(super) serial: AtomicBool,
    pub(super) drains: AtomicBool,
    /// Whether its address drained before it could bring a request.
    pub(super) is_late: AtomicBool,
    pub(super) first_request: Notify,
    intake: Mutex<Option<Intake>>,
}

impl Connection {
    /// Returns a connection on which nothing has come in yet.
    pub(super) fn new(
        address: Arc<Address>,
        client: String,
        host: Arc<Workers>,
        worker: usize,
        is_tls: bool,
        intake: Intake,
    ) -> Self {
        let limits = address.routing().limits;
        Self {
            forwarded: forwarded_for(&client, is_tls),
            address,
            client,
            host,
            worker,
            limits,
            is_tls,
            meter: Arc::default(),
            in_flight: AtomicUsize::new(0),
            mark: AtomicUsize::new(0),
            broke_off: AtomicBool::new(false),
            bodies: AtomicUsize::new(0),
            serial: AtomicBool::new(true),
            drains: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
            first_request: Notify::new(),
            intake: Mutex::new(Some(intake)),
        }
    }

    /// Notes that a request has arrived.
    pub(crate) fn request_began(&self) {
        self.in_flight.fetch_add(1, SeqCst);
        if self.is_late.load(SeqCst) {
            self.first_request.notify_one();
        }
    }

    /// Notes that a request has its answer, or never will.
    pub(crate) fn request_ended(&self) {
        self.mark.store(usize::try_from(self.meter.read()).unwrap_or(usize::MAX), SeqCst);
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// Notes that an answer breaks off.
    pub(crate) fn answer_broke_off(&self) {
        self.broke_off.store(true, SeqCst);
    }

    /// Notes that a request's body begins, or ends.
    pub(crate) fn body_began(&self) {
        // Of several on an HTTP/1 connection those before were read: only the last one counts.
        if self.is_serial() {
            self.bodies.store(1, SeqCst)
        } else {
            self.bodies.fetch_add(1, SeqCst);
        }
    }

    pub(crate) fn body_ended(&self) {
        let _least = self.bodies.fetch_update(SeqCst, SeqCst, |bodies| bodies.checked_sub(1));
    }

    /// Returns the requests without their whole answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Returns whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight() == 0 && !self.meter.is_blocked()
    }

    /// Returns whether clients are told to come back on another connection.
    pub(crate) fn winds_down(&self) -> bool {
        self.address.stage() >= Stage::Delay
    }

    /// Notes that its address drains. An HTTP/1 connection brings no more requests when it has one: the answer
    /// to that will be its last.
    pub(super) fn drain(&self) {
        self.drains.store(true, SeqCst);
        if self.in_flight() > 0 {
            self.request_taken();
        } else {
            // Whatever a guest left unread was read behind it, or the connection would not be here any more.
            self.bodies.store(0, SeqCst);
        }
    }

    /// Returns whether it brings one request at a time.
    pub(crate) fn is_serial(&self) -> bool {
        self.serial.load(SeqCst)
    }

    /// Notes that a request was handed over.
    pub(crate) fn request_taken(&self) {
        if self.drains.load(SeqCst) && self.is_serial() {
            self.release_intake();
        }
    }

    pub(super) fn release_intake(&self) {
        drop(self.intake.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
