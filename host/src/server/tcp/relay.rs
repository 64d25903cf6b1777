//! The relay between a socket and the pipes of its guest, and its end.
//!
//! Invariant: what the guest does not take is not read, and what the client does not take is not asked of the guest:
//! nothing is held here. When the component is asked to stop, what has arrived until then is delivered, and then the
//! guest's input ends.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::in_flight::{ByteCounts, Ending};
use super::pipe::{Found, PipeEnd, Reader, Room, Writer};
use crate::server::connection::linger::LAST_LOOK;
use crate::server::connection::transport::Transport;
use crate::server::generation::Call;

/// Most bytes that are read of a socket at once.
const READ: usize = 16 << 10;
/// When the component is asked to stop, a client that has only just connected has so long after that to say its first
/// word: it is under way as a rule.
const FIRST_WORD: Duration = Duration::from_millis(50);
/// For so long after that, bytes that follow each other closely are read on: they were sent before, as a rule, and waited
/// for room in the socket's buffer.
const STILL_COMING: Duration = Duration::from_millis(50);
/// Most that is read of a client after its component was asked to stop: more than a socket's own buffer holds.
const LAST_BYTES: u64 = 8 << 20;

/// One connection, while bytes pass.
pub(crate) struct Traffic<'a> {
    /// Counted here.
    pub(crate) bytes: &'a ByteCounts,
    /// The order to the generation.
    pub(crate) call: Receiver<Call>,
    /// The time of its acceptance.
    pub(crate) accepted: Instant,
    /// After so long without a byte its input ends, and after so long again it is cut short.
    pub(crate) idle: Duration,
    /// Has the input end.
    pub(crate) enough: Notify,
}

/// The end of a relay.
#[derive(Debug)]
pub(crate) struct Passed {
    /// The end of the connection.
    pub(crate) ending: Ending,
    /// Whether the client can still send something, which it must not be reset for: it may have an answer on its way.
    pub(crate) lingers: bool,
}

/// The end of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    /// The client sends no more.
    ByClient,
    /// No more is taken of it: that many bytes had been sent to it then.
    ByHost(u64),
    /// The client is gone.
    Lost,
}

impl Traffic<'_> {
    /// Passes bytes in both directions until the guest's output has ended and was sent, the client has left, or the
    /// component is cut off. Returns the stream: half-closed, where all was sent.
    ///
    /// # Cancel safety
    /// Dropping it drops the stream, and ends both directions for the guest.
    pub(crate) async fn pass<S: Transport>(self, stream: S, input: Writer, output: Reader) -> (S, Passed) {
        let (mut read, mut write) = tokio::io::split(stream);
        let mut call = self.call.clone();
        let passed = {
            let mut feed = pin!(self.feed(&mut read, input));
            let mut send = pin!(send(&mut write, output, self.bytes));
            let mut quiet = pin!(self.quiet());
            let mut fed = None;
            loop {
                tokio::select! {
                    biased;
                    _ = call.wait_for(|call| *call == Call::Cut) => break (Ending::CutShort, fed),
                    ending = &mut send => break (ending, fed),
                    result = &mut feed, if fed.is_none() => match result {
                        Fed::Lost => break (Ending::ClientLeft, fed),
                        other => fed = Some(other),
                    },
                    () = &mut quiet => break (Ending::CutShort, fed),
                }
            }
        };
        let (ending, fed) = passed;
        let lingers = match fed {
            Some(Fed::ByClient) => false,
            // It has all that was sent before, or will have it: only an answer to the end could be lost.
            Some(Fed::ByHost(sent)) => self.bytes.sent() > sent,
            Some(Fed::Lost) | None => true,
        };
        (read.unsplit(write), Passed { ending, lingers })
    }

    /// Delivers what the client sends until it ends, or no more of it is to be delivered. Returns at once when its
    /// guest takes no more: what the client sends then is left where it is.
    async fn feed<R: AsyncRead + Unpin>(&self, read: &mut R, input: Writer) -> Fed {
        let mut last_call = pin!(self.last_call());
        loop {
            let step = tokio::select! {
                biased;
                () = &mut last_call => break,
                step = self.step(read, &input) => step,
            };
            match step {
                Step::Moved => {}
                Step::Ended => {
                    input.finish();
                    return Fed::ByClient;
                }
                Step::Lost => return Fed::Lost,
                Step::Unwanted => return std::future::pending().await,
            }
        }
        let sent = self.bytes.sent();
        let most = self.bytes.received().saturating_add(LAST_BYTES);
        let until = Instant::now() + STILL_COMING;
        while self.bytes.received() < most {
            if poll_fn(|context| input.poll_room(context)).await == Room::Closed {
                break;
            }
            let step = match Instant::now() < until {
                true => timeout(LAST_LOOK, self.step(read, &input)).await.ok(),
                // Nothing to read is the answer here, and must not be one of tokio's budget.
                false => unconstrained(self.step(read, &input)).now_or_never(),
            };
            match step {
                Some(Step::Moved) => {}
                Some(Step::Lost) => return Fed::Lost,
                Some(Step::Ended) => {
                    input.finish();
                    return Fed::ByClient;
                }
                Some(Step::Unwanted) | None => break,
            }
        }
        input.finish();
        Fed::ByHost(sent)
    }

    /// Returns when no more is taken of the client than what has arrived.
    async fn last_call(&self) {
        let mut call = self.call.clone();
        tokio::select! {
            _ = call.wait_for(|call| *call >= Call::Finish) => {}
            () = self.enough.notified() => return,
        }
        let has_spoken = poll_fn(|_| if self.bytes.received() > 0 { Poll::Ready(()) } else { Poll::Pending });
        tokio::select! {
            biased;
            // Looked at again after whatever is read.
            () = has_spoken => {}
            () = sleep_until(self.accepted + FIRST_WORD) => {}
        }
    }

    /// Moves some bytes to the guest.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    async fn step<R: AsyncRead + Unpin>(&self, read: &mut R, input: &Writer) -> Step {
        poll_fn(|context| {
            let room = match ready!(input.poll_room(context)) {
                Room::Closed => return Poll::Ready(Step::Unwanted),
                Room::Bytes(room) => room,
            };
            let mut space = [MaybeUninit::<u8>::uninit(); READ];
            let space = space.split_at_mut(room.min(READ)).0;
            let mut buffer = ReadBuf::uninit(space);
            Poll::Ready(match ready!(Pin::new(&mut *read).poll_read(context, &mut buffer)) {
                Err(_reset) => Step::Lost,
                Ok(()) if buffer.filled().is_empty() => Step::Ended,
                Ok(()) => {
                    self.bytes.count_received(buffer.filled().len());
                    // There is room: this is the only writer.
                    input.write(buffer.filled());
                    Step::Moved
                }
            })
        })
        .await
    }

    /// Has the input end after a while without a byte, and returns after another.
    async fn quiet(&self) {
        still(self.bytes, self.idle).await;
        self.enough.notify_one();
        still(self.bytes, self.idle).await;
    }
}

/// The result of one look at the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Moved,
    Ended,
    Lost,
    Unwanted,
}

/// Returns when no byte has passed for so long, or up to half as long again.
async fn still(bytes: &ByteCounts, idle: Duration) {
    let mut looks = 0;
    while looks < 2 {
        let before = (bytes.received(), bytes.sent());
        sleep(idle / 2).await;
        looks = if before == (bytes.received(), bytes.sent()) { looks + 1 } else { 0 };
    }
}

/// Sends the guest's output, and says that it was all.
async fn send<W: AsyncWrite + Unpin>(write: &mut W, output: Reader, bytes: &ByteCounts) -> Ending {
    let mut unflushed = false;
    let ending = poll_fn(|context| send_on(context, write, &output, bytes, &mut unflushed)).await;
    if ending == Ending::Complete && tokio::io::AsyncWriteExt::shutdown(write).await.is_err() {
        return Ending::ClientLeft;
    }
    ending
}

fn send_on<W: AsyncWrite + Unpin>(
    context: &mut Context<'_>,
    write: &mut W,
    output: &Reader,
    bytes: &ByteCounts,
    unflushed: &mut bool,
) -> Poll<Ending> {
    loop {
        if output.poll_broken(context).is_ready() {
            return Poll::Ready(Ending::CutShort);
        }
        match output.poll_found(context) {
            Poll::Ready(Found::Bytes) => {
                let written = output.read(|some| match Pin::new(&mut *write).poll_write(context, some) {
                    Poll::Ready(Ok(written)) => (written, Poll::Ready(written)),
                    Poll::Ready(Err(_reset)) => (0, Poll::Ready(0)),
                    Poll::Pending => (0, Poll::Pending),
                });
                match ready!(written) {
                    0 => return Poll::Ready(Ending::ClientLeft),
                    written => bytes.count_sent(written),
                }
                *unflushed = true;
            }
            Poll::Ready(Found::PipeEnd(PipeEnd::Finished)) => return Poll::Ready(Ending::Complete),
            Poll::Ready(Found::PipeEnd(PipeEnd::Broken)) => return Poll::Ready(Ending::CutShort),
            Poll::Pending => {
                if *unflushed {
                    if ready!(Pin::new(&mut *write).poll_flush(context)).is_err() {
                        return Poll::Ready(Ending::ClientLeft);
                    }
                    *unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }
}
