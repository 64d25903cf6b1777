//! The two writer threads and the handle by which the rest of the host reaches them.
//!
//! Invariant: only these threads wait for a reader. They outlive every error of their descriptor. If one panics, the host is
//! told at once, and `flush` does the rest of its work.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;

use super::fd::{self, Channel};
use super::log::LogFormat;
use super::queue::{HOST_QUOTA, Queue, Source};
use crate::fail_point;
use crate::text::units::MAX_DURATION;

/// Time between two looks at readers that take the last lines.
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// Called on a dying writer thread with its name, when the queue is already marked dead.
pub(super) type OnWriterDeath = Box<dyn Fn(&'static str) + Send + Sync>;

/// The process's two output streams. When the last clone is gone, queued lines are still written.
#[derive(Clone)]
pub struct Output {
    inner: Arc<Inner>,
}

struct Inner {
    stdout: Source,
    stderr: Source,
    /// A progress line is on the terminal: the next host line wipes it first.
    progress_shown: AtomicBool,
    /// Every line of stderr is a JSON object.
    is_json: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stdout.queue.close();
        self.stderr.queue.close();
    }
}

opaque_debug!(Output);

impl Output {
    /// Starts both writer threads over the process's own stdout and stderr.
    ///
    /// # Errors
    /// When a descriptor can not be duplicated or a thread not started.
    pub fn start(on_death: OnWriterDeath) -> io::Result<Output> {
        let (out, err) = (Channel::Stdout.descriptor()?, Channel::Stderr.descriptor()?);
        Output::spawn(out, err, on_death, fail_point::armed().as_deref())
    }

    /// [`start`](Self::start) over any two descriptors.
    ///
    /// # Errors
    /// When a thread can not be started.
    pub fn over(stdout: OwnedFd, stderr: OwnedFd, on_death: OnWriterDeath) -> io::Result<Output> {
        Output::spawn(stdout, stderr, on_death, None)
    }

    pub(super) fn spawn(
        stdout: OwnedFd,
        stderr: OwnedFd,
        on_death: OnWriterDeath,
        fail_point: Option<&str>,
    ) -> io::Result<Output> {
        let host = |channel, fd| Source::new(Queue::new(channel, fd), HOST_QUOTA, true);
        // Made before the threads: if the second one fails to start, dropping this ends the first.
        let output = Output {
            inner: Arc::new(Inner {
                stdout: host(Channel::Stdout, stdout),
                stderr: host(Channel::Stderr, stderr),
                progress_shown: AtomicBool::new(false),
                is_json: AtomicBool::new(false),
            }),
        };
        let on_death: Arc<OnWriterDeath> = Arc::new(on_death);
        for (channel, point) in [(Channel::Stdout, "stdout-writer"), (Channel::Stderr, "stderr-writer")] {
            let queue = output.queue(channel).clone();
            let on_death = on_death.clone();
            let fails = fail_point == Some(point);
            thread::Builder::new().name(channel.thread_name().to_owned()).spawn(move || {
                if catch_unwind(AssertUnwindSafe(|| write_until_closed(&queue, fails))).is_err() {
                    queue.died();
                    on_death(queue.channel.thread_name());
                }
            })?;
        }
        Ok(output)
    }

    /// Returns a new source with a quota of its own, for a component's stream.
    pub fn source(&self, channel: Channel, quota_bytes: usize) -> Source {
        Source::new(self.queue(channel).clone(), quota_bytes, false)
    }

    /// Returns the host's own source, which no flood of components' output crowds out.
    pub fn host(&self, channel: Channel) -> &Source {
        match channel {
            Channel::Stdout => &self.inner.stdout,
            Channel::Stderr => &self.inner.stderr,
        }
    }

    /// Blocks until all that was pushed before is written or lost. Returns false if the time ran out.
    pub fn flush(&self, within: Duration) -> bool {
        let until = Instant::now() + within.min(MAX_DURATION);
        // A full stdout may eat all the time; the stderr thread works on meanwhile.
        let stdout = self.queue(Channel::Stdout).flush(until);
        let stderr = self.queue(Channel::Stderr).flush(until);
        stdout && stderr
    }

    /// Has guests wait for a reader only for a moment from now on: the app stops.
    pub(crate) fn app_stops(&self) {
        self.queue(Channel::Stdout).app_stops();
        self.queue(Channel::Stderr).app_stops();
    }

    /// Blocks until all is written, for as long as the readers take it, but no longer than `within`.
    pub fn drain(&self, within: Duration) {
        let until = Instant::now() + within.min(MAX_DURATION);
        let is_stuck = || self.queue(Channel::Stdout).is_stuck() || self.queue(Channel::Stderr).is_stuck();
        while !self.flush(DRAIN_STEP) && !is_stuck() && Instant::now() < until {}
    }

    /// Returns false as soon as a writer thread has panicked.
    pub fn writers_alive(&self) -> bool {
        !self.queue(Channel::Stdout).is_dead() && !self.queue(Channel::Stderr).is_dead()
    }

    /// Returns true if this stream is a terminal.
    pub fn is_terminal(&self, channel: Channel) -> bool {
        self.host(channel).is_terminal()
    }

    /// Sets the form of all lines on stderr. Set it before the first one.
    pub fn set_log_format(&self, format: LogFormat) {
        self.inner.is_json.store(format == LogFormat::Json, Relaxed);
    }

    /// Returns the form of all lines on stderr.
    pub fn log_format(&self) -> LogFormat {
        if self.inner.is_json.load(Relaxed) { LogFormat::Json } else { LogFormat::Text }
    }

    /// Returns the beginning of a line of the host on stderr, which wipes the progress line.
    pub(super) fn line_start(&self) -> &'static [u8] {
        if self.inner.progress_shown.load(Relaxed) { b"\r\x1b[2K" } else { b"" }
    }

    pub(super) fn show_progress(&self, shown: bool) {
        self.inner.progress_shown.store(shown, Relaxed);
    }

    fn queue(&self, channel: Channel) -> &Arc<Queue> {
        &self.host(channel).queue
    }
}

fn write_until_closed(queue: &Queue, fails: bool) {
    // The control thread reads signals. One taken here would interrupt a write, or stop the process on a background
    // terminal (SIGTTOU); blocked, it comes back as an error of the write.
    let _ = SigSet::all().thread_block();
    let mut batch = Vec::new();
    while queue.await_work() {
        if fails {
            fail_point::die(queue.channel.thread_name());
        }
        queue.take_batch(&mut batch);
        queue.settle(fd::write_all(queue.fd.as_fd(), &batch));
    }
    queue.ended();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::tests::{over_pipes, read_to_end, silent};
    use super::*;

    #[test]
    fn a_reader_that_never_reads_costs_lines_and_blocks_nobody() {
        let (output, pipes) = over_pipes();
        let guest = output.source(Channel::Stdout, 256 * 1024);
        let sibling = output.source(Channel::Stdout, 256 * 1024);
        let line = vec![b'x'; 1000];
        let pushed = (0..10_000).filter(|_| guest.push(line.clone())).count() as u64;
        assert!(pushed < 3000 && guest.dropped() == 10_000 - pushed, "{pushed} {}", guest.dropped());
        assert!(sibling.push(b"sibling\n".to_vec()), "a flood takes nothing from a sibling");
        assert!(output.host(Channel::Stdout).push(b"host\n".to_vec()), "nor from the host");
        assert!(!output.flush(Duration::from_millis(20)), "nobody reads, so the time is over");
        drop(pipes);
    }

    #[test]
    fn the_hosts_quota_is_outside_the_total() {
        let (output, _pipes) = over_pipes();
        let sources: Vec<Source> = (0..20).map(|_| output.source(Channel::Stderr, 1024 * 1024)).collect();
        for source in &sources {
            while source.push(vec![b'x'; 4096]) {}
        }
        assert!(sources.iter().all(|s| s.dropped() == 1));
        assert!(output.host(Channel::Stderr).push(vec![b'h'; 1000 * 1000]));
    }

    #[test]
    fn lines_are_first_in_first_out_and_never_torn() {
        let (output, pipes) = over_pipes();
        let reader = thread::spawn(move || read_to_end(pipes.stdout));
        let writers: Vec<_> = (0..8)
            .map(|id| {
                let source = output.source(Channel::Stdout, 64 * 1024);
                thread::spawn(move || {
                    for n in 0..500 {
                        let line = format!("{id} {n} {}\n", "-".repeat(n % 300)).into_bytes();
                        while !source.offer(line.clone()) {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        assert!(output.flush(Duration::from_secs(10)));
        drop(output);
        let text = String::from_utf8(reader.join().unwrap()).unwrap();
        let mut next = [0_usize; 8];
        for line in text.lines() {
            let mut words = line.split(' ');
            let id: usize = words.next().unwrap().parse().unwrap();
            let n: usize = words.next().unwrap().parse().unwrap();
            assert_eq!(n, next[id]);
            assert_eq!(words.next().unwrap().len(), n % 300);
            next[id] += 1;
        }
        assert_eq!(next, [500; 8]);
    }

    #[test]
    fn a_reader_that_is_gone_ends_every_wait_and_all_is_counted() {
        let (output, pipes) = over_pipes();
        drop(pipes.stdout);
        let source = output.source(Channel::Stdout, 4096);
        let pushed = source.push(b"one\n".to_vec());
        assert!(pushed && output.flush(Duration::from_secs(10)), "lost is settled too");
        assert!(!source.push(b"two\n".to_vec()));
        assert_eq!(source.dropped(), 2);
        assert!(output.writers_alive());
        assert!(output.host(Channel::Stderr).push(b"still here\n".to_vec()));
        assert!(output.flush(Duration::from_secs(10)));
    }

    #[test]
    fn flush_on_a_full_pipe_is_over_in_time() {
        let (output, _pipes) = over_pipes();
        while output.host(Channel::Stderr).push(vec![b'x'; 4096]) {}
        let start = Instant::now();
        assert!(!output.flush(Duration::from_millis(50)));
        assert!(start.elapsed() >= Duration::from_millis(50) && start.elapsed() < Duration::from_secs(2));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the scenario is a slow reader")]
    fn the_last_lines_are_waited_for_while_somebody_reads_them() {
        let (output, pipes) = over_pipes();
        while output.host(Channel::Stdout).push(vec![b'x'; 4096]) {}
        let reader = thread::spawn(move || {
            let mut got = 0;
            let mut file = std::fs::File::from(pipes.stdout);
            // Each read is a moment, and all of them take longer than one flush.
            while let Ok(n @ 1..) = std::io::Read::read(&mut file, &mut [0; 4096]) {
                got += n;
                thread::sleep(Duration::from_micros(100));
            }
            got
        });
        let dropped = output.host(Channel::Stdout).dropped();
        output.drain(Duration::from_secs(60));
        assert!(output.flush(Duration::ZERO), "all of it is out");
        drop(output);
        assert!(reader.join().unwrap() > 1024 * 1024);
        assert_eq!(dropped, 1);
    }

    #[test]
    fn nobody_waits_for_long_for_a_reader_that_stands_still() {
        let (output, _pipes) = over_pipes();
        while output.host(Channel::Stdout).push(vec![b'x'; 4096]) {}
        output.app_stops();
        let start = Instant::now();
        output.drain(Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_dead_writer_is_told_of_and_flush_does_its_work() {
        let (ours, pipes) = super::super::tests::pipes();
        let (tell, told) = mpsc::channel();
        let on_death: OnWriterDeath = Box::new(move |name| tell.send(name).unwrap());
        let output = Output::spawn(ours.0, ours.1, on_death, Some("stderr-writer")).unwrap();
        assert!(output.host(Channel::Stderr).push(b"first\n".to_vec()));
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok("curfew-stderr"));
        assert!(!output.writers_alive());
        assert!(output.host(Channel::Stderr).push(b"last\n".to_vec()));
        assert!(output.flush(Duration::from_secs(10)));
        drop(output);
        assert_eq!(read_to_end(pipes.stderr), b"first\nlast\n");
    }

    #[test]
    fn a_full_disk_loses_what_it_refuses_and_the_writer_goes_on() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let (ours, pipes) = super::super::tests::pipes();
        let output = Output::over(full.into(), ours.1, silent()).unwrap();
        let source = output.source(Channel::Stdout, 4096);
        for lost in 1..=3 {
            assert!(source.push(b"line\n".to_vec()));
            assert!(output.flush(Duration::from_secs(10)));
            assert_eq!(source.dropped(), lost);
        }
        drop(pipes);
    }
}
