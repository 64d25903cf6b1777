//! The time that a client has on its connection: for the head of a request, between two requests, and to take its answers.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connection::Connection;
use crate::server::connection::pace::Pace;
use crate::server::connection::stream::STRAGGLE;
use crate::server::generation::ClientFault;

/// Least time between two looks at a client.
const LOOK: Duration = Duration::from_millis(50);

/// Its clock.
///
/// Invariant: a connection with a request in flight is never given up here, unless its client takes its answer too slowly. There is
/// one timer for each connection: one for each request would cost more than serving some of them.
#[derive(Debug)]
pub(super) struct Timeouts<'a> {
    connection: &'a Connection,
    /// The last time at which a request was in flight, or had ended since the look before.
    quiet_since: Instant,
    /// Part of a head, or of a frame of HTTP/2, has come; since then it is the same.
    head_since: Option<Instant>,
    hurried: bool,
    /// Bytes that had been read when the last request ended, at the last look.
    mark: u64,
    pace: Pace,
}

impl<'a> Timeouts<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self {
            connection,
            quiet_since: Instant::now(),
            head_since: None,
            hurried: false,
            mark: 0,
            pace: Pace::default(),
        }
    }

    /// Gives the client little time: its address drains.
    pub(super) fn hurry(&mut self) {
        self.hurried = true;
        self.quiet_since = Instant::now();
        self.head_since = None;
    }

    /// Returns when the client has taken too long: true if it was idle, with nothing begun.
    ///
    /// # Cancel safety
    /// Can be dropped and called again; it goes on where it was.
    pub(super) async fn give_up(&mut self) -> bool {
        let limits = self.connection.limits;
        loop {
            let left = match self.left() {
                Ok(left) => left,
                Err(was_idle) => {
                    self.connection.timed_out.store(!was_idle, SeqCst);
                    return was_idle;
                }
            };
            // Its state can change at any time: a part of the shortest limit is early enough to see that.
            let shortest = limits.header_timeout.min(limits.idle_timeout).min(limits.rate_window);
            let look = if self.hurried { shortest.min(STRAGGLE) } else { shortest } / 2;
            sleep(left.min(look).max(LOOK)).await;
        }
    }

    /// Returns the time that is left as far as can be seen now. The error says whether it was idle.
    fn left(&mut self) -> Result<Duration, bool> {
        let (connection, limits, now) = (self.connection, self.connection.limits, Instant::now());
        if let Some(left) = self.left_to_take(now) {
            self.quiet_since = now;
            return left;
        }
        let mark = connection.mark.load(SeqCst);
        let is_busy = connection.is_busy();
        if is_busy || mark != self.mark {
            (self.quiet_since, self.head_since, self.mark) = (now, None, mark);
        }
        if is_busy {
            return Ok(Duration::MAX);
        }
        let has_begun = match connection.is_serial() {
            true => connection.meter.read() > mark,
            false => connection.meter.is_in_frame(),
        };
        self.head_since = has_begun.then(|| self.head_since.unwrap_or(now));
        let limit = |limit| if self.hurried || connection.meter.is_shut() { STRAGGLE } else { limit };
        let left =
            |since: Instant, limit: Duration| limit.saturating_sub(now.saturating_duration_since(since));
        let idle = left(self.quiet_since, limit(limits.idle_timeout));
        let head = self.head_since.map_or(Duration::MAX, |since| left(since, limit(limits.header_timeout)));
        if head.is_zero() {
            connection.client_fault(ClientFault::SlowHead);
            return Err(false);
        }
        // A head that has begun has its own time, over HTTP/1.
        let is_idle = idle.is_zero() && !(has_begun && connection.is_serial());
        if is_idle { Err(true) } else { Ok(head.min(idle.max(LOOK))) }
    }

    /// Returns the time that is left to take what waits to be written, if something does.
    fn left_to_take(&mut self, now: Instant) -> Option<Result<Duration, bool>> {
        let connection = self.connection;
        // An HTTP/2 stream looks after its own answer, as long as it is there.
        let waits = match connection.is_serial() {
            true => connection.meter.is_blocked(),
            false => !connection.is_busy() && connection.meter.unsent() > 0,
        };
        if !waits {
            self.pace.pause(now.into_std());
            return None;
        }
        self.pace.wait(now.into_std());
        self.pace.taken(Some(connection.meter.taken()));
        let left = self.pace.left(now.into_std(), connection.min_rate());
        if left.is_none() {
            connection.client_fault(ClientFault::SlowReader);
        }
        Some(left.ok_or(false))
    }
}
