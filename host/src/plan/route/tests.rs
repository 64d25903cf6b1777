//! Routes as they are written, and that the table finds the most specific one, whatever there is.

use proptest::prelude::*;

use super::*;

fn route(text: &str) -> Route {
    parse_route(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

impl Route {
    /// Returns whether a request is one of these, by looking at this route alone.
    fn matches(&self, host: Option<&str>, path: &str) -> bool {
        let host_matches = match (&self.host, host.and_then(|host| Some(Authority::parse(host)?.host))) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(RouteHost::Exact(wanted)), Some(host)) => host == wanted.as_str(),
            (Some(RouteHost::Subdomains(parent)), Some(host)) => parents(&host).any(|above| above == parent),
        };
        host_matches && is_below(path, &self.path)
    }
}

#[test]
fn every_form_of_route() {
    let exact = |host: &str| Some(RouteHost::Exact(host.to_owned()));
    for (text, host, path, shown) in [
        ("/", None, "", "/"),
        ("/static", None, "/static", "/static"),
        ("/static/", None, "/static", "/static"),
        ("/a/b%20c/~d;e=f", None, "/a/b%20c/~d;e=f", "/a/b%20c/~d;e=f"),
        ("api.example.com", exact("api.example.com"), "", "api.example.com"),
        ("API.Example.com./v1/", exact("api.example.com"), "/v1", "api.example.com/v1"),
        ("localhost/", exact("localhost"), "", "localhost"),
        ("api.", exact("api"), "", "api."),
        ("api./v1", exact("api"), "/v1", "api./v1"),
        ("127.0.0.1/x", exact("127.0.0.1"), "/x", "127.0.0.1/x"),
        ("[::1]/x", exact("[::1]"), "/x", "[::1]/x"),
        ("[0:0::1]", exact("[::1]"), "", "[::1]"),
        ("*.Example.com/V1", Some(RouteHost::Subdomains("example.com".into())), "/V1", "*.example.com/V1"),
    ] {
        assert_eq!(parse_route(text), Ok(Route { host, path: path.to_owned() }), "{text}");
        assert_eq!((route(text).to_string().as_str(), route(shown)), (shown, route(text)), "{text}");
    }
}

#[test]
fn wrong_routes_say_why_and_what_else() {
    let star = "`*` stands only for all below a name, as in \"*.example.com\"";
    let host = "the host is neither a name nor an IP address";
    let port = "a route has no port: the address has it";
    let query = "a route has no query and no fragment";
    let start = "a path is the start of many already, `*` is not for it";
    let segment = "no segment of a path is empty, `.` or `..`";
    let encoded = "what cannot stand in the path of a URL is written as %XX";
    for (text, reason, meant) in [
        ("", "it is empty", None),
        ("http://a.b/c", "a route has no scheme", Some("a.b/c")),
        ("*/v1", "any host is written by leaving it out", Some("/v1")),
        ("a:80", port, Some("a.")),
        ("a:80/x", port, Some("a./x")),
        ("a.b:80/x", port, Some("a.b/x")),
        ("[::1]:80/x", port, Some("[::1]/x")),
        ("::1/x", "an IPv6 address stands in brackets", Some("[::1]/x")),
        ("[x]", "there is no IPv6 address in the brackets", None),
        ("127.0.0.300", host, None),
        ("a b", host, None),
        ("é", host, None),
        ("a..b", host, None),
        ("*.1.2.3.4", host, None),
        ("a.*.com", star, None),
        ("*a.com/x", star, None),
        ("*.*.com", star, None),
        ("a/x?y=1", query, Some("a/x")),
        ("a?y", query, Some("a")),
        ("?y", query, None),
        ("/x#y", query, Some("/x")),
        ("/v1/*", start, Some("/v1")),
        ("a/v1/*", start, Some("a/v1")),
        ("a/*", start, Some("a")),
        ("/v*", start, None),
        ("/a/../b", segment, None),
        ("/./a", segment, None),
        ("/a//b", segment, None),
        ("//a", segment, None),
        ("/a b", encoded, None),
        ("/grün", encoded, None),
        ("/a%2", encoded, None),
        ("/a%zz", encoded, None),
    ] {
        let error = parse_route(text).unwrap_err();
        assert_eq!(error.reason, reason, "{text}");
        assert_eq!(error.hint, meant.map(|meant| format!("did you mean {meant:?}?")), "{text}");
    }
    for text in ["*", "*/", "*/*", "/*"] {
        let error = parse_route(text).unwrap_err();
        assert_eq!(error.reason, "it is every request", "{text}");
        let hint = "leave `routes` out: the component gets what no other route takes";
        assert_eq!(error.hint.as_deref(), Some(hint), "{text}");
    }
}

/// `"api"` could be the host, or the path without its `/`.
#[test]
fn a_single_word_is_neither_a_host_nor_a_path() {
    for (text, path, host) in
        [("api", "/api", "api."), ("api/v1", "/api/v1", "api./v1"), ("API/", "/API", "API.")]
    {
        let error = parse_route(text).unwrap_err();
        assert_eq!(error.reason, "it could be a path or a host", "{text}");
        let word = host.split('.').next().unwrap();
        let hint = format!("did you mean the path {path:?}? The host {word} is written {host:?}");
        assert_eq!(error.hint, Some(hint), "{text}");
        assert!(parse_route(path).is_ok() && parse_route(host).is_ok(), "{text}");
    }
    assert!(
        route("api.").matches(Some("api:8080"), "/") && route("localhost").matches(Some("localhost"), "/")
    );
}

#[test]
fn hosts_match_however_they_are_written() {
    for (text, host, matches) in [
        ("a.b", "a.b", true),
        ("a.b", "A.B:8080", true),
        ("a.b", "a.b.", true),
        ("a.b", "a.b.:80", true),
        ("a.b", "a.b:", true),
        ("a.b", "x.a.b", false),
        ("a.b", "", false),
        ("a.b", ":80", false),
        ("*.a.b", "x.A.b:1", true),
        ("*.a.b", "y.x.a.b", true),
        ("*.a.b", "a.b", false),
        ("*.a.b", ".a.b", false),
        ("*.a.b", "xa.b", false),
        ("[::1]", "[::1]", true),
        ("[::1]", "[0:0:0:0:0:0:0:1]:80", true),
        ("[::1]", "::1", false),
        ("[::1]", "[::1", false),
        ("[::1]", "[::1]x", false),
        ("127.0.0.1", "127.0.0.1:80", true),
    ] {
        assert_eq!(route(text).matches(Some(host), "/"), matches, "{text} {host}");
        let table = RouteTable::new([(vec![route(text)], ())]);
        assert_eq!(table.find(Some(host), "/").is_some(), matches, "{text} {host}");
    }
    assert!(!route("a.b").matches(None, "/") && route("/").matches(None, "/"));
    let long = format!("{}a.b", "x.".repeat(10_000));
    assert!(!route("*.a.b").matches(Some(&long), "/"));
}

#[test]
fn paths_match_by_whole_segments() {
    for (text, path, matches) in [
        ("/v1", "/v1", true),
        ("/v1", "/v1/", true),
        ("/v1", "/v1/x", true),
        ("/v1", "/v10", false),
        ("/v1", "/V1", false),
        ("/v1", "/", false),
        ("/v1", "*", false),
        ("/v1", "//v1", false),
        ("/", "/", true),
        ("/", "*", true),
        ("/", "", true),
    ] {
        assert_eq!(route(text).matches(None, path), matches, "{text} {path}");
    }
}

#[test]
fn the_most_specific_route_wins() {
    let routes = |texts: &[&str]| texts.iter().map(|text| route(text)).collect::<Vec<_>>();
    let table = RouteTable::new([
        (vec![], "rest"),
        (routes(&["/static", "/static/big"]), "static"),
        (routes(&["*.example.com"]), "below"),
        (routes(&["*.api.example.com", "*.example.com/v1"]), "api"),
        (routes(&["www.example.com/static", "[::1]"]), "exact"),
    ]);
    assert_eq!(table.targets, ["rest", "static", "below", "api", "exact"]);
    for (host, path, target) in [
        (None, "/", "rest"),
        (None, "/static/x", "static"),
        (None, "/static/big/x", "static"),
        (Some("other.com"), "/static", "static"),
        (Some("example.com"), "/", "rest"),
        (Some("a.example.com"), "/static", "below"),
        (Some("a.example.com"), "/v1", "api"),
        (Some("x.api.example.com"), "/v2", "api"),
        (Some("www.example.com"), "/static/x", "exact"),
        // Its exact host has no such path: the next one below counts.
        (Some("WWW.example.com:80"), "/x", "below"),
        (Some("[0::1]:80"), "/", "exact"),
    ] {
        assert_eq!(table.find(host, path), Some(&target), "{host:?} {path}");
    }
    let table = RouteTable::new([(routes(&["a.b/x"]), ())]);
    assert!(table.find(Some("a.b"), "/y").is_none() && table.find(None, "/x").is_none());
    assert!(RouteTable::<()>::new([]).find(Some("a"), "/").is_none());
}

/// How specific a route is: exact hosts, then longer names, then any; then longer paths.
fn rank(route: &Route) -> (u8, usize, usize) {
    match &route.host {
        Some(RouteHost::Exact(_)) => (2, 0, route.path.len()),
        Some(RouteHost::Subdomains(host)) => (1, host.len(), route.path.len()),
        None => (0, 0, route.path.len()),
    }
}

fn hosts() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab]", 1..4).prop_map(|labels| labels.join("."))
}

fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec("[vw]1?", 0..4)
        .prop_map(|segments| segments.iter().map(|segment| format!("/{segment}")).collect())
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let host = prop_oneof![
        Just(None),
        hosts().prop_map(|host| Some(RouteHost::Exact(host))),
        hosts().prop_map(|host| Some(RouteHost::Subdomains(host))),
    ];
    let route = (host, paths()).prop_map(|(host, path)| Route { host, path });
    prop::collection::vec(route, 0..5)
}

proptest! {
    #[test]
    fn the_table_agrees_with_looking_at_all(
        components in prop::collection::vec(routes(), 0..5),
        host in prop::option::of((hosts(), prop_oneof!["", ":80", "\\.", "\\.:80"], any::<bool>())),
        path in paths(),
    ) {
        let host = host.map(|(host, end, upper)| if upper { host.to_uppercase() } else { host } + &end);
        let mut best: Option<((u8, usize, usize), usize)> = None;
        for (index, routes) in components.iter().enumerate() {
            let all = [Route::ALL];
            let routes = if routes.is_empty() { &all } else { routes.as_slice() };
            for route in routes.iter().filter(|route| route.matches(host.as_deref(), &path)) {
                if best.is_none_or(|(found, _)| rank(route) > found) {
                    best = Some((rank(route), index));
                }
            }
        }
        let table = RouteTable::new(components.into_iter().enumerate().map(|(index, routes)| (routes, index)));
        prop_assert_eq!(table.find(host.as_deref(), &path).copied(), best.map(|(_, index)| index));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,30}|[a*./:\\[\\]%?#1-]{0,20}", path in "\\PC{0,9}") {
        if let Ok(parsed) = parse_route(&text) {
            prop_assert_eq!(parse_route(&parsed.to_string()), Ok(parsed.clone()));
            let table = RouteTable::new([(vec![parsed], ())]);
            let _ = table.find(Some(&text), &path);
        }
    }
}
