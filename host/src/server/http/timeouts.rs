//! How long a client may take: for the head of a request, for its answer, and between two requests.
//!
//! Invariant: a connection with a request in flight is never given up here, unless its client takes nothing of the
//! answer. One timer for each connection, whatever its requests: timers for each request would cost more than
//! serving some of them.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use crate::server::connection::linger::STRAGGLE;

/// Least time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Watches one connection.
#[derive(Debug)]
pub(crate) struct Timeouts {
    connection: Arc<Connection>,
    /// Since when it is as it is now.
    since: Instant,
    state: State,
    hurried: bool,
    /// At the last look: what had been read, when the last request had ended, what had been written.
    seen: (u64, usize, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Part of a head has come.
    Head,
    Busy,
    /// There is an answer that the client does not take.
    Blocked,
}

impl Timeouts {
    /// Watches a connection from now on.
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, since: Instant::now(), state: State::Idle, hurried: false, seen: (0, 0, 0) }
    }

    /// Gives it little time: its address drains.
    pub(crate) fn hurry(&mut self) {
        self.hurried = true;
        self.since = Instant::now();
    }

    fn state_now(&self) -> State {
        let connection = &self.connection;
        let new =
            usize::try_from(connection.meter.read()).unwrap_or(usize::MAX) > connection.mark.load(SeqCst);
        let begun = new && connection.is_serial();
        match (connection.meter.is_blocked(), connection.in_flight() > 0, begun) {
            (true, ..) => State::Blocked,
            (false, true, _) => State::Busy,
            (false, false, true) => State::Head,
            (false, false, false) => State::Idle,
        }
    }

    fn seen_now(&self) -> (u64, usize, u64) {
        let meter = &self.connection.meter;
        (meter.read(), self.connection.mark.load(SeqCst), meter.written())
    }

    fn limit(&self) -> Duration {
        let limits = self.connection.limits;
        match self.state {
            State::Busy => Duration::MAX,
            State::Head | State::Idle if self.hurried => STRAGGLE,
            State::Head => limits.header_timeout,
            State::Idle | State::Blocked => limits.idle_timeout,
        }
    }

    /// Returns when the client has taken too long, and whether it was idle: with nothing begun.
    ///
    /// # Cancel safety
    /// Can be dropped and called again; it goes on where it was.
    pub(crate) async fn give_up(&mut self) -> bool {
        loop {
            let (state, seen) = (self.state_now(), self.seen_now());
            // A head that comes byte by byte is not new with each byte; whatever comes between requests is.
            let moved = (seen.1, seen.2) != (self.seen.1, self.seen.2)
                || (seen.0 != self.seen.0 && state == State::Idle);
            if state != self.state || moved {
                self.since = Instant::now();
            }
            (self.state, self.seen) = (state, seen);
            let left = self.limit().saturating_sub(self.since.elapsed());
            if left.is_zero() {
                return self.state == State::Idle;
            }
            // Its state can change at any time: half the shortest limit is early enough to see that.
            let limits = self.connection.limits;
            let shortest = limits.header_timeout.min(limits.idle_timeout);
            let look = if self.hurried { shortest.min(STRAGGLE) } else { shortest } / 2;
            tokio::time::sleep(left.min(look).max(LOOK)).await;
        }
    }
}
