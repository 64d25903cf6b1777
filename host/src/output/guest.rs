//! A component's stdout or stderr, as WASI sees it.
//!
//! Invariant: a write has its effect before it returns: a guest may trap right after it. A prefixed stream never fails, and
//! pushes whole lines of bounded length; its bytes stay as they are (colours, tabs, invalid UTF-8), except that `\r\n` ends a
//! line as `\n`. In a JSON log each line of stderr is a record instead, and text. Its guest waits for a reader that takes lines, and
//! only for a moment for one that does not. A stream that passes through loses nothing: its guest waits for as long as it takes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use serde_json::json;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::log::record;
use super::queue::Source;

const PERMIT_BYTES: usize = 64 * 1024;
/// Bytes of lines that are taken after one look for room: each may be an empty line, which has a prefix and its overhead.
const LINES_BYTES: usize = 1024;

/// One stream of one instance. Clones, and all handles that the guest opens, share one line buffer.
#[derive(Clone)]
pub(crate) struct GuestStream(Target);

#[derive(Clone)]
enum Target {
    Prefixed(Source, Arc<Mutex<Lines>>),
    Passthrough(Source),
}

opaque_debug!(GuestStream);

impl GuestStream {
    /// Returns a stream of lines, each behind `name | `. A line that finds no room in time is dropped and counted.
    pub(crate) fn prefixed(source: Source, name: &str) -> GuestStream {
        GuestStream::lines(source, Frame::Prefix(format!("{name} | ")))
    }

    /// Returns the same for the stderr of a component in a JSON log, each line of which is a record.
    pub(crate) fn records(source: Source, name: &str) -> GuestStream {
        GuestStream::lines(source, Frame::Record { component: name.to_owned() })
    }

    fn lines(source: Source, frame: Frame) -> GuestStream {
        let lines = Lines::new(source.clone(), frame);
        GuestStream(Target::Prefixed(source, Arc::new(Mutex::new(lines))))
    }

    /// Returns a stream of bytes as they are. Without room the guest waits, without a reader its stream is closed.
    pub(crate) fn passthrough(source: Source) -> GuestStream {
        GuestStream(Target::Passthrough(source))
    }

    /// Sends out a line without its newline, at the instance's end.
    pub(crate) fn finish(&self) {
        if let Target::Prefixed(_, lines) = &self.0 {
            lines.lock().unwrap_or_else(PoisonError::into_inner).finish();
        }
    }
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        match &self.0 {
            // A guest that draws on a terminal does not know of the prefixes.
            Target::Prefixed(..) => false,
            Target::Passthrough(source) => source.is_terminal(),
        }
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(AsyncHandle { target: self.0.clone(), waiting: None })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(PollHandle { target: self.0.clone(), permit: 0, waits_since: None })
    }
}

struct AsyncHandle {
    target: Target,
    /// The wait for room that is under way: it keeps its place among the waiters.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl AsyncWrite for AsyncHandle {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let AsyncHandle { target, waiting } = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let has_waited = waiting.is_some();
            if let Some(wait) = waiting {
                ready!(wait.as_mut().poll(cx));
                *waiting = None;
            }
            let taken = match &*target {
                Target::Prefixed(source, lines) => feed(source, lines, bytes, has_waited),
                Target::Passthrough(source) => pass(source, bytes)?,
            };
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
            *waiting = Some(match target.clone() {
                Target::Prefixed(source, _) => Box::pin(async move { source.line_ready(&mut None).await }),
                Target::Passthrough(source) => Box::pin(async move { source.ready().await }),
            });
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Takes bytes of lines as long as there is room, the first ones in any case after a wait. Returns their number.
fn feed(source: &Source, lines: &Mutex<Lines>, bytes: &[u8], has_waited: bool) -> usize {
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    let mut taken = 0;
    for piece in bytes.chunks(LINES_BYTES) {
        if !(has_waited && taken == 0) && source.line_waits(&mut None).is_some() {
            break;
        }
        lines.feed(piece);
        taken += piece.len();
    }
    taken
}

/// Takes bytes as they are, as many as there is room for. Returns their number.
fn pass(source: &Source, bytes: &[u8]) -> io::Result<usize> {
    let room = source.room().ok_or(io::ErrorKind::BrokenPipe)?;
    let taken = bytes.get(..room).unwrap_or(bytes);
    // Another stream may have used the room up since.
    Ok(if source.offer(taken.to_vec()) { taken.len() } else { 0 })
}

struct PollHandle {
    target: Target,
    /// Bytes that the last `check_write` allowed and no `write` has used yet.
    permit: usize,
    /// The begin of the wait for room for the next lines.
    waits_since: Option<Instant>,
}

#[async_trait]
impl Pollable for PollHandle {
    async fn ready(&mut self) {
        match &self.target {
            Target::Prefixed(source, _) => source.line_ready(&mut self.waits_since).await,
            Target::Passthrough(source) => source.ready().await,
        }
    }
}

#[async_trait]
impl OutputStream for PollHandle {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let source = match &self.target {
            Target::Prefixed(_, lines) => {
                lines.lock().unwrap_or_else(PoisonError::into_inner).feed(&bytes);
                self.waits_since = None;
                return Ok(());
            }
            Target::Passthrough(source) => source,
        };
        let Some(left) = self.permit.checked_sub(bytes.len()) else {
            return Err(StreamError::trap("write exceeds what check-write allowed"));
        };
        self.permit = left;
        if bytes.is_empty() || source.push_permitted(bytes.into()) {
            return Ok(());
        }
        Err(match source.room() {
            None => StreamError::Closed,
            Some(_) => StreamError::LastOperationFailed(io::Error::from(io::ErrorKind::StorageFull).into()),
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        // The writer thread has the bytes already. Waiting for the reader would only slow the guest down.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.permit = match &self.target {
            Target::Prefixed(source, _) => match source.line_waits(&mut self.waits_since) {
                Some(_) => 0,
                None => LINES_BYTES,
            },
            Target::Passthrough(source) => source.room().ok_or(StreamError::Closed)?.min(PERMIT_BYTES),
        };
        Ok(self.permit)
    }
}

/// Longer lines are cut here and go on as a next line.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// Capacity that an empty line buffer keeps.
const KEPT_BYTES: usize = 4 * 1024;

/// The form of a line.
enum Frame {
    /// This text in front of it.
    Prefix(String),
    /// A record of the log.
    Record { component: String },
}

impl Frame {
    fn line(&self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Prefix(prefix) => [prefix.as_bytes(), text, b"\n"].concat(),
            Self::Record { component } => {
                let fields = json!({ "component": component, "stream": "stderr" });
                (record(Level::INFO, &String::from_utf8_lossy(text), fields) + "\n").into_bytes()
            }
        }
    }
}

struct Lines {
    source: Source,
    frame: Frame,
    partial: Vec<u8>,
    /// Lines dropped since the last one that found room.
    lost: u64,
}

impl Lines {
    fn new(source: Source, frame: Frame) -> Lines {
        Lines { source, frame, partial: Vec::new(), lost: 0 }
    }

    fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.split_last() {
                Some((b'\n', text)) => {
                    self.extend(text);
                    self.partial.pop_if(|last| *last == b'\r');
                    self.end_line();
                }
                _ => self.extend(piece),
            }
        }
    }

    fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
        if self.lost > 0 && self.source.offer(self.loss_line()) {
            self.lost = 0;
        }
    }

    fn extend(&mut self, mut text: &[u8]) {
        // Cut only when more text is there: a line of just the limit gets no empty line after it.
        while self.partial.len() + text.len() > MAX_LINE_BYTES {
            let (head, tail) = text.split_at(MAX_LINE_BYTES - self.partial.len());
            self.partial.extend_from_slice(head);
            let rest = self.partial.split_off(whole_characters(&self.partial));
            self.end_line();
            self.partial.extend_from_slice(&rest);
            text = tail;
        }
        self.partial.extend_from_slice(text);
    }

    fn end_line(&mut self) {
        let loss = if self.lost > 0 { self.loss_line() } else { Vec::new() };
        let line = [loss, self.frame.line(&self.partial)].concat();
        self.lost = if self.source.push(line) { 0 } else { self.lost + 1 };
        self.partial.clear();
        self.partial.shrink_to(KEPT_BYTES);
    }

    fn loss_line(&self) -> Vec<u8> {
        self.frame.line(format!("[curfew: {} lines dropped: nobody read them]", self.lost).as_bytes())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // The end of an instance may not have been told.
        self.finish();
    }
}

/// Returns how much of a full buffer can go out without cutting a UTF-8 character in two.
fn whole_characters(bytes: &[u8]) -> usize {
    // No character has more than four bytes.
    let tail = bytes.get(bytes.len().saturating_sub(4)..).unwrap_or_default();
    let rest = tail.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let is_cut = std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
    bytes.len() - if is_cut { rest.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::thread;
    use std::time::Duration;

    use super::super::fd::Channel;
    use super::super::tests::{over_pipes, pipes, read_to_end, silent, stderr_of};
    use super::super::writer::Output;
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
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
    fn a_prefixed_stream_waits_only_once_for_a_reader_that_stands_still() {
        let (output, pipes) = over_pipes();
        let source = output.source(Channel::Stdout, 4096);
        let stream = GuestStream::prefixed(source.clone(), "web");
        let (mut p2, mut p3) = (stream.p2_stream(), Pin::from(stream.async_stream()));
        let start = Instant::now();
        for _ in 0..200 {
            block_on(p2.blocking_write_and_flush(Bytes::from_static(&[b'\n'; 4096]))).unwrap();
            block_on(write_async(&mut p3, &[b'\n'; 4096])).unwrap();
        }
        let took = start.elapsed();
        assert!(source.dropped() > 0);
        // Each of 1600 looks for room would take a second otherwise.
        assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(30), "{took:?}");
        drop(pipes);
    }

    #[test]
    fn a_stop_shortens_the_wait_for_a_reader() {
        let (output, _pipes) = over_pipes();
        let source = output.source(Channel::Stdout, 4096);
        while output.host(Channel::Stdout).push(vec![b'x'; 4096]) {}
        while source.offer(b"x".to_vec()) {}
        let before = source.line_waits(&mut None);
        output.app_stops();
        let after = source.line_waits(&mut None);
        // On a busy machine the wait can be over by now.
        if let (Some(before), Some(after)) = (before, after) {
            assert!(after + Duration::from_millis(500) < before);
        }
        assert!(before.is_some() || after.is_none());
    }

    #[test]
    fn lines_wait_for_a_slow_reader_and_none_is_lost() {
        const LINES: usize = 20_000;
        let (output, pipes) = over_pipes();
        let source = output.source(Channel::Stdout, 32 * 1024);
        let writer = thread::spawn({
            let source = source.clone();
            move || {
                let stream = GuestStream::prefixed(source, "web");
                let (mut p2, mut p3) = (stream.p2_stream(), Pin::from(stream.async_stream()));
                for n in (0..LINES).step_by(2) {
                    block_on(p2.blocking_write_and_flush(format!("line {n}\n").into())).unwrap();
                    block_on(write_async(&mut p3, format!("line {}\n", n + 1).as_bytes())).unwrap();
                }
            }
        });
        let (mut got, mut file, mut piece) = (Vec::new(), File::from(pipes.stdout), [0; 777]);
        let expected: String = (0..LINES).map(|n| format!("web | line {n}\n")).collect();
        while got.len() < expected.len() {
            let n = file.read(&mut piece).unwrap();
            got.extend_from_slice(&piece[..n]);
            assert_eq!(source.dropped(), 0);
        }
        writer.join().unwrap();
        assert!(got == expected.as_bytes());
    }

    #[test]
    fn a_file_loses_nothing_however_fast_the_guest_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (ours, _pipes) = pipes();
        let ours_too = file.reopen().unwrap();
        let output = Output::over(ours_too.into(), ours.1, silent()).unwrap();
        let source = output.source(Channel::Stdout, 32 * 1024);
        let stream = GuestStream::prefixed(source.clone(), "web");
        let mut p2 = stream.p2_stream();
        // Also while the app stops.
        output.app_stops();
        for _ in 0..2000 {
            block_on(p2.blocking_write_and_flush("0123456789\n".repeat(372).into())).unwrap();
        }
        assert!(output.flush(Duration::from_secs(60)));
        assert_eq!(source.dropped(), 0);
        assert_eq!(file.as_file().metadata().unwrap().len(), 2000 * 372 * "web | 0123456789\n".len() as u64);
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

    fn prefix() -> Frame {
        Frame::Prefix("web | ".to_owned())
    }

    fn lines_of(pieces: &[&[u8]]) -> String {
        framed(prefix(), pieces)
    }

    fn framed(frame: Frame, pieces: &[&[u8]]) -> String {
        let (output, pipes) = over_pipes();
        let mut lines = Lines::new(output.source(Channel::Stderr, 1024 * 1024), frame);
        let reader = thread::spawn({
            let output = output.clone();
            move || stderr_of(output, pipes)
        });
        for piece in pieces {
            lines.feed(piece);
        }
        drop((lines, output));
        reader.join().unwrap()
    }

    #[test]
    fn every_line_gets_the_name_and_a_partial_one_its_end() {
        assert_eq!(lines_of(&[b"a\nb", b"c\r", b"\n\n", b"d\re"]), "web | a\nweb | bc\nweb | \nweb | d\re\n");
        assert_eq!(lines_of(&[]), "");
    }

    #[test]
    fn each_line_of_a_json_log_is_a_record_whatever_the_guest_writes() {
        let text =
            framed(Frame::Record { component: "web".to_owned() }, &[b"{\"a\"\t\xff\x1b[2J\n", b"\n", b"end"]);
        let records: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let messages: Vec<&str> = records.iter().map(|record| record["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["{\"a\"\t\u{fffd}\u{1b}[2J", "", "end"]);
        assert!(records.iter().all(|record| record["component"] == "web" && record["stream"] == "stderr"));
    }

    #[test]
    fn an_endless_line_is_cut_at_the_limit() {
        let chunk = vec![b'x'; 10_000];
        let text = lines_of(&[chunk.as_slice(); 20]);
        let lengths: Vec<usize> = text.lines().map(|l| l.strip_prefix("web | ").unwrap().len()).collect();
        assert_eq!(lengths, [MAX_LINE_BYTES, MAX_LINE_BYTES, MAX_LINE_BYTES, 200_000 - 3 * MAX_LINE_BYTES]);
    }

    #[test]
    fn a_line_of_just_the_limit_is_one_line() {
        let mut line = vec![b'x'; MAX_LINE_BYTES];
        line.push(b'\n');
        assert_eq!(lines_of(&[&line, b"y\n"]).lines().count(), 2);
    }

    #[test]
    fn a_cut_leaves_characters_whole() {
        let line = "x".to_owned() + &"€".repeat(MAX_LINE_BYTES / 3 + 10);
        let text = lines_of(&[line.as_bytes()]);
        assert!(!text.contains('\u{FFFD}'));
        assert_eq!(text.matches('€').count(), MAX_LINE_BYTES / 3 + 10);
        assert_eq!(whole_characters(b"\xff\xff\xff\xff\xff"), 5);
        assert_eq!(whole_characters(b"\x80\x80\x80\x80\x80"), 5);
        assert_eq!(whole_characters("ab€".as_bytes()), 5);
        assert_eq!(whole_characters(b"ab\xe2\x82"), 2);
    }

    #[test]
    fn what_was_lost_is_said_where_it_was_lost() {
        let (output, pipes) = over_pipes();
        let source = output.source(Channel::Stderr, 100 * 1024);
        let mut lines = Lines::new(source.clone(), prefix());
        for _ in 0..4000 {
            lines.feed(&[b'x'; 1000]);
            lines.feed(b"\n");
        }
        let lost = source.dropped();
        assert!(lost > 0);
        let reader = thread::spawn({
            let output = output.clone();
            move || stderr_of(output, pipes)
        });
        assert!(output.flush(Duration::from_secs(10)));
        lines.feed(b"after\n");
        drop((lines, source, output));
        let text = reader.join().unwrap();
        let tail: Vec<&str> = text.lines().rev().take(2).collect();
        assert_eq!(tail[0], "web | after");
        assert_eq!(tail[1], format!("web | [curfew: {lost} lines dropped: nobody read them]"));
    }
}
