//! The relay between a socket and the pipes of its guest, and its end.
//!
//! Invariant: what the guest does not take is not read, and what the client does not take is not asked of the guest:
//! nothing is held here. When the component is asked to stop, what has arrived until then is delivered, and then the
//! guest's input ends.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::pipe::{Found, Reader, Writer};
use crate::server::connection::access_log::Ending;
use crate::server::connection::stream::{LAST_LOOK, Meter, Transport};
use crate::server::generation::Call;
use crate::server::pool::Claim;

const READ: usize = 16 << 10;
/// Time after a notice in which a client that has just connected may say its first word. It is usually under way.
const FIRST_WORD: Duration = Duration::from_millis(50);
/// Time after that in which bytes that follow closely are read on. They were usually sent before, and waited for room in
/// the socket's buffer.
const STILL_COMING: Duration = Duration::from_millis(50);
/// Most bytes that are read of a client after its component was asked to stop: more than a socket's own buffer holds.
const LAST_BYTES: u64 = 8 << 20;

/// One connection, while bytes pass.
pub(crate) struct Traffic<'a> {
    pub(crate) meter: &'a Meter,
    pub(crate) claim: &'a Claim,
    /// The order to the generation.
    pub(crate) call: Receiver<Call>,
    pub(crate) accepted: Instant,
    /// After so long without a byte its input ends, and after so long again it is cut short.
    pub(crate) idle: Duration,
    /// Has the input end.
    pub(crate) enough: Notify,
}

/// The end of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    /// The client sends no more.
    ByClient,
    /// No more is taken of it: that many bytes had been sent to it then.
    ByHost(u64),
    /// Its guest takes no more.
    Unwanted,
    Lost,
}

impl Traffic<'_> {
    /// Passes bytes in both directions until the guest's output has ended and was sent, the client has left, or the
    /// component is cut off. Returns the stream, half-closed where all was sent; the end; and true if the client can still
    /// send something, which it must not be reset for: it may have an answer on its way.
    ///
    /// # Cancel safety
    /// Dropping it drops the stream, and ends both directions for the guest.
    pub(crate) async fn pass<S: Transport>(
        self,
        stream: S,
        input: Writer,
        output: Reader,
    ) -> (S, Ending, bool) {
        let (mut read, mut write) = tokio::io::split(stream);
        let mut call = self.call.clone();
        let (ending, fed) = {
            let (input, output) = (input, output);
            let mut feed = pin!(self.feed(&mut read, &input));
            let mut send = pin!(self.send(&mut write, &output));
            let mut quiet = pin!(self.quiet());
            let mut fed = None;
            let (ending, is_given_up) = loop {
                tokio::select! {
                    biased;
                    _ = call.wait_for(|call| *call == Call::Cut) => break (Ending::CutShort, false),
                    ending = &mut send => break (ending, ending == Ending::ClientLeft),
                    result = &mut feed, if fed.is_none() => match result {
                        Fed::Lost => break (Ending::ClientLeft, true),
                        other => fed = Some(other),
                    },
                    () = &mut quiet => break (Ending::TimedOut, true),
                }
            };
            if is_given_up {
                // Before the pipes are dropped, and so before its guest hears of it.
                self.claim.give_up();
            }
            (ending, fed)
        };
        let lingers = match fed {
            Some(Fed::ByClient) => false,
            // It has all that was sent before, or will have it: only an answer to the end could be lost.
            Some(Fed::ByHost(sent)) => self.meter.written() > sent,
            Some(Fed::Unwanted | Fed::Lost) | None => true,
        };
        (read.unsplit(write), ending, lingers)
    }

    /// Delivers what the client sends until it ends, or no more of it is to be delivered. Returns at once when its
    /// guest takes no more: what the client sends then is left where it is.
    async fn feed<R: AsyncRead + Unpin>(&self, read: &mut R, input: &Writer) -> Fed {
        let mut last_call = pin!(self.last_call());
        loop {
            tokio::select! {
                biased;
                () = &mut last_call => break,
                step = self.step(read, input) => if let Err(end) = step { return end; },
            }
        }
        let sent = self.meter.written();
        let most = self.meter.read().saturating_add(LAST_BYTES);
        let until = Instant::now() + STILL_COMING;
        while self.meter.read() < most && poll_fn(|context| input.poll_room(context)).await.is_some() {
            let step = match Instant::now() < until {
                true => timeout(LAST_LOOK, self.step(read, input)).await.ok(),
                // Nothing to read is the answer here, and must not be one of tokio's budget.
                false => unconstrained(self.step(read, input)).now_or_never(),
            };
            match step {
                Some(Ok(())) => {}
                Some(Err(Fed::Unwanted)) | None => break,
                Some(Err(end)) => return end,
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
        let has_spoken = poll_fn(|_| if self.meter.read() > 0 { Poll::Ready(()) } else { Poll::Pending });
        tokio::select! {
            biased;
            // Looked at again after each read.
            () = has_spoken => {}
            () = sleep_until(self.accepted + FIRST_WORD) => {}
        }
    }

    /// Moves some bytes to the guest.
    ///
    /// # Errors
    /// The end of the input.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    async fn step<R: AsyncRead + Unpin>(&self, read: &mut R, input: &Writer) -> Result<(), Fed> {
        poll_fn(|context| {
            let Some(room) = ready!(input.poll_room(context)) else { return Poll::Ready(Err(Fed::Unwanted)) };
            let mut space = [MaybeUninit::<u8>::uninit(); READ];
            let space = space.split_at_mut(room.min(READ)).0;
            let mut buffer = ReadBuf::uninit(space);
            let result = ready!(Pin::new(&mut *read).poll_read(context, &mut buffer));
            Poll::Ready(match (result, buffer.filled()) {
                (Err(_reset), _) => Err(Fed::Lost),
                (Ok(()), []) => {
                    input.finish();
                    Err(Fed::ByClient)
                }
                (Ok(()), bytes) => {
                    // There is room: this is the only writer.
                    input.write(bytes);
                    self.claim.moved();
                    Ok(())
                }
            })
        })
        .await
    }

    /// Sends the guest's output, and tells the client that it was all.
    async fn send<W: AsyncWrite + Unpin>(&self, write: &mut W, output: &Reader) -> Ending {
        let mut unflushed = false;
        let ending = poll_fn(|context| {
            loop {
                if output.poll_broken(context).is_ready() {
                    return Poll::Ready(Ending::CutShort);
                }
                match output.poll_found(context) {
                    Poll::Ready(Found::Bytes) => {
                        let written =
                            output.read(|some| match Pin::new(&mut *write).poll_write(context, some) {
                                Poll::Ready(Ok(written)) => (written, Poll::Ready(written)),
                                Poll::Ready(Err(_reset)) => (0, Poll::Ready(0)),
                                Poll::Pending => (0, Poll::Pending),
                            });
                        if ready!(written) == 0 {
                            return Poll::Ready(Ending::ClientLeft);
                        }
                        self.claim.moved();
                        unflushed = true;
                    }
                    Poll::Ready(Found::Finished) => return Poll::Ready(Ending::Complete),
                    Poll::Ready(Found::Broken) => return Poll::Ready(Ending::CutShort),
                    Poll::Pending if unflushed => {
                        if ready!(Pin::new(&mut *write).poll_flush(context)).is_err() {
                            return Poll::Ready(Ending::ClientLeft);
                        }
                        unflushed = false;
                        return Poll::Pending;
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        if ending == Ending::Complete && write.shutdown().await.is_err() {
            return Ending::ClientLeft;
        }
        ending
    }

    /// Has the input end after a while without a byte, and returns after another.
    async fn quiet(&self) {
        still(self.meter, self.idle).await;
        self.enough.notify_one();
        still(self.meter, self.idle).await;
    }
}

/// Returns after `idle` without a byte, or up to half as long later.
async fn still(meter: &Meter, idle: Duration) {
    let mut looks = 0;
    while looks < 2 {
        let before = (meter.read(), meter.written());
        sleep(idle / 2).await;
        looks = if before == (meter.read(), meter.written()) { looks + 1 } else { 0 };
    }
}
