//! What the plan says of a component of kind `http`: where the host listens for it, what it is sent, and the
//! limits that hold.
//!
//! Invariant: plain data with the documented defaults; addresses are parsed and paths resolved. Which request
//! goes where is decided in `route`, and nothing is bound here.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::route::Route;

/// Longest time from a request to the begin of its response, where nothing else is said.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Most instances of a component whose handler is sync, where nothing else is said. Async ones have one per core.
pub const DEFAULT_SYNC_INSTANCES: usize = 32;
/// Most requests in one instance at a time when the handler is async, where nothing else is said. A sync one
/// takes one at a time, always.
pub const DEFAULT_CONCURRENCY: usize = 64;
/// Most connections in one instance of kind `tcp` at a time, where nothing else is said.
pub const DEFAULT_TCP_CONCURRENCY: usize = 512;
/// Requests after which an instance is replaced, where nothing else is said: 0 is never.
pub const DEFAULT_REQUESTS: u64 = 0;
/// Requests of a component that may wait for an instance, where nothing else is said.
pub const DEFAULT_QUEUE: usize = 1024;
/// How long a surplus instance stays without a request, where nothing else is said.
pub const DEFAULT_INSTANCE_IDLE: Duration = Duration::from_secs(60);
/// Most connections of a component at a time, where nothing else is said.
pub const DEFAULT_CONNECTIONS: usize = 4096;
/// Most bytes of a request's head, where nothing else is said.
pub const DEFAULT_HEADER_SIZE: usize = 64 << 10;
/// The least a request's head can be limited to; less than this breaks ordinary clients.
pub const MIN_HEADER_SIZE: usize = 8 << 10;
/// The most a request's head can be limited to; each connection may need a buffer of that size.
pub const MAX_HEADER_SIZE: usize = 1 << 20;
/// Longest time for the head of a request to arrive, where nothing else is said.
pub const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection stays without a request, where nothing else is said.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Longest path of a Unix socket, in bytes: what the system's address takes, without the NUL at its end.
pub const MAX_SOCKET_PATH: usize = 107;

/// What holds for a component as a server. Only kind `http` is one; the default listens nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPlan {
    /// The addresses the host listens on for it. None is there twice, but each port 0 is a port of its own.
    pub listen: Vec<ListenAddress>,
    /// Which requests on these addresses are its own; none: all that no other component's route takes.
    pub routes: Vec<Route>,
    /// The certificate of its addresses; `None` is plain HTTP.
    pub tls: Option<TlsPlan>,
    /// How many instances there are, and for how long.
    pub instances: InstancesPlan,
    /// Longest time until a response begins.
    pub request_timeout: Duration,
    /// What clients may use up.
    pub limits: LimitsPlan,
    /// What becomes of the `forwarded` headers of a client.
    pub forwarded: Forwarded,
}

impl Default for HttpPlan {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            routes: Vec::new(),
            tls: None,
            instances: InstancesPlan::default(),
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            limits: LimitsPlan::default(),
            forwarded: Forwarded::default(),
        }
    }
}

/// An address the host listens on. Displayed as a manifest has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// TCP; port 0 is one of the system's choice, and never the same as another port 0.
    Ip(SocketAddr),
    /// A Unix socket; in a plan its path is absolute.
    Unix(PathBuf),
    /// A socket that whoever started the process listens on already, by its name (systemd's `FileDescriptorName=`).
    Activated(String),
}

impl ListenAddress {
    /// The address with the path of its socket made absolute; a relative one starts at `base`.
    #[must_use]
    pub fn resolved(&self, base: &Path) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(*address),
            Self::Unix(path) => {
                let path = base.join(path);
                Self::Unix(std::path::absolute(&path).unwrap_or(path))
            }
            Self::Activated(name) => Self::Activated(name.clone()),
        }
    }

    /// The address as all that mean the same write it: IPv4 is never an IPv6 address.
    #[must_use]
    pub fn canonical(self) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port())),
            other @ (Self::Unix(_) | Self::Activated(_)) => other,
        }
    }

    /// Whether the system chooses the port.
    #[must_use]
    pub const fn is_any_port(&self) -> bool {
        matches!(self, Self::Ip(address) if address.port() == 0)
    }

    /// Whether it is a socket whose path is longer than the system takes.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Unix(path) if path.as_os_str().len() > MAX_SOCKET_PATH)
    }

    /// Whether only one of them can be bound at a time: equal ones, and one that is part of the other.
    /// `0.0.0.0` is every IPv4 address, `[::]` every IPv6 one and no IPv4 one.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(a), Self::Ip(b)) => {
                let every = a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() != 0 && a.port() == b.port() && (a == b || every && a.is_ipv4() == b.is_ipv4())
            }
            (Self::Unix(a), Self::Unix(b)) => a == b,
            (Self::Activated(a), Self::Activated(b)) => a == b,
            (Self::Ip(_) | Self::Unix(_) | Self::Activated(_), _) => false,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Activated(name) => write!(f, "fd:{name}"),
        }
    }
}

/// A certificate and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPlan {
    /// The certificate, with those that sign it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How many instances there are, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancesPlan {
    /// Most instances at a time; `None` depends on the handler, see [`DEFAULT_SYNC_INSTANCES`].
    pub max: Option<usize>,
    /// Most requests in one at a time; `None` depends on the handler, see [`DEFAULT_CONCURRENCY`].
    pub concurrency: Option<usize>,
    /// Requests after which an instance is replaced; 0 is never.
    pub requests: u64,
    /// Requests that may wait for an instance.
    pub queue: usize,
    /// How long a surplus instance stays without a request.
    pub idle: Duration,
}

impl Default for InstancesPlan {
    fn default() -> Self {
        Self {
            max: None,
            concurrency: None,
            requests: DEFAULT_REQUESTS,
            queue: DEFAULT_QUEUE,
            idle: DEFAULT_INSTANCE_IDLE,
        }
    }
}

/// What clients may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsPlan {
    /// Most connections at a time.
    pub connections: usize,
    /// Most bytes of a request's head.
    pub header_size: usize,
    /// Most bytes of a request's body; `None` is no limit.
    pub body_size: Option<u64>,
    /// Longest time for the head of a request to arrive.
    pub header_timeout: Duration,
    /// How long a connection stays without a request.
    pub idle_timeout: Duration,
}

impl Default for LimitsPlan {
    fn default() -> Self {
        Self {
            connections: DEFAULT_CONNECTIONS,
            header_size: DEFAULT_HEADER_SIZE,
            body_size: None,
            header_timeout: DEFAULT_HEADER_TIMEOUT,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
        }
    }
}

/// What becomes of the `forwarded` and `x-forwarded-*` headers of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// They are taken away: anyone can write them. The guest gets what the host knows.
    #[default]
    Replace,
    /// They stay, and what the host knows is added: for a host behind a proxy that is trusted.
    Append,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> ListenAddress {
        ListenAddress::Ip(text.parse().unwrap())
    }

    #[test]
    fn addresses_that_overlap() {
        let unix = |path: &str| ListenAddress::Unix(path.into());
        for (a, b, overlap) in [
            (ip("127.0.0.1:80"), ip("127.0.0.1:80"), true),
            (ip("127.0.0.1:80"), ip("127.0.0.2:80"), false),
            (ip("127.0.0.1:80"), ip("127.0.0.1:81"), false),
            (ip("127.0.0.1:80"), ip("0.0.0.0:80"), true),
            (ip("[::]:80"), ip("[::1]:80"), true),
            (ip("[::]:80"), ip("0.0.0.0:80"), false),
            (ip("127.0.0.1:0"), ip("127.0.0.1:0"), false),
            (unix("/a"), unix("/a"), true),
            (unix("/a"), unix("/b"), false),
            (unix("/a"), ip("127.0.0.1:80"), false),
        ] {
            assert_eq!((a.overlaps(&b), b.overlaps(&a)), (overlap, overlap), "{a} {b}");
        }
    }

    #[test]
    fn addresses_are_shown_as_they_are_written() {
        let unix = ListenAddress::Unix("web.sock".into());
        assert_eq!(unix.resolved(Path::new("/srv/./app")).to_string(), "unix:/srv/app/web.sock");
        assert_eq!(ListenAddress::Unix("/x".into()).resolved(Path::new("/srv")).to_string(), "unix:/x");
        assert_eq!(ip("[::1]:80").resolved(Path::new("/")).to_string(), "[::1]:80");
        assert!(ip("[::1]:0").is_any_port() && !ip("[::1]:1").is_any_port() && !unix.is_any_port());
    }
}
