//! Bodies of answers, between the guest that writes them and the client that reads them.
//!
//! Invariant: a body ends well only if its guest ended it, or wrote all of the length that it announced. Once its guest can
//! write no more, what has been written stays readable, and a body without an end ends in an error.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::task::unconstrained;
use wasmtime_wasi_http::WasiBody;

/// Longest time for which a guest that writes for a client that has left does not hear of that. Many guests trap when they write to
/// nobody, and a trap takes the other requests of the instance with it.
pub(crate) const READ_ON: Duration = Duration::from_secs(3);
/// Most bytes that it writes in that time.
pub(crate) const READ_ON_BYTES: usize = 16 << 20;

/// The end of a body that is not whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the instance ended before its answer")]
    CutShort,
    /// Its sync guest keeps or has forgotten it, and nothing of the guest runs any more.
    #[error("the call returned and left its answer without an end")]
    Unfinished,
    /// The guest ended it with an error, or it has not the length that it said.
    #[error("{0}")]
    Guest(wasmtime_wasi_http::Error),
}

/// The answers of one instance whose clients may still read them.
#[derive(Debug, Default)]
pub(crate) struct OpenAnswers(Mutex<Vec<Weak<Mutex<Written>>>>);

impl OpenAnswers {
    /// Returns the answer as its client reads it.
    pub(crate) fn track(&self, answer: Response<WasiBody>) -> Response<GuestBody> {
        let left = content_length(answer.headers());
        answer.map(|body| {
            let written = Written { body: Some(body), left, rest: VecDeque::new(), reader: None };
            let written = Arc::new(Mutex::new(written));
            let mut open = lock(&self.0);
            if open.len() == open.capacity() {
                open.retain(|written| written.strong_count() > 0);
            }
            open.push(Arc::downgrade(&written));
            GuestBody(written)
        })
    }

    /// Ends all answers: their guest can write no more. Called while its store still exists: wasmtime ends the bodies of a
    /// store that is gone as if they were whole. Returns whether all had their end.
    pub(crate) fn seal(&self, missing: fn() -> BodyError) -> bool {
        let mut all_whole = true;
        for written in lock(&self.0).drain(..).filter_map(|written| written.upgrade()) {
            let mut written = lock(&written);
            all_whole &= written.seal(missing);
            let reader = written.reader.take();
            drop(written);
            reader.into_iter().for_each(Waker::wake);
        }
        all_whole
    }
}

/// Returns the length that a head announces.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// One body. Its guest writes `body`; when that can get no more, what was left in it moves to `rest`.
#[derive(Debug)]
struct Written {
    body: Option<WasiBody>,
    /// Bytes that are missing of the length that the head announced.
    left: Option<u64>,
    rest: VecDeque<Result<Frame<Bytes>, BodyError>>,
    reader: Option<Waker>,
}

impl Written {
    fn count(&mut self, frame: &Frame<Bytes>) {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.map(|left| left.saturating_sub(bytes));
    }

    fn seal(&mut self, missing: fn() -> BodyError) -> bool {
        let Some(mut body) = self.body.take() else { return true };
        loop {
            // Without a bound on its turns: only then does a frame that is not ready mean that there is none.
            match unconstrained(body.frame()).now_or_never() {
                Some(Some(Ok(frame))) => {
                    self.count(&frame);
                    self.rest.push_back(Ok(frame));
                }
                Some(None) => return true,
                None if self.left == Some(0) => return true,
                Some(Some(Err(error))) => {
                    self.rest.push_back(Err(BodyError::Guest(error)));
                    return true;
                }
                None => {
                    self.rest.push_back(Err(missing()));
                    return false;
                }
            }
        }
    }
}

/// A guest's body as its client reads it.
#[derive(Debug)]
pub(crate) struct GuestBody(Arc<Mutex<Written>>);

impl GuestBody {
    /// Returns whether its guest can write no more.
    pub(crate) fn is_sealed(&self) -> bool {
        lock(&self.0).body.is_none()
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut written = lock(&self.0);
        if let Some(next) = written.rest.pop_front() {
            return Poll::Ready(Some(next));
        }
        let Some(body) = written.body.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
            written.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        match &frame {
            Some(Ok(frame)) => written.count(frame),
            Some(Err(_)) | None => written.body = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Guest)))
    }

    fn is_end_stream(&self) -> bool {
        let written = lock(&self.0);
        written.body.as_ref().map_or(written.rest.is_empty(), |body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.as_ref().map(|body| body.size_hint()).unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::{UnboundedSender, unbounded};
    use http_body_util::StreamBody;
    use wasmtime_wasi_http::Error;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    type Writer = UnboundedSender<Result<Frame<Bytes>, Error>>;

    fn answer(answers: &OpenAnswers, length: Option<u64>) -> (Writer, GuestBody) {
        let (writer, frames) = unbounded();
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        (writer, answers.track(response).into_body())
    }

    fn write(writer: &Writer, text: &'static str) {
        writer.unbounded_send(Ok(Frame::data(Bytes::from_static(text.as_bytes())))).unwrap();
    }

    /// Returns the text of a body, and whether it ended well.
    fn read(mut body: GuestBody) -> (String, bool) {
        let mut text = String::new();
        loop {
            match block_on(body.frame()) {
                Some(Ok(frame)) => text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
                Some(Err(_)) => return (text, false),
                None => return (text, true),
            }
        }
    }

    #[test]
    fn a_sealed_body_has_all_that_was_written_and_ends_as_its_guest_said() {
        for (length, is_finished, is_whole) in
            [(None, true, true), (None, false, false), (Some(4), false, true), (Some(5), false, false)]
        {
            let answers = OpenAnswers::default();
            let (writer, body) = answer(&answers, length);
            write(&writer, "one");
            write(&writer, "!");
            let kept = (!is_finished).then_some(writer);
            assert_eq!(answers.seal(|| BodyError::Unfinished), is_whole, "{length:?}");
            assert!(body.is_sealed());
            assert_eq!(read(body), ("one!".to_owned(), is_whole), "{length:?}");
            assert!(kept.is_none_or(|writer| writer.is_closed()), "a later call cannot write into it");
        }
    }

    #[test]
    fn a_reader_that_waits_is_woken_by_the_seal() {
        let answers = OpenAnswers::default();
        let (_kept, body) = answer(&answers, None);
        let reader = std::thread::spawn(|| read(body));
        let is_waiting = || lock(&answers.0)[0].upgrade().is_some_and(|body| lock(&body).reader.is_some());
        while !is_waiting() {
            std::thread::yield_now();
        }
        answers.seal(|| BodyError::CutShort);
        assert_eq!(reader.join().unwrap(), (String::new(), false));
    }

    #[test]
    fn answers_that_were_read_are_forgotten() {
        let answers = OpenAnswers::default();
        for _ in 0..1000 {
            drop(answer(&answers, None));
        }
        assert!(lock(&answers.0).capacity() < 10);
    }
}
