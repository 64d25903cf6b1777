//! One client: its lines are answered in order until it leaves or the stop is asked for.

use crate::wasi::clocks::monotonic_clock::wait_for;
use crate::wasi::sockets::types::TcpSocket;
use crate::{count, wit_stream};
use futures::future::{Either, FusedFuture, FutureExt, Shared, pending, ready, select};
use std::pin::pin;
use wit_bindgen::{StreamReader, StreamResult, StreamWriter};

const BUFFER: usize = 16 * 1024;
/// What had arrived before the notice is still answered, up to this much: a flood must not prevent the end.
const LAST_BYTES: usize = 64 * 1024;
/// How long a client may take to close after the half-close.
const DRAIN_NS: u64 = 500_000_000;

pub async fn serve(socket: TcpSocket, delay_ms: u64, stop: Shared<impl Future<Output = ()>>) {
    count(1, 0);
    let (mut answers, data) = wit_stream::new();
    let sent = socket.send(data);
    let (stream, _received) = socket.receive();
    let mut requests = Requests { stream, bytes: Vec::new(), ended: false };
    if answer(&mut requests, &mut answers, delay_ms, stop).await {
        // Half-close: the client sees the end of the answers, after the last of them.
        drop(answers);
        let _ = sent.await;
        // Closing a socket with unread bytes resets it, and could destroy the last answer on its way.
        let _ = select(pin!(wait_for(DRAIN_NS)), pin!(requests.drain())).await;
    }
}

/// Answers until there is nothing more to answer; false when the client does not take its answers any more.
async fn answer(
    requests: &mut Requests,
    answers: &mut StreamWriter<u8>,
    delay_ms: u64,
    stop: Shared<impl Future<Output = ()>>,
) -> bool {
    let mut asked = false;
    loop {
        if !asked && stop.peek().is_some() {
            asked = true;
            requests.take_rest().await;
        }
        let Some(line) = requests.take_line() else {
            if asked || requests.ended {
                return true;
            }
            requests.receive(stop.clone()).await;
            continue;
        };
        if delay_ms > 0 {
            let mut processing = pin!(wait_for(delay_ms * 1_000_000).fuse());
            if !asked && let Either::Right(_) = select(processing.as_mut(), pin!(stop.clone())).await {
                // Taken now: what comes from here on came after the notice.
                asked = true;
                requests.take_rest().await;
            }
            if !processing.is_terminated() {
                processing.await;
            }
        }
        if !answers.write_all(line).await.is_empty() {
            return false;
        }
        count(0, 1);
    }
}

/// What the client has sent.
struct Requests {
    stream: StreamReader<u8>,
    bytes: Vec<u8>,
    ended: bool,
}

impl Requests {
    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')? + 1;
        Some(self.bytes.drain(..end).collect())
    }

    /// Waits for more, or for the stop; false when nothing came.
    async fn receive(&mut self, stop: impl Future<Output = ()>) -> bool {
        if self.ended {
            return false;
        }
        let mut read = pin!(self.stream.read(Vec::with_capacity(BUFFER)));
        let (result, bytes) = match select(read.as_mut(), pin!(stop)).await {
            Either::Left((result, _)) => result,
            // A cancelled read may have got bytes in the last moment.
            Either::Right(_) => read.as_mut().cancel(),
        };
        self.ended = result == StreamResult::Dropped;
        self.bytes.extend(&bytes);
        !bytes.is_empty()
    }

    /// Takes what is here already, without waiting for more.
    async fn take_rest(&mut self) {
        while self.bytes.len() < LAST_BYTES && self.receive(ready(())).await {}
    }

    async fn drain(&mut self) {
        while self.receive(pending()).await {
            self.bytes.clear();
        }
    }
}
