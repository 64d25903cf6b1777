//! Addresses: where to listen, which peers to connect to, and how people write both. No name is looked up here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ::http::uri::PathAndQuery;

use super::absolute;

/// Longest path of a Unix socket, in bytes: the limit of the system, without the NUL at the end.
pub const MAX_SOCKET_PATH: usize = 107;

/// An address the host listens on. Displayed as a manifest has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// TCP; port 0 is one of the system's choice, and never the same as another port 0.
    Ip(SocketAddr),
    /// A Unix socket; in a plan its path is absolute.
    Unix(PathBuf),
    /// A socket that the process inherits open, by its name (systemd's `FileDescriptorName=`).
    Activated(String),
}

impl ListenAddress {
    /// Returns the address with an absolute path; a relative one starts at `base`.
    pub fn resolved(&self, base: &Path) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(absolute(base.join(path))),
            Self::Ip(_) | Self::Activated(_) => self.clone(),
        }
    }

    /// Returns the one form of all equal addresses: an IPv4 address is never in its IPv6 form.
    pub fn canonical(self) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port())),
            other @ (Self::Unix(_) | Self::Activated(_)) => other,
        }
    }

    /// Returns whether the system chooses the port.
    pub const fn is_any_port(&self) -> bool {
        matches!(self, Self::Ip(address) if address.port() == 0)
    }

    /// Returns whether its path is longer than [`MAX_SOCKET_PATH`].
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Unix(path) if path.as_os_str().len() > MAX_SOCKET_PATH)
    }

    /// Returns whether only one of the two can be bound at a time: they are equal, or one is part of the other. `0.0.0.0` is
    /// every IPv4 address, `[::]` every IPv6 one and no IPv4 one.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(a), Self::Ip(b)) => {
                let every = a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() != 0 && a.port() == b.port() && (a == b || every && a.is_ipv4() == b.is_ipv4())
            }
            (Self::Ip(_) | Self::Unix(_) | Self::Activated(_), _) => self == other,
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
    /// The host.
    pub host: PeerHost,
    /// The port; `None` is any.
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
    pub reason: String,
    /// A hint at what was probably meant.
    pub hint: Option<String>,
}

impl AddressError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None }
    }

    pub(super) fn hinted(reason: &str, hint: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), hint: Some(hint.into()) }
    }

    pub(super) fn but(reason: &str, meant: impl AsRef<str>) -> Self {
        Self::hinted(reason, format!("did you mean {:?}?", meant.as_ref()))
    }
}

/// Reads `IP:PORT` or `[v6]:PORT` to listen on. A name is an error: its address could change between check and start.
pub fn parse_listen(text: &str) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare_port = text.strip_prefix(':').or_else(|| text.strip_prefix("*:"));
    Err(if let Some(port) = bare_port.filter(|port| !port.is_empty() && port_of(port).is_some()) {
        AddressError::but("the address is missing", format!("0.0.0.0:{port}"))
    } else if let Some(port) = text.strip_prefix("localhost:") {
        AddressError::but("it must be an IP address, not a name", format!("127.0.0.1:{port}"))
    } else if text.parse::<Ipv6Addr>().is_ok() {
        AddressError::but("the port is missing", format!("[{text}]:8080"))
    } else if text.parse::<Ipv4Addr>().is_ok() {
        AddressError::but("the port is missing", format!("{text}:8080"))
    } else if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        AddressError::but("the address is missing", format!("127.0.0.1:{text}"))
    } else if let Some(port) = published(text) {
        let reason = "a component has no ports of its own to publish: the host listens on the address";
        AddressError::but(reason, port)
    } else if let Some((_, rest)) = text.split_once("://") {
        let reason = "it is a URL, not an address";
        let address = rest.trim_end_matches('/').parse::<SocketAddr>();
        address.map_or(AddressError::new(reason), |address| AddressError::but(reason, address.to_string()))
    } else {
        AddressError::new(match text.rsplit_once(':') {
            Some((_, port)) if port_of(port).is_none() => "the port is not a number from 0 to 65535",
            Some((host, _)) if is_host_name(host) => "it must be an IP address, not a name",
            Some(_) | None => "it is not an IP address and a port",
        })
    })
}

/// Returns the address of a port that is published as docker compose does: `[IP:]PORT:PORT`, perhaps with `/tcp`.
fn published(text: &str) -> Option<String> {
    let (published, inner) = text.strip_suffix("/tcp").unwrap_or(text).rsplit_once(':')?;
    port_of(inner).filter(|_| !inner.is_empty())?;
    match published.parse::<SocketAddr>() {
        Ok(address) => Some(address.to_string()),
        Err(_) if published.is_empty() => None,
        Err(_) => port_of(published).map(|port| format!("0.0.0.0:{port}")),
    }
}

/// Reads an address for the host to listen on: what [`parse_listen`] takes, `unix:PATH`, or `fd:NAME`.
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
                Err(AddressError::but("a socket's path follows `unix:`", format!("unix:{text}")))
            }
            Err(error) => Err(error),
        };
    };
    if let Some(rest) = path.strip_prefix("//") {
        let reason = "it is a URL; the path follows `unix:` at once";
        Err(AddressError::but(reason, format!("unix:{rest}")))
    } else if path.is_empty() || path.ends_with('/') {
        Err(AddressError::new("the name of the socket is missing"))
    } else if path.contains('\0') {
        Err(AddressError::new("there is a NUL in it"))
    } else {
        Ok(ListenAddress::Unix(PathBuf::from(path)))
    }
}

/// Reads the name of an inherited socket. By systemd.socket(5) it is printable ASCII without `:`, which separates the names in
/// the environment, and at most 255 long.
fn parse_activated(name: &str) -> Result<ListenAddress, AddressError> {
    let hint = "it is what `FileDescriptorName=` says in the .socket unit";
    if name.is_empty() {
        Err(AddressError::hinted("the name of the socket is missing", hint))
    } else if name.len() > 255 {
        Err(AddressError::new("the name of a socket that is handed over has at most 255 characters"))
    } else if !name.chars().all(|c| matches!(c, ' '..='~') && c != ':') {
        let reason = "the name of a socket that is handed over is printable ASCII without `:`";
        Err(AddressError::hinted(reason, hint))
    } else {
        Ok(ListenAddress::Activated(name.to_owned()))
    }
}

/// Reads the target of a request: a path from `/` on, perhaps with a query.
pub fn parse_request_path(text: &str) -> Result<String, AddressError> {
    if text.is_empty() {
        Err(AddressError::but("it is empty", "/"))
    } else if let Some((_, rest)) = text.split_once("://") {
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
        Err(AddressError::but("it is a URL, not a path", path))
    } else if !text.starts_with('/') {
        Err(AddressError::but("it does not begin with `/`", format!("/{text}")))
    } else if let Some((path, _)) = text.split_once('#') {
        Err(AddressError::but("a fragment never reaches a server", path))
    } else if !text.chars().all(|c| c.is_ascii_graphic()) || PathAndQuery::try_from(text).is_err() {
        Err(AddressError::new("other characters than those of a URL are written as `%20`"))
    } else {
        Ok(text.to_owned())
    }
}

/// Reads a peer: `IP:PORT`, `[v6]:PORT` or `name:PORT`, each part also `*`; `*` alone is any peer.
pub fn parse_peer(text: &str) -> Result<Peer, AddressError> {
    if text == "*" {
        return Ok(Peer { host: PeerHost::Any, port: None });
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        let reason = "an IPv6 address stands in brackets, with a port";
        return Err(AddressError::but(reason, format!("[{text}]:*")));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(url(scheme, rest));
    }
    if text.contains('/') {
        return Err(AddressError::new("a network cannot be granted, only an address, a name or `*`"));
    }
    let Some((host, port)) = split_port(text)? else {
        let hint = (!text.is_empty()).then(|| format!("\"{text}:*\" is any port of it"));
        return Err(AddressError { hint, ..AddressError::new("the port is missing") });
    };
    Ok(Peer { host: parse_host(host)?, port })
}

/// Ports of the services that URLs in the settings of a component often name.
const PORTS: [(&str, u16); 10] = [
    ("redis", 6379),
    ("rediss", 6379),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("mysql", 3306),
    ("mongodb", 27017),
    ("amqp", 5672),
    ("nats", 4222),
    ("mqtt", 1883),
    ("mqtts", 8883),
];

/// Words the error of a URL that stands for a peer.
fn url(scheme: &str, rest: &str) -> AddressError {
    let reason = "it is a URL, not a host and a port";
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if matches!(scheme, "http" | "https") {
        let hint = format!("`outbound-http = [\"{scheme}://{authority}\"]` grants HTTP requests");
        return AddressError::hinted(reason, hint);
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    let port = PORTS.iter().find(|(known, _)| *known == scheme);
    let with_port = port.map(|(_, port)| format!("{host}:{port}"));
    let meant =
        [Some(host.to_owned()), with_port].into_iter().flatten().find(|peer| parse_peer(peer).is_ok());
    meant.map_or_else(|| AddressError::new(reason), |meant| AddressError::but(reason, meant))
}

/// Splits the port off, where there is one. A port that is `None` is `*`.
pub(super) fn split_port(text: &str) -> Result<Option<(&str, Option<u16>)>, AddressError> {
    let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else { return Ok(None) };
    match (port, port_of(port)) {
        ("*", _) => Ok(Some((host, None))),
        (_, Some(1..)) => Ok(Some((host, port_of(port)))),
        _ => Err(AddressError::new("the port is neither a number from 1 to 65535 nor `*`")),
    }
}

pub(super) fn parse_host(host: &str) -> Result<PeerHost, AddressError> {
    if host == "*" {
        Ok(PeerHost::Any)
    } else if let Some(address) = parse_bracketed(host) {
        // A guest's socket says 1.2.3.4 where a manifest may say ::ffff:1.2.3.4.
        Ok(PeerHost::Ip(IpAddr::V6(address?).to_canonical()))
    } else if let Ok(address) = host.parse::<Ipv4Addr>() {
        Ok(PeerHost::Ip(IpAddr::V4(address)))
    } else if host.contains('/') {
        Err(AddressError::new("it is a URL, not a host and a port"))
    } else if is_host_name(host) {
        Ok(PeerHost::Name(host.to_ascii_lowercase()))
    } else {
        Err(AddressError::new("the host is neither an IP address nor a name"))
    }
}

pub(super) fn parse_bracketed(host: &str) -> Option<Result<Ipv6Addr, AddressError>> {
    let inner = host.strip_prefix('[')?.strip_suffix(']')?;
    Some(inner.parse().map_err(|_| AddressError::new("there is no IPv6 address in the brackets")))
}

/// Reads digits only: `u16` would take `+80` too.
fn port_of(text: &str) -> Option<u16> {
    text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Returns whether it is a name of the DNS; one of digits and dots only is a mistyped address.
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
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
