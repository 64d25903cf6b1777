//! From the system's signals to the ones that mean something; the only file that knows the system's.
//!
//! Invariant: signals are blocked before any thread but the first exists, so none can kill the process before
//! somebody listens; every signal that can be caught is taken here, except those of faults (they belong to
//! wasmtime) and of job control (they belong to the shell).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal as System;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::teardown::Signal;

/// Faults, traps and aborts: synchronous, or another's business.
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

/// An arrived signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// A signal that means something to the app.
    Signal(Signal),
    /// The process goes on after it was stopped.
    Continued,
    /// A signal that means nothing.
    Ignored,
}

/// Blocks the signals that curfew listens to in the calling thread, and so in all threads that it starts.
/// Call it first thing in `main`.
///
/// # Errors
/// When the system refuses, which it has no reason to.
pub fn block_signals() -> std::io::Result<()> {
    mask().thread_block().map_err(Into::into)
}

/// Lets signals do again what they do to any process.
///
/// # Errors
/// When the system refuses, which it has no reason to.
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

/// Where signals arrive.
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
    /// When the process has no descriptor left.
    pub fn listen() -> std::io::Result<Self> {
        let descriptor = SignalFd::with_flags(&mask(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            descriptor,
            reloads: false,
            had_terminal: has_terminal(),
            hup_is_ignored: hup_is_ignored(),
        })
    }

    /// Says whether HUP is a request to reload, which needs a manifest; without one it is a stop.
    pub fn set_reloads(&mut self, reloads: bool) {
        self.reloads = reloads;
    }

    /// Returns whether a signal has come that asks the process to end.
    pub fn asks_to_end(&self) -> bool {
        std::iter::from_fn(|| self.next()).any(|arrived| match arrived {
            Arrived::Signal(Signal::Term | Signal::Int | Signal::Quit | Signal::Hup | Signal::Hangup) => true,
            Arrived::Signal(Signal::Usr1) | Arrived::Continued | Arrived::Ignored => false,
        })
    }

    /// Returns the next signal that has come, if one has.
    pub fn next(&self) -> Option<Arrived> {
        let info = self.descriptor.read_signal().ok().flatten()?;
        let number = i32::try_from(info.ssi_signo).ok()?;
        let Ok(signal) = System::try_from(number) else {
            return Some(Arrived::Ignored);
        };
        Some(match signal {
            System::SIGTERM => Arrived::Signal(Signal::Term),
            System::SIGINT => Arrived::Signal(Signal::Int),
            System::SIGQUIT => Arrived::Signal(Signal::Quit),
            System::SIGUSR1 => Arrived::Signal(Signal::Usr1),
            System::SIGHUP if self.hup_is_ignored => Arrived::Ignored,
            System::SIGHUP if self.reloads && !self.terminal_is_gone() => Arrived::Signal(Signal::Hup),
            System::SIGHUP => Arrived::Signal(Signal::Hangup),
            System::SIGCONT => Arrived::Continued,
            _ => Arrived::Ignored,
        })
    }

    /// Returns the descriptor to poll for reading.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
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
