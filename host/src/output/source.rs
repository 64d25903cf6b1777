//! One writer's share of a stream: its quota, its losses, its way to wait for room.
//!
//! Invariant: one push is one piece in the output, never torn by another source's, and never waits.
//! What does not belong here: how bytes become lines.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::queue::{Account, Queue, Room};

/// What one stream of one component may have queued.
pub const GUEST_QUOTA: usize = 256 * 1024;

/// A share of one stream. Clones share its quota and its count of losses.
#[derive(Clone)]
pub struct Source {
    pub(super) queue: Arc<Queue>,
    pub(super) account: Arc<Account>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("channel", &self.queue.channel).finish_non_exhaustive()
    }
}

impl Source {
    /// Queues `line`, which ends in its own newline, as one piece. False: there was no room, or no reader; the line is
    /// dropped and counted.
    pub fn push(&self, line: Vec<u8>) -> bool {
        let taken = self.offer(line);
        if !taken {
            self.account.lost.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Lines (or pieces of a stream that passes through) that were dropped so far, at once or with the reader.
    pub fn dropped(&self) -> u64 {
        self.account.lost.load(Relaxed)
    }

    /// Resolves when there is room again, or when there will never be any. For streams that pass through.
    pub async fn ready(&self) {
        self.queue.ready(&self.account).await;
    }

    /// Whether the stream is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.queue.fd.is_terminal()
    }

    /// `push` that counts no loss.
    pub(super) fn offer(&self, bytes: Vec<u8>) -> bool {
        self.queue.offer(&self.account, bytes, 0)
    }

    /// Takes bytes that a permit was given for, though others may have used the room up since. Permits can not be taken
    /// back, so this goes past the quota, but never past twice the quota: a guest can hold any number of them.
    pub(super) fn push_permitted(&self, bytes: Vec<u8>) -> bool {
        let slack = self.account.quota();
        let taken = self.queue.offer(&self.account, bytes, slack);
        if !taken {
            self.account.lost.fetch_add(1, Relaxed);
        }
        taken
    }

    pub(super) fn room(&self) -> Room {
        self.queue.room(&self.account)
    }
}
