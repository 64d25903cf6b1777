//! The guest's side of a connection: its handler is called, and its two streams are tied to the pipes.
//!
//! Invariant: an output that its guest has not ended itself is broken, never finished; a connection holds its place in
//! its instance until its output has ended, also if its client has left. Its guest does not hear of that at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use wasmtime::component::{
    Accessor, Destination, Source, StreamConsumer, StreamProducer, StreamReader, StreamResult, VecBuffer,
};
use wasmtime::{AsContextMut, StoreContextMut};

use super::pipe::{Conversation, Found, Reader, Writer};
use crate::runtime::{State, name_limit};
use crate::server::instance::{READ_ON, READ_ON_BYTES, TcpFunc};
use crate::server::pool::Claim;

/// Bytes that are moved at once where the guest does not say how many it takes.
const CHUNK: usize = 8 << 10;

/// Has the guest handle one connection. Returns when its call has returned, with an error if it trapped; the streams go on.
///
/// # Cancel safety
/// None: drop the store, too. Its output is broken then.
pub(crate) async fn converse(
    accessor: &Accessor<State>,
    func: &TcpFunc,
    talk: Conversation,
    claim: Arc<Claim>,
) -> wasmtime::Result<()> {
    let Conversation { peer, input, output } = talk;
    let input = match accessor.with(|store| StreamReader::new(store, Input(Some(input)))) {
        Ok(input) => input,
        Err(error) => {
            // The other connections of the instance go on.
            let error = accessor.with(|mut store| name_limit(store.as_context_mut(), error));
            tracing::warn!(peer, "a connection is reset: its instance {error}");
            return Ok(());
        }
    };
    let (received,) = func.call_concurrent(accessor, (peer, input)).await?;
    accessor.with(|store| received.pipe(store, Output { writer: Some(output), unread: None, claim }))
}

/// The client's bytes, as its guest reads them.
struct Input(Option<Reader>);

impl<D: 'static> StreamProducer<D> for Input {
    type Item = u8;
    type Buffer = VecBuffer<u8>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let Some(reader) = &self.0 else { return Poll::Ready(Ok(StreamResult::Dropped)) };
        match reader.poll_found(context) {
            Poll::Ready(Found::Bytes) => {}
            Poll::Ready(Found::Finished | Found::Broken) => {
                self.0 = None;
                return Poll::Ready(Ok(StreamResult::Dropped));
            }
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        }
        if destination.remaining(&mut store) == Some(0) {
            // A read of zero bytes asks for their presence only.
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let mut destination = destination.as_direct(store, CHUNK);
        let moved = reader.read(|bytes| {
            let moved = destination.remaining().iter_mut().zip(bytes).map(|(to, from)| *to = *from).count();
            (moved, moved)
        });
        destination.mark_written(moved);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// The client's answer, as its guest writes it.
struct Output {
    writer: Option<Writer>,
    /// Bytes that are still taken although the client has left, and until when.
    unread: Option<(usize, Instant)>,
    claim: Arc<Claim>,
}

impl Output {
    fn take_for_nobody(&mut self, bytes: usize) -> bool {
        let (left, until) = self.unread.get_or_insert_with(|| (READ_ON_BYTES, Instant::now() + READ_ON));
        let takes = *left > 0 && Instant::now() < *until;
        *left = left.saturating_sub(bytes);
        takes
    }
}

impl<D: 'static> StreamConsumer<D> for Output {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, Self::Item>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let room = match self.writer.as_ref().map(|writer| writer.poll_room(context)) {
            Some(Poll::Ready(Some(room))) => Some(room),
            Some(Poll::Ready(None)) | None => None,
            Some(Poll::Pending) if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Some(Poll::Pending) => return Poll::Pending,
        };
        if room.is_none() {
            self.writer = None;
        }
        let mut source = source.as_direct(store);
        let count = source.remaining().len();
        let moved = if let Some(writer) = &self.writer {
            if count > 0 { writer.write(source.remaining()) } else { 0 }
        } else if self.take_for_nobody(count) {
            count
        } else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        if moved > 0 {
            source.mark_read(moved);
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Its guest has ended it, unless it goes with everything else of its store.
        let cut = self.claim.taker().is_none_or(|instance| instance.is_dead());
        if let Some(writer) = self.writer.take().filter(|_| !cut) {
            writer.finish();
        }
    }
}
