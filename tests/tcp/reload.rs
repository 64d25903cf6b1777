//! Restarts on the same and on another address, under load: R2 and R3 for connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use artifacts::{ECHO_HANDLER, TCP_LAB};

use super::client::{Client, End};
use crate::harness::{App, Host, app, component, free_port, patience, until};

fn listening_on(port: u16, more: &str) -> String {
    app("grace = \"20s\"")
        + &component("echo", ECHO_HANDLER, &format!("listen = [\"127.0.0.1:{port}\"]\n{more}"))
}

fn start(port: u16) -> App {
    Host::manifest(&listening_on(port, "")).start_ready()
}

/// Something that makes another generation of it.
fn changed(port: u16, time: u32) -> String {
    listening_on(port, &format!("env = {{ TIME = \"{time}\" }}"))
}

/// Clients that connect again and again, say a line and want it back.
struct Knockers {
    leave: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Knockers {
    fn start(address: SocketAddr) -> Knockers {
        let (leave, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..4).map(|_| {
            let (leave, answers) = (leave.clone(), answers.clone());
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !leave.load(SeqCst) {
                    match knock(address) {
                        Ok(()) => drop(answers.fetch_add(1, SeqCst)),
                        Err(error) => failures.push(error),
                    }
                }
                failures
            })
        });
        Knockers { threads: threads.collect(), leave, answers }
    }

    #[track_caller]
    fn wait_for(&self, more: u64) {
        let most = self.answers.load(SeqCst) + more;
        until("more answers", || (self.answers.load(SeqCst) >= most).then_some(()));
    }

    fn end(self) -> Vec<String> {
        self.leave.store(true, SeqCst);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn knock(address: SocketAddr) -> Result<(), String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed("connect"))?;
    stream.set_read_timeout(Some(patience())).map_err(failed("timeout"))?;
    stream.write_all(b"hello\n").map_err(failed("write"))?;
    stream.shutdown(std::net::Shutdown::Write).map_err(failed("shutdown"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed("read"))?;
    if answer == "hello\n" { Ok(()) } else { Err(format!("answered {answer:?}")) }
}

/// R2: the same address, again and again: nobody is refused, reset, or left without an answer.
#[test]
fn restarts_on_the_same_address_lose_no_client() {
    let port = free_port();
    let app = start(port);
    let knockers = Knockers::start(SocketAddr::from(([127, 0, 0, 1], port)));
    for time in 0..10 {
        knockers.wait_for(20);
        app.reload(&changed(port, time));
    }
    knockers.wait_for(20);
    let failures = knockers.end();
    assert!(failures.is_empty(), "{failures:?}");
    let output = app.stop();
    output.expect_code(0);
}

/// A connection that is open stays with its generation, is told to finish, and gets its whole answer; new ones are the
/// next generation's.
#[test]
fn an_open_connection_stays_with_its_generation() {
    let lab = |time: u32| {
        let keys =
            format!("listen = [\"127.0.0.1:0\"]\ninstances = {{ max = 1 }}\nenv = {{ TIME = \"{time}\" }}");
        app("grace = \"20s\"") + &component("lab", TCP_LAB, &keys)
    };
    let app = Host::manifest(&lab(0)).start_ready();
    let before = super::lab::who(&app).1;
    let mut old = Client::new(&app, "lab");
    old.send("sleep 1000\n");
    std::thread::sleep(Duration::from_millis(100));
    app.reload(&lab(1));
    assert_ne!(super::lab::who(&app).1, before, "a new one is the fresh generation's");
    assert_eq!(old.rest_text(), ("slept\n".to_owned(), End::Clean));
    app.stop().expect_code(0);
}

/// R3: another address is bound before the old one closes; who is connected there gets its answer.
#[test]
fn a_restart_on_another_address_keeps_whoever_is_connected() {
    let (one, two) = (free_port(), free_port());
    let app = start(one);
    let mut client = Client::new(&app, "echo");
    client.say("hello");
    client.send("half a line");
    app.reload(&listening_on(two, ""));
    assert_eq!(client.rest_text(), ("half a line".to_owned(), End::Clean));
    let mut other = Client::at(&crate::harness::Address::Tcp(SocketAddr::from(([127, 0, 0, 1], two))));
    other.say("hello");
    until("the old address closed", || TcpStream::connect(("127.0.0.1", one)).is_err().then_some(()));
    other.say("still there");
    drop(other);
    app.stop().expect_code(0);
}

/// R3: an address that cannot be had changes nothing.
#[test]
fn a_restart_on_an_address_that_is_taken_changes_nothing() {
    let port = free_port();
    let app = start(port);
    let mut client = Client::new(&app, "echo");
    client.say("hello");
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    app.reload_fails(&listening_on(taken.local_addr().unwrap().port(), ""));
    client.say("nothing has changed");
    Client::new(&app, "echo").say("for new ones neither");
    drop(client);
    app.stop().expect_code(0);
}
