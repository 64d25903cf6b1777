//! Where requests of the load go.
//!
//! Invariant: an aim is complete: everything a client needs to connect and to ask is in it.

use std::path::PathBuf;

use http::Uri;

use super::error::DrillError;
use curfew_host::plan::{Route, RouteHost};

/// One target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is called in messages: its URL, or the component with it.
    pub name: String,
    /// Where to connect.
    pub at: At,
    /// The `host` of the requests.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Whether others answer at its address, too: then it cannot be closed when this one ends.
    pub is_shared: bool,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// A host with a port; a name is looked up.
    Tcp(String),
    /// The same with TLS; whose certificate it is does not matter.
    Tls(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Reads a URL of the command line.
    ///
    /// # Errors
    /// When it is none that can be asked.
    pub fn parse(url: &str) -> Result<Self, DrillError> {
        let wrong = |reason| DrillError::Load { url: url.to_owned(), reason };
        if let Some(path) = url.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::new(url, At::Unix(path.into()), "localhost", "/"));
        }
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL such as http://127.0.0.1:8080/path"))?;
        let host = uri.host().filter(|host| !host.is_empty());
        let (Some(host), Some(authority)) = (host, uri.authority()) else {
            return Err(wrong("it is no URL such as http://127.0.0.1:8080/path, or unix:PATH"));
        };
        let to = |port: u16| format!("{host}:{}", uri.port_u16().unwrap_or(port));
        let at = match uri.scheme_str() {
            Some("http") => At::Tcp(to(80)),
            Some("https") => At::Tls(to(443)),
            _ => return Err(wrong("it starts with neither http:// nor https:// nor unix:")),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self::new(url, at, authority.as_str(), path))
    }

    /// The first route of a component, at an address as its app tells it.
    pub fn of_component(component: &str, address: &str, route: Option<&Route>) -> Option<Self> {
        let mut aim = Self::parse(address).ok()?;
        aim.name = format!("{component} at {address}");
        if let Some(route) = route {
            match &route.host {
                Some(RouteHost::Exact(host)) => aim.host = host.clone(),
                Some(RouteHost::Subdomains(parent)) => aim.host = format!("drill.{parent}"),
                None => {}
            }
            if !route.path.is_empty() {
                aim.path = route.path.clone();
            }
        }
        Some(aim)
    }

    fn new(name: &str, at: At, host: &str, path: &str) -> Self {
        Self { name: name.to_owned(), at, host: host.to_owned(), path: path.to_owned(), is_shared: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curfew_host::plan::parse_route;

    #[test]
    fn urls_are_read() {
        let aim = Target::parse("http://127.0.0.1:8080/a?b=c").unwrap();
        assert_eq!(
            (aim.at, aim.host.as_str(), aim.path.as_str()),
            (At::Tcp("127.0.0.1:8080".into()), "127.0.0.1:8080", "/a?b=c")
        );
        assert_eq!(Target::parse("http://shop").unwrap().at, At::Tcp("shop:80".into()));
        assert_eq!(Target::parse("https://[::1]").unwrap().at, At::Tls("[::1]:443".into()));
        assert_eq!(Target::parse("unix:/run/a.sock").unwrap().at, At::Unix("/run/a.sock".into()));
        for wrong in ["", "unix:", "127.0.0.1:80", "ftp://a", "/path", "http://", "http:// a", "tcp://a:1"] {
            assert!(matches!(Target::parse(wrong), Err(DrillError::Load { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn a_component_is_asked_for_its_first_route() {
        let route = |text: &str| parse_route(text).unwrap();
        let aim = |text: &str| Target::of_component("web", "http://127.0.0.1:1", Some(&route(text))).unwrap();
        assert_eq!((aim("/v1").host.as_str(), aim("/v1").path.as_str()), ("127.0.0.1:1", "/v1"));
        assert_eq!((aim("a.example").host.as_str(), aim("a.example").path.as_str()), ("a.example", "/"));
        assert_eq!(aim("*.example.com/x").host, "drill.example.com");
        let unix = Target::of_component("web", "unix:/a", None).unwrap();
        assert_eq!((unix.name.as_str(), unix.path.as_str()), ("web at unix:/a", "/"));
        assert_eq!(Target::of_component("echo", "tcp://127.0.0.1:1", None), None);
    }
}
