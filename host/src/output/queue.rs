//! The queue between everyone who writes to one stream and the one thread that writes it.
//!
//! Invariant: first in, first out over all sources; no caller except `flush` waits, and `flush` only to its deadline;
//! what is queued is bounded for each account and in total, and every chunk is either written or counted as lost.
//! What does not belong here: lines, prefixes, and the thread itself.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use tokio::sync::Notify;

use super::fd::{self, Wrote};

/// The most that all components together may have queued on one stream.
pub const TOTAL_BYTES: usize = 16 * 1024 * 1024;
/// What the host itself may have queued on one stream; set aside, so components can not use it up.
pub const HOST_QUOTA: usize = 1024 * 1024;
/// What one `write(2)` takes on, and so how soon quota comes back.
const BATCH_BYTES: usize = 64 * 1024;
/// Charged for each chunk besides its bytes: a flood of empty lines costs memory too.
const CHUNK_OVERHEAD: usize = 64;
/// How often a panic hook tries for the lock before it gives up: its own thread may be the holder.
const LOCK_TRIES: u32 = 1000;

/// One of the process's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Data.
    Stdout,
    /// Log, report, status.
    Stderr,
}

impl Channel {
    /// The name of the thread that writes this stream.
    pub fn thread_name(self) -> &'static str {
        match self {
            Channel::Stdout => "curfew-stdout",
            Channel::Stderr => "curfew-stderr",
        }
    }
}

/// What one source may have queued, has queued, and has lost.
pub(super) struct Account {
    quota: usize,
    /// The host's own: exempt from the total, which is there for the components.
    reserved: bool,
    /// Changed under the queue's lock only.
    queued: AtomicUsize,
    pub(super) lost: AtomicU64,
}

impl Account {
    pub(super) fn new(quota: usize, reserved: bool) -> Arc<Account> {
        Arc::new(Account { quota, reserved, queued: AtomicUsize::new(0), lost: AtomicU64::new(0) })
    }

    pub(super) fn quota(&self) -> usize {
        self.quota
    }
}

/// Room for a source that waits instead of dropping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// So many bytes; 0 means wait.
    Bytes(usize),
    /// Nothing will be written any more.
    Gone,
}

struct Chunk {
    bytes: Vec<u8>,
    account: Arc<Account>,
}

/// A chunk whose bytes are in the batch that is being written.
struct Ticket {
    len: usize,
    account: Arc<Account>,
}

#[derive(Default)]
struct QueueState {
    chunks: VecDeque<Chunk>,
    flying: Vec<Ticket>,
    /// Cost of all that components have queued or flying.
    held: usize,
    /// Chunks that ever came in, and chunks that were written or lost: the difference is what a flush waits for.
    taken_in: u64,
    settled: u64,
    idle: bool,
    gone: bool,
    dead: bool,
    closing: bool,
}

impl QueueState {
    /// What the account may still queue when it may go `slack` past its bounds.
    fn room(&self, account: &Account, slack: usize) -> usize {
        let own = (account.quota + slack).saturating_sub(account.queued.load(Relaxed));
        if account.reserved { own } else { own.min((TOTAL_BYTES + slack).saturating_sub(self.held)) }
    }

    fn admit(&mut self, account: &Arc<Account>, bytes: Vec<u8>) {
        let cost = bytes.len() + CHUNK_OVERHEAD;
        account.queued.fetch_add(cost, Relaxed);
        if !account.reserved {
            self.held += cost;
        }
        self.taken_in += 1;
        self.chunks.push_back(Chunk { bytes, account: account.clone() });
    }

    fn release(&mut self, account: &Account, len: usize, written: bool) {
        let cost = len + CHUNK_OVERHEAD;
        account.queued.fetch_sub(cost, Relaxed);
        if !account.reserved {
            self.held = self.held.saturating_sub(cost);
        }
        self.settled += 1;
        if !written {
            account.lost.fetch_add(1, Relaxed);
        }
    }

    fn drop_queued(&mut self) {
        for chunk in std::mem::take(&mut self.chunks) {
            self.release(&chunk.account, chunk.bytes.len(), false);
        }
    }
}

/// One stream: its descriptor and its queue.
pub(super) struct Queue {
    pub(super) channel: Channel,
    pub(super) fd: OwnedFd,
    queue: Mutex<QueueState>,
    work: Condvar,
    settled: Condvar,
    room: Notify,
}

impl Queue {
    pub(super) fn new(channel: Channel, fd: OwnedFd) -> Arc<Queue> {
        let queue = Mutex::default();
        Arc::new(Queue {
            channel,
            fd,
            queue,
            work: Condvar::new(),
            settled: Condvar::new(),
            room: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `bytes` as one piece if there is room, going at most `slack` bytes past it.
    pub(super) fn offer(&self, account: &Arc<Account>, bytes: Vec<u8>, slack: usize) -> bool {
        self.offer_locked(self.lock(), account, bytes, slack)
    }

    /// The same from a panic hook, whose own thread may hold the lock; gives the bytes back when it does.
    pub(super) fn offer_in_panic(&self, account: &Arc<Account>, bytes: Vec<u8>) -> Result<bool, Vec<u8>> {
        for _ in 0..LOCK_TRIES {
            let queue = match self.queue.try_lock() {
                Ok(queue) => queue,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    std::thread::yield_now();
                    continue;
                }
            };
            return if queue.dead { Err(bytes) } else { Ok(self.offer_locked(queue, account, bytes, 0)) };
        }
        Err(bytes)
    }

    fn offer_locked(
        &self,
        mut queue: MutexGuard<'_, QueueState>,
        account: &Arc<Account>,
        bytes: Vec<u8>,
        slack: usize,
    ) -> bool {
        if bytes.is_empty() {
            return !queue.gone;
        }
        if queue.gone || bytes.len() + CHUNK_OVERHEAD > queue.room(account, slack) {
            return false;
        }
        queue.admit(account, bytes);
        // Waking costs a system call even when nobody sleeps.
        if std::mem::take(&mut queue.idle) {
            self.work.notify_one();
        }
        true
    }

    /// How much of a waiting source's data would be taken now.
    pub(super) fn room(&self, account: &Account) -> Room {
        let queue = self.lock();
        if queue.gone || queue.dead {
            return Room::Gone;
        }
        Room::Bytes(queue.room(account, 0).saturating_sub(CHUNK_OVERHEAD))
    }

    /// Resolves when `room` is no longer 0.
    pub(super) async fn ready(&self, account: &Account) {
        loop {
            // Made before the look, so that no wake-up is missed in between.
            let changed = self.room.notified();
            if self.room(account) != Room::Bytes(0) {
                return;
            }
            changed.await;
        }
    }

    /// For the writer: sleeps until there is something to write; false when the queue is closed and empty.
    pub(super) fn await_work(&self) -> bool {
        let mut queue = self.lock();
        while queue.chunks.is_empty() {
            if queue.closing {
                return false;
            }
            queue.idle = true;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.idle = false;
        true
    }

    /// For the writer: moves the next chunks into `batch`; `settle` must follow.
    pub(super) fn take_batch(&self, batch: &mut Vec<u8>) {
        batch.clear();
        batch.shrink_to(2 * BATCH_BYTES);
        let mut queue = self.lock();
        while batch.len() < BATCH_BYTES
            && let Some(chunk) = queue.chunks.pop_front()
        {
            batch.extend_from_slice(&chunk.bytes);
            queue.flying.push(Ticket { len: chunk.bytes.len(), account: chunk.account });
        }
    }

    /// For the writer: what became of the batch.
    pub(super) fn settle(&self, wrote: Wrote) {
        let mut queue = self.lock();
        let mut out = match wrote {
            Wrote::All => usize::MAX,
            Wrote::Refused(n) | Wrote::Gone(n) => n,
        };
        for ticket in std::mem::take(&mut queue.flying) {
            queue.release(&ticket.account, ticket.len, ticket.len <= out);
            out = out.saturating_sub(ticket.len);
        }
        if let Wrote::Gone(_) = wrote {
            queue.gone = true;
            queue.drop_queued();
        }
        self.announce(queue);
    }

    /// The writer thread has panicked: what it had in hand is lost, what is queued waits for `flush`.
    pub(super) fn died(&self) {
        self.lock().dead = true;
        self.settle(Wrote::Refused(0));
    }

    /// The writer thread has ended in peace.
    pub(super) fn ended(&self) {
        let mut queue = self.lock();
        queue.gone = true;
        queue.drop_queued();
        self.announce(queue);
    }

    /// No more output: the writer writes what is queued and ends.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    fn announce(&self, queue: MutexGuard<'_, QueueState>) {
        drop(queue);
        self.settled.notify_all();
        self.room.notify_waiters();
    }

    /// Waits until everything queued before this call is written or lost; false when it is too late.
    pub(super) fn flush(&self, until: Instant) -> bool {
        let mut queue = self.lock();
        let target = queue.taken_in;
        while queue.settled < target {
            if queue.dead {
                drop(queue);
                return self.write_here(until);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self.settled.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
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
            let mut queue = self.lock();
            queue.release(&chunk.account, chunk.bytes.len(), wrote == Wrote::All);
            match wrote {
                Wrote::All => {}
                Wrote::Refused(_) => return false,
                Wrote::Gone(_) => {
                    queue.gone = true;
                    queue.drop_queued();
                    return true;
                }
            }
        }
    }
}
