//! One request from its arrival to the end of its answer, for everybody who counts: in flight, latency, the access
//! log. Invariant: each request is counted in once and out once, whatever became of it.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Version};

use super::component::Component;
use super::connection::Connection;
use super::group::Stage;

/// One request under way. Dropping it is its end.
#[derive(Debug)]
pub struct Entry {
    component: Option<Arc<Component>>,
    connection: Arc<Connection>,
    started: Instant,
    status: u16,
    bytes: u64,
    end: Ending,
    seen: Option<Box<Seen>>,
}

/// How far an answer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Its end has not been reached: if nothing more comes, the client has left.
    Open,
    Complete,
    CutShort,
}

/// What the access log says of a request. Kept only where there is one.
#[derive(Debug)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Its version.
    pub version: Version,
    /// Its id.
    pub id: HeaderValue,
    /// What the client says it is.
    pub agent: Option<HeaderValue>,
}

/// The end of a request, as the access log has it.
#[derive(Debug)]
pub struct Finished<'a> {
    /// The component that was to serve it; none had its route otherwise.
    pub component: Option<&'a str>,
    /// The client's address.
    pub client: &'a str,
    /// What was asked.
    pub seen: &'a Seen,
    /// The answer's status; 0 when there was none.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// From the arrival of the head to the end of the answer.
    pub took: std::time::Duration,
    /// `complete`, `cut-short` (by the host or its guest), or `client-left`.
    pub end: &'static str,
}

impl Entry {
    /// Counts a request in.
    pub fn begin(component: Option<Arc<Component>>, connection: Arc<Connection>, seen: Option<Seen>) -> Self {
        connection.request_began();
        if let Some(component) = &component {
            component.stats.began(connection.lane);
        }
        let (started, end, seen) = (Instant::now(), Ending::Open, seen.map(Box::new));
        Self { component, connection, started, status: 0, bytes: 0, end, seen }
    }

    /// Counts it for another component from now on.
    pub fn move_to(&mut self, component: &Arc<Component>) {
        component.stats.began(self.connection.lane);
        if let Some(before) = self.component.replace(component.clone()) {
            before.stats.moved_on(self.connection.lane);
            before.request_ended();
        }
    }

    /// Notes the status. `bodiless` answers are complete with their head.
    pub fn answered(&mut self, status: u16, bodiless: bool) {
        self.status = status;
        if bodiless {
            self.end = Ending::Complete;
        }
    }

    /// Counts bytes of the answer.
    pub fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Notes that the answer is complete.
    pub fn complete(&mut self) {
        if self.end == Ending::Open {
            self.end = Ending::Complete;
        }
    }

    /// Notes that the answer breaks off.
    pub fn cut_short(&mut self) {
        self.end = Ending::CutShort;
        self.connection.answer_broke_off();
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if self.end == Ending::Open && self.connection.group.stage() == Stage::Cut {
            self.end = Ending::CutShort;
        }
        if let (Some(seen), Some(log)) = (&self.seen, self.connection.group.access.as_ref()) {
            log.write(&Finished {
                component: self.component.as_ref().map(|component| component.plan.name.as_str()),
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
        if let Some(component) = &self.component {
            component.stats.ended(self.connection.lane, self.status, took, self.end == Ending::CutShort);
            component.request_ended();
        }
    }
}
