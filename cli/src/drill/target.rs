//! A target of the load: an address and a request. It has everything that a client needs to connect and to ask.

use std::path::PathBuf;

use http::Uri;

use crate::error::CliError;
use curfew_host::plan::{Route, RouteHost};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its name in messages: the URL, or the component with the URL.
    pub(super) name: String,
    /// The component behind it; not known of a URL of the command line.
    pub(super) component: Option<String>,
    pub(super) endpoint: Endpoint,
    /// The `host` of the requests.
    pub(super) host: String,
    pub(super) path: String,
    /// True if other components answer at its address, too: then the address stays open when this one ends.
    pub(super) is_shared: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Host and port; a name is looked up.
    Tcp(String),
    /// Host and port with TLS; any certificate will do.
    Tls(String),
    Unix(PathBuf),
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, CliError> {
        let wrong = |reason| CliError::LoadUrl { url: url.to_owned(), reason };
        if let Some(path) = url.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::new(url, Endpoint::Unix(path.into()), "localhost", "/"));
        }
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL such as http://127.0.0.1:8080/path"))?;
        let host = uri.host().filter(|host| !host.is_empty());
        let (Some(host), Some(authority)) = (host, uri.authority()) else {
            return Err(wrong("it is no URL such as http://127.0.0.1:8080/path, or unix:PATH"));
        };
        let to = |port: u16| format!("{host}:{}", uri.port_u16().unwrap_or(port));
        let endpoint = match uri.scheme_str() {
            Some("http") => Endpoint::Tcp(to(80)),
            Some("https") => Endpoint::Tls(to(443)),
            _ => return Err(wrong("it starts with neither http:// nor https:// nor unix:")),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self::new(url, endpoint, authority.as_str(), path))
    }

    /// Returns the first route of a component, at an address from the app's status.
    pub(super) fn of_component(component: &str, address: &str, route: Option<&Route>) -> Option<Self> {
        let mut target = Self::parse(address).ok()?;
        (target.name, target.component) = (format!("{component} at {address}"), Some(component.to_owned()));
        if let Some(route) = route {
            match &route.host {
                Some(RouteHost::Exact(host)) => target.host = host.clone(),
                Some(RouteHost::Subdomains(parent)) => target.host = format!("drill.{parent}"),
                None => {}
            }
            if !route.path.is_empty() {
                target.path = route.path.clone();
            }
        }
        Some(target)
    }

    fn new(name: &str, endpoint: Endpoint, host: &str, path: &str) -> Self {
        Self {
            name: name.to_owned(),
            component: None,
            endpoint,
            host: host.to_owned(),
            path: path.to_owned(),
            is_shared: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curfew_host::plan::parse_route;

    #[test]
    fn urls_are_read() {
        let target = Target::parse("http://127.0.0.1:8080/a?b=c").unwrap();
        assert_eq!(
            (target.endpoint, target.host.as_str(), target.path.as_str()),
            (Endpoint::Tcp("127.0.0.1:8080".into()), "127.0.0.1:8080", "/a?b=c")
        );
        assert_eq!(Target::parse("http://shop").unwrap().endpoint, Endpoint::Tcp("shop:80".into()));
        assert_eq!(Target::parse("https://[::1]").unwrap().endpoint, Endpoint::Tls("[::1]:443".into()));
        assert_eq!(Target::parse("unix:/run/a.sock").unwrap().endpoint, Endpoint::Unix("/run/a.sock".into()));
        for wrong in ["", "unix:", "127.0.0.1:80", "ftp://a", "/path", "http://", "http:// a", "tcp://a:1"] {
            assert!(matches!(Target::parse(wrong), Err(CliError::LoadUrl { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn a_component_is_asked_for_its_first_route() {
        let route = |text: &str| parse_route(text).unwrap();
        let target =
            |text: &str| Target::of_component("web", "http://127.0.0.1:1", Some(&route(text))).unwrap();
        assert_eq!((target("/v1").host.as_str(), target("/v1").path.as_str()), ("127.0.0.1:1", "/v1"));
        assert_eq!(
            (target("a.example").host.as_str(), target("a.example").path.as_str()),
            ("a.example", "/")
        );
        assert_eq!(target("*.example.com/x").host, "drill.example.com");
        let unix = Target::of_component("web", "unix:/a", None).unwrap();
        assert_eq!((unix.name.as_str(), unix.path.as_str()), ("web at unix:/a", "/"));
        assert_eq!(Target::of_component("echo", "tcp://127.0.0.1:1", None), None);
    }
}
