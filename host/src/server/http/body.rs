//! Bodies on their way: a guest's answer to its client, a client's request to the guest.
//!
//! Invariant: an answer that was cut short never looks complete: it ends in an error, and its connection visibly
//! breaks off. wasmtime ends both kinds in the same way; what tells them apart is whether the instance is dead.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use wasmtime_wasi_http::WasiBody;

use super::in_flight::RequestInFlight;
use crate::server::instance::handle::InstanceHandle;
use crate::server::pool::Interest;

/// Largest answer that is held back until it is whole, to be sent in one write.
const ONE_WRITE: usize = 16 << 10;
/// Most turns that an answer gets to become whole while its instance is at work.
const TURNS: usize = 64;
/// How much of an answer whose client has left a sync guest may still write, and for how long: its writes would
/// trap, and end an instance that could go on.
const SINK_BYTES: usize = 1 << 20;
const SINK_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// Why an answer ends before it is complete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Its instance trapped, or was cut off.
    #[error("the instance ended before its answer")]
    CutShort,
    /// The guest ended it with an error, or it has not the length that it said.
    #[error("{0}")]
    Guest(wasmtime_wasi_http::Error),
}

/// The body of any answer.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    /// Says how the request ended when the body is dropped.
    entry: Option<RequestInFlight>,
}

#[derive(Debug)]
enum Source {
    /// All bytes there are; and what the guest still does behind them, if anything.
    Whole(
        Option<Bytes>,
        #[expect(dead_code, reason = "kept for what its drop does")] Option<Box<GuestStream>>,
    ),
    Stream(Box<GuestStream>),
}

/// An answer that a guest is still writing: first what was read of it, then the rest.
#[derive(Debug)]
struct GuestStream {
    head: Option<Bytes>,
    next: Option<Result<Frame<Bytes>, BodyError>>,
    body: Option<WasiBody>,
    instance: Arc<InstanceHandle>,
    /// Whether the rest is read on when the client leaves.
    sink: bool,
    /// Dropped last: the request is live until the body is gone.
    _interest: Interest,
}

impl GuestStream {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(next));
        }
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(match frame {
            Some(frame) => Some(frame.map_err(BodyError::Guest)),
            None if self.instance.is_dead() => Some(Err(BodyError::CutShort)),
            None => None,
        })
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|_| self.sink && !self.instance.is_dead()) {
            tokio::spawn(sink(body));
        }
    }
}

/// Reads an answer that nobody wants any more, up to a bound.
pub(crate) async fn sink(mut body: WasiBody) {
    let _over = tokio::time::timeout(SINK_TIME, async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > SINK_BYTES {
                return;
            }
        }
    })
    .await;
}

/// Returns the body of an answer that the host gives itself.
pub(crate) fn whole(bytes: Bytes, entry: Option<RequestInFlight>) -> ResponseBody {
    ResponseBody { source: Source::Whole(Some(bytes), None), entry }
}

/// Returns the body of a guest's answer: in one piece where it is small and comes at once, so that it takes one
/// write and not several; else as the guest writes it. `sink` says that the guest cannot stand it when its client
/// leaves. An answer that has the `length` it announced is whole, whatever the guest does behind it.
pub(crate) async fn of_guest(
    mut body: WasiBody,
    length: Option<u64>,
    instance: Arc<InstanceHandle>,
    interest: Interest,
    entry: RequestInFlight,
    sink: bool,
) -> ResponseBody {
    let mut head = Head::default();
    let mut turns = 0;
    let next = loop {
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) if frame.is_data() && head.len() < ONE_WRITE => {
                head.push(frame);
                if length == Some(head.len() as u64) {
                    let bytes = head.take();
                    let rest = GuestStream {
                        head: None,
                        next: None,
                        body: Some(body),
                        instance,
                        sink,
                        _interest: interest,
                    };
                    return ResponseBody {
                        source: Source::Whole(bytes, Some(Box::new(rest))),
                        entry: Some(entry),
                    };
                }
            }
            Some(Some(frame)) => break Some(frame.map_err(BodyError::Guest)),
            Some(None) if instance.is_dead() => break Some(Err(BodyError::CutShort)),
            Some(None) => return whole(head.take().unwrap_or_default(), Some(entry)),
            None if turns < TURNS && !instance.turn.waits() => {
                turns += 1;
                turn().await;
            }
            None => break None,
        }
    };
    let body = (!matches!(next, Some(Err(_)))).then_some(body);
    let stream = GuestStream { head: head.take(), next, body, instance, sink, _interest: interest };
    ResponseBody { source: Source::Stream(Box::new(stream)), entry: Some(entry) }
}

/// Lets everybody else on the thread run once.
async fn turn() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The first bytes of an answer; copied only if they come in several pieces.
#[derive(Default)]
struct Head {
    first: Option<Bytes>,
    joined: BytesMut,
}

impl Head {
    fn len(&self) -> usize {
        self.first.as_ref().map_or(0, Bytes::len) + self.joined.len()
    }

    fn push(&mut self, frame: Frame<Bytes>) {
        let Ok(bytes) = frame.into_data() else { return };
        if self.len() == 0 {
            self.first = Some(bytes);
            return;
        }
        if let Some(first) = self.first.take() {
            self.joined.extend_from_slice(&first);
        }
        self.joined.extend_from_slice(&bytes);
    }

    fn take(&mut self) -> Option<Bytes> {
        let joined = std::mem::take(&mut self.joined);
        self.first.take().or_else(|| (!joined.is_empty()).then(|| joined.freeze()))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Whole(bytes, _) => {
                let bytes = bytes.take().filter(|bytes| !bytes.is_empty());
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Source::Stream(stream) => stream.poll(context),
        };
        if let (Poll::Ready(frame), Some(entry)) = (&frame, this.entry.as_mut()) {
            match frame {
                Some(Ok(frame)) => entry.count(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(_)) => entry.cut_short(),
                None => entry.complete(),
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Whole(bytes, _) if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes, _) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Stream(stream) => match (&stream.head, &stream.next, &stream.body) {
                (None, None, Some(body)) => body.size_hint(),
                _ => SizeHint::default(),
            },
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body in one piece goes out with the head.
        if let (Source::Whole(None, _), Some(entry)) = (&self.source, self.entry.as_mut()) {
            entry.complete();
        }
    }
}
