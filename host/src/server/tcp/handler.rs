//! The guest's side of a connection: its handler is called, and its two streams are tied to the pipes.
//!
//! Invariant: an output that its guest has not ended itself is broken, never finished; a connection holds its place in
//! its instance until its output has ended, also if its client has left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, Source, StreamConsumer, StreamProducer, StreamReader, StreamResult, VecBuffer,
};

use super::pipe::{Conversation, Found, Reader, Writer};
use crate::runtime::State;
use crate::server::instance::TcpFunc;
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
            tracing::warn!(peer, "a connection is reset: its instance has no handles left: {error:#}");
            return Ok(());
        }
    };
    let (received,) = func.call_concurrent(accessor, (peer, input)).await?;
    accessor.with(|store| received.pipe(store, Output { writer: Some(output), claim }))
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
    claim: Arc<Claim>,
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
        let Some(writer) = &self.writer else { return Poll::Ready(Ok(StreamResult::Dropped)) };
        match writer.poll_room(context) {
            Poll::Ready(Some(_)) => {}
            Poll::Ready(None) => {
                self.writer = None;
                return Poll::Ready(Ok(StreamResult::Dropped));
            }
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        }
        let mut source = source.as_direct(store);
        if !source.remaining().is_empty() {
            let moved = writer.write(source.remaining());
            source.mark_read(moved);
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Its guest has ended it, unless it goes with everything else of its store.
        let cut = self.claim.is_broken();
        if let Some(writer) = self.writer.take().filter(|_| !cut) {
            writer.finish();
        }
    }
}
