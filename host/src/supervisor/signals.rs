//! Signals of the system, and their meaning to the app; the only file that knows the system's.
//!
//! Invariant: signals are blocked before any thread but the first exists, so none can kill the process too early. Every
//! signal that can be caught is taken here, except those of faults (wasmtime's) and of job control (the shell's).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::sys::prctl::get_child_subreaper;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal as System;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::generation_record::millis;
use crate::runtime::RunClock;
use crate::teardown::Signal;

/// Faults, traps and aborts: wasmtime and the system handle them.
const FAULTS: [System; 7] = [
    System::SIGSEGV,
    System::SIGBUS,
    System::SIGFPE,
    System::SIGILL,
    System::SIGTRAP,
    System::SIGABRT,
    System::SIGSYS,
];
/// Job control; `SIGCONT` is listened to.
const JOB_CONTROL: [System; 3] = [System::SIGTSTP, System::SIGTTIN, System::SIGTTOU];
/// Shortest gap that a suspension is known by: a shorter one cannot be told from a machine that is busy.
const SHORTEST_GAP: Duration = Duration::from_millis(200);
/// The same where no SIGCONT tells of it.
const SHORTEST_FREEZE: Duration = Duration::from_secs(1);
/// Time between two looks at what the system counts of the thread, at least.
const COUNTED_EVERY: Duration = Duration::from_millis(100);

enum Arrived {
    Signal(Signal),
    /// The process goes on after it was stopped.
    Continued,
    Ignored,
}

/// Blocks the signals that curfew listens to in the calling thread, and so in all threads that it starts.
/// Call it first thing in `main`.
///
/// # Errors
/// The system refuses, for which it has no reason.
pub fn block_signals() -> std::io::Result<()> {
    mask().thread_block().map_err(Into::into)
}

/// Gives signals their default effect again.
///
/// # Errors
/// As [`block_signals`].
pub fn release_signals() -> std::io::Result<()> {
    mask().thread_unblock().map_err(Into::into)
}

fn mask() -> SigSet {
    let mut mask = SigSet::all();
    for signal in FAULTS.into_iter().chain(JOB_CONTROL) {
        mask.remove(signal);
    }
    mask
}

/// Receives signals.
#[derive(Debug)]
pub struct SignalSource {
    descriptor: SignalFd,
    /// Processes whose parents have died become its children: it has none of its own.
    adopts: bool,
    reloads: bool,
    had_terminal: bool,
    hup_is_ignored: bool,
}

impl SignalSource {
    /// Listens from now on; signals that came since [`block_signals`] are still there.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn listen() -> std::io::Result<Self> {
        let descriptor = SignalFd::with_flags(&mask(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let adopts = std::process::id() == 1 || get_child_subreaper().unwrap_or(false);
        if adopts {
            reap();
        }
        Ok(Self {
            descriptor,
            adopts,
            reloads: false,
            had_terminal: has_terminal(),
            hup_is_ignored: hup_is_ignored(),
        })
    }

    /// Sets whether HUP is a request to reload, which needs a manifest; without one it is a stop.
    pub fn set_reloads(&mut self, reloads: bool) {
        self.reloads = reloads;
    }

    /// Returns whether a signal has come that asks the process to end.
    pub fn asks_to_end(&self) -> bool {
        let asks = |arrived| matches!(arrived, Arrived::Signal(signal) if signal != Signal::Usr1);
        std::iter::from_fn(|| self.next()).any(asks)
    }

    fn next(&self) -> Option<Arrived> {
        let info = self.descriptor.read_signal().ok().flatten()?;
        let number = i32::try_from(info.ssi_signo).ok()?;
        Some(match System::try_from(number) {
            Ok(System::SIGTERM) => Arrived::Signal(Signal::Term),
            Ok(System::SIGINT) => Arrived::Signal(Signal::Int),
            Ok(System::SIGQUIT) => Arrived::Signal(Signal::Quit),
            Ok(System::SIGUSR1) => Arrived::Signal(Signal::Usr1),
            Ok(System::SIGHUP) if self.hup_is_ignored => Arrived::Ignored,
            Ok(System::SIGHUP) if self.reloads && !self.terminal_is_gone() => Arrived::Signal(Signal::Hup),
            Ok(System::SIGHUP) => Arrived::Signal(Signal::Hangup),
            Ok(System::SIGCONT) => Arrived::Continued,
            Ok(System::SIGCHLD) if self.adopts => {
                reap();
                Arrived::Ignored
            }
            _ => Arrived::Ignored,
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn terminal_is_gone(&self) -> bool {
        self.had_terminal && !has_terminal()
    }
}

/// Takes the status of all children that have ended, which are zombies until then. `curfew run` starts no process itself.
fn reap() {
    let ended = |status| !matches!(status, WaitStatus::StillAlive);
    while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(ended) {}
}

/// A user who starts curfew with HUP ignored (`nohup`) wants it to outlive the terminal. A shell ignores INT for jobs with `&`;
/// curfew reads INT all the same.
fn hup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Opening the controlling terminal fails when there is none, or none any more.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Notices that the process was stopped (SIGSTOP), or frozen with its container, and goes on; and takes that time out of the app's
/// clock.
///
/// Invariant: the time of a turn contains no pause by SIGSTOP that was not taken out: signals are read after the clock, and a
/// pause that comes between the two is seen by its SIGCONT, which is pending from the first moment on. A freezer sends none: the
/// first turn after it sees the gap.
#[derive(Debug)]
pub(super) struct SuspensionWatch {
    last_look: Instant,
    counts: Option<RunCounts>,
    counted: (Instant, Duration),
}

impl SuspensionWatch {
    /// Starts the watch of the calling thread, whose turns it gets.
    pub(super) fn start() -> Self {
        let (now, counts) = (Instant::now(), RunCounts::of_this_thread());
        let active = counts.as_ref().and_then(RunCounts::active).unwrap_or_default();
        Self { last_look: now, counts, counted: (now, active) }
    }

    /// Returns the time of a turn, and the signals that have come. `timed` says whether a deadline bounded the wait for
    /// the turn: without one a long gap means nothing, and there is nothing to move.
    pub(super) fn begin_turn(
        &mut self,
        clock: &RunClock,
        source: Option<&SignalSource>,
        timed: bool,
    ) -> (Duration, Vec<Signal>) {
        let mut signals = Vec::new();
        loop {
            let (now, looked) = (clock.now(), Instant::now());
            let mut continued = false;
            while let Some(arrived) = source.and_then(SignalSource::next) {
                match arrived {
                    Arrived::Signal(signal) => signals.push(signal),
                    Arrived::Continued => continued = true,
                    Arrived::Ignored => {}
                }
            }
            let frozen = self.was_frozen(looked) && timed;
            if !(continued || frozen) {
                self.last_look = looked;
                return (now, signals);
            }
            let gap = self.last_look.elapsed();
            self.last_look = Instant::now();
            if timed && gap >= SHORTEST_GAP {
                clock.take_out(gap);
                let (gap_ms, by) = (millis(gap), if continued { "SIGSTOP" } else { "a freezer" });
                tracing::warn!(
                    gap_ms,
                    by,
                    "the process was stopped and goes on: its deadlines are moved by the gap"
                );
            }
        }
    }

    /// Returns whether the thread was frozen since its last look: it neither ran nor waited for a processor, as it does on a machine
    /// that is merely slow.
    fn was_frozen(&mut self, now: Instant) -> bool {
        let gap = now.saturating_duration_since(self.last_look);
        let (counted_at, counted) = self.counted;
        let is_long = gap >= SHORTEST_FREEZE;
        if !is_long && now.saturating_duration_since(counted_at) < COUNTED_EVERY {
            return false;
        }
        let Some(active) = self.counts.as_ref().and_then(RunCounts::active) else { return false };
        self.counted = (now, active);
        is_long && is_idle(gap, active.saturating_sub(counted))
    }
}

/// Returns whether a thread was idle for most of a gap, given the time that it was active.
fn is_idle(gap: Duration, active: Duration) -> bool {
    active < gap / 4
}

/// Counts that the system keeps of one thread.
#[derive(Debug)]
struct RunCounts(File);

impl RunCounts {
    /// `None` where the kernel does not count.
    fn of_this_thread() -> Option<Self> {
        File::open("/proc/thread-self/schedstat").ok().map(Self)
    }

    /// Returns how long the thread has run or waited for a processor.
    fn active(&self) -> Option<Duration> {
        let mut text = [0; 96];
        let length = self.0.read_at(&mut text, 0).ok()?;
        active_in(std::str::from_utf8(text.get(..length)?).ok()?)
    }
}

/// Adds the first two numbers of `schedstat`: nanoseconds on a processor, and waiting for one.
fn active_in(schedstat: &str) -> Option<Duration> {
    let mut numbers = schedstat.split_ascii_whitespace().map_while(|word| word.parse().ok());
    Some(Duration::from_nanos(numbers.next()?) + Duration::from_nanos(numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waited_for_a_processor_was_not_frozen() {
        assert_eq!(active_in("2000 3000 17\n"), Some(Duration::from_nanos(5000)));
        assert_eq!((active_in("2000"), active_in("")), (None, None));
        let s = Duration::from_secs;
        assert!(is_idle(s(3), Duration::from_millis(200)) && !is_idle(s(3), s(3)) && !is_idle(s(4), s(1)));
    }

    #[test]
    fn a_thread_that_slept_by_itself_counts_as_idle_and_one_that_computed_does_not() {
        let Some(counts) = RunCounts::of_this_thread() else { return };
        let before = counts.active().unwrap();
        let end = Instant::now() + Duration::from_millis(20);
        while Instant::now() < end {}
        assert!(counts.active().unwrap() - before >= Duration::from_millis(15));
    }
}
