//! `curfew restart` and `stop` among other changes: whoever asked is told the truth, and no two generations of a service that owns
//! its socket meet.

use std::fs::OpenOptions;
use std::io::Write;

use artifacts::{SERVER, SERVICE_LAB};
use nix::sys::signal::Signal::SIGHUP;
use nix::sys::stat::Mode;

use crate::harness::{App, CONTROL, Host, app, component, free_port, keys, until};

fn lab(name: &str, args: &[&str], more: &str) -> String {
    component(name, SERVICE_LAB, &format!("{}\n{more}", keys(args)))
}

/// A service that owns a socket, and takes its time to stop.
fn owner(port: u16, stop: u32, more: &str) -> String {
    let network = format!("network = {{ listen = [\"127.0.0.1:{port}\"] }}");
    lab("a", &[&format!("stop={stop}"), &format!("listen=127.0.0.1:{port}")], &format!("{network}\n{more}"))
}

/// An app with this beside one that only serves.
fn beside(component_a: &str) -> String {
    app(&format!("{CONTROL}\ngrace = \"10s\"")) + component_a + &component("b", SERVER, "")
}

/// Waits until so many generations of it are there.
fn wait_for_many(app: &App, name: &str, count: usize) {
    until("its generations", || (app.generations(name).len() == count).then_some(()));
}

/// One that was taken out of the manifest and put back while it still ends begins when it has ended.
#[test]
fn a_service_that_comes_back_waits_for_the_one_that_goes() {
    let port = free_port();
    let with = beside(&owner(port, 1500, ""));
    let app = Host::manifest(&with).start_ready();
    app.wait_for_line("a | listening on");
    app.reload(&beside(""));
    app.reload(&with);
    app.wait_for_generation("a", 2);
    let output = app.stop();
    output.expect_code(0).expect_outcome("a", "stopped");
}

/// A stop means all of it, also the generation that the one in question waits for.
#[test]
fn a_stop_waits_for_all_generations() {
    let app = Host::manifest(&beside(&owner(free_port(), 1000, ""))).start_ready();
    app.wait_for_line("a | listening on");
    let restart = app.begin_order("POST", "/restart?component=a");
    wait_for_many(&app, "a", 2);
    let stopped = app.order("/stop?component=a").expect(200);
    app.wait_for_log("component ended", "a");
    assert!(stopped.body["done"].as_str().unwrap().contains("has ended"), "{stopped:?}");
    assert!(restart.answer().expect(500).body["error"].as_str().unwrap().contains("stopped"));
    app.order("/restart?component=a").expect(200);
    let output = app.stop();
    output.expect_code(0).expect_outcome("a", "stopped");
}

/// The fresh one fails before it is ready: whoever waits for it hears of that, and the one before it is started again.
#[test]
fn a_restart_that_fails_is_told_and_taken_back() {
    let args = ["ready=300", "fail=50", "bad-from=2", "good-from=3", "count=/data/count"];
    let a = lab("a", &args, "dirs = [{ host = \"data\", guest = \"/data\", access = \"read-write\" }]");
    let host = Host::manifest(&beside(&a));
    std::fs::create_dir(host.path().join("data")).unwrap();
    let app = host.start_ready();
    let told = app.order("/restart?component=a").expect(500);
    assert!(told.body["error"].as_str().unwrap().contains("returned an error"), "{told:?}");
    app.wait_for_log("restart failed", "a");
    app.wait_for_line("a | started 3");
    app.wait_for_generation("a", 1);
    until("it to run again", || (app.component("a").text("state") == "running").then_some(()));
    app.stop().expect_code(0).expect_outcome("a", "stopped");
}

/// It is ready while a reload waits for another one.
#[test]
fn a_restart_is_answered_while_a_reload_goes_on() {
    let a = lab("a", &["ready=400"], "ready = \"said\"");
    let b = lab("slow", &["ready=2500"], "ready = \"said\"");
    let app = Host::manifest(&beside(&a)).start_ready();
    let restart = app.begin_order("POST", "/restart?component=a");
    until("the fresh one", || (app.component("a").number("generation") == 2).then_some(()));
    app.rewrite(&beside(&(a + &b)));
    let reload = app.begin_order("POST", "/reload");
    restart.answer().expect(200);
    reload.answer().expect(200);
    app.stop().expect_code(0);
}

/// A reload that is taken back while the next one is asked for: they never run side by side, nor does a restart beside one.
#[test]
fn what_follows_a_reload_that_was_taken_back_is_alone() {
    let bad = lab("never", &["ready=never"], "ready = \"said\"\nstart-timeout = \"1s\"");
    let app = Host::manifest(&beside("")).start_ready();
    app.rewrite(&beside(&bad));
    let first = app.begin_order("POST", "/reload");
    app.wait_for_line("never | started");
    // The manifest is a pipe now: whoever reads it waits for us.
    let manifest = app.path().join("curfew.toml");
    std::fs::remove_file(&manifest).unwrap();
    nix::unistd::mkfifo(&manifest, Mode::S_IRWXU).unwrap();
    app.signal(SIGHUP);
    assert!(first.answer().expect(500).body["error"].as_str().unwrap().contains("start-timeout"));
    until("the next reload", || {
        (app.look(|said| said.records.iter().filter(|one| one.message() == "reloading").count()) == 2)
            .then_some(())
    });
    let refused = app.order("/restart?component=b").expect(409);
    assert!(refused.body["error"].as_str().unwrap().contains("under way"), "{refused:?}");
    let mut pipe = OpenOptions::new().write(true).open(&manifest).unwrap();
    pipe.write_all(beside("").as_bytes()).unwrap();
    drop(pipe);
    app.wait_for_log("reloaded", "");
    std::fs::remove_file(&manifest).unwrap();
    app.order("/restart?component=b").expect(200);
    let output = app.stop();
    output.expect_code(0);
    let told: Vec<&str> =
        output.records.iter().map(|one| one.message()).filter(|told| told.starts_with("reload")).collect();
    assert_eq!(told, ["reloading", "reload failed", "reloading", "reloaded"], "{}", output.said());
}

/// Nothing is hidden of a component that cannot start, and nobody waits for it.
#[test]
fn one_that_cannot_start_is_told() {
    let manifest = app(CONTROL)
        + &lab("db", &["fail=0", "ready=never"], "ready = \"said\"\non-failure = \"ignore\"")
        + &lab("web", &[], "after = [\"db\"]")
        + &component("b", SERVER, "");
    let app = Host::manifest(&manifest).start();
    let record = app.wait_for_log("component cannot start", "web");
    assert!(record.text("why").contains("db"), "{}", record.fields);
    let started = app.wait_for_log("app started", "");
    assert_eq!(started.number("components"), 1.0, "{}", started.fields);
    assert!(app.component("web").text("last_failure").contains("never ready"));
    let output = app.stop();
    output.expect_outcome("web", "not-started").expect_outcome("b", "stopped");
}
