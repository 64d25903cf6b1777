//! A component's stdout or stderr, as WASI sees it.
//!
//! Invariant: a write has its effect before it returns, with no task in between: a guest may trap right after it. A
//! prefixed stream is always ready and never fails; a stream that passes through loses nothing, its guest waits.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::lines::Lines;
use super::queue::{QueueRoom, Source};

const PERMIT_BYTES: usize = 64 * 1024;

/// One stream of one instance. Clones, and all handles that the guest opens, share one line buffer.
#[derive(Clone)]
pub(crate) struct GuestStream {
    shared: Arc<Shared>,
}

enum Shared {
    Prefixed(Mutex<Lines>),
    Passthrough(Source),
}

impl Shared {
    fn lines(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
        lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ready(&self) {
        match self {
            Shared::Prefixed(_) => {}
            Shared::Passthrough(source) => source.ready().await,
        }
    }
}

opaque_debug!(GuestStream);

impl GuestStream {
    /// Line by line, each behind `name | `; a line that finds no room is dropped and counted.
    pub(crate) fn prefixed(source: Source, name: &str) -> GuestStream {
        GuestStream { shared: Arc::new(Shared::Prefixed(Mutex::new(Lines::new(source, name)))) }
    }

    /// Bytes as they are; without room the guest waits, without a reader its stream is closed.
    pub(crate) fn passthrough(source: Source) -> GuestStream {
        GuestStream { shared: Arc::new(Shared::Passthrough(source)) }
    }

    /// To be called at the instance's end: a line without its newline goes out.
    pub(crate) fn finish(&self) {
        if let Shared::Prefixed(lines) = &*self.shared {
            Shared::lines(lines).finish();
        }
    }
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        match &*self.shared {
            // A guest that draws on a terminal does not know of the prefixes.
            Shared::Prefixed(_) => false,
            Shared::Passthrough(source) => source.is_terminal(),
        }
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(AsyncHandle { shared: self.shared.clone(), waiting: None })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(PollHandle { shared: self.shared.clone(), permit: 0 })
    }
}

struct AsyncHandle {
    shared: Arc<Shared>,
    /// The wait for room that is under way: it keeps its place among the waiters.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl AsyncWrite for AsyncHandle {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let handle = self.get_mut();
        let source = match &*handle.shared {
            Shared::Prefixed(lines) => {
                Shared::lines(lines).feed(bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
            Shared::Passthrough(source) => source,
        };
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            if let Some(waiting) = &mut handle.waiting {
                ready!(waiting.as_mut().poll(cx));
                handle.waiting = None;
            }
            match source.room() {
                QueueRoom::Gone => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                QueueRoom::Bytes(room) if room > 0 => {
                    let taken = bytes.get(..room).unwrap_or(bytes);
                    // Another stream may have used the room up since: then there is a wait after all.
                    if source.offer(taken.to_vec()) {
                        return Poll::Ready(Ok(taken.len()));
                    }
                }
                QueueRoom::Bytes(_) => {
                    let source = source.clone();
                    handle.waiting = Some(Box::pin(async move { source.ready().await }));
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct PollHandle {
    shared: Arc<Shared>,
    /// Bytes that the last `check_write` allowed and no `write` has used yet.
    permit: usize,
}

#[async_trait]
impl Pollable for PollHandle {
    async fn ready(&mut self) {
        self.shared.ready().await;
    }
}

#[async_trait]
impl OutputStream for PollHandle {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let source = match &*self.shared {
            Shared::Prefixed(lines) => {
                Shared::lines(lines).feed(&bytes);
                return Ok(());
            }
            Shared::Passthrough(source) => source,
        };
        let Some(left) = self.permit.checked_sub(bytes.len()) else {
            return Err(StreamError::trap("write exceeds what check-write allowed"));
        };
        self.permit = left;
        if bytes.is_empty() || source.push_permitted(bytes.into()) {
            return Ok(());
        }
        match source.room() {
            QueueRoom::Gone => Err(StreamError::Closed),
            QueueRoom::Bytes(_) => {
                Err(StreamError::LastOperationFailed(io::Error::from(io::ErrorKind::StorageFull).into()))
            }
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        // The writer thread has the bytes already; to wait for the reader here would only slow the guest down.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let room = match &*self.shared {
            Shared::Prefixed(_) => PERMIT_BYTES,
            Shared::Passthrough(source) => match source.room() {
                QueueRoom::Bytes(room) => room.min(PERMIT_BYTES),
                QueueRoom::Gone => return Err(StreamError::Closed),
            },
        };
        self.permit = room;
        Ok(room)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::thread;
    use std::time::Duration;

    use super::super::fd::Channel;
    use super::super::testing::{over_pipes, read_to_end};
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    async fn write_async(
        stream: &mut Pin<Box<dyn AsyncWrite + Send + Sync>>,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = std::future::poll_fn(|cx| stream.as_mut().poll_write(cx, bytes)).await?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn all_handles_of_a_stream_share_one_line_buffer() {
        let (output, pipes) = over_pipes();
        let stream = GuestStream::prefixed(output.source(Channel::Stdout, 4096), "web");
        let mut p2 = stream.p2_stream();
        let mut p3 = Pin::from(stream.async_stream());
        assert!(!stream.is_terminal() && p2.check_write().unwrap() > 0);
        p2.write(Bytes::from_static(b"one ")).unwrap();
        block_on(write_async(&mut p3, b"line\nand a rest")).unwrap();
        stream.finish();
        stream.finish();
        drop((stream, p2, p3, output));
        assert_eq!(read_to_end(pipes.stdout), b"web | one line\nweb | and a rest\n");
    }

    #[test]
    fn a_prefixed_stream_is_ready_even_when_nobody_reads() {
        let (output, pipes) = over_pipes();
        let source = output.source(Channel::Stdout, 4096);
        let stream = GuestStream::prefixed(source.clone(), "web");
        let mut p2 = stream.p2_stream();
        for _ in 0..200 {
            block_on(p2.blocking_write_and_flush(Bytes::from_static(&[b'\n'; 4096]))).unwrap();
        }
        assert!(source.dropped() > 0);
        drop(pipes);
    }

    #[test]
    fn passing_through_loses_nothing_with_a_slow_reader() {
        let (output, pipes) = over_pipes();
        let data = pattern(2_000_000);
        let writer = thread::spawn({
            let data = data.clone();
            let stream = GuestStream::passthrough(output.source(Channel::Stdout, 32 * 1024));
            move || {
                let mut p2 = stream.p2_stream();
                let mut p3 = Pin::from(stream.async_stream());
                for part in data.chunks(10_000) {
                    let (first, second) = part.split_at(4000);
                    block_on(p2.blocking_write_and_flush(Bytes::copy_from_slice(first))).unwrap();
                    block_on(write_async(&mut p3, second)).unwrap();
                }
            }
        });
        // Slow in the way that counts: it takes little at a time, so the quota is full most of the time.
        let mut got = Vec::new();
        let mut file = File::from(pipes.stdout);
        let mut piece = [0; 777];
        while got.len() < data.len() {
            let n = file.read(&mut piece).unwrap();
            got.extend_from_slice(&piece[..n]);
        }
        writer.join().unwrap();
        assert!(got == data);
    }

    #[test]
    fn a_reader_that_leaves_closes_the_stream_of_a_waiting_guest() {
        let (output, pipes) = over_pipes();
        let source = output.source(Channel::Stdout, 8 * 1024);
        let stream = GuestStream::passthrough(source.clone());
        let mut p2 = stream.p2_stream();
        let mut p3 = Pin::from(stream.async_stream());
        let filler = thread::spawn(move || {
            let result = block_on(write_async(&mut p3, &pattern(10_000_000)));
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
        let mut piece = [0; 100];
        File::from(pipes.stdout).read_exact(&mut piece).unwrap();
        filler.join().unwrap();
        block_on(p2.ready());
        assert!(matches!(p2.check_write(), Err(StreamError::Closed)));
        assert!(matches!(p2.write(Bytes::new()), Ok(())));
    }

    #[test]
    fn a_write_without_a_permit_traps_and_hoarded_permits_are_bounded() {
        let (output, _pipes) = over_pipes();
        let source = output.source(Channel::Stdout, 256 * 1024);
        let stream = GuestStream::passthrough(source.clone());
        let mut handles: Vec<_> = (0..50).map(|_| stream.p2_stream()).collect();
        assert!(matches!(handles[0].write(Bytes::from_static(b"x")), Err(StreamError::Trap(_))));
        for handle in &mut handles {
            assert_eq!(handle.check_write().unwrap(), 64 * 1024);
        }
        let results: Vec<_> = handles.iter_mut().map(|h| h.write(vec![b'x'; 64 * 1024].into())).collect();
        let taken = results.iter().filter(|r| r.is_ok()).count();
        // 512 KiB of queue, besides what the pipe itself has swallowed.
        assert!((4..=10).contains(&taken), "{taken}");
        assert!(matches!(results.last(), Some(Err(StreamError::LastOperationFailed(_)))));
        assert!(!output.flush(Duration::ZERO));
    }
}
