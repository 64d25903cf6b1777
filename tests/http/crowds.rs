//! Crowds of idle connections: who comes later is served all the same, a sibling and the probes notice nothing.

use std::time::{Duration, Instant};

use artifacts::{ECHO_HANDLER, HELLO_HTTP, HTTP_LAB};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::lab::MS;
use crate::harness::{
    Address, App, Cut, Fate, Host, Load, Probe, Target, Wire, app, assert_within, component, until, web,
};

/// More than `limits.connections` has by default.
const CROWD: usize = 4200;
const HALF_A_HEAD: &str = "GET / HTTP/1.1\r\nhost: a\r\n";

/// The longest wait of a client that comes behind a crowd: none of it is evicted in its first second.
const SERVED_WITHIN: Duration = Duration::from_millis(1500);

/// Lets this process have the descriptors of a crowd.
fn raise_limit() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    }
}

/// The component `web` and a sibling, on a host that may have so many descriptors.
fn start(descriptors: usize, crowded: &str) -> App {
    raise_limit();
    let manifest = app("admin = \"127.0.0.1:0\"") + crowded + &web("sibling", HELLO_HTTP, "");
    let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    Host::manifest(&manifest).under("sh", &["-c", &script]).start_ready()
}

fn admin(app: &App) -> Address {
    Address::parse(&app.wait_for_log("admin listener open", "").text("address"))
}

/// What is said of the faults of the clients of `web`.
fn faults(app: &App, reason: &str) -> u64 {
    let text = Wire::connect(&admin(app)).get("/metrics").expect(200).text();
    let start = format!("curfew_client_faults_total{{component=\"web\",reason=\"{reason}\"}} ");
    let sample = text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok());
    sample.unwrap_or_else(|| panic!("{start} is missing in {text}"))
}

fn crowd(address: &Address, count: usize, bytes: &str) -> Vec<Wire> {
    let connect = |_| {
        let mut wire = Wire::connect(address);
        wire.send(bytes);
        wire
    };
    (0..count).map(connect).collect()
}

/// A load of a sibling and a probe of the admin listener, which notice nothing of what is done meanwhile.
#[track_caller]
fn beside_a_sibling(app: &App, attack: impl FnOnce()) {
    let load = Load::start(50, &[Target::new("sibling", app.address("sibling"), "/")]);
    load.wait_for_answers(20);
    let probe = Probe::start(&admin(app), "/livez");
    attack();
    let (tally, looks) = (load.end(), probe.end());
    assert_eq!(tally.others(&[]), Vec::<String>::new(), "the sibling's clients");
    assert!(looks.len() > 3 && looks.iter().all(|look| look.is_good()), "{looks:?}");
    let slowest = looks.iter().map(|look| look.told - look.asked).max().unwrap();
    assert_within(slowest, 200 * MS, "an answer of /livez");
}

#[track_caller]
fn expect_served(address: &Address, count: usize) {
    for _ in 0..count {
        let asked = Instant::now();
        Wire::connect(address).get("/").expect(200);
        assert_within(asked.elapsed(), SERVED_WITHIN, "an answer behind a crowd");
    }
}

fn a_crowd_is_evicted(bytes: &str) {
    let app = start(8192, &web("web", HELLO_HTTP, ""));
    let address = app.address("web");
    let mut kept = Wire::connect(&address);
    kept.get("/").expect(200);
    beside_a_sibling(&app, || {
        let crowd = crowd(&address, CROWD, bytes);
        expect_served(&address, 20);
        // Those that have never brought a request go first.
        kept.get("/").expect(200);
        drop(crowd);
    });
    assert!(faults(&app, "evicted") >= 100);
    let output = app.stop();
    output.expect_code(0);
    let lines = output.records("fault of a client", "web").len();
    assert!((1..60).contains(&lines), "{lines} lines\n{}", output.said());
}

/// Issue 13: 4,200 silent connections.
#[test]
fn silent_connections_make_room() {
    a_crowd_is_evicted("");
}

/// Issue 13: 4,200 half heads.
#[test]
fn half_heads_make_room() {
    a_crowd_is_evicted(HALF_A_HEAD);
}

/// Issue 13: at the limit of descriptors the sibling and `/livez` are served.
#[test]
fn a_crowd_leaves_descriptors_to_others() {
    for bytes in ["", HALF_A_HEAD] {
        let app = start(256, &web("web", HELLO_HTTP, ""));
        let address = app.address("web");
        beside_a_sibling(&app, || {
            let crowd = crowd(&address, 600, bytes);
            until("the last of its descriptors", || (app.descriptors() >= 220).then_some(()));
            expect_served(&address, 20);
            expect_served(&app.address("sibling"), 20);
            drop(crowd);
        });
        assert!(faults(&app, "evicted") >= 100);
        app.stop().expect_code(0);
    }
}

/// Connections of kind `tcp` are not evicted: they wait for a place, and leave a part of the descriptors to others.
#[test]
fn a_crowd_of_kind_tcp_leaves_descriptors_to_others() {
    let listen = "listen = [\"127.0.0.1:0\"]\ninstances = { concurrency = 1000 }";
    let app = start(256, &component("web", ECHO_HANDLER, listen));
    let address = app.address("web");
    beside_a_sibling(&app, || {
        let crowd = crowd(&address, 600, "");
        until("the last of its descriptors", || (app.descriptors() >= 220).then_some(()));
        expect_served(&app.address("sibling"), 20);
        assert_eq!(faults(&app, "evicted"), 0);
        drop(crowd);
    });
    app.stop().expect_code(0);
}

/// A connection with a request in flight is nobody's room.
#[test]
fn busy_connections_are_not_evicted() {
    let app =
        start(256, &web("web", HTTP_LAB, "limits = { connections = 4 }\ninstances = { concurrency = 8 }"));
    let address = app.address("web");
    let mut busy: Vec<Wire> = (0..4).map(|_| Wire::connect(&address)).collect();
    busy.iter_mut().for_each(Wire::hold);
    let mut late = Wire::connect(&address);
    late.send_get("/");
    // The scenario is about this time: an idle connection would be evicted after a second.
    std::thread::sleep(1500 * MS);
    busy.iter_mut().for_each(Wire::release);
    // They are idle now, and the oldest makes room in a second.
    late.fate().answered().expect(200);
    assert_eq!(faults(&app, "evicted"), 1);
    app.stop().expect_code(0);
}

/// From another address of this machine.
fn connect_from(client: [u8; 4], address: &Address) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&address.socket().into()).unwrap();
    socket.set_read_timeout(Some(crate::harness::patience())).unwrap();
    Wire::over(crate::harness::Stream::Tcp(socket.into()), address)
}

fn answers(wire: &mut Wire, bytes: &str) -> bool {
    wire.try_send(bytes).is_ok() && matches!(wire.fate(), Fate::Answered(_))
}

/// `limits.per-client`: one more is reset, other clients and unix sockets are not concerned.
#[test]
fn the_connections_of_a_client_are_limited() {
    let listen = "listen = [\"127.0.0.1:0\", \"unix:web.sock\"]\nlimits = { per-client = 3 }";
    for source in [HELLO_HTTP, ECHO_HANDLER] {
        let app = start(256, &component("web", source, listen));
        let addresses = app.addresses("web", 2);
        let tcp = addresses.iter().find(|address| !matches!(address, Address::Unix(_))).unwrap();
        let unix = addresses.iter().find(|address| matches!(address, Address::Unix(_))).unwrap();
        let works = |wire: &mut Wire| match source == HELLO_HTTP {
            true => answers(wire, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
            // The guest echoes it.
            false => answers(wire, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        };
        let mut own: Vec<Wire> = (0..3).map(|_| Wire::connect(tcp)).collect();
        assert!(own.iter_mut().all(works));
        for _ in 0..5 {
            assert_eq!(Wire::connect(tcp).end(), Cut::Reset);
        }
        assert!(works(&mut connect_from([127, 0, 0, 2], tcp)), "another client");
        let mut local: Vec<Wire> = (0..5).map(|_| Wire::connect(unix)).collect();
        assert!(local.iter_mut().all(works));
        assert_eq!(faults(&app, "too-many-connections"), 5);
        own.pop();
        until("a place of the client", || {
            let mut wire = Wire::connect(tcp);
            works(&mut wire).then_some(())
        });
        assert!(own.iter_mut().all(works));
        drop((own, local));
        app.stop().expect_code(0);
    }
}
