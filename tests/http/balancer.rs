//! H1 and H2: readiness as a balancer uses it, and the probes through a whole stop.

use std::net::SocketAddr;
use std::time::Duration;

use artifacts::{HELLO_HTTP, HOSTILE_ASYNC, HTTP_LAB_CLASSIC};
use nix::sys::signal::Signal::SIGTERM;

use super::lab::{MS, served};
use crate::harness::{
    Address, App, Balancer, Host, Load, Look, Output, Probe, Target, app, assert_within, component,
    free_port, keys, until, web,
};

/// How long after the app is not ready the balancer still sends clients.
const LATE: Duration = Duration::from_secs(2);
const NAMES: [&str; 2] = ["quick", "slow"];

/// One of the two processes behind the balancer: it comes back on the same addresses.
struct Instance {
    name: &'static str,
    admin: u16,
    ports: [u16; 2],
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

impl Instance {
    fn new(name: &'static str) -> Instance {
        Instance { name, admin: free_port(), ports: [free_port(), free_port()] }
    }

    fn start(&self) -> App {
        let keys = format!("drain-delay = \"3s\"\ngrace = \"20s\"\nadmin = \"{}\"", local(self.admin));
        let listen = |port: u16| format!("listen = [\"{}\"]", local(port));
        let manifest = app(&keys)
            + &component(NAMES[0], HELLO_HTTP, &listen(self.ports[0]))
            + &component(NAMES[1], HTTP_LAB_CLASSIC, &listen(self.ports[1]));
        Host::manifest(&manifest).start_ready()
    }

    fn admin(&self) -> Address {
        Address::Tcp(local(self.admin))
    }

    fn targets(&self, balancer: &Balancer) -> [Target; 2] {
        [(0, "/"), (1, "/sleep?ms=40")].map(|(at, path)| {
            let address = Address::Tcp(local(self.ports[at]));
            Target::new(&self.target(at), address, path).balanced(balancer.rotation())
        })
    }

    fn target(&self, at: usize) -> String {
        format!("{}/{}", self.name, NAMES[at])
    }
}

/// The stop of one while clients are at work, and the bound that it keeps: nobody was left when it closed.
#[track_caller]
fn stop_behind(balancer: &Balancer, app: App) -> Output {
    let asked = app.signal(SIGTERM);
    until("the balancer leaves", || (!balancer.sends()).then_some(()));
    assert!(app.records("listener closed", "").is_empty(), "this machine is too slow to tell anything");
    let output = app.wait();
    output.expect_code(0).expect_cause("signal", "SIGTERM");
    let closed = output.records("listener closed", "")[0].at;
    assert!(closed - asked >= Duration::from_secs(3), "closed after {:?}", closed - asked);
    for name in NAMES {
        output.expect_outcome(name, "stopped").expect_hook(name, "ok");
        assert_eq!(output.row(name).number("in_flight_ended"), 0.0);
    }
    output
}

/// H1 (kubernetes#43576, skipper#652): two processes behind a balancer that leaves 2 s after `/readyz` fails, each with a
/// `drain-delay` of 3 s; open-loop clients, new and kept connections and HTTP/2. The first is stopped and started again,
/// then the second is stopped: 0 refused, 0 reset, every accepted request answered, no work done that nobody was told of.
#[test]
fn a_rollout_behind_a_balancer_loses_nothing() {
    let instances = ["first", "second"].map(Instance::new);
    let [first, second] = instances.each_ref().map(Instance::start);
    let balancers = instances.each_ref().map(|instance| Balancer::start(&instance.admin(), LATE));
    until("both in rotation", || balancers.iter().all(Balancer::sends).then_some(()));
    let both = instances.iter().zip(&balancers);
    let targets: Vec<Target> = both.flat_map(|(instance, balancer)| instance.targets(balancer)).collect();
    let load = Load::start(300, &targets);
    load.wait_for_answers(200);
    let mut ends = vec![(0, stop_behind(&balancers[0], first))];
    let first = instances[0].start();
    until("the first in rotation again", || balancers[0].sends().then_some(()));
    ends.push((1, stop_behind(&balancers[1], second)));
    // The first has all of the load now.
    let tally = load.end();
    ends.push((0, first.stop()));
    balancers.into_iter().for_each(Balancer::end);
    let failures = tally.others(&[]);
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(tally.sent_again, 0, "a connection was closed while its client was sure of it: {tally:?}");
    for (number, instance) in instances.iter().enumerate() {
        for (at, name) in NAMES.iter().enumerate() {
            let lives = ends.iter().filter(|(whose, _)| *whose == number);
            let served: u64 = lives.map(|(_, output)| served(output, name)).sum();
            let answered = tally.answered(&instance.target(at), 200);
            assert!(answered > 0, "{} had no load", instance.target(at));
            assert_eq!(served, answered, "{}: {tally:?}", instance.target(at));
        }
    }
}

/// Where the record with this message is in the log.
#[track_caller]
fn place(output: &Output, message: &str) -> usize {
    let found = output.records.iter().position(|record| record.message() == message);
    found.unwrap_or_else(|| panic!("no {message:?} in\n{}", output.said()))
}

/// Stops an app whose hook takes a while, and looks at it from all sides until it has gone.
fn probe_a_stop(delay: Duration) {
    let hook = keys(&["run=good", "hook=slow", "ms=700"]);
    let keys = format!("drain-delay = \"{}ms\"\nadmin = \"127.0.0.1:0\"", delay.as_millis());
    let manifest = app(&keys) + &web("web", HELLO_HTTP, "") + &component("slow", HOSTILE_ASYNC, &hook);
    let app = Host::manifest(&manifest).start_ready();
    let admin = Address::parse(&app.wait_for_log("admin listener open", "").text("address"));
    let address = app.address("web");
    let [readyz, livez] = ["/readyz", "/livez"].map(|path| Probe::start(&admin, path));
    let door = Probe::start(&address, "/");
    until("they are at work", || address.connect().is_ok().then_some(()));
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    let [readyz, livez, door] = [readyz, livez, door].map(Probe::end);
    output.expect_code(0).expect_hook("slow", "ok");

    // Once it is closed, nobody who asks from then on is told that the app is ready.
    let first_closed = door.iter().find(|look| !look.is_good()).expect("the listener never closed").told;
    let late = readyz.iter().find(|look| look.asked >= first_closed && look.is_good());
    assert!(late.is_none(), "ready behind a closed listener, {:?} later", late.unwrap().asked - first_closed);
    let first_unready = readyz.iter().find(|look| !look.is_good()).expect("always ready");
    assert_eq!(first_unready.status, Some(503));
    assert!(!readyz.iter().any(|look| look.asked > first_unready.told && look.is_good()), "ready again");
    if !delay.is_zero() {
        let [unready, closed] =
            ["app not ready", "listener closed"].map(|message| output.records[place(&output, message)].at);
        assert!(closed - unready >= delay / 2, "not ready only {:?} before it closed", closed - unready);
        assert!(first_unready.told < first_closed, "nobody was told before it closed");
        let told = first_unready.told - asked;
        assert_within(told, 50 * MS, "/readyz after the signal");
    }
    check_to_the_end(&output, &livez, 200);
    check_to_the_end(&output, &readyz, 503);
    let closed = place(&output, "admin listener closed");
    assert!(place(&output, "app not ready") < place(&output, "listener closed"), "{}", output.said());
    let behind = output.records[closed..].iter().map(|record| record.message().to_string());
    let behind: Vec<String> = behind.filter(|message| message != "control socket closed").collect();
    assert!(
        !behind.iter().any(|message| message == "listener closed" || message == "component ended"),
        "the admin listener is not the last that closes: {behind:?}"
    );
}

/// It was answered so until the process left: during the hook, too.
#[track_caller]
fn check_to_the_end(output: &Output, looks: &[Look], status: u16) {
    let hook = output.records("hook started", "slow")[0].at;
    // The log can be read later than the process leaves.
    let ended = output.records("component ended", "slow")[0].written();
    let meanwhile: Vec<_> = looks.iter().filter(|look| look.asked > hook && look.told < ended).collect();
    assert!(meanwhile.len() > 2, "{} looks during the hook", meanwhile.len());
    assert!(meanwhile.iter().all(|look| look.status == Some(status)), "{meanwhile:?}");
    let lost = looks.iter().find(|look| look.status.is_none()).map_or(output.ended, |look| look.told);
    assert_within(output.ended.saturating_duration_since(lost), 100 * MS, "the exit behind the last answer");
}

/// H2 (contour#4852, kubernetes#52817), I7: not ready before the first listener closes; live until the exit; the admin
/// listener closes last.
#[test]
fn not_ready_comes_before_the_listeners_close_and_live_lasts() {
    probe_a_stop(1000 * MS);
}

/// The same without a delay, where both come in one step.
#[test]
fn not_ready_comes_before_the_listeners_close_without_a_delay() {
    probe_a_stop(Duration::ZERO);
}
