//! H7 (gunicorn#3590, spdystream#111): an answer is read to its end, though its request was not.

use nix::sys::signal::Signal::SIGTERM;

use super::lab::{LABS, connect, serve, text_of};
use crate::harness::{App, Cut, Fate, Wire};

const ANSWER: usize = 200_000;

fn ask(app: &App, headers: &str) -> Wire {
    let mut wire = connect(app);
    let head = wire.head_of("POST", &format!("/unread?bytes={ANSWER}"), headers);
    wire.send(head);
    wire
}

/// The guest answers 200 KB with 2 KB of the request unread → the client reads all of it, then EOF.
#[test]
fn an_answer_is_whole_though_its_request_is_unread() {
    for source in LABS {
        let app = serve(source, "", "");
        for together in [true, false] {
            let mut wire = ask(&app, "connection: close\r\ncontent-length: 2048\r\n");
            if together {
                wire.send([b'y'; 2048]);
            } else {
                // It comes when the answer is under way: nobody has read it when the connection closes.
                assert_eq!(wire.head().status, 200);
                wire.send([b'y'; 2048]);
            }
            let answer = if together { wire.fate().answered() } else { wire.rest().answered() };
            assert_eq!(answer.body.len(), ANSWER);
            assert_eq!(wire.end(), Cut::End, "together: {together}");
        }
        app.stop().expect_code(0);
    }
}

/// The same when the client sends much more than anybody will read, and reads only then.
#[test]
fn an_answer_to_an_upload_that_nobody_reads_is_whole() {
    for source in LABS {
        let app = serve(source, "", "");
        let mut wire = ask(&app, "connection: close\r\ncontent-length: 400000\r\n");
        let mut sender = wire.stream().tcp().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            // The server may close its ear before the end; that is not what this is about.
            let _ = std::io::Write::write_all(&mut sender, &[b'y'; 400_000]);
        });
        sending.join().unwrap();
        let answer = wire.fate().answered().expect(200);
        assert_eq!(answer.body.len(), ANSWER);
        app.stop().expect_code(0);
    }
}

/// The same in the middle of a stop, when every connection is to be closed.
#[test]
fn a_stop_does_not_cut_an_answer_whose_request_is_unread() {
    for source in LABS {
        let app = serve(source, "grace = \"20s\"", "");
        let mut wire = ask(&app, "content-length: 2048\r\n");
        let head = wire.head();
        assert_eq!(head.status, 200);
        app.signal(SIGTERM);
        wire.send([b'y'; 2048]);
        match wire.rest() {
            Fate::Answered(answer) => assert_eq!(answer.body.len(), ANSWER),
            other => panic!("{other:?}"),
        }
        assert_eq!(wire.end(), Cut::End);
        app.wait().expect_code(0).expect_outcome("lab", "stopped");
    }
}

/// A connection goes on behind a request whose body was not read, or ends so that its client can tell.
#[test]
fn an_unread_body_is_never_taken_for_a_request() {
    for source in LABS {
        let app = serve(source, "", "");
        let mut wire = connect(&app);
        let smuggled = "GET /gone HTTP/1.1\r\nhost: a\r\n\r\n";
        let length = format!("content-length: {}\r\n", smuggled.len());
        let head = wire.head_of("POST", "/unread?bytes=10", &length);
        wire.send(head + smuggled);
        assert_eq!(wire.fate().answered().expect(200).body.len(), 10);
        if wire.try_send(wire.head_of("GET", "/sized?bytes=7", "")).is_ok() {
            match wire.fate() {
                Fate::Answered(answer) => assert_eq!(answer.body.len(), 7, "{answer:?}"),
                Fate::Closed | Fate::Reset => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(text_of(&app, "/").starts_with("Hello "));
        app.stop().expect_code(0);
    }
}
