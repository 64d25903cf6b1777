//! The queue of one stream: all its sources write into it, and one thread writes it out.
//!
//! Invariant: first in, first out over all sources; one push is one piece, never torn. A push never waits; `flush` waits to
//! its deadline, and guests wait for room, for a bounded time. The queue is bounded for each source and in total. Every
//! chunk is either written or counted as lost.

use std::collections::VecDeque;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::fd::{self, Channel, Wrote};

/// Quota of all components together on one stream.
const TOTAL_BYTES: usize = 16 * 1024 * 1024;
/// Quota of the host itself on one stream; components cannot use it up.
pub(super) const HOST_QUOTA: usize = 1024 * 1024;
pub(crate) const GUEST_QUOTA: usize = 256 * 1024;
/// Bytes that lines may go past their quota while the reader takes them: many threads can write at one moment.
const BURST_BYTES: usize = 2 * 1024 * 1024;
/// The size of one `write(2)`, after which quota comes back. A reader that does not take as much in `PATIENCE` stands still.
const BATCH_BYTES: usize = 16 * 1024;
/// Longest wait of a line for room. After a write of this length the reader stands still: no line waits for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same once the app stops: a stop waits for no reader.
const STOP_PATIENCE: Duration = Duration::from_millis(100);
/// Cost of a chunk besides its bytes: a flood of empty lines costs memory too.
const CHUNK_OVERHEAD: usize = 64;
/// Tries of a panic hook for the lock: its own thread may be the holder.
const LOCK_TRIES: u32 = 1000;

struct Account {
    quota: usize,
    /// The host's own: exempt from the total, which is there for the components.
    reserved: bool,
    /// Changed under the lock of the queue only.
    queued: AtomicUsize,
    lost: AtomicU64,
}

struct Chunk {
    bytes: Vec<u8>,
    account: Arc<Account>,
}

#[derive(Default)]
struct QueueState {
    chunks: VecDeque<Chunk>,
    batch: Vec<Chunk>,
    /// The begin of the write that is under way.
    writing: Option<Instant>,
    /// Cost of all chunks of components, queued or in the batch.
    held: usize,
    /// Chunks that ever came in, and chunks that were written or lost: the difference is what a flush waits for.
    taken_in: u64,
    settled: u64,
    idle: bool,
    gone: bool,
    dead: bool,
    closing: bool,
    app_stops: bool,
}

impl QueueState {
    /// Returns the bytes that the account may still queue if it may go `slack` past its bounds.
    fn room(&self, account: &Account, slack: usize) -> usize {
        let own = (account.quota + slack).saturating_sub(account.queued.load(Relaxed));
        if account.reserved { own } else { own.min((TOTAL_BYTES + slack).saturating_sub(self.held)) }
    }

    fn release(&mut self, Chunk { bytes, account }: Chunk, written: bool) {
        let cost = bytes.len() + CHUNK_OVERHEAD;
        account.queued.fetch_sub(cost, Relaxed);
        if !account.reserved {
            self.held = self.held.saturating_sub(cost);
        }
        self.settled += 1;
        if !written {
            account.lost.fetch_add(1, Relaxed);
        }
    }

    fn no_reader(&mut self) {
        self.gone = true;
        for chunk in std::mem::take(&mut self.chunks) {
            self.release(chunk, false);
        }
    }
}

pub(super) struct Queue {
    pub(super) channel: Channel,
    pub(super) fd: OwnedFd,
    /// A file has no reader that could stand still: its writes end, on a slow disk after some time.
    is_file: bool,
    state: Mutex<QueueState>,
    // `wait_while` would give up at a poisoned lock.
    work: Condvar,
    settled: Condvar,
    room: Notify,
}

impl Queue {
    pub(super) fn new(channel: Channel, fd: OwnedFd) -> Arc<Queue> {
        let file = File::from(fd);
        let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
        let (work, settled, room) = (Condvar::new(), Condvar::new(), Notify::new());
        Arc::new(Queue { channel, fd: file.into(), is_file, state: Mutex::default(), work, settled, room })
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the writer: sleeps until there is something to write; false when the queue is closed and empty.
    pub(super) fn await_work(&self) -> bool {
        let mut state = self.lock();
        while state.chunks.is_empty() {
            if state.closing {
                return false;
            }
            state.idle = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        true
    }

    /// For the writer: moves the next chunks into `batch`; `settle` must follow.
    pub(super) fn take_batch(&self, batch: &mut Vec<u8>) {
        batch.clear();
        batch.shrink_to(2 * BATCH_BYTES);
        let mut state = self.lock();
        while batch.len() < BATCH_BYTES
            && let Some(chunk) = state.chunks.pop_front()
        {
            batch.extend_from_slice(&chunk.bytes);
            state.batch.push(chunk);
        }
        state.writing = Some(Instant::now());
    }

    pub(super) fn settle(&self, wrote: Wrote) {
        let mut state = self.lock();
        state.writing = None;
        let mut out = match wrote {
            Wrote::All => usize::MAX,
            Wrote::Refused(n) | Wrote::Gone(n) => n,
        };
        for chunk in std::mem::take(&mut state.batch) {
            let len = chunk.bytes.len();
            state.release(chunk, len <= out);
            out = out.saturating_sub(len);
        }
        if let Wrote::Gone(_) = wrote {
            state.no_reader();
        }
        self.announce(state);
    }

    /// The writer thread has panicked: its batch is lost, the queue waits for `flush`.
    pub(super) fn died(&self) {
        self.lock().dead = true;
        self.settle(Wrote::Refused(0));
    }

    pub(super) fn ended(&self) {
        let mut state = self.lock();
        state.no_reader();
        self.announce(state);
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    /// Has lines wait for a reader only for a moment from now on: the app stops.
    pub(super) fn app_stops(&self) {
        let mut state = self.lock();
        state.app_stops = true;
        self.announce(state);
    }

    /// Returns the time at which a line has waited for long enough, if it has waited since `since`.
    fn patient_until(&self, state: &QueueState, since: Instant, now: Instant) -> Instant {
        let from = if self.is_file { now } else { state.writing.unwrap_or(since).min(since) };
        from + if state.app_stops { STOP_PATIENCE } else { PATIENCE }
    }

    fn stands_still(&self, state: &QueueState) -> bool {
        let now = Instant::now();
        self.patient_until(state, now, now) <= now
    }

    /// Returns whether its reader takes nothing.
    pub(super) fn is_stuck(&self) -> bool {
        self.stands_still(&self.lock())
    }

    pub(super) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    fn announce(&self, state: MutexGuard<'_, QueueState>) {
        drop(state);
        self.settled.notify_all();
        self.room.notify_waiters();
    }

    /// Waits until everything queued before this call is written or lost; false when it is too late.
    pub(super) fn flush(&self, until: Instant) -> bool {
        let mut state = self.lock();
        let target = state.taken_in;
        while state.settled < target {
            if state.dead {
                drop(state);
                return self.write_here(until);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Does a dead writer's work on the caller's thread: the last lines tell why the host is leaving.
    fn write_here(&self, until: Instant) -> bool {
        loop {
            let Some(chunk) = self.lock().chunks.pop_front() else {
                return true;
            };
            let wrote = fd::write_by(self.fd.as_fd(), &chunk.bytes, until);
            let mut state = self.lock();
            state.release(chunk, wrote == Wrote::All);
            match wrote {
                Wrote::All => {}
                Wrote::Refused(_) => return false,
                Wrote::Gone(_) => {
                    state.no_reader();
                    return true;
                }
            }
        }
    }
}

/// A share of one stream. Clones share its quota and its count of losses.
#[derive(Clone)]
pub struct Source {
    pub(super) queue: Arc<Queue>,
    account: Arc<Account>,
}

opaque_debug!(Source);

impl Source {
    pub(super) fn new(queue: Arc<Queue>, quota: usize, reserved: bool) -> Source {
        let (queued, lost) = (AtomicUsize::new(0), AtomicU64::new(0));
        Source { queue, account: Arc::new(Account { quota, reserved, queued, lost }) }
    }

    /// Queues `line`, with its newline, as one piece. False: without room or reader it is dropped and counted.
    pub fn push(&self, line: Vec<u8>) -> bool {
        let state = self.queue.lock();
        let slack = if self.queue.stands_still(&state) { 0 } else { BURST_BYTES };
        self.counted(self.admit(state, line, slack))
    }

    /// Returns the number of lines, or of pieces of a stream that passes through, that were dropped.
    pub fn dropped(&self) -> u64 {
        self.account.lost.load(Relaxed)
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.queue.fd.is_terminal()
    }

    pub(super) fn offer(&self, bytes: Vec<u8>) -> bool {
        self.admit(self.queue.lock(), bytes, 0)
    }

    /// Queues `bytes` as one piece if there is room, going at most `slack` bytes past it.
    fn admit(&self, mut state: MutexGuard<'_, QueueState>, bytes: Vec<u8>, slack: usize) -> bool {
        if bytes.is_empty() {
            return !state.gone;
        }
        let (account, cost) = (self.account.clone(), bytes.len() + CHUNK_OVERHEAD);
        if state.gone || cost > state.room(&account, slack) {
            return false;
        }
        account.queued.fetch_add(cost, Relaxed);
        if !account.reserved {
            state.held += cost;
        }
        state.taken_in += 1;
        state.chunks.push_back(Chunk { bytes, account });
        // Waking costs a system call even when no thread sleeps.
        if std::mem::take(&mut state.idle) {
            self.queue.work.notify_one();
        }
        true
    }

    /// Takes bytes that a permit was given for, though other handles may have used the room up since. Permits can not be
    /// taken back, so this goes past the quota, but never past twice the quota: a guest can hold any number of them.
    pub(super) fn push_permitted(&self, bytes: Vec<u8>) -> bool {
        self.counted(self.admit(self.queue.lock(), bytes, self.account.quota))
    }

    /// `push` from a panic hook. If its own thread holds the lock, or the writer is dead, it writes without blocking.
    pub(super) fn push_in_panic(&self, line: Vec<u8>, is_writer: bool) {
        let tries = if is_writer { 0 } else { LOCK_TRIES };
        for _ in 0..tries {
            let state = match self.queue.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    std::thread::yield_now();
                    continue;
                }
            };
            if state.dead {
                break;
            }
            self.counted(self.admit(state, line, 0));
            return;
        }
        self.counted(fd::write_by(self.queue.fd.as_fd(), &line, Instant::now()) == Wrote::All);
    }

    fn counted(&self, taken: bool) -> bool {
        if !taken {
            self.account.lost.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Returns the bytes that there is room for; `None` if nothing will be written any more.
    pub(super) fn room(&self) -> Option<usize> {
        let state = self.queue.lock();
        let room = state.room(&self.account, 0).saturating_sub(CHUNK_OVERHEAD);
        (!state.gone && !state.dead).then_some(room)
    }

    /// Returns until when a line waits for room at most, and notes in `since` when its wait began. `None`: it can go in now, or
    /// a longer wait is no use.
    pub(super) fn line_waits(&self, since: &mut Option<Instant>) -> Option<Instant> {
        let state = self.queue.lock();
        // Half of it, so that a guest wakes once for many lines.
        if state.gone || state.dead || state.room(&self.account, 0) >= self.account.quota / 2 {
            *since = None;
            return None;
        }
        let now = Instant::now();
        let until = self.queue.patient_until(&state, *since.get_or_insert(now), now);
        (until > now).then_some(until)
    }

    /// Resolves when a line can go in, or has waited for long enough. Cancel safe: `since` keeps the begin of its wait.
    pub(super) async fn line_ready(&self, since: &mut Option<Instant>) {
        loop {
            // Made before the look, so that no wake-up is missed in between.
            let changed = self.queue.room.notified();
            let Some(until) = self.line_waits(since) else { return };
            let _late = tokio::time::timeout_at(until.into(), changed).await;
        }
    }

    /// Resolves when there is room again, or when there will never be any.
    pub(super) async fn ready(&self) {
        loop {
            // Made before the look, so that no wake-up is missed in between.
            let changed = self.queue.room.notified();
            if self.room() != Some(0) {
                return;
            }
            changed.await;
        }
    }
}
