//! Heads as they come from hyper: which pass, and that a guest is told the authority that was routed.

use http::{Request, header};
use proptest::prelude::*;

use super::*;
use crate::plan::{RouteTable, parse_route};
use crate::text::testing::cases;

/// Parses the target as hyper does, and checks the head.
fn checked(
    version: Version,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<request::Parts, RequestError> {
    let mut request = Request::builder().version(version).method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, value.as_bytes());
    }
    // hyper refuses it before.
    let Ok(request) = request.body(()) else { return Err(RequestError::Malformed) };
    let mut parts = request.into_parts().0;
    check(&mut parts, false).map(|()| parts)
}

fn authority_of(
    version: Version,
    method: &str,
    target: &str,
    hosts: &[&str],
) -> Result<String, RequestError> {
    let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
    checked(version, method, target, &headers).map(|parts| parts.uri.authority().unwrap().to_string())
}

#[test]
fn the_authority_is_the_one_of_the_target_or_of_host() {
    use Version as V;
    for (version, target, hosts, expected) in [
        (V::HTTP_11, "/", &["a.example"][..], Ok("a.example")),
        (V::HTTP_11, "/", &["A.example.:8080"], Ok("A.example.:8080")),
        (V::HTTP_11, "/", &["a.example:"], Ok("a.example")),
        (V::HTTP_11, "http://b.example/", &["a.example"], Ok("b.example")),
        (V::HTTP_10, "/", &[], Ok("localhost")),
        (V::HTTP_10, "http://b.example/", &[], Ok("b.example")),
        (V::HTTP_2, "http://b.example/", &[], Ok("b.example")),
        (V::HTTP_2, "http://b.example/", &["B.EXAMPLE:80"], Ok("b.example")),
        (V::HTTP_2, "/", &["a.example"], Ok("a.example")),
        (V::HTTP_11, "/", &[], Err(RequestError::BadHost)),
        (V::HTTP_11, "/", &[""], Err(RequestError::BadHost)),
        (V::HTTP_11, "/", &["a", "a"], Err(RequestError::BadHost)),
        (V::HTTP_11, "/", &["a.example:80@b.example"], Err(RequestError::BadHost)),
        (V::HTTP_11, "/", &["a.example:99999"], Err(RequestError::BadHost)),
        (V::HTTP_11, "/", &["a.example:abc"], Err(RequestError::BadHost)),
        (V::HTTP_11, "http://b.example/", &[], Err(RequestError::BadHost)),
        (V::HTTP_11, "http://b.example/", &["a b"], Err(RequestError::BadHost)),
        (V::HTTP_11, "http://user@b.example/", &["b.example"], Err(RequestError::BadHost)),
        (V::HTTP_11, "ftp://b.example/", &["b.example"], Err(RequestError::BadTarget)),
        (V::HTTP_11, "b.example", &["b.example"], Err(RequestError::BadTarget)),
        (V::HTTP_11, "*", &["b.example"], Err(RequestError::BadTarget)),
        (V::HTTP_10, "/", &["a@b"], Err(RequestError::BadHost)),
        (V::HTTP_2, "http://b.example/", &["a.example"], Err(RequestError::BadHost)),
        (V::HTTP_2, "http://b.example/", &["b.example:8080"], Err(RequestError::BadHost)),
        (V::HTTP_2, "/", &[], Err(RequestError::BadHost)),
    ] {
        let expected = expected.map(str::to_owned);
        assert_eq!(authority_of(version, "GET", target, hosts), expected, "{version:?} {target} {hosts:?}");
    }
    assert_eq!(authority_of(V::HTTP_11, "OPTIONS", "*", &["a"]), Ok("a".to_owned()));
    assert_eq!(authority_of(V::HTTP_11, "CONNECT", "b:443", &["b:443"]), Ok("b:443".to_owned()));
}

#[test]
fn only_plain_chunks_are_read() {
    let coded = |codings: &[&str]| {
        let headers = codings.iter().map(|coding| ("transfer-encoding", *coding)).chain([("host", "a")]);
        checked(Version::HTTP_11, "POST", "/", &headers.collect::<Vec<_>>()).map(drop)
    };
    for plain in [&[][..], &["chunked"], &["Chunked"]] {
        assert_eq!(coded(plain), Ok(()), "{plain:?}");
    }
    for other in
        [&["gzip, chunked"][..], &["gzip", "chunked"], &["chunked", "chunked"], &["chunked;a=b"], &[""]]
    {
        assert_eq!(coded(other), Err(RequestError::TransferCoding), "{other:?}");
    }
}

/// Routes of every form, by the text of each.
fn table() -> RouteTable<&'static str> {
    let routes = ["a.example", "a.example/v1", "*.example", "[::1]", "b./x", "127.0.0.1", "/static"];
    let parsed = |route: &'static str| (vec![parse_route(route).unwrap()], route);
    RouteTable::new(routes.map(parsed).into_iter().chain([(Vec::new(), "rest")]))
}

/// Hosts near those of the routes, with what could make two parsers differ.
fn near_hosts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("a.example"),
        Just("A.EXAMPLE"),
        Just("b"),
        Just("[::1]"),
        Just("[0::1]"),
        Just("127.0.0.1"),
        Just(":"),
        Just(":80"),
        Just(":99999"),
        Just("@"),
        Just("."),
        Just("%2e"),
        Just("/"),
        Just("\\"),
        Just("["),
        Just("]"),
        Just(" "),
        Just(","),
        Just("é"),
        Just("\u{202e}"),
        Just("user:pw@"),
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat()),
        "\\PC{0,20}",
        "[a-z.:@\\[\\]0-9%]{0,24}",
    ]
}

fn targets() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        Just("/"),
        Just("/v1/x"),
        Just("//v1"),
        Just("/x/%61"),
        Just("*"),
        Just(""),
        Just("/static?q=a@b")
    ];
    prop_oneof![
        path.clone().prop_map(str::to_owned),
        (near_hosts(), path.clone()).prop_map(|(host, path)| format!("http://{host}{path}")),
        near_hosts(),
        "[ -~]{0,30}",
    ]
}

proptest! {
    #![proptest_config(cases())]

    /// A request that passes is routed by the authority that the guest is told, and every parser reads the same host out of it.
    #[test]
    fn the_guest_is_told_the_authority_that_was_routed(
        target in targets(),
        hosts in prop::collection::vec(near_hosts(), 0..3),
        version in prop_oneof![Just(Version::HTTP_10), Just(Version::HTTP_11), Just(Version::HTTP_2)],
        method in prop_oneof![Just("GET"), Just("POST"), Just("OPTIONS"), Just("CONNECT")],
    ) {
        let headers: Vec<_> = hosts.iter().map(|host| ("host", host.as_str())).collect();
        let Ok(parts) = checked(version, method, &target, &headers) else { return Ok(()) };
        let told = parts.uri.authority().unwrap().as_str();
        let authority = Authority::parse(told).unwrap();
        prop_assert_eq!(authority.text, told);
        prop_assert!(!told.contains(['@', '%', '/', '\\', ' ']) && !told.ends_with(':'), "{}", told);
        // As a guest reads it, by the parser of another library.
        let host = parts.uri.host().unwrap();
        let same = host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(&authority.host);
        prop_assert!(same || host.starts_with('['), "{host} {authority:?}");
        prop_assert_eq!(parts.uri.port_u16(), authority.port);
        let header = parts.headers.get(header::HOST);
        prop_assert!(header.is_none_or(|host| host.as_bytes() == told.as_bytes()));
        let table = table();
        let routed = table.find(parts.uri.host(), parts.uri.path());
        prop_assert_eq!(routed, table.find(Some(told), parts.uri.path()));
        prop_assert_eq!(routed, table.find(Some(&authority.host), parts.uri.path()));
        // Without an authority in its target it is the only `host`, as it came.
        if let (None, [host]) = (target.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned()), &hosts[..]) {
            prop_assert_eq!(told, host.strip_suffix(':').unwrap_or(host));
        }
    }
}
