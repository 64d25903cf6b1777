//! R4 (haproxy#228, caddy#5637), I12: one long request for each of 20 reloads → at most four generations are alive, the oldest is cut
//! off, and memory, threads and descriptors stay as they are.

use artifacts::{HTTP_LAB, HTTP_LAB_CLASSIC, SERVICE_LAB};

use nix::sys::signal::Signal::{SIGINT, SIGTERM};

use super::shop::seen;
use crate::harness::{App, CONTROL, Fate, Host, Wire, app, component, keys, start_threads, until, web};

const RELOADS: u64 = 20;
/// Between reloads; the next one, on trial, is the fourth.
const MOST: u64 = 3;
/// What the allocator and the kernel may keep back in between: MiB.
const SPREAD: f64 = 24.0;

fn manifest(source: &str, version: u64) -> String {
    let keys = format!("instances = {{ max = 1, concurrency = 8 }}\nenv = {{ V = \"{version}\" }}");
    app(&format!("grace = \"10m\"\n{CONTROL}")) + &web("lab", source, &keys)
}

fn alive(app: &App, name: &str) -> Vec<u64> {
    app.generations(name).iter().map(|one| one.number("generation")).collect()
}

/// One long request for each generation. Returns what the host takes after each reload.
fn reload_with_long_requests(app: &App, source: &str, wires: &mut Vec<Wire>) -> Vec<(f64, usize, usize)> {
    let mut taken = Vec::new();
    for version in 2..=RELOADS + 1 {
        let mut wire = Wire::connect(&app.address("lab"));
        wire.begin_get("/sleep?ms=3000000");
        let instance = |app: &App| app.component("lab").number("in_flight");
        until("the long request", || (instance(app) == 1).then_some(()));
        wires.push(wire);
        app.reload(&manifest(source, version));
        let oldest = version.saturating_sub(MOST - 1).max(1);
        let expected: Vec<u64> = (oldest..=version).collect();
        until(&format!("the generations {expected:?}"), || (alive(app, "lab") == expected).then_some(()));
        if wires.len() as u64 == MOST {
            expect_cut_off(wires.remove(0));
        }
        taken.push((app.resident_mib(), app.threads(), app.descriptors()));
    }
    taken
}

/// The host takes no more in the later rounds than it did in those up to `warm`. The clients' own connections come and go, and so do
/// the threads that load: what counts is what it comes down to.
#[track_caller]
fn expect_flat(app: &App, taken: &[(f64, usize, usize)], warm: usize) {
    let (early, late) = taken.split_at(warm);
    let most = |some: &[(f64, usize, usize)], of: fn(&(f64, usize, usize)) -> f64| {
        some.iter().map(of).fold(0.0, f64::max)
    };
    assert!(most(late, |one| one.0) <= most(early, |one| one.0) + SPREAD, "memory grows: {taken:?}");
    let (threads, descriptors) = (most(early, |one| one.1 as f64), most(early, |one| one.2 as f64));
    until(&format!("no more threads and descriptors than before: {taken:?}"), || {
        (app.threads() as f64 <= threads && app.descriptors() as f64 <= descriptors).then_some(())
    });
}

/// Old generations that do not end hold the stop like everybody else.
#[track_caller]
fn stop_by_force(app: App) {
    app.signal(SIGTERM);
    app.wait_for_log("stopping", "");
    app.signal(SIGINT);
    let output = app.wait();
    output.expect_code(130);
    let rows = output.report["components"].as_array().unwrap();
    let replaced: Vec<_> = rows.iter().filter(|row| row["replaced"] == true).collect();
    assert_eq!(replaced.len() as u64, MOST - 1, "{}", output.report);
    assert!(replaced.iter().all(|row| row["outcome"] == "cut-off"), "{}", output.report);
}

/// The client of one that was cut off can tell.
#[track_caller]
fn expect_cut_off(mut wire: Wire) {
    let fate = wire.fate();
    let told = match &fate {
        Fate::Answered(answer) => answer.status >= 500,
        Fate::Aborted { .. } | Fate::Closed | Fate::Reset => true,
    };
    assert!(told, "{fate:?}");
}

fn long_requests_hold_generations(source: &str) {
    let app = Host::manifest(&manifest(source, 1)).start_ready();
    let at_first = (app.threads(), app.descriptors());
    let mut wires = Vec::new();
    let taken = reload_with_long_requests(&app, source, &mut wires);
    expect_flat(&app, &taken, 6);
    assert_eq!(wires.len() as u64, MOST - 1, "these still wait");
    drop(wires);
    if source == HTTP_LAB_CLASSIC {
        // A sync call cannot be told that its client has gone.
        return stop_by_force(app);
    }
    // Nobody holds the old ones any more: everything is as at first.
    seen(&mut Wire::connect(&app.address("lab")));
    app.wait_for_generation("lab", RELOADS + 1);
    until("as many threads and descriptors as at first", || {
        (app.threads() <= at_first.0 && app.descriptors() <= at_first.1).then_some(())
    });
    let output = app.stop();
    output.expect_code(0).expect_outcome("lab", "stopped");
    let cut = output.records("cut off", "lab").len() as u64;
    assert_eq!(cut, RELOADS + 1 - MOST, "{}", output.said());
}

#[test]
fn long_requests_hold_at_most_four_generations() {
    long_requests_hold_generations(HTTP_LAB);
}

#[test]
fn long_requests_of_a_classic_guest_hold_at_most_four_generations() {
    long_requests_hold_generations(HTTP_LAB_CLASSIC);
}

/// The same with a service that may overlap and takes an hour to end.
#[test]
fn services_that_take_long_to_end_are_at_most_four() {
    let manifest = |version: u64| {
        let args = keys(&["stop=3600000", &format!("v={version}")]);
        app(&format!("grace = \"10m\"\n{CONTROL}"))
            + &component("lab", SERVICE_LAB, &format!("{args}\noverlap = true"))
    };
    let app = Host::manifest(&manifest(1)).start_ready();
    let mut taken = Vec::new();
    for version in 2..=12 {
        app.reload(&manifest(version));
        let oldest = version.saturating_sub(MOST - 1).max(1);
        let expected: Vec<u64> = (oldest..=version).collect();
        until(&format!("the generations {expected:?}"), || (alive(&app, "lab") == expected).then_some(()));
        taken.push((app.resident_mib(), app.threads(), app.descriptors()));
    }
    expect_flat(&app, &taken, 5);
    stop_by_force(app);
}

/// I12: many reloads and restarts with nothing in between leave nothing behind.
#[test]
fn reloads_and_restarts_leave_nothing_behind() {
    let manifest = |version: u32| {
        let env = format!("env = {{ V = \"{version}\" }}");
        app(&format!("grace = \"20s\"\n{CONTROL}"))
            + &web("lab", HTTP_LAB, &format!("instances = {{ max = 2 }}\n{env}"))
            + &web("classic", HTTP_LAB_CLASSIC, &format!("instances = {{ max = 2 }}\n{env}"))
            + &component("desk", SERVICE_LAB, &env)
    };
    let app = Host::manifest(&manifest(1)).start_ready();
    for name in ["lab", "classic"] {
        start_threads(&app.address(name));
    }
    let mut taken = Vec::new();
    for round in 2..=16 {
        for name in ["lab", "classic"] {
            Wire::connect(&app.address(name)).get("/").expect(200);
        }
        app.reload(&manifest(round));
        for name in ["lab", "desk"] {
            app.order(&format!("/restart?component={name}")).expect(200);
        }
        app.wait_for_generation("classic", u64::from(round));
        for name in ["lab", "desk"] {
            app.wait_for_generation(name, u64::from(round) * 2 - 1);
        }
        taken.push((app.resident_mib(), app.threads(), app.descriptors()));
    }
    expect_flat(&app, &taken, 7);
    app.stop().expect_code(0);
}
