//! Addresses as people write them: where to listen, whom to connect to.
//!
//! Invariant: no name is looked up here, and what parses is either one address or an explicit `*`; there is no
//! silent default port or host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::types::{Peer, PeerHost};

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct AddressError {
    /// What is wrong with it.
    pub reason: &'static str,
    /// What was probably meant.
    pub hint: Option<String>,
}

const fn wrong(reason: &'static str) -> AddressError {
    AddressError { reason, hint: None }
}

fn wrong_but(reason: &'static str, meant: &str) -> AddressError {
    AddressError { reason, hint: Some(format!("did you mean {meant:?}?")) }
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
        return Err(wrong_but("the address is missing", &format!("0.0.0.0:{port}")));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return Err(wrong_but("it must be an IP address, not a name", &format!("127.0.0.1:{port}")));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(wrong_but("the port is missing", &format!("[{text}]:8080")));
    }
    if text.parse::<Ipv4Addr>().is_ok() {
        return Err(wrong_but("the port is missing", &format!("{text}:8080")));
    }
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Err(wrong_but("the address is missing", &format!("127.0.0.1:{text}")));
    }
    if let Some((host, port)) = text.rsplit_once(':') {
        if port_of(port).is_none() {
            return Err(wrong("the port is not a number from 0 to 65535"));
        }
        if is_host_name(host) {
            return Err(wrong("it must be an IP address, not a name"));
        }
    }
    Err(wrong("it is not an IP address and a port"))
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
        return Err(wrong_but("an IPv6 address stands in brackets, with a port", &format!("[{text}]:*")));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
        let meant = (!text.is_empty()).then(|| format!("\"{text}:*\" is any port of it"));
        return Err(AddressError { reason: "the port is missing", hint: meant });
    };
    let port = match (port, port_of(port)) {
        ("*", _) => None,
        (_, Some(port)) if port > 0 => Some(port),
        _ => return Err(wrong("the port is neither a number from 1 to 65535 nor `*`")),
    };
    Ok(Peer { host: parse_host(host)?, port })
}

fn parse_host(host: &str) -> Result<PeerHost, AddressError> {
    if host == "*" {
        return Ok(PeerHost::Any);
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            // A guest's socket says 1.2.3.4 where a manifest may say ::ffff:1.2.3.4.
            Ok(address) => Ok(PeerHost::Ip(IpAddr::V6(address).to_canonical())),
            Err(_) => Err(wrong("there is no IPv6 address in the brackets")),
        };
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(PeerHost::Ip(IpAddr::V4(address)));
    }
    if host.contains("://") || host.contains('/') {
        return Err(wrong("it is a URL, not a host and a port"));
    }
    if is_host_name(host) {
        return Ok(PeerHost::Name(host.to_ascii_lowercase()));
    }
    Err(wrong("the host is neither an IP address nor a name"))
}

/// Checks an origin: `http://HOST`, `https://HOST`, either with `:PORT`, and nothing after it.
///
/// # Errors
/// Anything else.
pub fn check_origin(text: &str) -> Result<(), AddressError> {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return Err(wrong("it does not start with http:// or https://"));
    };
    let authority = match rest.split_once('/') {
        Some((authority, "")) => authority,
        Some(_) => return Err(wrong("a path cannot be granted, only the whole server")),
        None => rest,
    };
    if authority.ends_with(']') || !authority.contains(':') {
        return parse_host(authority).map(|_| ());
    }
    parse_peer(authority).map(|_| ())
}

/// Digits only: `u16` would take `+80` too.
fn port_of(text: &str) -> Option<u16> {
    text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A name of the DNS; one of digits and dots only is a mistyped address.
fn is_host_name(text: &str) -> bool {
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
        ] {
            let error = parse_listen(text).unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
            assert_eq!(error.hint, hint.map(|meant| format!("did you mean {meant:?}?")), "{text}");
        }
    }

    #[test]
    fn origins_are_servers_only() {
        for good in ["https://api.example.com", "http://127.0.0.1:80/", "https://[::1]", "https://[::1]:8443"]
        {
            assert_eq!(check_origin(good), Ok(()), "{good}");
        }
        for bad in ["api.example.com", "https://a/b", "https://", "https://a:x", "ftp://a"] {
            assert!(check_origin(bad).is_err(), "{bad}");
        }
    }
}
