//! What a client may not do: heads and bodies that are too large, heads that never end, connections that idle.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::lab::{LABS, MS, connect, serve, text_of};
use crate::harness::{Answer, Cut, Fate, H2, Wire, assert_within, block_on, in_time, send_all};

/// An answer of the host itself: a short text that begins with the status.
#[track_caller]
fn expect_own(answer: Answer, status: u16) {
    let kind = answer.header("content-type").unwrap_or_default().to_string();
    let text = answer.expect(status).text();
    assert!(text.starts_with(&status.to_string()) && text.len() < 300, "{text:?}");
    assert!(kind.starts_with("text/plain"), "{kind:?}");
}

/// `limits.header-size`: 431.
#[test]
fn a_head_that_is_too_large_gets_431() {
    for source in LABS {
        let app = serve(source, "", "limits = { header-size = \"16KiB\" }");
        let mut wire = connect(&app);
        let fits = format!("x-long: {}\r\n", "a".repeat(12 * 1024));
        let head = wire.head_of("GET", "/headers", &fits);
        wire.send(head);
        assert!(wire.fate().answered().expect(200).text().contains("x-long: aaaa"));
        for long in ["a".repeat(40 * 1024), "a: b\r\n".repeat(8000)] {
            let mut wire = connect(&app);
            let head = wire.head_of("GET", "/headers", &format!("x-long: {long}\r\n"));
            // It may answer before it has read all of it.
            let _ = wire.try_send(head);
            let answer = wire.fate().answered();
            assert_eq!(answer.status, 431, "{answer:?}");
            assert_eq!(wire.end(), Cut::End);
        }
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let request = client.request("GET", "/headers").header("x-long", "a".repeat(40 * 1024));
            let (response, _) = client.open(request.body(()).unwrap(), true).await.unwrap();
            let answer = in_time("an answer", crate::harness::answer(response)).await.unwrap();
            assert_eq!(answer.status, 431, "{answer:?}");
            client.get("/").await.expect(200);
        });
        app.stop().expect_code(0);
    }
}

/// `limits.body-size`: 413, at once when the head tells the length.
#[test]
fn a_body_that_is_too_large_gets_413() {
    for source in LABS {
        let app = serve(source, "", "limits = { body-size = \"100KiB\" }");
        let fits = vec![b'y'; 100 * 1024];
        assert_eq!(connect(&app).post("/echo", &fits).expect(200).body, fits);
        let mut wire = connect(&app);
        let head = wire.head_of("POST", "/echo", &format!("content-length: {}\r\n", fits.len() + 1));
        wire.send(head);
        expect_own(wire.fate().answered(), 413);
        // A length that nobody told: the guest has answered its first bytes by then, or the host does.
        let mut wire = connect(&app);
        let head = wire.head_of("POST", "/echo", "transfer-encoding: chunked\r\n");
        wire.send(head);
        let chunk = format!("{:x}\r\n{}\r\n", 64 * 1024, "y".repeat(64 * 1024));
        let _ = wire.try_send(chunk.repeat(3) + "0\r\n\r\n");
        match wire.fate() {
            Fate::Answered(answer) => expect_own(answer, 413),
            Fate::Aborted { partial, .. } => assert!(partial.body.len() <= 100 * 1024),
            other => panic!("{other:?}"),
        }
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            let length = fits.len() + 1;
            let request = client.request("POST", "/echo").header("content-length", length).body(()).unwrap();
            let (response, mut stream) = client.open(request, false).await.unwrap();
            let _ = send_all(&mut stream, Bytes::from_static(b"the first of it"), false).await;
            expect_own(in_time("an answer", crate::harness::answer(response)).await.unwrap(), 413);
            client.get("/").await.expect(200);
        });
        assert!(text_of(&app, "/").starts_with("Hello "));
        app.stop().expect_code(0);
    }
}

/// `limits.header-timeout`: a head that does not end is not waited for, however slowly it comes.
#[test]
fn a_head_that_never_ends_is_closed() {
    for source in LABS {
        let app = serve(source, "", "limits = { header-timeout = \"600ms\" }");
        let mut half = connect(&app);
        half.send("GET / HTTP/1.1\r\nhost: a\r\n");
        let mut drip = connect(&app);
        let begun = Instant::now();
        drip.send("GET / HTTP/1.1\r\n");
        // The scenario is about this time: each byte comes before the timeout, the head never does.
        while drip.try_send("x").is_ok() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(100 * MS);
        }
        assert_within(begun.elapsed(), 900 * MS, "the end of a head that drips");
        match half.fate() {
            Fate::Closed | Fate::Reset => {}
            Fate::Answered(answer) => assert_eq!(answer.status, 408),
            other => panic!("{other:?}"),
        }
        assert!(begun.elapsed() >= 500 * MS);
        assert!(text_of(&app, "/").starts_with("Hello "));
        app.stop().expect_code(0);
    }
}

/// `limits.idle-timeout`: a connection that is not used is closed, one that waits for its answer is not.
#[test]
fn idle_connections_are_closed_after_a_time() {
    for source in LABS {
        let app = serve(source, "", "limits = { idle-timeout = \"500ms\" }");
        let mut busy = connect(&app);
        busy.begin_get("/sleep?ms=3000");
        // One that never said a word is idle, too.
        let mut silent = connect(&app);
        let since = Instant::now();
        assert_eq!(silent.end(), Cut::End);
        assert!(since.elapsed() >= 450 * MS, "closed after {:?}", since.elapsed());
        assert_within(since.elapsed(), 600 * MS, "the end of a silent connection");
        let mut idle = connect(&app);
        idle.get("/gone").expect(200);
        let since = Instant::now();
        assert_eq!(idle.end(), Cut::End);
        assert!(since.elapsed() >= 450 * MS, "closed after {:?}", since.elapsed());
        assert_within(since.elapsed(), 600 * MS, "the end of an idle connection");
        block_on(async {
            let client = H2::connect(&app.address("lab")).await;
            client.get("/gone").await.expect(200);
            let since = Instant::now();
            let _ = in_time("the end of an idle connection", client.connection).await;
            assert!(since.elapsed() >= 450 * MS, "closed after {:?}", since.elapsed());
        });
        assert_eq!(busy.fate().answered().expect(200).text(), "slept 3000 ms");
        app.stop().expect_code(0);
    }
}

/// `limits.connections`: one more is not served while as many are open, and is when one has gone.
#[test]
fn connections_are_limited() {
    for source in LABS {
        let app = serve(source, "", "limits = { connections = 4 }");
        let mut open: Vec<Wire> = (0..4).map(|_| connect(&app)).collect();
        open.iter_mut().for_each(Wire::hold);
        let mut late = connect(&app);
        // The scenario is about this time: it may wait, or be closed, or be told, but not be served.
        late.stream().tcp().set_read_timeout(Some(300 * MS)).unwrap();
        let _ = late.try_send(late.head_of("GET", "/", ""));
        let mut first = [0; 12];
        let read = std::io::Read::read(&mut late.stream().tcp().try_clone().unwrap(), &mut first);
        let served = read.is_ok_and(|read| first[..read].starts_with(b"HTTP/1.1 200"));
        assert!(!served, "the fifth of four connections was served");
        drop(late);
        open.pop().unwrap().release();
        let again = || {
            let mut wire = Wire::try_connect(&app.address("lab")).ok()?;
            wire.try_send(wire.head_of("GET", "/", "")).ok()?;
            matches!(wire.fate(), Fate::Answered(answer) if answer.status == 200).then_some(())
        };
        crate::harness::until("a place", again);
        open.iter_mut().for_each(Wire::release);
        app.stop().expect_code(0);
    }
}
