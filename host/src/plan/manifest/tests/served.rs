//! Keys about addresses, of the app and of components that the host listens for: their plan, and the exact message for each
//! mistake.

use super::super::super::schema::KeyGroup;
use super::*;

const LISTEN: &str = "listen = [\"127.0.0.1:8080\"]\n";

/// A valid component, from the line after its `source` on.
fn component(name: &str, keys: &str) -> String {
    format!("[component.{name}]\nsource = \"web.wasm\"\n{keys}\n")
}

#[test]
fn every_key_of_a_server_reaches_the_plan() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let plan = Plan::from_str(FULL, &path("curfew.toml")).unwrap();
    assert_eq!(plan.app.access_log, AccessLogFormat::Json);
    let web = &plan.components[0];
    let secs = Duration::from_secs;
    let ip = |text: &str| ListenAddress::Ip(text.parse().unwrap());
    let expected = HttpPlan {
        listen: vec![
            ip("127.0.0.1:8080"),
            ip("[::1]:0"),
            ListenAddress::Unix(path("web.sock")),
            ListenAddress::Activated("web".into()),
        ],
        routes: vec![parse_route("*.example.com").unwrap(), parse_route("/static").unwrap()],
        tls: Some(TlsPlan { cert: path("cert.pem"), key: path("key.pem") }),
        instances: InstancesPlan {
            max: Some(4),
            concurrency: Some(16),
            requests: Some(100),
            queue: 0,
            idle: secs(5),
        },
        request_timeout: secs(7),
        limits: LimitsPlan {
            connections: 9,
            per_client: Some(3),
            header_size: 8 << 10,
            body_size: Some(2 << 30),
            header_timeout: secs(1),
            idle_timeout: secs(2),
            min_rate: 1 << 10,
            rate_window: secs(3),
            outbound: 12,
        },
        forwarded: Forwarded::Append,
    };
    assert_eq!(web.http, expected);
    let origins: Vec<String> = web.outbound_http.iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["https://api.example.com", "http://*.internal:8080"]);
    assert_eq!((&plan.components[1].http, plan.components[1].outbound_http.len()), (&HttpPlan::default(), 0));
}

#[test]
fn a_server_has_the_documented_defaults() {
    let plan = plan(&format!("{WEB}{LISTEN}instances = {{}}\nlimits = {{}}\n")).unwrap();
    let http = &plan.components[0].http;
    let secs = Duration::from_secs;
    assert_eq!((http.listen.len(), http.routes.len(), http.tls.is_none()), (1, 0, true));
    let instances =
        InstancesPlan { max: None, concurrency: None, requests: None, queue: 1024, idle: secs(60) };
    assert_eq!((&http.instances, http.request_timeout), (&instances, secs(30)));
    let limits = LimitsPlan {
        connections: 4096,
        per_client: None,
        header_size: 64 << 10,
        body_size: None,
        header_timeout: secs(10),
        idle_timeout: secs(75),
        min_rate: 256,
        rate_window: secs(30),
        outbound: 256,
    };
    assert_eq!((&http.limits, http.forwarded), (&limits, Forwarded::Replace));
}

#[test]
fn a_socket_is_absolute_in_the_plan_of_a_relative_manifest() {
    let text = format!("{LISTEN}routes = [\"/a\"]\n").replace("127.0.0.1:8080", "unix:./run/web.sock");
    let dir = folder();
    let text = format!("[component.web]\nsource = {:?}\n{text}", dir.path().join("web.wasm"));
    let plan = Plan::from_str(&text, Path::new("curfew.toml")).unwrap();
    let expected = std::env::current_dir().unwrap().join("run/web.sock");
    assert_eq!(plan.components[0].http.listen, [ListenAddress::Unix(expected)]);
}

#[test]
fn single_values_of_a_server_that_are_refused() {
    let listen = "3:11: each item of `listen` takes an address such as \"127.0.0.1:8080\", \"unix:web.sock\" or \"fd:web\", found";
    let route = "3:11: each item of `routes` takes a route such as \"api.example.com/v1\", \"*.example.com\" or \"/static\", found";
    refused_in_component(&[
        (
            "listen = [\":80\"]\n",
            &format!("{listen} \":80\": the address is missing (did you mean \"0.0.0.0:80\"?)"),
        ),
        (
            "listen = [\"/run/web.sock\"]\n",
            &format!(
                "{listen} \"/run/web.sock\": a socket's path follows `unix:` (did you mean \"unix:/run/web.sock\"?)"
            ),
        ),
        (
            "routes = [\"http://a/v1\"]\n",
            &format!("{route} \"http://a/v1\": a route has no scheme (did you mean \"a/v1\"?)"),
        ),
        (
            "routes = [\"*\"]\n",
            &format!(
                "{route} \"*\": it is every request (leave `routes` out: the component gets what no other route takes)"
            ),
        ),
        (
            "listen = \"127.0.0.1:80\"\n",
            "3:10: `listen` takes a list, each item of it an address such as \"127.0.0.1:8080\", \"unix:web.sock\" or \"fd:web\", \
             found \"127.0.0.1:80\" (did you mean [\"127.0.0.1:80\"]?)",
        ),
        (
            "tls = \"cert.pem\"\n",
            "3:7: `tls` takes a table with `cert`, `key`, found \"cert.pem\" (did you mean { cert = \"cert.pem\", key = \"key.pem\" }?)",
        ),
        ("tls = {}\n", "3:7: `tls` of [component.web] has no `cert` (add `cert = \"cert.pem\"`)"),
        (
            "tls = { cert = \"cert.pem\" }\n",
            "3:7: `tls` of [component.web] has no `key` (add `key = \"key.pem\"`)",
        ),
        (
            "forwarded = \"keep\"\n",
            "3:13: `forwarded` takes \"replace\" or \"append\", found \"keep\" (did you mean \"append\"?)",
        ),
        (
            "[app]\naccess-log = true\n",
            "4:14: `access-log` takes \"off\", \"text\" or \"json\", found `true` (did you mean \"text\"?)",
        ),
        (
            "outbound-http = [\"https://a/b\"]\n",
            "3:18: each item of `outbound-http` takes a server such as \"https://api.example.com\", found \
             \"https://a/b\": a path cannot be granted, only the whole server (did you mean \"https://a\"?)",
        ),
    ]);
}

#[test]
fn numbers_of_a_server_have_bounds() {
    let header = "`limits.header-size` takes a size from 8KiB to 1MiB, found";
    let cases = [
        ("instances = { max = 0 }", "3:21: `instances.max` takes a whole number from 1 on, found 0"),
        (
            "instances = { concurrency = 0 }",
            "3:29: `instances.concurrency` takes a whole number from 1 on, found 0",
        ),
        (
            "instances = { requests = -1 }",
            "3:26: `instances.requests` takes a whole number from 0 on, found -1",
        ),
        ("instances = { queue = -1 }", "3:23: `instances.queue` takes a whole number from 0 on, found -1"),
        (
            "instances = { idle = \"0s\" }",
            "3:22: `instances.idle` takes a duration such as \"10s\", found \"0s\": it must be above 0",
        ),
        (
            "request-timeout = \"0s\"",
            "3:19: `request-timeout` takes a duration such as \"10s\", found \"0s\": it must be above 0",
        ),
        (
            "limits = { connections = 0 }",
            "3:26: `limits.connections` takes a whole number from 1 on, found 0",
        ),
        ("limits = { header-size = \"8191B\" }", &format!("3:26: {header} \"8191B\"")),
        ("limits = { header-size = \"1.1MiB\" }", &format!("3:26: {header} \"1.1MiB\"")),
        ("limits = { header-size = \"0B\" }", &format!("3:26: {header} \"0B\": it must be above 0")),
        (
            "limits = { body-size = \"0B\" }",
            "3:24: `limits.body-size` takes a size such as \"64MiB\", found \"0B\": it must be above 0",
        ),
        (
            "limits = { header-timeout = \"0s\" }",
            "3:29: `limits.header-timeout` takes a duration such as \"10s\", found \"0s\": it must be above 0",
        ),
        (
            "limits = { idle-timeout = \"0s\" }",
            "3:27: `limits.idle-timeout` takes a duration such as \"10s\", found \"0s\": it must be above 0",
        ),
    ];
    for (text, message) in cases {
        refused_in_component(&[(&format!("{text}\n"), message)]);
    }
    for size in ["8KiB", "1MiB"] {
        assert!(plan(&format!("{WEB}{LISTEN}limits = {{ header-size = {size:?} }}\n")).is_ok(), "{size}");
    }
}

#[test]
fn a_server_needs_an_address() {
    for (key, value) in [
        ("routes", "[\"/a\"]"),
        ("tls", "{ cert = \"cert.pem\", key = \"key.pem\" }"),
        ("instances", "{}"),
        ("request-timeout", "\"1s\""),
        ("forwarded", "\"replace\""),
    ] {
        refused_in_component(&[(
            &format!("{key} = {value}\n"),
            &format!("3:1: `{key}` needs `listen`, which is missing (add `listen = [\"127.0.0.1:8080\"]`)"),
        )]);
        assert!(plan(&format!("{WEB}{key} = {value}\n{LISTEN}")).is_ok(), "{key}");
    }
    // Some of its keys are for every kind.
    refused_in_component(&[(
        "limits = { outbound = 3, idle-timeout = \"1s\" }\n",
        "3:26: `limits.idle-timeout` needs `listen`, which is missing (add `listen = [\"127.0.0.1:8080\"]`)",
    )]);
    assert!(plan(&format!("{WEB}limits = {{ outbound = 3 }}\n")).is_ok());
    // It is there, but wrong: that is what is told.
    for listen in ["listen = \"x\"\n", "listen = [\"x\"]\n"] {
        let said = told(&format!("{WEB}routes = [\"/a\"]\n{listen}"));
        assert!(said.starts_with("4:1") && said.contains("`listen` takes"), "{said}");
    }
    assert!(plan(&format!("{WEB}outbound-http = [\"http://a\"]\n")).is_ok());
}

#[test]
fn one_component_that_contradicts_itself() {
    let both = "cannot both be bound: 0.0.0.0 is every IPv4 address (leave out one of them)";
    let long = format!("listen = [\"unix:/{}\"]\n", "x".repeat(107));
    refused_in_component(&[
        ("listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n", "3:26: `listen` has 127.0.0.1:1 twice"),
        ("listen = [\"127.0.0.1:1\", \"[::ffff:127.0.0.1]:1\"]\n", "3:26: `listen` has 127.0.0.1:1 twice"),
        ("listen = [\"unix:a\", \"unix:./a\"]\n", "3:21: `listen` has unix:DIR/a twice"),
        (
            "listen = [\"127.0.0.1:1\", \"0.0.0.0:1\"]\n",
            &format!("3:26: 0.0.0.0:1 and 127.0.0.1:1 of `web` (line 3) {both}"),
        ),
        (
            &long,
            &format!(
                "3:11: the path of a socket has at most 107 bytes, this one has 108: /{}",
                "x".repeat(107)
            ),
        ),
        (&format!("{LISTEN}routes = [\"/a\", \"/b\", \"/a/\"]\n"), "4:23: `routes` has \"/a\" twice"),
        (
            &format!("{LISTEN}tls = {{ cert = \"no.pem\", key = \"key.pem\" }}\n"),
            "4:16: `tls.cert` names a file that does not exist: DIR/no.pem",
        ),
        (
            &format!("{LISTEN}tls = {{ cert = \"cert.pem\", key = \"data\" }}\n"),
            "4:34: `tls.key` names a directory, not a file: DIR/data",
        ),
    ]);
    for good in
        ["\"127.0.0.1:0\", \"127.0.0.1:0\"", "\"[::]:1\", \"0.0.0.0:1\"", "\"127.0.0.1:1\", \"127.0.0.2:1\""]
    {
        assert!(plan(&format!("{WEB}listen = [{good}]\n")).is_ok(), "{good}");
    }
}

#[test]
fn components_that_share_an_address() {
    let listen = "listen = [\"127.0.0.1:1\"]";
    let two = |a: &str, b: &str| component("a", a) + &component("b", b);
    let good = |a: &str, b: &str| {
        let text = two(a, b);
        assert!(plan(&text).is_ok(), "{text}\n{}", told(&text));
    };
    good(listen, &format!("{listen}\nroutes = [\"/b\"]"));
    good(&format!("{listen}\nroutes = [\"x./a\"]"), &format!("{listen}\nroutes = [\"/a\", \"*.x/a\"]"));
    good("listen = [\"127.0.0.1:0\"]", "listen = [\"127.0.0.1:0\"]");
    good("listen = [\"unix:a\"]", "listen = [\"unix:a\"]\nroutes = [\"/b\"]");
    good("listen = [\"127.0.0.1:1\"]", "network = { listen = [\"127.0.0.1:1\"] }");
    let both = "cannot both be bound: 0.0.0.0 is every IPv4 address (components that have the same address share it)";
    let own = "(give one of them `routes`, or an address of its own)";
    let route = "(give each a route, or an address, of its own)";
    refused(&[
        (
            &two(listen, listen),
            &format!(
                "6:11: without `routes` it gets what is left on 127.0.0.1:1, as `a` does (line 3) {own}"
            ),
        ),
        (
            &two(listen, &format!("{listen}\nroutes = [\"/\"]")),
            &format!("7:11: the route \"/\" of 127.0.0.1:1 is taken by `a` (line 3) {route}"),
        ),
        (
            &two(&format!("{listen}\nroutes = [\"/\"]"), listen),
            &format!(
                "7:11: without `routes` it gets what is left on 127.0.0.1:1, as `a` does (line 4) {own}"
            ),
        ),
        (
            &two(
                "listen = [\"unix:a\"]\nroutes = [\"x./v1\"]",
                "listen = [\"unix:a\"]\nroutes = [\"/\", \"X./v1/\"]",
            ),
            &format!("8:16: the route \"x./v1\" of unix:DIR/a is taken by `a` (line 4) {route}"),
        ),
        (
            &two("listen = [\"0.0.0.0:80\"]", "listen = [\"127.0.0.1:80\"]"),
            &format!("6:11: 127.0.0.1:80 and 0.0.0.0:80 of `a` (line 3) {both}"),
        ),
        (
            &two("listen = [\"[::1]:80\"]", "listen = [\"[::]:80\"]"),
            &format!("6:11: [::]:80 and [::1]:80 of `a` (line 3) {both}")
                .replace("0.0.0.0 is every IPv4", "[::] is every IPv6"),
        ),
    ]);
    // The routes of `b` are not known, so nothing is said of them together.
    let said = told(&two(listen, &format!("routes = [\"*\"]\n{listen}")));
    assert!(said.starts_with("6:11: each item of `routes`"), "{said}");
}

#[test]
fn components_that_share_an_address_have_one_certificate() {
    let tls = |cert: &str| format!("tls = {{ cert = {cert:?}, key = \"key.pem\" }}");
    let of = |tls: &str, route: &str| format!("listen = [\"127.0.0.1:1\"]\nroutes = [{route:?}]\n{tls}");
    let two = |a: &str, b: &str| component("a", &of(a, "/a")) + &component("b", &of(b, "/b"));
    let same = "components that share an address have the same `tls`; `a` listens on 127.0.0.1:1, too (line 3) \
                (give both the same `tls`, or each an address of its own)";
    assert!(plan(&two(&tls("cert.pem"), &tls("./cert.pem"))).is_ok());
    refused(&[
        (&two(&tls("cert.pem"), &tls("web.wasm")), &format!("10:7: {same}")),
        (&two("", &tls("cert.pem")), &format!("10:7: {same}")),
        (&two(&tls("cert.pem"), ""), &format!("8:11: {same}")),
    ]);
    let said = told(&two(&tls("cert.pem"), "tls = { cert = 1, key = \"key.pem\" }"));
    assert!(said.starts_with("10:16: `tls.cert` takes"), "{said}");
}

#[test]
fn many_servers_are_no_trouble() {
    let server = |n: usize| component(&format!("c{n}"), &format!("{LISTEN}routes = [\"/r{n}\"]"));
    let text: String = (0..3000).map(server).collect();
    assert_eq!(plan(&text).unwrap().components.len(), 3000);
    let said = told(&(text + &component("last", LISTEN) + &component("more", LISTEN)));
    assert!(said.contains("as `last` does (line 12003)"), "{said}");
}

#[test]
fn the_sockets_of_the_host_reach_the_plan() {
    let dir = folder();
    let app = Plan::from_str(FULL, &dir.path().join("curfew.toml")).unwrap().app;
    assert_eq!(app.admin, Some("127.0.0.1:9900".parse().unwrap()));
    assert_eq!(app.control, Some(dir.path().join("run/curfew.sock")));
    let app = plan(WEB).unwrap().app;
    assert_eq!((app.admin, app.control), (None, None));
    let text =
        format!("[app]\ncontrol = \"c.sock\"\n[component.web]\nsource = {:?}\n", dir.path().join("web.wasm"));
    let app = Plan::from_str(&text, Path::new("curfew.toml")).unwrap().app;
    assert_eq!(app.control, Some(std::env::current_dir().unwrap().join("c.sock")));
}

#[test]
fn what_the_host_cannot_listen_on_is_refused() {
    let long = format!("/{}", "x".repeat(107));
    let app = |line: &str| format!("[app]\n{line}\n{WEB}");
    let served = |line: &str, listen: &str| format!("{}listen = [\"127.0.0.1:1\", {listen:?}]\n", app(line));
    let own = "(give `admin` a port of its own)";
    refused(&[
        (
            &app("admin = \"localhost:9900\""),
            "2:9: `admin` takes an address such as \"127.0.0.1:8080\", found \"localhost:9900\": it must be an IP \
             address, not a name (did you mean \"127.0.0.1:9900\"?)",
        ),
        (
            &app("control = \"\""),
            "2:11: `control` takes a path such as \"web.wasm\", found \"\": it is empty",
        ),
        (
            &app("control = \"unix:c.sock\""),
            "2:11: `control` is the path of a Unix socket, without `unix:` (did you mean \"c.sock\"?)",
        ),
        (&app("control = \"run/\""), "2:11: `control` is the path of a Unix socket: its name is missing"),
        (
            &app(&format!("control = {long:?}")),
            &format!("2:11: the path of a socket has at most 107 bytes, this one has 108: {long}"),
        ),
        (
            &served("admin = \"127.0.0.1:80\"", "0.0.0.0:80"),
            &format!("2:9: `admin` 127.0.0.1:80 and 0.0.0.0:80 of `web` (line 5) cannot both be bound {own}"),
        ),
        (
            &served("admin = \"[::ffff:127.0.0.1]:80\"", "127.0.0.1:80"),
            &format!(
                "2:9: `admin` 127.0.0.1:80 and 127.0.0.1:80 of `web` (line 5) cannot both be bound {own}"
            ),
        ),
        (
            &served("control = \"web.sock\"", "unix:./web.sock"),
            "2:11: `control` is an address of `web`, too (line 5) (give each a path of its own)",
        ),
    ]);
    for (line, listen) in [
        ("admin = \"127.0.0.1:0\"", "127.0.0.1:0"),
        ("admin = \"127.0.0.1:80\"", "[::]:80"),
        ("admin = \"127.0.0.1:80\"", "127.0.0.1:81"),
        ("control = \"web.sock\"", "unix:other.sock"),
    ] {
        assert!(plan(&served(line, listen)).is_ok(), "{line} {listen}");
    }
}

#[test]
fn a_socket_that_is_handed_over_is_an_address_like_others() {
    let one = |listen: &str| format!("{WEB}listen = {listen}\n");
    let plan = plan(&one("[\"fd:web\", \"fd:web socket.1\"]")).unwrap();
    let name = |name: &str| ListenAddress::Activated(name.to_owned());
    assert_eq!(plan.components[0].http.listen, [name("web"), name("web socket.1")]);
    let takes =
        "each item of `listen` takes an address such as \"127.0.0.1:8080\", \"unix:web.sock\" or \"fd:web\"";
    let unit = "(it is what `FileDescriptorName=` says in the .socket unit)";
    refused(&[
        (&one("[\"fd:a\", \"fd:a\"]"), "3:19: `listen` has fd:a twice"),
        (
            &one("[\"fd:\"]"),
            &format!("3:11: {takes}, found \"fd:\": the name of the socket is missing {unit}"),
        ),
        (
            &one("[\"fd:a:b\"]"),
            &format!(
                "3:11: {takes}, found \"fd:a:b\": the name of a socket that is handed over is printable ASCII without \
                 `:` {unit}"
            ),
        ),
        (
            &(one("[\"fd:a\"]") + &one("[\"fd:a\"]").replace("web]", "b]")),
            "6:11: without `routes` it gets what is left on fd:a, as `web` does (line 3) (give one of them `routes`, or \
             an address of its own)",
        ),
    ]);
}

#[test]
fn a_key_that_a_kind_does_not_take_is_found() {
    let beyond = |keys: &str| {
        plan(&format!("{WEB}{LISTEN}{keys}\n")).unwrap().components[0].key_beyond(&[KeyGroup::Listen])
    };
    for keys in [
        "instances = { max = 3 }",
        "limits = { connections = 3 }",
        "grace = \"1s\"",
        "forwarded = \"replace\"",
    ] {
        assert_eq!(beyond(keys), None, "{keys}");
    }
    for (keys, key) in [
        ("routes = [\"/a\"]", "routes"),
        ("request-timeout = \"1s\"", "request-timeout"),
        ("limits = { connections = 3, body-size = \"1MiB\" }", "limits.body-size"),
        ("health = { path = \"/\" }", "health"),
    ] {
        assert_eq!(beyond(keys).as_deref(), Some(key));
    }
    let all = plan(FULL).unwrap();
    let groups = [KeyGroup::Listen, KeyGroup::Requests, KeyGroup::Health, KeyGroup::Overlap];
    assert_eq!(all.components[0].key_beyond(&groups), None);
    assert_eq!(all.components[1].key_beyond(&groups[..3]).as_deref(), Some("overlap"));
}
