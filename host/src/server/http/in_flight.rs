//! One request from its arrival to the end of its answer, as counts and the access log have it. Invariant: each is counted
//! in once and out once.

use std::sync::Arc;
use std::time::Instant;

use super::connection::Connection;
use crate::server::address::address::Stage;
use crate::server::connection::access_log::{LoggedRequest, RequestRecord};
use crate::server::generation::generation::Generation;

/// One request under way. Dropping it is its end.
#[derive(Debug)]
pub(crate) struct RequestInFlight {
    generation: Option<Arc<Generation>>,
    connection: Arc<Connection>,
    started: Instant,
    status: u16,
    bytes: u64,
    end: Ending,
    seen: Option<Box<LoggedRequest>>,
}

/// Progress of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Its end has not been reached: if nothing more comes, the client has left.
    Open,
    Complete,
    CutShort,
}

impl RequestInFlight {
    /// Counts a request in.
    pub(crate) fn begin(
        generation: Option<Arc<Generation>>,
        connection: Arc<Connection>,
        seen: Option<LoggedRequest>,
    ) -> Self {
        connection.request_began();
        if let Some(generation) = &generation {
            generation.stats.began(connection.worker);
        }
        let (started, end, seen) = (Instant::now(), Ending::Open, seen.map(Box::new));
        Self { generation, connection, started, status: 0, bytes: 0, end, seen }
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

    /// Counts bytes of the answer.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Notes that the answer is complete.
    pub(crate) fn complete(&mut self) {
        if self.end == Ending::Open {
            self.end = Ending::Complete;
        }
    }

    /// Notes that the answer breaks off.
    pub(crate) fn cut_short(&mut self) {
        self.end = Ending::CutShort;
        self.connection.answer_broke_off();
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if self.end == Ending::Open && self.connection.address.stage() == Stage::Cut {
            self.end = Ending::CutShort;
        }
        if let (Some(seen), Some(log)) = (&self.seen, self.connection.address.access.as_ref()) {
            log.write(&RequestRecord {
                component: self.generation.as_ref().map(|generation| generation.plan.name.as_str()),
                client: &self.connection.client,
                seen,
                status: self.status,
                bytes: self.bytes,
                took,
                end: match self.end {
                    Ending::Open => "client-left",
                    Ending::Complete => "complete",
                    Ending::CutShort => "cut-short",
                },
            });
        }
        self.connection.request_ended();
        // Behind everything else: its component may end with it.
        if let Some(generation) = &self.generation {
            generation.stats.ended(self.connection.worker, self.status, took, self.end == Ending::CutShort);
            generation.request_ended();
        }
    }
}
