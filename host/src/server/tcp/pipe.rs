//! A pipe for the bytes of one direction of a connection, between the thread of its socket and that of its guest.
//!
//! Invariant: it holds at most [`CAPACITY`] bytes, and nothing when it is empty; bytes come out unchanged and in order,
//! before the end; what ends without having been finished is broken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Most bytes that wait in a pipe.
pub(crate) const CAPACITY: usize = 64 << 10;
/// A writer that waits is woken when so many are left: not for each byte that is read.
const LOW: usize = CAPACITY / 2;
/// Memory that an empty pipe may keep.
const KEPT: usize = 4 << 10;

/// How what went in has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PipeEnd {
    /// All of it was written.
    Finished,
    /// The writer is gone before it had written all.
    Broken,
}

/// A reader's find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Bytes.
    Bytes,
    /// Nothing more will come.
    PipeEnd(PipeEnd),
}

/// A writer's find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// So many bytes, at least one.
    Bytes(usize),
    /// The reader is gone.
    Closed,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    end: Option<PipeEnd>,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Where bytes go in. Dropping it before [`Writer::finish`] breaks the pipe.
#[derive(Debug)]
pub(crate) struct Writer(Arc<Mutex<State>>);

/// Where they come out. Dropping it closes the pipe.
#[derive(Debug)]
pub(crate) struct Reader(Arc<Mutex<State>>);

/// Returns the two ends of a new pipe.
pub(crate) fn pipe() -> (Writer, Reader) {
    let state = Arc::new(Mutex::new(State::default()));
    (Writer(state.clone()), Reader(state))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes without the lock: whoever is woken may take it at once.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Writer {
    /// Returns how much can be written, as soon as there is room.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<Room> {
        let mut state = lock(&self.0);
        match CAPACITY - state.bytes.len().min(CAPACITY) {
            _ if state.closed => Poll::Ready(Room::Closed),
            0 => {
                state.writer = Some(context.waker().clone());
                Poll::Pending
            }
            room => Poll::Ready(Room::Bytes(room)),
        }
    }

    /// Writes as much as there is room for, and returns how much that was.
    pub(crate) fn write(&self, bytes: &[u8]) -> usize {
        let mut state = lock(&self.0);
        let room = CAPACITY - state.bytes.len().min(CAPACITY);
        let (taken, _) = bytes.split_at(bytes.len().min(room));
        if state.closed {
            return bytes.len();
        }
        state.bytes.extend(taken);
        let reader = state.reader.take().filter(|_| !taken.is_empty());
        drop(state);
        wake(reader);
        taken.len()
    }

    /// Notes that all was written.
    pub(crate) fn finish(self) {
        self.end(PipeEnd::Finished);
    }

    fn end(&self, end: PipeEnd) {
        let mut state = lock(&self.0);
        state.end.get_or_insert(end);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(PipeEnd::Broken);
    }
}

impl Reader {
    /// Returns what there is, as soon as there is something.
    pub(crate) fn poll_found(&self, context: &mut Context<'_>) -> Poll<Found> {
        let mut state = lock(&self.0);
        match state.end {
            _ if !state.bytes.is_empty() => Poll::Ready(Found::Bytes),
            Some(end) => Poll::Ready(Found::PipeEnd(end)),
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Returns once whoever wrote is gone with more to say, whatever of it is here still.
    pub(crate) fn poll_broken(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.end == Some(PipeEnd::Broken) {
            return Poll::Ready(());
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Shows the next bytes, not all of them as a rule, to somebody who says how many were used up.
    pub(crate) fn read<T>(&self, take: impl FnOnce(&[u8]) -> (usize, T)) -> T {
        let mut state = lock(&self.0);
        let (taken, result) = take(state.bytes.as_slices().0);
        let most = state.bytes.len();
        drop(state.bytes.drain(..taken.min(most)));
        if state.bytes.is_empty() && state.bytes.capacity() > KEPT {
            state.bytes = VecDeque::new();
        }
        let room = state.bytes.len() <= LOW;
        let writer = if room { state.writer.take() } else { None };
        drop(state);
        wake(writer);
        result
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.closed = true;
        state.bytes = VecDeque::new();
        let writer = state.writer.take();
        drop(state);
        wake(writer);
    }
}

/// A connection on its way to its guest.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// The client's address.
    pub(crate) peer: String,
    /// Bytes from the client.
    pub(crate) input: Reader,
    /// Bytes for the client.
    pub(crate) output: Writer,
}
