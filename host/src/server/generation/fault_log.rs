//! Log of the requests that a component did not answer well, and of the faults of its clients: one line a second for each reason,
//! since clients can cause them.
//!
//! Invariant: each fault is in a line, by itself or counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::client_fault::ClientFault;
use crate::text::sanitize::short_line;

/// Time in which further faults of the same reason are counted instead of shown.
const QUIET: Duration = Duration::from_secs(1);
/// Most characters of a guest's error.
const ERROR_CHARS: usize = 200;

/// One fault, as lines count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// An answer with this status, for this reason.
    Answer(u16, &'static str),
    Client(ClientFault),
}

/// The time of the last line, and the faults that were counted since. An entry is there while its fault is quiet.
type Counts = BTreeMap<Fault, (Instant, u64)>;

/// The log of one generation.
#[derive(Debug)]
pub(crate) struct FaultLog {
    component: String,
    counts: Mutex<Counts>,
}

impl FaultLog {
    pub(crate) fn new(component: String) -> Arc<Self> {
        Arc::new(Self { component, counts: Mutex::default() })
    }

    /// Logs that a request was answered with this status for this reason; `error` is what the guest said. Called on a thread
    /// of connections.
    pub(crate) fn report(self: &Arc<Self>, status: u16, reason: &'static str, error: Option<String>) {
        let fault = Fault::Answer(status, reason);
        if self.is_first(fault) {
            let (component, error) = (&self.component, error.map(|error| short_line(&error, ERROR_CHARS)));
            warn!(component, status, reason, error, "request failed");
            self.count_on(fault);
        }
    }

    /// Logs a fault of a client. Called on a thread of connections.
    pub(super) fn report_client(self: &Arc<Self>, fault: ClientFault, client: &str) {
        if self.is_first(Fault::Client(fault)) {
            info!(component = self.component, reason = fault.word(), client, "fault of a client");
            self.count_on(Fault::Client(fault));
        }
    }

    /// Has the count of further ones logged, until there are none for a while.
    fn count_on(self: &Arc<Self>, fault: Fault) {
        let log = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(QUIET).await;
                match log.take(fault) {
                    Some(more) => log.write_count(fault, more),
                    None => return,
                }
            }
        });
    }

    fn write_count(&self, fault: Fault, more: u64) {
        let component = &self.component;
        match fault {
            Fault::Answer(status, reason) => warn!(component, status, reason, more, "requests failed"),
            Fault::Client(fault) => info!(component, reason = fault.word(), more, "faults of clients"),
        }
    }

    /// Notes a fault. Returns whether it is to be shown: none of its kind was lately.
    fn is_first(&self, kind: Fault) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let Some((last, more)) = counts.get_mut(&kind) else {
            counts.insert(kind, (now, 0));
            return true;
        };
        // The thread that was to tell of the others can have ended.
        let is_first = last.elapsed() > 2 * QUIET;
        if is_first {
            *last = now
        } else {
            *more += 1
        }
        is_first
    }

    /// Returns the count since the last line. Without any the next one is shown.
    fn take(&self, kind: Fault) -> Option<u64> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&kind) {
            Some((last, more)) if *more > 0 => {
                *last = Instant::now();
                Some(std::mem::take(more))
            }
            _ => {
                counts.remove(&kind);
                None
            }
        }
    }
}

impl Drop for FaultLog {
    fn drop(&mut self) {
        // The thread that would have told of these has ended.
        let counts = std::mem::take(self.counts.get_mut().unwrap_or_else(PoisonError::into_inner));
        counts
            .into_iter()
            .filter(|(_, (_, more))| *more > 0)
            .for_each(|(kind, (_, more))| self.write_count(kind, more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_shown_and_the_others_are_counted() {
        let log = FaultLog::new("web".to_owned());
        let kind = Fault::Answer(502, "it failed");
        let shown: Vec<bool> = (0..4).map(|_| log.is_first(kind)).collect();
        assert_eq!(shown, [true, false, false, false]);
        assert!(log.is_first(Fault::Answer(503, "it is busy")), "each reason has its own count");
        assert_eq!(log.take(kind), Some(3));
        assert!(!log.is_first(kind), "the second after the count is quiet, too");
        assert_eq!(log.take(kind), Some(1));
        assert_eq!(log.take(kind), None);
        assert!(log.is_first(kind), "a quiet second ends it");
    }

    #[test]
    fn a_reason_whose_count_nobody_told_is_shown_again() {
        let log = FaultLog::new("web".to_owned());
        let kind = Fault::Answer(500, "no answer");
        assert!(log.is_first(kind) && !log.is_first(kind));
        log.counts.lock().unwrap().get_mut(&kind).unwrap().0 -= 3 * QUIET;
        assert!(log.is_first(kind));
        assert_eq!(log.take(kind), Some(1));
    }
}
