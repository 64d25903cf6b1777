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

/// A reader's find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Bytes,
    /// The end: all of it was written.
    Finished,
    /// The writer is gone before it had written all.
    Broken,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    is_finished: bool,
    is_writer_gone: bool,
    is_reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The end where bytes go in. Dropping it before [`Writer::finish`] breaks the pipe.
#[derive(Debug)]
pub(crate) struct Writer(Arc<Mutex<State>>);

/// The end where they come out. Dropping it closes the pipe.
#[derive(Debug)]
pub(crate) struct Reader(Arc<Mutex<State>>);

pub(crate) fn pipe() -> (Writer, Reader) {
    let state = Arc::new(Mutex::new(State::default()));
    (Writer(state.clone()), Reader(state))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes without the lock: the woken task may take it at once.
fn wake(state: MutexGuard<'_, State>, waker: Option<Waker>) {
    drop(state);
    waker.into_iter().for_each(Waker::wake);
}

impl Writer {
    /// Returns the bytes that can be written, as soon as there is room; `None` when the reader is gone.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<Option<usize>> {
        let mut state = lock(&self.0);
        match CAPACITY.saturating_sub(state.bytes.len()) {
            _ if state.is_reader_gone => Poll::Ready(None),
            0 => {
                state.writer = Some(context.waker().clone());
                Poll::Pending
            }
            room => Poll::Ready(Some(room)),
        }
    }

    /// Writes as much as there is room for, and returns how much that was.
    pub(crate) fn write(&self, bytes: &[u8]) -> usize {
        let mut state = lock(&self.0);
        let room = CAPACITY.saturating_sub(state.bytes.len());
        let (taken, _) = bytes.split_at(bytes.len().min(room));
        if state.is_reader_gone {
            return bytes.len();
        }
        state.bytes.extend(taken);
        let reader = state.reader.take().filter(|_| !taken.is_empty());
        wake(state, reader);
        taken.len()
    }

    pub(crate) fn finish(&self) {
        let mut state = lock(&self.0);
        state.is_finished = true;
        let reader = state.reader.take();
        wake(state, reader);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.is_writer_gone = true;
        let reader = state.reader.take();
        wake(state, reader);
    }
}

impl Reader {
    /// Returns what there is, as soon as there is something.
    pub(crate) fn poll_found(&self, context: &mut Context<'_>) -> Poll<Found> {
        let mut state = lock(&self.0);
        match (state.is_finished, state.is_writer_gone) {
            _ if !state.bytes.is_empty() => Poll::Ready(Found::Bytes),
            (true, _) => Poll::Ready(Found::Finished),
            (false, true) => Poll::Ready(Found::Broken),
            (false, false) => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Returns once the pipe is broken, also if bytes are here still.
    pub(crate) fn poll_broken(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.is_writer_gone && !state.is_finished {
            return Poll::Ready(());
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Shows the next bytes, not all of them as a rule, to `take`, which returns how many were used up.
    pub(crate) fn read<T>(&self, take: impl FnOnce(&[u8]) -> (usize, T)) -> T {
        let mut state = lock(&self.0);
        let (taken, result) = take(state.bytes.as_slices().0);
        let most = state.bytes.len();
        drop(state.bytes.drain(..taken.min(most)));
        if state.bytes.is_empty() && state.bytes.capacity() > KEPT {
            state.bytes = VecDeque::new();
        }
        let writer = if state.bytes.len() <= LOW { state.writer.take() } else { None };
        wake(state, writer);
        result
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.is_reader_gone = true;
        state.bytes = VecDeque::new();
        let writer = state.writer.take();
        wake(state, writer);
    }
}

/// A connection on its way to its guest.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) peer: String,
    pub(crate) input: Reader,
    pub(crate) output: Writer,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::testing::cases;

    fn room(writer: &Writer) -> Poll<Option<usize>> {
        writer.poll_room(&mut Context::from_waker(Waker::noop()))
    }

    fn found(reader: &Reader) -> Poll<Found> {
        reader.poll_found(&mut Context::from_waker(Waker::noop()))
    }

    fn take(reader: &Reader, most: usize) -> Vec<u8> {
        reader.read(|bytes| {
            let taken = &bytes[..most.min(bytes.len())];
            (taken.len(), taken.to_vec())
        })
    }

    #[test]
    fn bytes_come_out_in_order_and_before_the_end() {
        let (writer, reader) = pipe();
        assert_eq!(found(&reader), Poll::Pending);
        assert_eq!(writer.write(b"one "), 4);
        assert_eq!(writer.write(b"two"), 3);
        writer.finish();
        let mut all = Vec::new();
        while found(&reader) == Poll::Ready(Found::Bytes) {
            all.extend(take(&reader, 2));
        }
        assert_eq!(all, b"one two");
        assert_eq!(found(&reader), Poll::Ready(Found::Finished));
    }

    proptest! {
        #![proptest_config(cases())]

        /// Whatever the pieces are in which it is written and read.
        #[test]
        fn all_that_was_written_comes_out_in_order(
            steps in prop::collection::vec((any::<bool>(), prop_oneof![9 => 0..500_usize, 1 => 0..CAPACITY]), 0..20),
        ) {
            let (writer, reader) = pipe();
            let (mut written, mut seen) = (0_usize, 0_usize);
            let byte = |at: usize| (at % 251) as u8;
            for (writes, size) in steps {
                if writes {
                    let bytes: Vec<u8> = (written..written + size).map(byte).collect();
                    let taken = writer.write(&bytes);
                    prop_assert_eq!(taken, size.min(CAPACITY - (written - seen)));
                    written += taken;
                } else {
                    for read in take(&reader, size) {
                        prop_assert_eq!(read, byte(seen));
                        seen += 1;
                    }
                }
                prop_assert_eq!(found(&reader).is_ready(), written > seen);
                prop_assert_eq!(room(&writer).is_ready(), written - seen < CAPACITY);
            }
        }
    }

    #[test]
    fn it_holds_so_much_and_no_more() {
        let (writer, reader) = pipe();
        let many = vec![7; CAPACITY + 1];
        assert_eq!(writer.write(&many), CAPACITY);
        assert_eq!((writer.write(b"x"), room(&writer)), (0, Poll::Pending));
        assert_eq!(take(&reader, 5).len(), 5);
        assert_eq!(room(&writer), Poll::Ready(Some(5)));
    }

    #[test]
    fn who_is_dropped_in_the_middle_breaks_it() {
        let (writer, reader) = pipe();
        writer.write(b"half");
        drop(writer);
        assert_eq!(take(&reader, 9), b"half");
        assert_eq!(found(&reader), Poll::Ready(Found::Broken));
    }

    #[test]
    fn nothing_is_kept_for_a_reader_that_is_gone() {
        let (writer, reader) = pipe();
        writer.write(b"for nobody");
        drop(reader);
        assert_eq!(room(&writer), Poll::Ready(None));
        assert_eq!(writer.write(b"more"), 4);
    }
}
