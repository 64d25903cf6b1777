//! Connections that were made before a stop and bring their first request during it: all of them are answered.

use std::time::{Duration, Instant};

use artifacts::HELLO_HTTP;
use futures::future::join_all;
use nix::sys::signal::Signal::SIGTERM;

use super::lab::MS;
use crate::harness::{
    Address, App, End, Fate, H2, Host, Link, Load, Lost, Target, Trust, Wire, app, assert_within, block_on,
    web,
};

/// A stop whose clients sent so long after it tells nothing: this machine was too slow for them.
const TOO_LATE: Duration = Duration::from_millis(85);

const TLS: &str = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";

/// Counted stops, and those that this machine was too slow for.
fn stops(wanted: u64, mut stop: impl FnMut(u64) -> bool) {
    let (mut run, mut late) = (0, 0);
    while run < wanted {
        match stop(run) {
            true => run += 1,
            false => late += 1,
        }
        assert!(late <= 10 + wanted, "the clients are never in time");
    }
}

/// A component without TLS, and one with it.
fn start() -> (App, Trust) {
    let manifest = app("grace = \"20s\"") + &web("plain", HELLO_HTTP, "") + &web("secure", HELLO_HTTP, TLS);
    let (host, trust) = Trust::install(Host::manifest(&manifest));
    (host.start_ready(), trust)
}

/// Clients of one stop, connected and silent: HTTP/1.1 and HTTP/2, with TLS and without.
struct Clients {
    wires: Vec<Wire>,
    streams: Vec<H2>,
}

impl Clients {
    async fn connect(app: &App, trust: &Trust, each: usize) -> Clients {
        let (plain, secure) = (app.address("plain"), app.address("secure"));
        let mut clients = Clients { wires: Vec::new(), streams: Vec::new() };
        for _ in 0..each {
            clients.wires.push(Wire::connect(&plain));
            clients.wires.push(Wire::connect_tls(&secure, trust, &["http/1.1"]));
            clients.streams.push(H2::connect(&plain).await);
            clients.streams.push(H2::connect_tls(&secure, trust).await);
        }
        clients
    }

    /// Sends the first request on each. Returns when the last one was sent, and the requests without an answer.
    async fn ask(mut self) -> (Instant, Vec<String>) {
        let mut lost = Vec::new();
        let mut responses = Vec::new();
        for wire in &mut self.wires {
            let head = wire.head_of("GET", "/", "");
            let _closed = wire.try_send(head);
        }
        for client in &self.streams {
            let request = client.request("GET", "/").body(()).unwrap();
            responses.push(client.open(request, true).await);
        }
        tokio::task::yield_now().await;
        let sent = Instant::now();
        for response in responses {
            let answer = match response {
                Ok((response, _)) => crate::harness::answer(response).await,
                Err(error) => Err(error),
            };
            lost.extend(answer.err().map(|error| format!("HTTP/2: {error:?}")));
        }
        for mut wire in self.wires {
            match wire.fate() {
                Fate::Answered(answer) if answer.status == 200 => {}
                other => lost.push(format!("HTTP/1.1: {other:?}")),
            }
        }
        (sent, lost)
    }
}

/// Issue 13: connections that are 0.3 s old at TERM, and send their first request a little later.
fn first_requests_during_a_stop(after: Duration, is_loaded: bool) {
    stops(2, |_| {
        let (app, trust) = start();
        let load = is_loaded.then(|| {
            let targets = [Target::new("plain", app.address("plain"), "/")];
            let load = Load::start(100, &targets);
            load.wait_for_answers(50);
            load
        });
        let (asked, (sent, lost)) = block_on(async {
            let clients = Clients::connect(&app, &trust, 5).await;
            // The scenario is about these times.
            tokio::time::sleep(300 * MS).await;
            let asked = app.signal(SIGTERM);
            tokio::time::sleep(after).await;
            (asked, clients.ask().await)
        });
        let output = app.wait();
        let tally = load.map(Load::end);
        if sent - asked > TOO_LATE {
            return false;
        }
        assert!(lost.is_empty(), "{lost:?}\n{}", output.said());
        let others = tally.map(|tally| tally.others(&[End::Refused])).unwrap_or_default();
        assert!(others.is_empty(), "{others:?}\n{}", output.said());
        output.expect_code(0).expect_outcome("plain", "stopped").expect_outcome("secure", "stopped");
        for name in ["plain", "secure"] {
            assert_eq!(output.row(name).counts()["turned_away"], 0);
        }
        assert_within(output.after(asked), Duration::from_millis(300), "the stop with fresh connections");
        true
    });
}

#[test]
fn first_requests_5_ms_after_a_stop_are_answered() {
    first_requests_during_a_stop(5 * MS, false);
}

#[test]
fn first_requests_40_ms_after_a_stop_are_answered() {
    first_requests_during_a_stop(40 * MS, false);
}

#[test]
fn first_requests_5_ms_after_a_stop_under_load_are_answered() {
    first_requests_during_a_stop(5 * MS, true);
}

#[test]
fn first_requests_40_ms_after_a_stop_under_load_are_answered() {
    first_requests_during_a_stop(40 * MS, true);
}

/// The next request on a kept connection, sent when its answer has just come.
#[test]
fn a_request_that_follows_an_answer_is_answered() {
    stops(5, |run| {
        let (app, trust) = start();
        let mut wires = vec![Wire::connect(&app.address("plain"))];
        wires.push(Wire::connect_tls(&app.address("secure"), &trust, &["http/1.1"]));
        let answered = Instant::now();
        wires.iter_mut().for_each(|wire| drop(wire.get("/").expect(200)));
        app.signal(SIGTERM);
        // The scenario is about this time.
        std::thread::sleep(4 * MS * u32::try_from(run).unwrap());
        let sent: Vec<_> = wires.iter_mut().map(|wire| wire.try_send(wire.head_of("GET", "/", ""))).collect();
        let took = answered.elapsed();
        let fates: Vec<_> = wires.iter_mut().map(Wire::fate).collect();
        let output = app.wait();
        output.expect_code(0);
        if took > 35 * MS {
            return false;
        }
        assert!(fates.iter().all(|fate| matches!(fate, Fate::Answered(_))), "{sent:?} {fates:?}");
        true
    });
}

/// What a stop closes without an answer is counted: fresh connections that never send, and heads that do not end.
#[test]
fn connections_that_are_turned_away_are_counted() {
    let (app, _trust) = start();
    let (plain, secure) = (app.address("plain"), app.address("secure"));
    let mut wires: Vec<Wire> = [&plain, &plain, &secure].map(Wire::connect).into();
    wires[0].send("GET / HTTP/1.1\r\n");
    wires[0].until_read();
    Wire::connect(&plain).get("/").expect(200);
    let output = app.stop();
    output.expect_code(0);
    assert_eq!(output.row("plain").counts()["turned_away"], 2, "{}", output.said());
    assert_eq!(output.row("secure").counts()["turned_away"], 1, "{}", output.said());
}

/// The ways in which a client comes over a link.
#[derive(Clone, Copy, Debug)]
enum Way {
    Http1,
    Http2,
    Tls,
    TlsHttp2,
}

async fn ask_over(link: Address, trust: &Trust, way: Way) -> Result<u16, String> {
    let lost = |lost: Lost| format!("{way:?}: {lost:?}");
    let answer = match way {
        Way::Http2 => {
            let client = H2::try_connect(&link).await.map_err(|error| error.to_string())?;
            client.try_get("/").await.map_err(lost)?
        }
        Way::TlsHttp2 => H2::connect_tls(&link, trust).await.try_get("/").await.map_err(lost)?,
        Way::Http1 | Way::Tls => {
            let trust = trust.clone();
            let ask = move || {
                let mut wire = match way {
                    Way::Tls => Wire::connect_tls(&link, &trust, &["http/1.1"]),
                    _ => Wire::connect(&link),
                };
                let _closed = wire.try_send(wire.head_of("GET", "/", ""));
                wire.fate()
            };
            match tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())? {
                Fate::Answered(answer) => answer,
                other => return Err(format!("{way:?}: {other:?}")),
            }
        }
    };
    Ok(answer.status)
}

/// Stops at any moment of connections that have just been made over a link that takes 40 ms each way.
/// `CURFEW_ROLLOUTS=100` makes the hundred stops of issue 13.
#[test]
fn stops_lose_no_connection_that_comes_late_over_a_slow_link() {
    const EACH: usize = 3;
    let rollouts = std::env::var("CURFEW_ROLLOUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    for run in 0..rollouts {
        let (app, trust) = start();
        let (plain, secure) = (app.address("plain"), app.address("secure"));
        let links = [&plain, &secure].map(|address| Link::start(address, 40 * MS));
        let [plain, secure] = [links[0].address(&plain), links[1].address(&secure)];
        let clients = std::thread::spawn(move || {
            block_on(async {
                let ways = [Way::Http1, Way::Http2, Way::Tls, Way::TlsHttp2];
                let all = ways.iter().cycle().take(EACH * ways.len()).map(|way| {
                    let link = if matches!(way, Way::Http1 | Way::Http2) { &plain } else { &secure };
                    ask_over(link.clone(), &trust, *way)
                });
                join_all(all).await
            })
        });
        links.iter().for_each(|link| link.wait_for_connections(2 * EACH));
        // The scenario is about this time: handshakes take two or three round trips.
        std::thread::sleep(MS * u32::try_from(run * 37 % 220).unwrap());
        app.signal(SIGTERM);
        let output = app.wait();
        let answers = clients.join().unwrap();
        assert!(
            answers.iter().all(|answer| *answer == Ok(200)),
            "stop {run}: {answers:?}\n{}",
            output.said()
        );
        output.expect_code(0);
    }
}
