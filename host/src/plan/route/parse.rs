//! Routes as people write them: `api.example.com/v1`, `*.example.com`, `/static`.
//!
//! Invariant: what parses can match a request; what looks like a route of another server, and would mean
//! something else here, is refused with what was probably meant.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::address::{AddressError, is_host_name};
use super::{Route, RouteHost};

/// Reads a route: a host, a path, or both. The host is a name, `*.` and a name, or an IP address, without a port.
///
/// # Errors
/// Anything else.
pub fn parse_route(text: &str) -> Result<Route, AddressError> {
    if text.is_empty() {
        return Err(AddressError::new("it is empty"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        return Err(AddressError::but("a route has no scheme", rest));
    }
    let (host, path) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    if host == "*" || text == "/*" {
        return Err(match path {
            "" | "/" | "/*" => AddressError {
                reason: "it is every request",
                hint: Some("leave `routes` out: the component gets what no other route takes".to_owned()),
            },
            path => AddressError::but("any host is written by leaving it out", path),
        });
    }
    let path = parse_path(host, path)?;
    let host = if host.is_empty() { None } else { Some(parse_host(host, &path)?) };
    Ok(Route { host, path })
}

fn parse_host(host: &str, path: &str) -> Result<RouteHost, AddressError> {
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::but("an IPv6 address stands in brackets", &format!("[{host}]{path}")));
    }
    if let Some((name, _)) = host.rsplit_once(':').filter(|_| !host.ends_with(']')) {
        return Err(AddressError::but("a route has no port: the address has it", &format!("{name}{path}")));
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            // In one way of many: what is compared is text.
            Ok(address) => Ok(RouteHost::Exact(format!("[{address}]"))),
            Err(_) => Err(AddressError::new("there is no IPv6 address in the brackets")),
        };
    }
    let (name, below) = match host.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (host, false),
    };
    if name.contains('*') {
        return Err(AddressError::new("`*` stands only for all below a name, as in \"*.example.com\""));
    }
    if !is_host_name(name) && (below || name.parse::<Ipv4Addr>().is_err()) {
        return Err(AddressError::new("the host is neither a name nor an IP address"));
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    Ok(if below { RouteHost::Subdomains(name) } else { RouteHost::Exact(name) })
}

/// The path without its last slash. `host` is for the hint only.
fn parse_path(host: &str, path: &str) -> Result<String, AddressError> {
    let whole = |path: &str| format!("{host}{path}");
    if let Some((before, _)) = path.split_once(['?', '#']) {
        return Err(match whole(before) {
            meant if meant.is_empty() => AddressError::new("a route has no query and no fragment"),
            meant => AddressError::but("a route has no query and no fragment", &meant),
        });
    }
    if path.contains('*') {
        let reason = "a path is the start of many already, `*` is not for it";
        return Err(match path.strip_suffix("/*").filter(|start| !start.contains('*')) {
            Some(start) => AddressError::but(reason, &whole(start)),
            None => AddressError::new(reason),
        });
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut segments = path.split('/').skip(1);
    if segments.any(|segment| segment.is_empty() || matches!(segment, "." | "..")) {
        return Err(AddressError::new("no segment of a path is empty, `.` or `..`"));
    }
    if !path.bytes().all(may_stand_in_a_path) || !is_encoded(path) {
        return Err(AddressError::new("what cannot stand in the path of a URL is written as %XX"));
    }
    Ok(path.to_owned())
}

/// What a client sends as it is; anything else comes encoded, and would never match.
fn may_stand_in_a_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()+,;=:@%".contains(&byte)
}

/// Whether two digits follow each `%`.
fn is_encoded(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        let mut bytes = rest.bytes();
        (0..2).all(|_| bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit()))
    })
}
