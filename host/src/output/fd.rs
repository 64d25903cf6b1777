//! The two standard streams, and raw writes to a descriptor. Only `write_all`, for the writer threads, waits without a limit.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

/// The most that a pipe with `POLLOUT` takes without blocking (`PIPE_BUF` on Linux).
const PIECE: usize = 4096;

/// An output stream of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Data.
    Stdout,
    /// Log, report, status.
    Stderr,
}

impl Channel {
    pub(super) fn thread_name(self) -> &'static str {
        match self {
            Channel::Stdout => "curfew-stdout",
            Channel::Stderr => "curfew-stderr",
        }
    }

    #[expect(clippy::disallowed_methods, reason = "only the descriptors are taken, no lock and no buffer")]
    /// Returns a descriptor of the stream, for a line that no thread can write.
    ///
    /// # Errors
    /// When there is none left, or the stream is closed.
    pub fn descriptor(self) -> io::Result<OwnedFd> {
        match self {
            Channel::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Channel::Stderr => io::stderr().as_fd().try_clone_to_owned(),
        }
    }
}

/// The end of a write of a whole batch, with the number of bytes that got out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    All,
    /// The target takes no more just now (a full disk): the next batch may not be lost.
    Refused(usize),
    Gone(usize),
}

/// Writes all of `bytes`, waiting for the reader as long as it takes.
pub(super) fn write_all(fd: BorrowedFd<'_>, bytes: &[u8]) -> Wrote {
    let mut rest = bytes;
    while !rest.is_empty() {
        let done = bytes.len() - rest.len();
        match write(fd, rest) {
            // No progress and no error would spin here for ever.
            Ok(0) => return Wrote::Refused(done),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            // A process that shares the descriptor made it non-blocking; it is not ours to change back.
            Err(Errno::EAGAIN) if wait_writable(fd, None) => {}
            Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => return Wrote::Refused(done),
            // EPIPE, EIO of a closed terminal, EBADF: all of them are for good.
            Err(_) => return Wrote::Gone(done),
        }
    }
    Wrote::All
}

/// Writes `bytes` without waiting past `until`. Bytes that a pipe takes at once are written even after that.
pub(super) fn write_by(fd: BorrowedFd<'_>, bytes: &[u8], until: Instant) -> Wrote {
    let mut rest = bytes;
    while !rest.is_empty() {
        let done = bytes.len() - rest.len();
        if !wait_writable(fd, Some(until)) {
            return Wrote::Refused(done);
        }
        match write(fd, rest.get(..PIECE).unwrap_or(rest)) {
            Ok(0) => return Wrote::Refused(done),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(Errno::EINTR | Errno::EAGAIN) if Instant::now() < until => {}
            Err(Errno::EINTR | Errno::EAGAIN) => return Wrote::Refused(done),
            Err(_) => return Wrote::Gone(done),
        }
    }
    Wrote::All
}

/// Waits until a write will not block; false when it is too late, or when the descriptor can not be waited for.
fn wait_writable(fd: BorrowedFd<'_>, until: Option<Instant>) -> bool {
    loop {
        let timeout = match until {
            None => PollTimeout::NONE,
            Some(until) => {
                // Rounded up, so that the last millisecond is waited for and not spun through.
                let left = until.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
        match poll(&mut fds, timeout) {
            // An error condition counts as writable: the write itself tells which one.
            Ok(n) if n > 0 => return true,
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return false,
        }
    }
}
