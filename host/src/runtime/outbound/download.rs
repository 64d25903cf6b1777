//! The body of a response on its way in, with the guest's limit between two pieces of it.
//!
//! Invariant: time counts only while the guest waits; a guest that reads slowly does not time out by itself.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

use super::fault;

#[derive(Debug)]
pub(super) struct DownloadBody {
    body: Incoming,
    between_bytes: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl DownloadBody {
    pub(super) fn new(body: Incoming, between_bytes: Duration) -> Self {
        Self { body, between_bytes, timer: None, waiting: false }
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
