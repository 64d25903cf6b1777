//! How long a client may take: for the head of a request, and between two of them.
//!
//! Invariant: a connection with a request in flight, or an answer that its client has not taken yet, is never given
//! up here. One timer for each connection, whatever its requests: timers for each request would cost more than
//! serving some of them.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// How long a connection without a request in flight may live on when its address drains.
pub const STRAGGLE: Duration = Duration::from_secs(1);
/// Least time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Watches one connection.
#[derive(Debug)]
pub struct Pace {
    connection: Arc<Connection>,
    /// Since when it is as it is now.
    since: Instant,
    state: State,
    hurried: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Part of a head has come.
    Head,
    Busy,
}

impl Pace {
    /// Watches a connection from now on.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self { connection, since: Instant::now(), state: State::Idle, hurried: false }
    }

    /// Gives it little time: its address drains.
    pub fn hurry(&mut self) {
        self.hurried = true;
        self.since = Instant::now();
    }

    fn state_now(&self) -> State {
        let connection = &self.connection;
        let new =
            usize::try_from(connection.meter.read()).unwrap_or(usize::MAX) > connection.mark.load(SeqCst);
        match (connection.in_flight() > 0 || connection.meter.is_blocked(), new && connection.is_serial()) {
            (true, _) => State::Busy,
            (false, true) => State::Head,
            (false, false) => State::Idle,
        }
    }

    fn limit(&self) -> Duration {
        let limits = self.connection.group.limits;
        match self.state {
            State::Busy => Duration::MAX,
            State::Head | State::Idle if self.hurried => STRAGGLE,
            State::Head => limits.header_timeout,
            State::Idle => limits.idle_timeout,
        }
    }

    /// Returns when the client has taken too long.
    ///
    /// # Cancel safety
    /// Can be dropped and called again; it goes on where it was.
    pub async fn give_up(&mut self) {
        loop {
            let now = self.state_now();
            if now != self.state {
                self.state = now;
                self.since = Instant::now();
            }
            let left = self.limit().saturating_sub(self.since.elapsed());
            if left.is_zero() {
                return;
            }
            // Its state can change at any time: half the shortest limit is early enough to see that.
            let limits = self.connection.group.limits;
            let shortest = limits.header_timeout.min(limits.idle_timeout);
            let look = if self.hurried { shortest.min(STRAGGLE) } else { shortest } / 2;
            tokio::time::sleep(left.min(look).max(LOOK)).await;
        }
    }
}
