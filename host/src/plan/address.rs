//! Addresses: where to listen, which peers to connect to, and how people write both.
//!
//! Invariant: no name is looked up here, and what parses is either one address or an explicit `*`; there is no
//! silent default port or host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ::http::uri::PathAndQuery;

/// Longest path of a Unix socket, in bytes: what the system's address takes, without the NUL at its end.
pub const MAX_SOCKET_PATH: usize = 107;

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

/// One peer a component may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which host.
    pub host: PeerHost,
    /// Which port; `None` is any.
    pub port: Option<u16>,
}

/// The host part of a [`Peer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerHost {
    /// Any address, written `*`.
    Any,
    /// This address.
    Ip(IpAddr),
    /// A name, looked up once before the app starts; the addresses it had then are granted.
    Name(String),
}

/// The reason why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct AddressError {
    /// The fault.
    pub reason: &'static str,
    /// A hint at what was probably meant.
    pub hint: Option<String>,
}

impl AddressError {
    pub(super) const fn new(reason: &'static str) -> Self {
        Self { reason, hint: None }
    }

    /// The same with what was probably meant.
    pub(super) fn but(reason: &'static str, meant: &str) -> Self {
        Self { reason, hint: Some(format!("did you mean {meant:?}?")) }
    }
}

/// Reads an address to listen on: `IP:PORT` or `[v6]:PORT`. Port 0 is one of the system's choice.
///
/// # Errors
/// Anything else; a name too, as what it stands for could change between check and start.
pub fn parse_listen(text: &str) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare_port = text.strip_prefix(':').or_else(|| text.strip_prefix("*:"));
    if let Some(port) = bare_port.filter(|port| !port.is_empty() && port_of(port).is_some()) {
        return Err(AddressError::but("the address is missing", &format!("0.0.0.0:{port}")));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return Err(AddressError::but("it must be an IP address, not a name", &format!("127.0.0.1:{port}")));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::but("the port is missing", &format!("[{text}]:8080")));
    }
    if text.parse::<Ipv4Addr>().is_ok() {
        return Err(AddressError::but("the port is missing", &format!("{text}:8080")));
    }
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Err(AddressError::but("the address is missing", &format!("127.0.0.1:{text}")));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/');
        return Err(match rest.parse::<SocketAddr>() {
            Ok(address) => AddressError::but("it is a URL, not an address", &address.to_string()),
            Err(_) => AddressError::new("it is a URL, not an address"),
        });
    }
    if let Some((host, port)) = text.rsplit_once(':') {
        if port_of(port).is_none() {
            return Err(AddressError::new("the port is not a number from 0 to 65535"));
        }
        if is_host_name(host) {
            return Err(AddressError::new("it must be an IP address, not a name"));
        }
    }
    Err(AddressError::new("it is not an IP address and a port"))
}

/// Reads an address for the host to listen on: what [`parse_listen`] takes, `unix:PATH`, or `fd:NAME`.
///
/// # Errors
/// Anything else.
pub fn parse_listen_address(text: &str) -> Result<ListenAddress, AddressError> {
    if let Some(name) = text.strip_prefix("fd:") {
        return parse_activated(name);
    }
    let Some(path) = text.strip_prefix("unix:") else {
        let is_path = text.ends_with(".sock") || text.contains('/') && !text.contains(':');
        return match parse_listen(text) {
            // One way to write it, so that components that mean the same address share it.
            Ok(address) => Ok(ListenAddress::Ip(address).canonical()),
            Err(_) if is_path => {
                Err(AddressError::but("a socket's path follows `unix:`", &format!("unix:{text}")))
            }
            Err(error) => Err(error),
        };
    };
    if let Some(rest) = path.strip_prefix("//") {
        return Err(AddressError::but(
            "it is a URL; the path follows `unix:` at once",
            &format!("unix:{rest}"),
        ));
    }
    if path.is_empty() || path.ends_with('/') {
        return Err(AddressError::new("the name of the socket is missing"));
    }
    if path.contains('\0') {
        return Err(AddressError::new("there is a NUL in it"));
    }
    Ok(ListenAddress::Unix(PathBuf::from(path)))
}

/// Longest name of a socket that is handed over at the start: what systemd takes.
const MAX_ACTIVATED: usize = 255;

/// By systemd.socket(5): printable ASCII without `:`, which separates the names in the environment.
fn parse_activated(name: &str) -> Result<ListenAddress, AddressError> {
    if name.is_empty() {
        return Err(AddressError {
            reason: "the name of the socket is missing",
            hint: Some(ACTIVATED.to_owned()),
        });
    }
    if name.len() > MAX_ACTIVATED {
        return Err(AddressError::new("the name of a socket that is handed over has at most 255 characters"));
    }
    if !name.chars().all(|c| matches!(c, ' '..='~') && c != ':') {
        let reason = "the name of a socket that is handed over is printable ASCII without `:`";
        return Err(AddressError { reason, hint: Some(ACTIVATED.to_owned()) });
    }
    Ok(ListenAddress::Activated(name.to_owned()))
}

const ACTIVATED: &str = "it is what `FileDescriptorName=` says in the .socket unit";

/// Reads what a request asks a server for: a path from `/` on, perhaps with a query.
///
/// # Errors
/// Anything else.
pub fn parse_request_path(text: &str) -> Result<String, AddressError> {
    if text.is_empty() {
        return Err(AddressError::but("it is empty", "/"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
        return Err(AddressError::but("it is a URL, not a path", path));
    }
    if !text.starts_with('/') {
        return Err(AddressError::but("it does not begin with `/`", &format!("/{text}")));
    }
    if let Some((path, _)) = text.split_once('#') {
        return Err(AddressError::but("a fragment never reaches a server", path));
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) || PathAndQuery::try_from(text).is_err() {
        return Err(AddressError::new("other characters than those of a URL are written as `%20`"));
    }
    Ok(text.to_owned())
}

/// Reads a peer: `IP:PORT`, `[v6]:PORT` or `name:PORT`, each part also `*`; `*` alone is any peer.
///
/// # Errors
/// Anything else, a missing port included.
pub fn parse_peer(text: &str) -> Result<Peer, AddressError> {
    if text == "*" {
        return Ok(Peer { host: PeerHost::Any, port: None });
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::but(
            "an IPv6 address stands in brackets, with a port",
            &format!("[{text}]:*"),
        ));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
        let meant = (!text.is_empty()).then(|| format!("\"{text}:*\" is any port of it"));
        return Err(AddressError { reason: "the port is missing", hint: meant });
    };
    let port = match (port, port_of(port)) {
        ("*", _) => None,
        (_, Some(port)) if port > 0 => Some(port),
        _ => return Err(AddressError::new("the port is neither a number from 1 to 65535 nor `*`")),
    };
    Ok(Peer { host: parse_host(host)?, port })
}

pub(super) fn parse_host(host: &str) -> Result<PeerHost, AddressError> {
    if host == "*" {
        return Ok(PeerHost::Any);
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            // A guest's socket says 1.2.3.4 where a manifest may say ::ffff:1.2.3.4.
            Ok(address) => Ok(PeerHost::Ip(IpAddr::V6(address).to_canonical())),
            Err(_) => Err(AddressError::new("there is no IPv6 address in the brackets")),
        };
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(PeerHost::Ip(IpAddr::V4(address)));
    }
    if host.contains("://") || host.contains('/') {
        return Err(AddressError::new("it is a URL, not a host and a port"));
    }
    if is_host_name(host) {
        return Ok(PeerHost::Name(host.to_ascii_lowercase()));
    }
    Err(AddressError::new("the host is neither an IP address nor a name"))
}

/// Digits only: `u16` would take `+80` too.
pub(super) fn port_of(text: &str) -> Option<u16> {
    text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A name of the DNS; one of digits and dots only is a mistyped address.
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let absolute = text.strip_suffix('.').unwrap_or(text);
    absolute.len() <= 253
        && absolute.split('.').all(label)
        && !absolute.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(host: PeerHost, port: impl Into<Option<u16>>) -> Result<Peer, AddressError> {
        Ok(Peer { host, port: port.into() })
    }

    #[test]
    fn every_form_of_peer() {
        let ip = |text: &str| PeerHost::Ip(text.parse().unwrap());
        let name = |text: &str| PeerHost::Name(text.to_owned());
        assert_eq!(parse_peer("127.0.0.1:6379"), peer(ip("127.0.0.1"), 6379));
        assert_eq!(parse_peer("[::1]:80"), peer(ip("::1"), 80));
        assert_eq!(parse_peer("[::ffff:10.0.0.1]:80"), peer(ip("10.0.0.1"), 80));
        assert_eq!(parse_peer("db.Example.com:5432"), peer(name("db.example.com"), 5432));
        assert_eq!(parse_peer("*:443"), peer(PeerHost::Any, 443));
        assert_eq!(parse_peer("10.0.0.1:*"), peer(ip("10.0.0.1"), None));
        assert_eq!(parse_peer("redis:*"), peer(name("redis"), None));
        assert_eq!(parse_peer("*:*"), peer(PeerHost::Any, None));
        assert_eq!(parse_peer("*"), peer(PeerHost::Any, None));
    }

    #[test]
    fn wrong_peers_say_why() {
        for (text, reason) in [
            ("", "the port is missing"),
            ("redis", "the port is missing"),
            ("[::1]", "the port is missing"),
            ("::1", "an IPv6 address stands in brackets, with a port"),
            ("redis:0", "the port is neither a number from 1 to 65535 nor `*`"),
            ("redis:+80", "the port is neither a number from 1 to 65535 nor `*`"),
            ("redis:65536", "the port is neither a number from 1 to 65535 nor `*`"),
            ("[::1:80", "the host is neither an IP address nor a name"),
            ("[x]:80", "there is no IPv6 address in the brackets"),
            ("127.0.0.300:80", "the host is neither an IP address nor a name"),
            (":80", "the host is neither an IP address nor a name"),
            ("http://redis:80", "it is a URL, not a host and a port"),
            ("a b:80", "the host is neither an IP address nor a name"),
        ] {
            assert_eq!(parse_peer(text).unwrap_err().reason, reason, "{text}");
        }
    }

    #[test]
    fn wrong_listen_addresses_say_why_and_what_else() {
        assert!(parse_listen("127.0.0.1:0").is_ok() && parse_listen("[::]:80").is_ok());
        for (text, reason, hint) in [
            (":80", "the address is missing", Some("0.0.0.0:80")),
            ("8080", "the address is missing", Some("127.0.0.1:8080")),
            ("localhost:80", "it must be an IP address, not a name", Some("127.0.0.1:80")),
            ("::1", "the port is missing", Some("[::1]:8080")),
            ("10.0.0.1", "the port is missing", Some("10.0.0.1:8080")),
            ("web:80", "it must be an IP address, not a name", None),
            ("1.2.3.4:99999", "the port is not a number from 0 to 65535", None),
            ("1.2.3:80", "it is not an IP address and a port", None),
            ("", "it is not an IP address and a port", None),
            ("http://127.0.0.1:80/", "it is a URL, not an address", Some("127.0.0.1:80")),
            ("http://web", "it is a URL, not an address", None),
        ] {
            let error = parse_listen(text).unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
            assert_eq!(error.hint, hint.map(|meant| format!("did you mean {meant:?}?")), "{text}");
        }
    }

    #[test]
    fn the_host_listens_on_sockets_too() {
        let ip = |text: &str| Ok(ListenAddress::Ip(text.parse().unwrap()));
        assert_eq!(parse_listen_address("127.0.0.1:0"), ip("127.0.0.1:0"));
        assert_eq!(parse_listen_address("[::1]:80"), ip("[::1]:80"));
        assert_eq!(parse_listen_address("[::ffff:127.0.0.1]:80"), ip("127.0.0.1:80"));
        for path in ["web.sock", "/run/web.sock", "a b/ü", "../x"] {
            let address = parse_listen_address(&format!("unix:{path}"));
            assert_eq!(address, Ok(ListenAddress::Unix(path.into())));
        }
        for name in ["web", "my.socket", "a b", "~!", &"x".repeat(255)] {
            let address = parse_listen_address(&format!("fd:{name}"));
            assert_eq!(address, Ok(ListenAddress::Activated(name.into())));
            assert_eq!(address.unwrap().to_string(), format!("fd:{name}"));
        }
        for (name, reason) in [
            ("", "the name of the socket is missing"),
            ("a:b", "the name of a socket that is handed over is printable ASCII without `:`"),
            ("a\tb", "the name of a socket that is handed over is printable ASCII without `:`"),
            ("ä", "the name of a socket that is handed over is printable ASCII without `:`"),
            (&"x".repeat(256), "the name of a socket that is handed over has at most 255 characters"),
        ] {
            assert_eq!(parse_listen_address(&format!("fd:{name}")).unwrap_err().reason, reason, "{name}");
        }
        let missing = "a socket's path follows `unix:`";
        for (text, reason, hint) in [
            ("/run/web.sock", missing, Some("unix:/run/web.sock")),
            ("web.sock", missing, Some("unix:web.sock")),
            ("./web", missing, Some("unix:./web")),
            ("unix:///run/x", "it is a URL; the path follows `unix:` at once", Some("unix:/run/x")),
            ("unix:", "the name of the socket is missing", None),
            ("unix:/run/", "the name of the socket is missing", None),
            ("unix:a\0b", "there is a NUL in it", None),
            ("127.0.0.1:80/", "the port is not a number from 0 to 65535", None),
            ("localhost:80", "it must be an IP address, not a name", Some("127.0.0.1:80")),
            ("http://0.0.0.0:80/", "it is a URL, not an address", Some("0.0.0.0:80")),
        ] {
            let error = parse_listen_address(text).unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
            assert_eq!(error.hint, hint.map(|meant| format!("did you mean {meant:?}?")), "{text}");
        }
    }

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
