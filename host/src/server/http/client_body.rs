//! The body of a request as it comes from the client. HTTP/1 bodies are hyper's. HTTP/2 bodies go through a buffer, since `h2` keeps
//! each unread frame in more memory than a small frame has bytes.
//!
//! Invariant: a buffer has no more bytes than the flow-control window of its stream. The client may send more when its guest
//! has read them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use h2::{FlowControl, RecvStream};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use wasmtime_wasi_http::Error;

/// Pieces from this size on are passed on as they are. Smaller ones are put together.
const LARGE: usize = 4 << 10;
/// Most bytes that a guest is given at once.
const MOST: usize = 64 << 10;

/// The body of a client's request.
pub(crate) enum ClientBody {
    Http1(Incoming),
    Http2(Http2Body),
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Http1(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Error::from)))
            }
            Self::Http2(body) => body.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => lock(&body.buffer).is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.length.map(SizeHint::with_exact).unwrap_or_default(),
        }
    }
}

/// The guest's end of the buffer of an HTTP/2 body.
#[derive(Debug)]
pub(crate) struct Http2Body {
    buffer: Arc<Mutex<Buffer>>,
    /// Bytes that are left of the length that the client announced.
    length: Option<u64>,
}

/// The stream's end.
#[derive(Debug)]
pub(super) struct Http2Source {
    stream: RecvStream,
    buffer: Arc<Mutex<Buffer>>,
    has_data: bool,
}

/// Bytes in order, the small pieces of them put together.
#[derive(Debug, Default)]
struct Pieces {
    large: VecDeque<Bytes>,
    /// All bytes from the first small piece on.
    tail: BytesMut,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if piece.len() >= LARGE && self.tail.is_empty() {
            self.large.push_back(piece);
        } else {
            self.tail.extend_from_slice(&piece);
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        let piece = self.large.pop_front().unwrap_or_else(|| {
            let most = self.tail.len().min(MOST);
            self.tail.split_to(most).freeze()
        });
        (!piece.is_empty()).then_some(piece)
    }

    fn is_empty(&self) -> bool {
        self.large.is_empty() && self.tail.is_empty()
    }
}

#[derive(Debug)]
struct Buffer {
    pieces: Pieces,
    trailers: Option<HeaderMap>,
    end: Option<Result<(), Error>>,
    flow: FlowControl,
    is_dropped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Buffer {
    fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop()?;
        // The stream can have ended meanwhile.
        let _over = self.flow.release_capacity(piece.len());
        Some(piece)
    }

    fn is_over(&self) -> bool {
        matches!(self.end, Some(Ok(()))) && self.pieces.is_empty() && self.trailers.is_none()
    }
}

fn lock(buffer: &Mutex<Buffer>) -> MutexGuard<'_, Buffer> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Http2Body {
    /// Returns both ends of the body of a stream. `length` is the one that its client announced.
    pub(super) fn new(mut stream: RecvStream, length: Option<u64>) -> (Self, Http2Source) {
        let buffer = Arc::new(Mutex::new(Buffer {
            pieces: Pieces::default(),
            trailers: None,
            end: None,
            flow: stream.flow_control().clone(),
            is_dropped: false,
            reader: None,
            writer: None,
        }));
        (Self { buffer: buffer.clone(), length }, Http2Source { stream, buffer, has_data: true })
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut buffer = lock(&self.buffer);
        if let Some(piece) = buffer.pop() {
            self.length = self.length.map(|left| left.saturating_sub(piece.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match buffer.end.take() {
            Some(Err(error)) => {
                buffer.end = Some(Ok(()));
                Poll::Ready(Some(Err(error)))
            }
            Some(Ok(())) => {
                buffer.end = Some(Ok(()));
                Poll::Ready(buffer.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            None => {
                buffer.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Http2Body {
    fn drop(&mut self) {
        let mut buffer = lock(&self.buffer);
        buffer.is_dropped = true;
        // Other uploads of the connection may have the room.
        while buffer.pop().is_some() {}
        let writer = buffer.writer.take();
        drop(buffer);
        writer.into_iter().for_each(Waker::wake);
    }
}

impl Http2Source {
    /// Moves what has come into the buffer. Ready when no more will come, or no one reads it.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut buffer = lock(&self.buffer);
        let mut has_come = false;
        while !buffer.is_dropped
            && buffer.end.is_none()
            && let Poll::Ready(next) = poll_next(&mut self.stream, &mut self.has_data, context)
        {
            has_come = true;
            match next {
                Next::Piece(piece) => buffer.pieces.push(piece),
                Next::End(end) => {
                    buffer.end = Some(end.map(|trailers| {
                        buffer.trailers = trailers;
                    }));
                }
            }
        }
        let is_over = buffer.is_dropped || buffer.end.is_some();
        buffer.writer = (!is_over).then(|| context.waker().clone());
        let reader = if has_come { buffer.reader.take() } else { None };
        drop(buffer);
        reader.into_iter().for_each(Waker::wake);
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    }
}

enum Next {
    Piece(Bytes),
    End(Result<Option<HeaderMap>, Error>),
}

fn poll_next(stream: &mut RecvStream, has_data: &mut bool, context: &mut Context<'_>) -> Poll<Next> {
    if *has_data {
        match ready!(stream.poll_data(context)) {
            Some(Ok(piece)) => return Poll::Ready(Next::Piece(piece)),
            Some(Err(_)) => return Poll::Ready(Next::End(Err(Error::ConnectionTerminated))),
            None => *has_data = false,
        }
    }
    let trailers = ready!(stream.poll_trailers(context));
    Poll::Ready(Next::End(trailers.map_err(|_| Error::ConnectionTerminated)))
}

impl Drop for Http2Source {
    fn drop(&mut self) {
        let mut buffer = lock(&self.buffer);
        // Its stream is gone before the end.
        buffer.end.get_or_insert(Err(Error::ConnectionTerminated));
        let reader = buffer.reader.take();
        drop(buffer);
        reader.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::testing::cases;

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn bytes_come_out_in_order_whatever_their_pieces(
            steps in prop::collection::vec(prop_oneof![3 => (1..3 * LARGE).prop_map(Some), 2 => Just(None)], 0..60),
        ) {
            let (mut pieces, mut pushed, mut popped) = (Pieces::default(), 0_usize, 0_usize);
            let byte = |at: usize| (at % 251) as u8;
            let rest = std::iter::repeat_n(None, steps.len());
            for step in steps.into_iter().chain(rest) {
                if let Some(size) = step {
                    pieces.push((pushed..pushed + size).map(byte).collect());
                    pushed += size;
                } else if let Some(piece) = pieces.pop() {
                    prop_assert!(piece.len() <= MOST && piece.iter().enumerate().all(|(at, b)| *b == byte(popped + at)));
                    popped += piece.len();
                }
            }
            prop_assert_eq!((popped, pieces.is_empty()), (pushed, true));
        }
    }
}
