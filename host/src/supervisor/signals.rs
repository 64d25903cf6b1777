//! Signals of the system, and their meaning to the app; the only file that knows the system's.
//!
//! Invariant: signals are blocked before any thread but the first exists, so none can kill the process too early. Every
//! signal that can be caught is taken here, except those of faults (wasmtime's) and of job control (the shell's).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal as System;
use nix::sys::signalfd::{SfdFlags, SignalFd};

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
        Ok(Self {
            descriptor,
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

/// Notices that the process was stopped (SIGSTOP) and goes on, and takes that time out of the app's clock.
///
/// Invariant: the time of a turn contains no pause that was not taken out: signals are read after the clock, and a
/// pause that comes between the two is seen by its SIGCONT, which is pending from the first moment on.
#[derive(Debug)]
pub(super) struct SuspensionWatch {
    last_look: Instant,
}

impl SuspensionWatch {
    pub(super) fn start() -> Self {
        Self { last_look: Instant::now() }
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
            if !continued {
                self.last_look = looked;
                return (now, signals);
            }
            let gap = self.last_look.elapsed();
            self.last_look = Instant::now();
            if timed && gap >= SHORTEST_GAP {
                clock.take_out(gap);
                let gap_ms = millis(gap);
                tracing::warn!(
                    gap_ms,
                    "the process was stopped and goes on: its deadlines are moved by the gap"
                );
            }
        }
    }
}
