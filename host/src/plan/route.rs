//! Routes: which component of an address gets a request, and how people write that: `api.example.com/v1`, `*.example.com`,
//! `/static`.
//!
//! Invariant: the most specific route wins, by host first, then by path. A text that would mean something else on another server,
//! or could match no request, is refused with what was probably meant.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{AddressError, is_host_name, parse_bracketed};
use crate::text::authority::Authority;

/// Some requests: those to a host, those below a path, or both. Displayed as a manifest has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The host; `None` is any.
    pub host: Option<RouteHost>,
    /// The start of the path, without a slash at its end: `/v1` is also `/v1/x`, but not `/v10`. Empty is any.
    pub path: String,
}

/// The host part of a [`Route`], in lower case and without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteHost {
    /// This host; an IPv6 address in its brackets.
    Exact(String),
    /// Every host below this one: `example.com` is `*.example.com`.
    Subdomains(String),
}

impl Route {
    /// The route of all requests, which a component without routes has.
    pub const ALL: Self = Self { host: None, path: String::new() };
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(RouteHost::Exact(host)) => write!(f, "{}{}", as_host(host), self.path),
            Some(RouteHost::Subdomains(host)) => write!(f, "*.{host}{}", self.path),
            None if self.path.is_empty() => f.write_str("/"),
            None => f.write_str(&self.path),
        }
    }
}

/// Returns a host as a route has it: one of a single word ends with a dot, as the word alone could be a path without its `/`.
fn as_host(host: &str) -> Cow<'_, str> {
    let is_clear = host.contains(['.', '[']) || host.eq_ignore_ascii_case("localhost");
    if is_clear { host.into() } else { format!("{host}.").into() }
}

/// The paths of one host with their targets; the longest comes first.
type Paths = Vec<(String, usize)>;

/// The routes of one address with their targets.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    targets: Vec<T>,
    exact: HashMap<String, Paths>,
    /// By the host above them.
    subdomains: HashMap<String, Paths>,
    any: Paths,
}

impl<T> RouteTable<T> {
    /// Makes the table of targets and their routes; a target without routes gets the rest. Of two equal routes the first counts.
    pub fn new(entries: impl IntoIterator<Item = (Vec<Route>, T)>) -> Self {
        let mut table = Self {
            targets: Vec::new(),
            exact: HashMap::new(),
            subdomains: HashMap::new(),
            any: Paths::new(),
        };
        for (mut routes, target) in entries {
            if routes.is_empty() {
                routes.push(Route::ALL);
            }
            let index = table.targets.len();
            table.targets.push(target);
            for Route { host, path } in routes {
                let paths = match host {
                    Some(RouteHost::Exact(host)) => table.exact.entry(host).or_default(),
                    Some(RouteHost::Subdomains(host)) => table.subdomains.entry(host).or_default(),
                    None => &mut table.any,
                };
                paths.push((path, index));
            }
        }
        let by_host = table.exact.values_mut().chain(table.subdomains.values_mut());
        for paths in by_host.chain(Some(&mut table.any)) {
            // Stable: of two equal ones the first stays first.
            paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        }
        table
    }

    /// Returns the target of a request. `path` has no query, `host` may have a port. A host that is no [`Authority`] has no target
    /// but those of all hosts.
    pub fn find(&self, host: Option<&str>, path: &str) -> Option<&T> {
        let has_hosts = !(self.exact.is_empty() && self.subdomains.is_empty());
        let by_host = host.filter(|_| has_hosts).and_then(|host| self.by_host(host, path));
        self.targets.get(by_host.or_else(|| find(&self.any, path))?)
    }

    fn by_host(&self, host: &str, path: &str) -> Option<usize> {
        let host = Authority::parse(host)?.host;
        let exact = self.exact.get(host.as_ref()).and_then(|paths| find(paths, path));
        if exact.is_some() || self.subdomains.is_empty() {
            return exact;
        }
        parents(&host).find_map(|parent| find(self.subdomains.get(parent)?, path))
    }
}

fn find(paths: &Paths, path: &str) -> Option<usize> {
    paths.iter().find(|(prefix, _)| is_below(path, prefix)).map(|(_, target)| *target)
}

/// Returns whether `path` is `prefix` or below it, by whole segments.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

/// Returns the hosts above `host`, the nearest first: of `a.b.c` these are `b.c` and `c`.
fn parents(host: &str) -> impl Iterator<Item = &str> {
    // A host that starts with a dot has no name below its parent.
    let first = host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent);
    std::iter::successors(first, |host| Some(host.split_once('.')?.1))
}

/// Reads a route: a host, a path, or both. The host is a name, `*.` and a name, or an IP address, without a port.
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
            "" | "/" | "/*" => AddressError::hinted(
                "it is every request",
                "leave `routes` out: the component gets what no other route takes",
            ),
            path => AddressError::but("any host is written by leaving it out", path),
        });
    }
    let path = parse_path(host, path)?;
    let host = if host.is_empty() { None } else { Some(parse_host(host, &path)?) };
    Ok(Route { host, path })
}

fn parse_host(host: &str, path: &str) -> Result<RouteHost, AddressError> {
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::but("an IPv6 address stands in brackets", format!("[{host}]{path}")));
    }
    if let Some((name, _)) = host.rsplit_once(':').filter(|_| !host.ends_with(']')) {
        return Err(AddressError::but(
            "a route has no port: the address has it",
            format!("{}{path}", as_host(name)),
        ));
    }
    if let Some(address) = parse_bracketed(host) {
        // One form of many: routes are compared as text.
        return Ok(RouteHost::Exact(format!("[{}]", address?)));
    }
    let below = host.strip_prefix("*.");
    let name = below.unwrap_or(host);
    if name.contains('*') {
        return Err(AddressError::new("`*` stands only for all below a name, as in \"*.example.com\""));
    }
    if !is_host_name(name) && (below.is_some() || name.parse::<Ipv4Addr>().is_err()) {
        return Err(AddressError::new("the host is neither a name nor an IP address"));
    }
    if below.is_none() && as_host(name) != name {
        let hint =
            format!("did you mean the path \"/{name}{path}\"? The host {name} is written \"{name}.{path}\"");
        return Err(AddressError::hinted("it could be a path or a host", hint));
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    Ok(if below.is_some() { RouteHost::Subdomains(name) } else { RouteHost::Exact(name) })
}

/// Returns the path without its last slash. `host` is for the hint only.
fn parse_path(host: &str, path: &str) -> Result<String, AddressError> {
    let whole = |path: &str| format!("{host}{path}");
    if let Some((before, _)) = path.split_once(['?', '#']) {
        return Err(match whole(before) {
            meant if meant.is_empty() => AddressError::new("a route has no query and no fragment"),
            meant => AddressError::but("a route has no query and no fragment", meant),
        });
    }
    if path.contains('*') {
        let reason = "a path is the start of many already, `*` is not for it";
        return Err(match path.strip_suffix("/*").filter(|start| !start.contains('*')) {
            Some(start) => AddressError::but(reason, whole(start)),
            None => AddressError::new(reason),
        });
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(AddressError::new("no segment of a path is empty, `.` or `..`"));
    }
    // Clients send any other byte encoded, and a route with it would never match.
    let stands = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()+,;=:@%".contains(&byte);
    let is_encoded =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !path.bytes().all(stands) || !path.split('%').skip(1).all(is_encoded) {
        return Err(AddressError::new("what cannot stand in the path of a URL is written as %XX"));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests;
