//! Bodies as long as they like, in both directions, in flat memory: whoever reads slowly slows down whoever writes.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::lab::{LABS, MS, connect, serve, text_of};
use crate::harness::{App, H2, Wire, answer, block_on, patience, send_all, until};

const BYTES: u64 = 50_000_000;

/// What a host may take for a body of any length: windows and buffers of a few connections.
const FLAT_MIB: f64 = 24.0;

/// The highest resident memory seen while `work` goes on, above what it was before.
#[track_caller]
fn growth(app: &App, work: impl FnOnce(&mut dyn FnMut())) -> f64 {
    // What the first request needs for good is no growth.
    text_of(app, "/big?bytes=1000000");
    let before = app.resident_mib();
    let mut highest = before;
    work(&mut || highest = highest.max(app.resident_mib()));
    highest - before
}

/// The byte at this place of a body that tells where it was torn or turned round.
fn pattern(start: u64, length: usize) -> Vec<u8> {
    (start..start + length as u64).map(|at| (at % 251) as u8).collect()
}

/// Issue 3, streaming bodies: 50 MB out of the guest.
#[test]
fn a_long_answer_streams_through_flat_memory() {
    for source in LABS {
        let app = serve(source, "", "");
        let grown = growth(&app, |look| {
            let mut wire = connect(&app);
            wire.send_get(&format!("/big?bytes={BYTES}"));
            assert_eq!(wire.head().status, 200);
            let mut read = 0;
            while let Some(piece) = wire.piece().unwrap() {
                assert!(piece.iter().all(|byte| *byte == b'x'));
                read += piece.len() as u64;
                if read % 1_000_000 < piece.len() as u64 {
                    look();
                }
            }
            assert_eq!(read, BYTES);
        });
        assert!(grown < FLAT_MIB, "{source}: the host grew by {grown:.1} MiB");
        app.stop().expect_code(0);
    }
}

/// The same into the guest and back out of it, with a length that the head tells and in chunks.
#[test]
fn a_long_request_streams_through_flat_memory() {
    for source in LABS {
        let app = serve(source, "", "");
        for chunked in [false, true] {
            let grown = growth(&app, |look| echo(&mut connect(&app), chunked, look));
            assert!(grown < FLAT_MIB, "{source}, chunked: {chunked}: the host grew by {grown:.1} MiB");
        }
        app.stop().expect_code(0);
    }
}

fn echo(wire: &mut Wire, chunked: bool, look: &mut dyn FnMut()) {
    let length = format!("content-length: {BYTES}\r\n");
    let framing = if chunked { "transfer-encoding: chunked\r\n" } else { &length };
    let head = wire.head_of("POST", "/echo", framing);
    wire.send(head);
    let mut sender = wire.stream().tcp().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < BYTES {
            let length = usize::try_from((BYTES - sent).min(100_000)).unwrap();
            send_piece(&mut sender, &pattern(sent, length), chunked);
            sent += length as u64;
        }
        if chunked {
            sender.write_all(b"0\r\n\r\n").unwrap();
        }
    });
    assert_eq!(wire.head().status, 200);
    let mut read = 0;
    while let Some(piece) = wire.piece().unwrap() {
        assert!(piece == pattern(read, piece.len()), "another byte somewhere behind {read}");
        read += piece.len() as u64;
        look();
    }
    assert_eq!(read, BYTES);
    sending.join().unwrap();
}

fn send_piece(sender: &mut TcpStream, piece: &[u8], chunked: bool) {
    if chunked {
        sender.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
    }
    sender.write_all(piece).unwrap();
    if chunked {
        sender.write_all(b"\r\n").unwrap();
    }
}

/// The same over HTTP/2, whose windows are what holds back.
#[test]
fn a_long_request_streams_through_flat_memory_over_http2() {
    for source in LABS {
        let app = serve(source, "", "");
        let grown = growth(&app, |look| {
            block_on(async {
                let client = H2::connect(&app.address("lab")).await;
                let request = client.request("POST", "/echo").body(()).unwrap();
                let (response, mut stream) = client.open(request, false).await.unwrap();
                let sending = async {
                    for start in (0..BYTES).step_by(100_000) {
                        let piece = Bytes::from(pattern(start, 100_000));
                        send_all(&mut stream, piece, start + 100_000 == BYTES).await.unwrap();
                        look();
                    }
                };
                // A host that is built for debugging takes its time.
                let both = futures::future::join(answer(response), sending);
                let (echo, ()) = tokio::time::timeout(4 * patience(), both).await.expect("the echo");
                let body = echo.unwrap().expect(200).body;
                assert!(body == pattern(0, usize::try_from(BYTES).unwrap()), "another body came back");
            });
        });
        assert!(grown < FLAT_MIB, "{source}: the host grew by {grown:.1} MiB");
        app.stop().expect_code(0);
    }
}

/// Back-pressure: an answer that nobody reads is not collected in the host.
#[test]
fn a_client_that_does_not_read_does_not_cost_memory() {
    for source in LABS {
        let app = serve(source, "", "");
        let mut clients = Vec::new();
        let grown = growth(&app, |look| {
            for _ in 0..4 {
                let mut wire = connect(&app);
                wire.send_get("/big?bytes=1000000000");
                clients.push(wire);
            }
            // The scenario is about this time: nobody reads meanwhile.
            watch(Duration::from_secs(1), look);
        });
        assert!(grown < 2.0 * FLAT_MIB, "{source}: the host grew by {grown:.1} MiB");
        // They have not lost anything by waiting.
        let mut first = clients.remove(0);
        assert_eq!(first.head().status, 200);
        let mut read = 0;
        while read < 30_000_000 {
            read += first.piece().unwrap().expect("it goes on").len();
        }
        drop((first, clients));
        app.stop().expect_code(0);
    }
}

/// The other direction: a body that the guest does not read is not collected in the host.
#[test]
fn a_guest_that_does_not_read_holds_its_client_back() {
    for source in LABS {
        let app = serve(source, "grace = \"300ms\"", "");
        let mut sent = 0;
        let grown = growth(&app, |look| {
            let mut wire = connect(&app);
            let head = wire.head_of("POST", "/park", "content-length: 1000000000\r\n");
            wire.send(head);
            let mut sender = wire.stream().tcp().try_clone().unwrap();
            // Longer than a busy host needs to take what it is ready to take.
            sender.set_write_timeout(Some(500 * MS)).unwrap();
            let piece = vec![0; 64 * 1024];
            while let Ok(taken) = sender.write(&piece) {
                sent += taken;
                look();
            }
        });
        assert!(sent < 24_000_000, "{source}: {sent} bytes were taken of a body that nobody reads");
        assert!(grown < FLAT_MIB, "{source}: the host grew by {grown:.1} MiB");
        // Nobody can see that the client has gone while what it sent is unread.
        let code = app.stop().code();
        assert!(code == 0 || code == 124, "{source}: exit status {code}");
    }
}

fn watch(time: Duration, look: &mut dyn FnMut()) {
    let end = Instant::now() + time;
    until("the end of the time", || {
        look();
        (Instant::now() >= end).then_some(())
    });
}
