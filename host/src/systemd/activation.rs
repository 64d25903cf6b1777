//! Listening sockets that the parent of the process opened for it (`LISTEN_FDS`, the protocol of `sd_listen_fds`).
//! Invariant: descriptors are taken over once, before the process opens any of its own, and only if they are meant for this
//! very process. The sockets stay open: an address that a reload drops can come back with the next one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use socket2::{SockRef, Type};

const FIRST: RawFd = 3;
/// systemd's name of a socket without one.
const NO_NAME: &str = "unknown";

static SOCKETS: OnceLock<Sockets> = OnceLock::new();

#[derive(Debug, thiserror::Error)]
pub(crate) enum ActivationError {
    #[error(
        "no socket was passed to this process (LISTEN_FDS and LISTEN_PID of systemd's socket activation)"
    )]
    Nothing,
    #[error("no listening socket named `{name}` was passed to this process; there are: {there}")]
    Unknown { name: String, there: String },
    /// The process has no descriptor left.
    #[error("the socket `{name}` cannot be taken: {cause}")]
    Unusable { name: String, cause: io::Error },
}

/// Takes over the passed sockets. Belongs at the start of `main`, before anything is opened; a second call does nothing.
pub fn from_env() {
    SOCKETS.get_or_init(|| Sockets::collect(|name| std::env::var_os(name), std::process::id(), FIRST));
}

/// Returns the sockets of this name, at least one, in passed order. They listen, do not block, and close on exec.
pub(crate) fn take(name: &str) -> Result<Vec<OwnedFd>, ActivationError> {
    SOCKETS.get().ok_or(ActivationError::Nothing)?.take(name)
}

/// Returns the names of the sockets that are not taken: their clients wait in vain.
pub(crate) fn unclaimed() -> Vec<String> {
    SOCKETS.get().map(Sockets::unclaimed).unwrap_or_default()
}

/// Returns the problems with passed descriptors.
pub fn problems() -> &'static [String] {
    SOCKETS.get().map_or(&[], |sockets| &sockets.problems)
}

#[derive(Debug)]
struct Passed {
    name: String,
    socket: OwnedFd,
    taken: AtomicBool,
}

#[derive(Debug, Default)]
struct Sockets {
    passed: Vec<Passed>,
    problems: Vec<String>,
}

impl Sockets {
    fn collect(lookup: impl Fn(&str) -> Option<OsString>, pid: u32, first: RawFd) -> Self {
        let mut all = Self::default();
        let number = |name: &str| lookup(name)?.to_str()?.parse::<u32>().ok();
        if number("LISTEN_PID") != Some(pid) {
            return all;
        }
        let Some(count) = number("LISTEN_FDS") else {
            all.problems.push("LISTEN_FDS is not a number".to_owned());
            return all;
        };
        let names = lookup("LISTEN_FDNAMES").map(|names| names.to_string_lossy().into_owned());
        let mut names = names.iter().flat_map(|names| names.split(':'));
        for (at, descriptor) in (first..).enumerate().take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or(NO_NAME);
            let Some(socket) = adopt(descriptor) else {
                all.problems.push(format!("LISTEN_FDS is {count}, but only {at} are open"));
                break;
            };
            match check(&socket) {
                Ok(()) => all.passed.push(Passed { name: name.to_owned(), socket, taken: false.into() }),
                Err(error) => all.problems.push(format!("the descriptor `{name}` is not used: {error}")),
            }
        }
        all
    }

    fn take(&self, name: &str) -> Result<Vec<OwnedFd>, ActivationError> {
        if self.passed.is_empty() {
            return Err(ActivationError::Nothing);
        }
        let named: Vec<&Passed> = self.passed.iter().filter(|passed| passed.name == name).collect();
        if named.is_empty() {
            let there: BTreeSet<_> = self.passed.iter().map(|passed| format!("`{}`", passed.name)).collect();
            let there = Vec::from_iter(there).join(", ");
            return Err(ActivationError::Unknown { name: name.to_owned(), there });
        }
        let copies = named.iter().map(|passed| passed.socket.try_clone()).collect::<io::Result<_>>();
        let copies = copies.map_err(|cause| ActivationError::Unusable { name: name.to_owned(), cause })?;
        named.iter().for_each(|passed| passed.taken.store(true, Ordering::Release));
        Ok(copies)
    }

    fn unclaimed(&self) -> Vec<String> {
        let unclaimed = self.passed.iter().filter(|passed| !passed.taken.load(Ordering::Acquire));
        unclaimed.map(|passed| passed.name.clone()).collect()
    }
}

#[expect(unsafe_code, reason = "a descriptor that is inherited is only a number; see the safety comments")]
fn adopt(descriptor: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_SETFD takes any number, and refuses one that is not open.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return None;
    }
    // SAFETY: it is open. LISTEN_PID says that the descriptors are meant for this process, which has opened none of its
    // own yet, and each number is adopted once: `from_env` runs once.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Checks that connections can be accepted, and makes accepting not block.
fn check(socket: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::other("it is not a listening stream socket"));
    }
    socket.set_nonblocking(true)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::{AsFd, IntoRawFd};
    use std::os::unix::net::UnixListener;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    const PID: u32 = 4711;

    /// Leaves a descriptor open under the given number, which no test but this one uses, as a parent would.
    fn leave_open(at: RawFd, descriptor: impl AsFd) {
        let copy = fcntl(&descriptor, FcntlArg::F_DUPFD(at)).unwrap();
        assert_eq!(copy, at, "somebody else has it");
    }

    fn collect(first: RawFd, fds: &str, names: Option<&str>) -> Sockets {
        let lookup = |name: &str| match name {
            "LISTEN_PID" => Some("4711".into()),
            "LISTEN_FDS" => Some(fds.into()),
            "LISTEN_FDNAMES" => names.map(Into::into),
            _ => None,
        };
        Sockets::collect(lookup, PID, first)
    }

    #[test]
    fn sockets_are_found_by_name_and_accept() {
        let dir = tempfile::tempdir().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        leave_open(700, tcp);
        leave_open(701, UnixListener::bind(dir.path().join("a")).unwrap());
        leave_open(702, TcpListener::bind("127.0.0.1:0").unwrap());
        let sockets = collect(700, "3", Some("web:admin:web"));
        assert_eq!(sockets.problems, [""; 0]);
        assert_eq!(sockets.unclaimed(), ["web", "admin", "web"]);

        let web = sockets.take("web").unwrap();
        assert_eq!((web.len(), sockets.unclaimed()), (2, vec!["admin".to_owned()]));
        let flags = FdFlag::from_bits_retain(fcntl(&web[0], FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
        let listener = TcpListener::from(web.into_iter().next().unwrap());
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _client = TcpStream::connect(address).unwrap();
        listener.accept().unwrap();

        // After a reload that dropped the address, and one that brings it back.
        drop(listener);
        assert_eq!(sockets.take("web").unwrap().len(), 2);
        let error = sockets.take("wbe").unwrap_err().to_string();
        assert!(
            error.ends_with("named `wbe` was passed to this process; there are: `admin`, `web`"),
            "{error}"
        );
    }

    #[test]
    fn what_does_not_listen_is_refused_and_closed() {
        let unbound = socket2::Socket::new(socket2::Domain::IPV4, Type::STREAM, None).unwrap();
        leave_open(720, UdpSocket::bind("127.0.0.1:0").unwrap());
        leave_open(721, unbound);
        leave_open(722, std::fs::File::open("/dev/null").unwrap());
        leave_open(723, TcpListener::bind("127.0.0.1:0").unwrap());
        let sockets = collect(720, "4", Some("udp:idle:null:good"));
        assert_eq!(sockets.problems.len(), 3, "{:?}", sockets.problems);
        assert!(sockets.problems[0].starts_with("the descriptor `udp` is not used: it is not a listening"));
        assert_eq!(sockets.unclaimed(), ["good"]);
        let again = fcntl(std::fs::File::open("/dev/null").unwrap(), FcntlArg::F_DUPFD(720)).unwrap();
        assert_eq!(again, 720, "the refused ones are closed");
        drop(adopt(again));
    }

    #[test]
    fn names_that_are_missing_and_descriptors_that_are_missing() {
        leave_open(740, TcpListener::bind("127.0.0.1:0").unwrap());
        let sockets = collect(740, "4000000000", None);
        assert_eq!(sockets.unclaimed(), ["unknown"]);
        assert_eq!(sockets.problems, ["LISTEN_FDS is 4000000000, but only 1 are open"]);
        assert_eq!(collect(745, "some", None).problems, ["LISTEN_FDS is not a number"]);
        assert!(matches!(collect(745, "0", None).take("web"), Err(ActivationError::Nothing)));
    }

    #[test]
    fn what_is_meant_for_another_process_is_left_alone() {
        let kept = TcpListener::bind("127.0.0.1:0").unwrap();
        let descriptor = kept.into_raw_fd();
        for pid in [None, Some("1"), Some("me")] {
            let lookup = |name: &str| match name {
                "LISTEN_PID" => pid.map(OsString::from),
                _ => Some("1".into()),
            };
            let sockets = Sockets::collect(lookup, PID, descriptor);
            assert!(sockets.passed.is_empty() && sockets.problems.is_empty());
        }
        assert!(adopt(descriptor).is_some(), "it is still open");
    }
}
