//! Accept never fails for good: a host without descriptors for more connections goes on, and does not spin.

use artifacts::HELLO_HTTP;

use super::lab::MS;
use crate::harness::{Address, App, Cut, Host, Wire, app, until, web};

/// With 120 descriptors connections leave a reserve of 15.
const FULL: usize = 103;

/// A host that may have so many descriptors.
fn start(limit: usize, keys: &str) -> (App, Address) {
    let host = Host::manifest(&(app("") + &web("web", HELLO_HTTP, keys)));
    let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
    let app = host.under("sh", &["-c", &script]).start_ready();
    let address = app.address("web");
    (app, address)
}

/// Processor time of a process, in seconds.
fn processor_seconds(app: &App) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", app.pid())).unwrap();
    // The name may contain anything; user and system time are the 12th and 13th word behind it.
    let words: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [words[11], words[12]].iter().map(|word| word.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// Issue 3: no descriptors → back off and go on. Those that were in are served meanwhile, and nothing spins.
#[test]
fn a_host_without_descriptors_goes_on_when_there_are_some() {
    let (app, address) = start(120, "");
    let mut first = Wire::connect(&address);
    first.get("/").expect(200);
    let mut crowd: Vec<Wire> = (0..200).map(|_| Wire::connect(&address)).collect();
    until("the last descriptor", || (app.descriptors() >= FULL).then_some(()));
    let spent = processor_seconds(&app);
    // The scenario is about this time.
    std::thread::sleep(1000 * MS);
    let spent = processor_seconds(&app) - spent;
    assert!(spent < 0.5, "{spent} s of processor time in a second without descriptors");
    first.get("/").expect(200);
    // The older ones have made room for the others.
    crowd.drain(..150);
    for wire in &mut crowd {
        wire.get("/").expect(200);
    }
    drop(crowd);
    Wire::connect(&address).get("/").expect(200);
    let output = app.stop();
    output.expect_code(0).expect_outcome("web", "stopped").expect_hook("web", "ok");
}

/// A stop in that state is as clean as any.
#[test]
fn a_host_without_descriptors_stops_cleanly() {
    let (app, address) = start(120, "");
    let mut crowd: Vec<Wire> = (0..200).map(|_| Wire::connect(&address)).collect();
    until("the last descriptor", || (app.descriptors() >= FULL).then_some(()));
    let output = app.stop();
    output.expect_code(0).expect_outcome("web", "stopped").expect_hook("web", "ok");
    assert_eq!(crowd[0].end(), Cut::End);
    assert_eq!(output.report["exit_code"], 0);
}
