//! The HTTP servers that a component may send requests to. An origin grants a whole server or several, never a path.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::{AddressError, PeerHost, is_host_name, parse_host, split_port};

/// A server, or several, as one item of `outbound-http`. Displayed as a manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// True for `https`, false for `http`.
    pub https: bool,
    /// The hosts.
    pub host: OriginHost,
    /// The ports.
    pub port: OriginPort,
}

/// The host part of an [`Origin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginHost {
    /// Any, written `*`.
    Any,
    /// This address; an IPv4 one is never in its IPv6 form.
    Ip(IpAddr),
    /// This name, in lower case and without a final dot.
    Name(String),
    /// Every name below this one: `example.com` is `*.example.com`.
    Subdomains(String),
}

/// The port part of an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginPort {
    /// The scheme's own: 80, or 443 for `https`.
    Default,
    /// Any, written `*`.
    Any,
    /// This one.
    Port(u16),
}

impl Origin {
    /// Returns whether a request to `port` of `host` is granted. An IPv6 address has brackets or not.
    pub fn allows(&self, https: bool, host: &str, port: u16) -> bool {
        let port_allowed = match self.port {
            OriginPort::Default => port == if https { 443 } else { 80 },
            OriginPort::Any => true,
            OriginPort::Port(wanted) => port == wanted,
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        let host_allowed = match &self.host {
            OriginHost::Any => !name.is_empty(),
            OriginHost::Ip(wanted) => {
                let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
                bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical() == *wanted)
            }
            OriginHost::Name(wanted) => name.eq_ignore_ascii_case(wanted),
            OriginHost::Subdomains(parent) => {
                let end = name.len().checked_sub(parent.len()).and_then(|at| name.split_at_checked(at));
                end.is_some_and(|(below, end)| {
                    below.len() > 1 && below.ends_with('.') && end.eq_ignore_ascii_case(parent)
                })
            }
        };
        self.https == https && port_allowed && host_allowed
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.https { "https://" } else { "http://" })?;
        match &self.host {
            OriginHost::Any => f.write_str("*")?,
            OriginHost::Ip(IpAddr::V4(address)) => write!(f, "{address}")?,
            OriginHost::Ip(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            OriginHost::Name(name) => f.write_str(name)?,
            OriginHost::Subdomains(parent) => write!(f, "*.{parent}")?,
        }
        match self.port {
            OriginPort::Default => Ok(()),
            OriginPort::Any => f.write_str(":*"),
            OriginPort::Port(port) => write!(f, ":{port}"),
        }
    }
}

/// Reads an origin: `http://HOST` or `https://HOST`, either with `:PORT`. The host may be `*` or `*.NAME`, the port `*`.
pub fn parse_origin(text: &str) -> Result<Origin, AddressError> {
    let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(no_scheme(text)),
    };
    let scheme = if https { "https" } else { "http" };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        let reason = "a path cannot be granted, only the whole server";
        return Err(AddressError::but(reason, format!("{scheme}://{authority}")));
    }
    if authority.contains(['?', '#', '@']) {
        return Err(AddressError::new("a server is a host and a port, nothing else"));
    }
    if authority.parse::<Ipv6Addr>().is_ok() {
        let meant = format!("{scheme}://[{authority}]");
        return Err(AddressError::but("an IPv6 address stands in brackets", meant));
    }
    let (host, port) = match split_port(authority)? {
        None => (authority, OriginPort::Default),
        Some((host, port)) => (host, port.map_or(OriginPort::Any, OriginPort::Port)),
    };
    Ok(Origin { https, host: origin_host(host)?, port })
}

fn no_scheme(text: &str) -> AddressError {
    let reason = "it does not start with http:// or https://";
    let meant = format!("https://{text}");
    if text == "*" {
        AddressError::hinted(reason, "\"http://*:*\" and \"https://*:*\" together are any server")
    } else if text.contains("://") || parse_origin(&meant).is_err() {
        AddressError::new(reason)
    } else {
        AddressError::but(reason, meant)
    }
}

fn origin_host(host: &str) -> Result<OriginHost, AddressError> {
    if let Some(parent) = host.strip_prefix("*.").filter(|parent| is_host_name(parent)) {
        let parent = parent.strip_suffix('.').unwrap_or(parent);
        return Ok(OriginHost::Subdomains(parent.to_ascii_lowercase()));
    }
    if host != "*" && host.contains('*') {
        let reason = "in a host `*` stands alone, or for all below a name as in \"*.example.com\"";
        return Err(AddressError::new(reason));
    }
    Ok(match parse_host(host)? {
        PeerHost::Any => OriginHost::Any,
        PeerHost::Ip(address) => OriginHost::Ip(address),
        PeerHost::Name(name) => OriginHost::Name(name.strip_suffix('.').unwrap_or(&name).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        parse_origin(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_form_is_shown_as_it_is_written() {
        for text in [
            "https://api.example.com",
            "http://*.internal:8080",
            "http://127.0.0.1:*",
            "https://[::1]:8443",
            "http://[::1]",
            "http://*",
            "https://*:*",
        ] {
            assert_eq!(origin(text).to_string(), text);
        }
        assert_eq!(origin("https://API.example.com./").to_string(), "https://api.example.com");
        assert_eq!(origin("http://*.Internal.").to_string(), "http://*.internal");
        assert_eq!(origin("http://[::ffff:10.0.0.1]").to_string(), "http://10.0.0.1");
    }

    #[test]
    fn servers_only_are_taken() {
        let scheme = "it does not start with http:// or https://";
        let path = "a path cannot be granted, only the whole server";
        let host = "the host is neither an IP address nor a name";
        let port = "the port is neither a number from 1 to 65535 nor `*`";
        let star = "in a host `*` stands alone, or for all below a name as in \"*.example.com\"";
        let more = "a server is a host and a port, nothing else";
        for (text, reason, hint) in [
            ("api.example.com", scheme, Some("did you mean \"https://api.example.com\"?")),
            ("*", scheme, Some("\"http://*:*\" and \"https://*:*\" together are any server")),
            ("ftp://a", scheme, None),
            ("", scheme, None),
            ("https://a/b/c", path, Some("did you mean \"https://a\"?")),
            ("https://", host, None),
            ("https://a b", host, None),
            ("https://1.2.3.400", host, None),
            ("https://a:x", port, None),
            ("https://a:", port, None),
            ("https://a:0", port, None),
            ("https://a:+1", port, None),
            ("https://[x]", "there is no IPv6 address in the brackets", None),
            ("http://::1", "an IPv6 address stands in brackets", Some("did you mean \"http://[::1]\"?")),
            ("https://a.*.com", star, None),
            ("https://*a.com", star, None),
            ("https://*.1.2.3.4", star, None),
            ("https://a?b", more, None),
            ("https://u:p@a", more, None),
        ] {
            let error = parse_origin(text).unwrap_err();
            assert_eq!((error.reason.as_str(), error.hint.as_deref()), (reason, hint), "{text}");
        }
    }

    #[test]
    fn names_allow_themselves_only() {
        let name = origin("https://api.example.com");
        for host in ["api.example.com", "API.Example.COM", "api.example.com."] {
            assert!(name.allows(true, host, 443), "{host}");
        }
        for host in
            ["example.com", "x.api.example.com", "api.example.com.evil", "127.0.0.1", "", ".", "[::1]"]
        {
            assert!(!name.allows(true, host, 443), "{host}");
        }
        assert!(!name.allows(false, "api.example.com", 443) && !name.allows(false, "api.example.com", 80));
        assert!(!name.allows(true, "api.example.com", 8443));
    }

    #[test]
    fn subdomains_are_below_their_name() {
        let below = origin("http://*.example.com:8080");
        for host in ["a.example.com", "A.B.EXAMPLE.com", "a.example.com."] {
            assert!(below.allows(false, host, 8080), "{host}");
        }
        for host in ["example.com", ".example.com", "aexample.com", "a.example.com.evil", "é.com", ""] {
            assert!(!below.allows(false, host, 8080), "{host}");
        }
        assert!(!below.allows(false, "a.example.com", 80));
    }

    #[test]
    fn addresses_are_one_however_they_are_written() {
        let v6 = origin("http://[::1]:*");
        for host in ["::1", "[::1]", "[0:0:0:0:0:0:0:1]"] {
            assert!(v6.allows(false, host, 1) && v6.allows(false, host, 65535), "{host}");
        }
        let v4 = origin("http://10.0.0.1");
        assert!(v4.allows(false, "10.0.0.1", 80) && v4.allows(false, "[::ffff:10.0.0.1]", 80));
        assert!(!v4.allows(false, "10.0.0.2", 80) && !v4.allows(false, "[::1]", 80));
        assert!(!v4.allows(false, "a.10.0.0.1", 80));
    }

    #[test]
    fn a_star_is_any_host_but_not_any_port() {
        let any = origin("https://*");
        for host in ["a", "10.0.0.1", "[::1]"] {
            assert!(any.allows(true, host, 443), "{host}");
        }
        assert!(!any.allows(true, "a", 80) && !any.allows(false, "a", 80) && !any.allows(true, "", 443));
        assert!(origin("https://*:*").allows(true, "a", 1));
    }
}
