//! Messages to the service manager over `NOTIFY_SOCKET` (the protocol of `sd_notify`).
//!
//! Invariant: no call waits. Without room in the socket, life signs are lost, and changes of the service's state wait for the
//! next call: a lost READY would leave a reload unfinished for ever (systemd#37515). STOPPING is sent once, and no message
//! that contradicts it follows. The libraries for this block, or have rules of their own.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::text::sanitize::short_line;

/// Most messages that wait for room; a reload sends two.
const MOST_UNSENT: usize = 8;
const STATUS_CHARS: usize = 300;

#[derive(Debug)]
pub(crate) struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
    unsent: VecDeque<String>,
    stopping: bool,
    complained: bool,
    watchdog_every: Option<Duration>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. Logs a socket that cannot be used.
    pub(crate) fn from_env() -> Option<Self> {
        Self::new(|name| std::env::var_os(name), std::process::id())
    }

    fn new(lookup: impl Fn(&str) -> Option<OsString>, pid: u32) -> Option<Self> {
        let name = lookup("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let log = |error: &io::Error| {
            tracing::warn!(socket = %name.display(), %error, "systemd cannot be told anything");
        };
        let (socket, manager) = open(&name).inspect_err(log).ok()?;
        let number = |name: &str| lookup(name)?.to_str()?.parse::<u64>().ok();
        let meant_for_another = number("WATCHDOG_PID").is_some_and(|meant| meant != u64::from(pid));
        let micros = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && !meant_for_another);
        Some(Self {
            socket,
            manager,
            unsent: VecDeque::new(),
            stopping: false,
            complained: false,
            watchdog_every: micros.map(|micros| Duration::from_micros(micros) / 2),
        })
    }

    /// Returns the period of [`watchdog`](Self::watchdog), half of the manager's, if it asks.
    pub(crate) fn watchdog_every(&self) -> Option<Duration> {
        self.watchdog_every
    }

    pub(crate) fn ready(&mut self, status: &str) {
        if !self.stopping {
            // A line break in the text could begin another message.
            self.keep(format!("READY=1\nSTATUS={}\n", short_line(status, STATUS_CHARS)));
        }
    }

    /// Reports that a reload begins. Call it after the request came: the manager ignores messages older than its request.
    pub(crate) fn reloading(&mut self) {
        if !self.stopping {
            self.keep(format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_micros()));
        }
    }

    pub(crate) fn stopping(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.keep("STOPPING=1\n".to_owned());
        }
    }

    /// Asks that the start, or the stop, may take this long from now on.
    pub(crate) fn extend(&mut self, by: Duration) {
        self.now_or_never(&format!("EXTEND_TIMEOUT_USEC={}\n", by.as_micros()));
    }

    pub(crate) fn watchdog(&mut self) {
        self.now_or_never("WATCHDOG=1\n");
    }

    /// Sends messages that found no room, as each other call does.
    pub(crate) fn retry(&mut self) {
        while let Some(message) = self.unsent.pop_front() {
            if let Err(error) = self.send(&message) {
                if error.kind() == io::ErrorKind::WouldBlock {
                    self.unsent.push_front(message);
                }
                self.complain(&error);
                return;
            }
        }
    }

    /// Sends a message in order; without room it waits for a later call.
    fn keep(&mut self, message: String) {
        if self.unsent.len() >= MOST_UNSENT {
            self.unsent.pop_front();
        }
        self.unsent.push_back(message);
        self.retry();
    }

    fn now_or_never(&mut self, message: &str) {
        self.retry();
        if let Err(error) = self.send(message) {
            self.complain(&error);
        }
    }

    fn send(&self, message: &str) -> io::Result<()> {
        loop {
            match self.socket.send_to_addr(message.as_bytes(), &self.manager) {
                Ok(_all_of_it) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if !self.complained {
            self.complained = true;
            tracing::warn!(%error, "systemd is not told everything; said once");
        }
    }
}

fn open(socket: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let peer = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => return Err(io::Error::other("NOTIFY_SOCKET is neither a path nor an abstract name")),
    };
    let own = UnixDatagram::unbound()?;
    own.set_nonblocking(true)?;
    Ok((own, peer))
}

/// Reads the clock that the manager compares; `Instant` does not tell it.
fn monotonic_micros() -> i64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec().saturating_mul(1_000_000).saturating_add(now.tv_nsec() / 1000))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const PID: u32 = 4711;

    fn told(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn notifier(variables: &[(&str, &OsStr)]) -> Option<Notifier> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Notifier::new(lookup, PID)
    }

    fn pair(dir: &tempfile::TempDir) -> (UnixDatagram, Notifier) {
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        (manager, notifier(&[("NOTIFY_SOCKET", path.as_os_str())]).unwrap())
    }

    #[test]
    fn a_socket_with_a_path_hears_everything_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, mut notifier) = pair(&dir);
        notifier.ready("2 components");
        assert_eq!(told(&manager), "READY=1\nSTATUS=2 components\n");
        let before = monotonic_micros();
        notifier.reloading();
        let message = told(&manager);
        let at: i64 =
            message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end().parse().unwrap();
        assert!(before > 0 && (before..=monotonic_micros()).contains(&at), "{message}");
        notifier.ready("reload failed:\nsee the log");
        assert_eq!(told(&manager), "READY=1\nSTATUS=reload failed: see the log\n");
        notifier.watchdog();
        notifier.extend(Duration::from_millis(1500));
        assert_eq!([told(&manager), told(&manager)], ["WATCHDOG=1\n", "EXTEND_TIMEOUT_USEC=1500000\n"]);
    }

    #[test]
    fn an_abstract_socket_hears_too() {
        let name = format!("curfew-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        notifier(&[("NOTIFY_SOCKET", OsStr::new(&format!("@{name}")))]).unwrap().watchdog();
        assert_eq!(told(&manager), "WATCHDOG=1\n");
    }

    #[test]
    fn stopping_is_said_once_and_never_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, mut notifier) = pair(&dir);
        notifier.stopping();
        notifier.stopping();
        notifier.ready("no");
        notifier.reloading();
        notifier.watchdog();
        assert_eq!([told(&manager), told(&manager)], ["STOPPING=1\n", "WATCHDOG=1\n"]);
    }

    #[test]
    fn a_full_socket_blocks_nobody_and_loses_no_change_of_state() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, mut notifier) = pair(&dir);
        let began = Instant::now();
        while !notifier.complained {
            notifier.watchdog();
        }
        notifier.reloading();
        notifier.watchdog();
        notifier.ready("after all");
        assert!(began.elapsed() < Duration::from_secs(20));
        assert_eq!(notifier.unsent.len(), 2);
        // Room for what waits, which a later life sign takes along in front of it.
        for _ in 0..3 {
            assert_eq!(told(&manager), "WATCHDOG=1\n");
        }
        notifier.watchdog();
        assert_eq!(notifier.unsent.len(), 0);
        let rest: Vec<String> =
            std::iter::repeat_with(|| told(&manager)).skip_while(|m| m == "WATCHDOG=1\n").take(3).collect();
        assert!(rest[0].starts_with("RELOADING=1\n"), "{rest:?}");
        assert_eq!(rest[1..], ["READY=1\nSTATUS=after all\n", "WATCHDOG=1\n"]);
    }

    #[test]
    fn a_socket_that_is_gone_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, mut notifier) = pair(&dir);
        drop(manager);
        notifier.ready("");
        notifier.stopping();
        assert!(notifier.complained);
        assert_eq!(notifier.unsent.len(), 0);
    }

    #[test]
    fn without_a_usable_socket_nothing_is_on() {
        for variables in [vec![], vec![("NOTIFY_SOCKET", "")], vec![("NOTIFY_SOCKET", "vsock:2:1")]] {
            let mut variables: Vec<_> =
                variables.iter().map(|(name, value)| (*name, OsStr::new(value))).collect();
            variables.push(("WATCHDOG_USEC", OsStr::new("1000000")));
            assert!(notifier(&variables).is_none());
        }
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_asked_for_and_only_if_it_is_ours() {
        let every = |usec: &str, pid: &str| {
            let socket = ("NOTIFY_SOCKET", OsStr::new("/run/notify"));
            let variables = [socket, ("WATCHDOG_USEC", OsStr::new(usec)), ("WATCHDOG_PID", OsStr::new(pid))];
            notifier(&variables[..if pid.is_empty() { 2 } else { 3 }]).unwrap().watchdog_every()
        };
        assert_eq!(every("3000000", ""), Some(Duration::from_millis(1500)));
        assert_eq!(every("3000000", "4711"), Some(Duration::from_millis(1500)));
        assert_eq!(every("3000000", "1"), None);
        assert_eq!(every("0", ""), None);
        assert_eq!(every("soon", ""), None);
    }
}
