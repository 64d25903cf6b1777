//! One connection from its arrival to its end, for everybody who counts: in flight, how long, how many bytes, the access
//! log. Invariant: each is counted in once and out once, whatever became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::server::address::address::Address;
use crate::server::connection::access_log::ConnectionRecord;
use crate::server::generation::generation::Generation;

/// Byte counts of one connection.
#[derive(Debug, Default)]
pub(crate) struct ByteCounts {
    received: AtomicU64,
    sent: AtomicU64,
}

impl ByteCounts {
    /// Counts what the client sent.
    pub(crate) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts what it was sent.
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// Returns what the client has sent.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Returns what it has been sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
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

/// One connection under way. Dropping it is its end.
#[derive(Debug)]
pub(crate) struct ConnectionInFlight {
    /// The generation that serves it.
    pub(crate) generation: Arc<Generation>,
    /// Its byte counts.
    pub(crate) bytes: Arc<ByteCounts>,
    address: Arc<Address>,
    worker: usize,
    client: String,
    started: Instant,
    ending: Ending,
}

impl ConnectionInFlight {
    /// Counts a connection in, on the thread of this worker.
    pub(crate) fn begin(
        generation: Arc<Generation>,
        address: Arc<Address>,
        worker: usize,
        client: String,
    ) -> Self {
        generation.stats.began(worker);
        let (bytes, started, ending) = (Arc::default(), Instant::now(), Ending::CutShort);
        Self { generation, bytes, address, worker, client, started, ending }
    }

    /// Counts it for another component from now on.
    pub(crate) fn move_to(&mut self, generation: Arc<Generation>) {
        generation.stats.began(self.worker);
        let before = std::mem::replace(&mut self.generation, generation);
        before.stats.moved_on(self.worker);
        before.request_ended();
    }

    /// Notes how it ended.
    pub(crate) fn ended(&mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for ConnectionInFlight {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if let Some(log) = self.address.access.as_ref() {
            log.write_connection(&ConnectionRecord {
                component: &self.generation.plan.name,
                client: &self.client,
                received: self.bytes.received(),
                sent: self.bytes.sent(),
                took,
                end: self.ending.word(),
            });
        }
        // Behind everything else: its component may end with it.
        let (end, cut_short) = (self.ending.word(), self.ending == Ending::CutShort);
        self.generation.stats.connection_ended(self.worker, end, took, cut_short);
        self.generation.request_ended();
    }
}
