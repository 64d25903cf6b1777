//! HTTP/2 with prior knowledge, TLS with ALPN, and trailers in both directions.

use artifacts::{HELLO_HTTP, HELLO_HTTP_CLASSIC};
use bytes::Bytes;
use futures::future::join_all;
use http::HeaderMap;

use super::lab::{LABS, serve, served};
use crate::harness::{Fate, H2, Host, Trust, Wire, answer, app, block_on, in_time, send_all, web};

/// Issue 3: HTTP/2 without TLS, many streams of one connection at once.
#[test]
fn http2_with_prior_knowledge_is_served() {
    let manifest = app("") + &web("modern", HELLO_HTTP, "") + &web("classic", HELLO_HTTP_CLASSIC, "");
    let app = Host::manifest(&manifest).start_ready();
    block_on(async {
        for name in ["modern", "classic"] {
            let client = H2::connect(&app.address(name)).await;
            for answer in join_all((0..100).map(|_| client.get("/"))).await {
                assert_eq!(answer.expect(200).text(), "Hello");
            }
        }
    });
    let output = app.stop();
    output.expect_code(0);
    assert_eq!(served(&output, "modern"), 100);
    assert_eq!(served(&output, "classic"), 100);
}

/// A long stream does not hold up a short one of the same connection.
#[test]
fn streams_of_one_connection_do_not_wait_for_each_other() {
    for source in LABS {
        let app = serve(source, "", "instances = { max = 2 }");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let slow = client.request("GET", "/sleep?ms=1000").body(()).unwrap();
            let (slow, _) = client.open(slow, true).await.unwrap();
            client.get("/").await.expect(200);
            let slow = in_time("the slow answer", answer(slow)).await.unwrap();
            assert_eq!(slow.expect(200).text(), "slept 1000 ms");
        });
        app.stop().expect_code(0);
    }
}

/// Issue 3: TLS by `tls = { cert, key }`; ALPN offers h2 and http/1.1, and a client without ALPN gets HTTP/1.1.
#[test]
fn tls_is_served_with_both_protocols() {
    let keys = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
    let manifest = app("") + &web("modern", HELLO_HTTP, keys) + &web("classic", HELLO_HTTP_CLASSIC, keys);
    let (host, trust) = Trust::install(Host::manifest(&manifest));
    let app = host.start_ready();
    for name in ["modern", "classic"] {
        let address = app.address(name);
        assert!(matches!(address, crate::harness::Address::Tls(_)), "{address:?}");
        let mut wire = Wire::connect_tls(&address, &trust, &["http/1.1"]);
        for _ in 0..2 {
            assert_eq!(wire.get("/").expect(200).text(), "Hello");
        }
        assert_eq!(Wire::connect_tls(&address, &trust, &[]).get("/").expect(200).text(), "Hello");
        block_on(async {
            let client = H2::connect_tls(&address, &trust).await;
            for answer in join_all((0..20).map(|_| client.get("/"))).await {
                assert_eq!(answer.expect(200).text(), "Hello");
            }
        });
        // Who speaks plain HTTP to it is not served, and harms nobody.
        let mut plain = Wire::connect(&address);
        plain.send_get("/");
        assert!(!matches!(plain.fate(), Fate::Answered(answer) if answer.status == 200));
    }
    let output = app.stop();
    output.expect_code(0).expect_outcome("modern", "stopped");
    assert_eq!(served(&output, "modern"), 23, "{}", output.said());
}

/// What the certificate is made of is checked before anything starts.
#[test]
fn a_bad_certificate_is_refused_before_anything_is_started() {
    let keys = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";
    let manifest = app("") + &web("web", HELLO_HTTP, keys);
    // A manifest that names a file which is not there is wrong itself.
    let output = Host::manifest(&manifest).run();
    output.expect_refused(78, &["curfew.toml:", "cert.pem"]);
    let output = Host::manifest(&manifest).file("cert.pem", "no PEM").file("key.pem", "no PEM").run();
    output.expect_refused(78, &["cert.pem"]);
    // A key of another certificate.
    let (host, _) = Trust::install(Host::manifest(&manifest));
    let (other, _) = Trust::install(Host::manifest(&manifest));
    let key = std::fs::read(other.path().join("key.pem")).unwrap();
    host.file("key.pem", key).run().expect_refused(78, &["key.pem"]);
}

/// Issue 3: trailers pass both ways. Over HTTP/2, where nothing has to be announced.
#[test]
fn trailers_pass_in_both_directions() {
    for source in LABS {
        let app = serve(source, "", "");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let answer = client.get("/trailers").await.expect(200);
            assert_eq!((answer.text().as_str(), answer.trailer("x-end")), ("body", Some("yes")));

            let request = client.request("POST", "/echo").header("te", "trailers").body(()).unwrap();
            let (response, mut stream) = client.open(request, false).await.unwrap();
            send_all(&mut stream, Bytes::from_static(b"some bytes"), false).await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", "42".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
            let answer = in_time("the echo", crate::harness::answer(response)).await.unwrap().expect(200);
            assert_eq!(answer.text(), "some bytes");
            assert_eq!(answer.trailer("x-checksum"), Some("42"), "{answer:?}");
        });
        app.stop().expect_code(0);
    }
}

/// HTTP/1.1: a request may have trailers; its body is the same with them.
#[test]
fn a_chunked_request_may_have_trailers() {
    for source in LABS {
        let app = serve(source, "", "");
        let mut wire = Wire::connect(&app.address("lab"));
        let head =
            wire.head_of("POST", "/echo", "te: trailers\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n");
        wire.send(head);
        wire.send("5\r\nHello\r\n6\r\n World\r\n0\r\nx-sum: 42\r\n\r\n");
        assert_eq!(wire.fate().answered().expect(200).text(), "Hello World");
        // The end of the body was found: the next request is read as one.
        assert!(wire.get("/").expect(200).text().starts_with("Hello "));
        app.stop().expect_code(0);
    }
}
