//! One connection from its arrival to its end, for everybody who counts: in flight, how long, how many bytes, the access
//! log. Invariant: each is counted in once and out once, whatever became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::server::http::component::Component;
use crate::server::http::group::Group;

/// What went through a connection, in bytes.
#[derive(Debug, Default)]
pub struct Bytes {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Bytes {
    /// Counts what the client sent.
    pub fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts what it was sent.
    pub fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// Returns what the client has sent.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Returns what it has been sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its guest has said all, and all of it was sent.
    Complete,
    /// Its guest failed, was cut off or was never there, or its client took nothing for too long.
    CutShort,
    /// Its client has left before.
    ClientLeft,
}

impl Ending {
    /// Its word in logs and metrics.
    fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::CutShort => "cut-short",
            Self::ClientLeft => "client-left",
        }
    }
}

/// A connection that has ended, as the access log has it.
#[derive(Debug)]
pub struct Closed<'a> {
    /// Whose it was.
    pub component: &'a str,
    /// The client's address.
    pub client: &'a str,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// From its acceptance to its end.
    pub took: Duration,
    /// `complete`, `cut-short` or `client-left`.
    pub end: &'static str,
}

/// One connection under way. Dropping it is its end.
#[derive(Debug)]
pub struct Visit {
    /// Who serves it.
    pub component: Arc<Component>,
    /// What went through it.
    pub bytes: Arc<Bytes>,
    group: Arc<Group>,
    lane: usize,
    client: String,
    started: Instant,
    ending: Ending,
}

impl Visit {
    /// Counts a connection in, on the thread of this lane.
    pub fn begin(component: Arc<Component>, group: Arc<Group>, lane: usize, client: String) -> Self {
        component.stats.began(lane);
        let (bytes, started, ending) = (Arc::default(), Instant::now(), Ending::CutShort);
        Self { component, bytes, group, lane, client, started, ending }
    }

    /// Counts it for another component from now on.
    pub fn move_to(&mut self, component: Arc<Component>) {
        component.stats.began(self.lane);
        let before = std::mem::replace(&mut self.component, component);
        before.stats.moved_on(self.lane);
        before.request_ended();
    }

    /// Notes how it ended.
    pub fn ended(&mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if let Some(log) = self.group.access.as_ref() {
            log.write_connection(&Closed {
                component: &self.component.plan.name,
                client: &self.client,
                received: self.bytes.received(),
                sent: self.bytes.sent(),
                took,
                end: self.ending.word(),
            });
        }
        // Behind everything else: its component may end with it.
        let (end, cut_short) = (self.ending.word(), self.ending == Ending::CutShort);
        self.component.stats.connection_ended(self.lane, end, took, cut_short);
        self.component.request_ended();
    }
}
