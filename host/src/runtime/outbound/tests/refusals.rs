//! What is refused never connects, and is logged once.

use std::sync::{Arc, Mutex};

use http::Request;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use wasmtime_wasi_http::Error;

use super::super::{Grant, HttpHooks, Outbound};
use super::harness::{empty, fetch, get, on_runtime, scripted};
use crate::plan::{Origin, OriginHost, OriginPort};

fn origin(https: bool, host: OriginHost, port: OriginPort) -> Origin {
    Origin { https, host, port }
}

fn check(grant: &Grant, url: &str) -> Result<(), Error> {
    grant.check(&Request::get(url).body(()).unwrap())
}

#[test]
fn a_refused_origin_is_never_connected_to() {
    on_runtime(async {
        let server = scripted(|_, _| {});
        let allowed = origin(false, OriginHost::Name("localhost".to_owned()), OriginPort::Any);
        let mut hooks =
            HttpHooks::new(Arc::new(Grant::new("web", [allowed], Arc::default(), 256)), Outbound::default());
        let error = fetch(&mut hooks, get(&server.url("/"))).await.unwrap_err();
        assert!(matches!(error, Error::HttpRequestDenied), "{error:?}");
        assert_eq!(server.connections(), 0);
    });
}

#[test]
fn scheme_host_and_port_must_all_fit() {
    let name = |name: &str| OriginHost::Name(name.to_owned());
    let grant = Grant::new(
        "web",
        [
            origin(true, name("api.example.com"), OriginPort::Default),
            origin(false, OriginHost::Subdomains("internal".to_owned()), OriginPort::Port(8080)),
            origin(false, OriginHost::Ip("::1".parse().unwrap()), OriginPort::Any),
        ],
        Arc::default(),
        256,
    );
    for allowed in [
        "https://api.example.com/x",
        "https://API.example.com:443",
        "http://a.internal:8080",
        "http://a.b.INTERNAL:8080/",
        "http://[::1]:9/",
        "http://[0:0:0:0:0:0:0:1]/",
    ] {
        assert!(check(&grant, allowed).is_ok(), "{allowed}");
    }
    for refused in [
        "http://api.example.com",
        "https://api.example.com:8443",
        "https://api.example.com.evil.com",
        "https://example.com",
        "http://internal:8080",
        "http://evilinternal:8080",
        "http://a.internal",
        "http://127.0.0.1",
    ] {
        assert!(matches!(check(&grant, refused), Err(Error::HttpRequestDenied)), "{refused}");
    }
    for nonsense in
        ["https://user@api.example.com/", "https://api.example.com:/", "https://api.example.com:99999/"]
    {
        assert!(matches!(check(&grant, nonsense), Err(Error::HttpRequestUriInvalid)), "{nonsense}");
    }
    assert!(matches!(check(&grant, "ftp://api.example.com/"), Err(Error::HttpProtocolError)));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{field}={value:?} ");
            }
        }
        let mut fields = Fields(event.metadata().level().to_string() + " ");
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}

#[test]
fn each_refused_origin_is_logged_once_and_not_too_many() {
    let log = Log::default();
    let grant = Grant::new("shop", [], Arc::default(), 256);
    assert!(grant.is_empty());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
        for _ in 0..3 {
            check(&grant, "https://api.EXAMPLE.com/path?secret=1").unwrap_err();
            check(&grant, "http://[::1]:8080/").unwrap_err();
        }
    });
    let lines = std::mem::take(&mut *log.0.lock().unwrap());
    assert_eq!(lines.len(), 2, "{lines:?}");
    for part in
        ["WARN", r#"component="shop""#, r#"origin="https://api.example.com""#, "outbound request refused"]
    {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    assert!(lines[0].contains(r#"hint="add \"https://api.example.com\" to outbound-http""#), "{lines:?}");
    assert!(lines[1].contains(r#"origin="http://[::1]:8080""#), "{lines:?}");

    tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
        for n in 0..100 {
            check(&grant, &format!("https://{}{n}.com/", "a".repeat(5000))).unwrap_err();
            check(&grant, &format!("https://{n}.com/")).unwrap_err();
        }
    });
    let lines = log.0.lock().unwrap();
    assert_eq!(lines.len(), 31, "32 with those before, and that there are more");
    assert!(lines.iter().all(|line| line.len() < 1000));
}

#[test]
fn a_wildcard_covers_subdomains_on_the_wire_too() {
    on_runtime(async {
        let server = scripted(|_, stream| {
            super::harness::answer_raw(stream, "HTTP/1.1 204 No Content\r\n\r\n");
        });
        let port = OriginPort::Port(server.address.port());
        let allowed = origin(false, OriginHost::Subdomains("localhost".to_owned()), port);
        let mut hooks =
            HttpHooks::new(Arc::new(Grant::new("web", [allowed], Arc::default(), 256)), Outbound::default());
        let url = format!("http://localhost:{}/", server.address.port());
        let request = Request::get(url).body(empty()).unwrap();
        assert!(matches!(fetch(&mut hooks, request).await, Err(Error::HttpRequestDenied)));
        // RFC 6761 gives every name below `localhost` the loopback addresses, where the resolver knows it.
        let url = format!("http://api.localhost:{}/", server.address.port());
        match fetch(&mut hooks, get(&url)).await {
            Ok((status, _)) => assert_eq!((status, server.connections()), (204, 1)),
            Err(error) => assert!(matches!(error, Error::DnsError { .. }), "{error:?}"),
        }
    });
}
