//! Hosts that get listening sockets from whoever starts them: as a service manager does it, and through systemd's own
//! tool.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::Host;
use super::http_tool::tool;

/// Descriptors in the test are moved up here, out of the way of the numbers that they get in the host.
const ASIDE: i32 = 100;

impl Host {
    /// Passes these sockets, each with its name. They stay open in the test for as long as it keeps them.
    pub fn passing(self, sockets: &[(&str, &dyn AsFd)]) -> Host {
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        let aside: Vec<OwnedFd> = sockets.iter().map(|(_, socket)| aside(*socket)).collect();
        // Only the process itself knows its number, and keeps it when it becomes another program.
        let mut host = self.under("sh", &["-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\""]);
        host = host.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        hand_over(&mut host, aside);
        host
    }

    /// Runs it under `systemd-socket-activate`, which opens Unix sockets at these paths, each with its name, and starts
    /// the host when the first client comes to any of them. `None` where the tool is missing.
    pub fn socket_activated(self, sockets: &[(&str, &Path)]) -> Option<Host> {
        let tool = tool("systemd-socket-activate")?;
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        let mut args = vec![format!("--fdname={}", names.join(":"))];
        args.extend(sockets.iter().map(|(_, path)| format!("--listen={}", path.display())));
        // It passes on no variable unless it is told to.
        let set = self.command.get_envs().filter(|(_, value)| value.is_some());
        args.extend(set.map(|(name, _)| format!("--setenv={}", name.display())));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Some(self.under(tool, &args))
    }
}

#[expect(unsafe_code, reason = "nix returns the number of a new descriptor, which is nobody else's")]
fn aside(socket: &dyn AsFd) -> OwnedFd {
    let copy = fcntl(socket, FcntlArg::F_DUPFD_CLOEXEC(ASIDE)).unwrap();
    // SAFETY: it has just been made.
    unsafe { OwnedFd::from_raw_fd(copy) }
}

#[expect(unsafe_code, reason = "std passes no descriptors to children but the first three")]
fn hand_over(host: &mut Host, sockets: Vec<OwnedFd>) {
    let give = move || {
        for (socket, number) in sockets.iter().zip(3..) {
            // SAFETY: dup2 takes any numbers. The new one has no CLOEXEC.
            if unsafe { libc::dup2(socket.as_raw_fd(), number) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec it only calls dup2, which is safe there, and allocates nothing.
    unsafe { host.command.pre_exec(give) };
}
