//! The bodies of a request on its way out and of a response on its way in.
//!
//! Invariants: an unfinished upload never looks complete, although wasmtime's body takes closed channels, which a dropped store
//! leaves, for its end. A download times out only while the guest waits for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::fault;
use super::quota::Place;

#[derive(Debug)]
pub(super) enum Fate {
    Sent,
    /// The connection asked for none of it: it is empty, or the request was never begun.
    Untouched(WasiBody),
    Failed(Error),
    /// The connection took no more of it.
    Cut,
}

impl Fate {
    pub(super) fn into_result(self) -> Result<(), Error> {
        match self {
            Self::Sent | Self::Untouched(_) => Ok(()),
            Self::Failed(error) => Err(error),
            Self::Cut => Err(Error::ConnectionTerminated),
        }
    }
}

/// Ends a connection whose request cannot be finished. The guest gets the reason by the [`Fate`].
#[derive(Debug, thiserror::Error)]
#[error("the body of the request ended early")]
pub(super) struct EndedEarly;

#[derive(Debug)]
pub(super) struct UploadBody {
    body: WasiBody,
    touched: bool,
    complete: bool,
    /// The rest of the announced length, if any.
    left: Option<u64>,
    store_gone: Arc<AtomicBool>,
    fate: Option<oneshot::Sender<Fate>>,
    /// The place of its request, which the response shares.
    _place: Arc<Place>,
}

impl UploadBody {
    pub(super) fn new(
        body: WasiBody,
        length: Option<u64>,
        store_gone: Arc<AtomicBool>,
        place: Arc<Place>,
    ) -> (Self, oneshot::Receiver<Fate>) {
        let (fate, told) = oneshot::channel();
        let fate = Some(fate);
        let upload =
            Self { body, touched: false, complete: false, left: length, store_gone, fate, _place: place };
        (upload, told)
    }

    fn tell(&mut self, fate: Fate) {
        if let Some(sender) = self.fate.take() {
            // The request may have been given up.
            let _unheard = sender.send(fate);
        }
    }

    fn fail<T>(&mut self, error: Error) -> Poll<Option<Result<T, EndedEarly>>> {
        self.tell(Fate::Failed(error));
        Poll::Ready(Some(Err(EndedEarly)))
    }

    fn is_store_gone(&self) -> bool {
        self.store_gone.load(Ordering::Acquire)
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = EndedEarly;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EndedEarly>>> {
        let this = self.get_mut();
        this.touched = true;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if this.is_store_gone() {
            return this.fail(Error::ConnectionTerminated);
        }
        match frame {
            Some(Ok(frame)) => {
                if let (Some(left), Some(data)) = (&mut this.left, frame.data_ref()) {
                    *left = left.saturating_sub(data.len() as u64);
                }
                this.complete |= frame.is_trailers();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => this.fail(error),
            None => {
                this.tell(Fate::Sent);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.is_store_gone() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for UploadBody {
    /// A connection asks no further once it has all the bytes that were announced, or the trailers.
    fn drop(&mut self) {
        let body = std::mem::take(&mut self.body);
        let fate = if !self.touched {
            Fate::Untouched(body)
        } else if self.complete || self.left == Some(0) || body.is_end_stream() {
            Fate::Sent
        } else {
            Fate::Cut
        };
        self.tell(fate);
    }
}

/// A response's body, with the guest's limit between two pieces of it.
#[derive(Debug)]
pub(super) struct DownloadBody {
    body: Incoming,
    between_bytes: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    /// The place of its request, until the body has its end.
    place: Option<Arc<Place>>,
}

impl DownloadBody {
    pub(super) fn new(body: Incoming, between_bytes: Duration, place: Arc<Place>) -> Self {
        let place = (!body.is_end_stream()).then_some(place);
        Self { body, between_bytes, timer: None, waiting: false, place }
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let wait = self.between_bytes;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(wait)));
        if !std::mem::replace(&mut self.waiting, true) {
            timer.as_mut().reset(Instant::now() + wait);
        }
        timer.as_mut().poll(context)
    }
}

impl Body for DownloadBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                this.waiting = false;
                if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
                    this.place = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(|error| fault::of_body(&error))))
            }
            Poll::Pending => {
                ready!(this.poll_timer(context));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
