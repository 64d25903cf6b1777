//! A host on a terminal that can be taken away from it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;

use super::{App, Host, patience};

/// The user's end of a terminal. When it is dropped, the terminal is gone.
pub struct Terminal {
    master: OwnedFd,
    seen: String,
}

impl Terminal {
    /// Starts the host as the leader of a session on a new terminal, as a login shell's child would be.
    pub fn start(host: Host) -> (Terminal, App) {
        let pty = openpty(None, None).unwrap();
        // A child that kept the user's end would keep the terminal alive.
        fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        let end = |fd: &OwnedFd| fd.try_clone().unwrap();
        let host = host.without_group().under("setsid", &["--ctty"]).without_group();
        let host = host.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(pty.slave);
        (Terminal { master: pty.master, seen: String::new() }, host.start())
    }

    /// Reads what the host writes on the terminal, up to this text.
    #[track_caller]
    pub fn wait_for(&mut self, wanted: &str) {
        let end = Instant::now() + patience();
        while !self.seen.contains(wanted) {
            let left = end.saturating_duration_since(Instant::now());
            let mut polled = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap();
            assert!(poll(&mut polled, timeout).unwrap() > 0, "{wanted:?} never came in:\n{}", self.seen);
            let mut buffer = [0; 4096];
            let read = nix::unistd::read(&self.master, &mut buffer).unwrap_or(0);
            assert!(read > 0, "{wanted:?} never came in:\n{}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }

    /// The user presses Ctrl-C: the terminal sends INT to the whole group.
    pub fn press_ctrl_c(&self) {
        nix::unistd::write(&self.master, b"\x03").unwrap();
    }
}
