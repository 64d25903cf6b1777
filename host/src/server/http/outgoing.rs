//! The answers' bytes that wait in an HTTP/2 connection for its client.
//!
//! Invariant: a connection takes no more of its answers while [`MOST`] bytes of them wait in it; each piece counts until it is
//! written or thrown away.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

/// Bytes of all answers of a connection that may wait in it. A piece more can begin when less than that waits.
const MOST: usize = 256 << 10;

/// Most tasks that wait at a time, those included that have ended.
const WAITING: usize = 512;

/// The bytes that wait in one connection.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: AtomicUsize,
    waiting: Mutex<Vec<Waker>>,
}

impl Outgoing {
    /// Is ready when there is room for a piece more.
    pub(super) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        if self.bytes.load(SeqCst) < MOST {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING {
            // Most of them are of streams that have ended.
            waiting.drain(..).for_each(Waker::wake);
        }
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        drop(waiting);
        // It can have been written meanwhile.
        if self.bytes.load(SeqCst) < MOST { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Returns a piece that counts while it exists.
    pub(super) fn piece(self: &Arc<Self>, bytes: Bytes) -> Piece {
        self.bytes.fetch_add(bytes.len(), SeqCst);
        Piece { counted: bytes.len(), bytes, all: Some(self.clone()) }
    }
}

/// A piece of an answer.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    counted: usize,
    all: Option<Arc<Outgoing>>,
}

impl Piece {
    /// A piece without bytes.
    pub(super) const EMPTY: Self = Self { bytes: Bytes::new(), counted: 0, all: None };
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Some(all) = &self.all else { return };
        let before = all.bytes.fetch_sub(self.counted, SeqCst);
        if before >= MOST && before - self.counted < MOST {
            let waiting = std::mem::take(&mut *all.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn there_is_room_again_when_what_waits_is_written() {
        let outgoing = Arc::<Outgoing>::default();
        let context = Context::from_waker(Waker::noop());
        let mut pieces = Vec::new();
        while outgoing.poll_room(&context).is_ready() {
            pieces.push(outgoing.piece(Bytes::from_static(&[0; 10_000])));
        }
        assert_eq!(pieces.len(), MOST.div_ceil(10_000));
        let mut half = pieces.pop().unwrap();
        half.advance(5_000);
        assert!(outgoing.poll_room(&context).is_pending(), "a piece counts until it is gone");
        drop(half);
        assert!(outgoing.poll_room(&context).is_ready());
        drop(pieces);
        assert_eq!(outgoing.bytes.load(SeqCst), 0);
    }
}
