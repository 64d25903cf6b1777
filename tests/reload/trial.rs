//! A service that a reload starts is on trial until it says that it is ready, or has run for a second. The reload answers after that,
//! and takes everything back when the service fails: one that made room for it is started again.

use std::time::Duration;

use artifacts::{HELLO_HTTP, SERVICE_LAB};
use nix::sys::signal::Signal::{SIGHUP, SIGTERM};

use super::shop::{lab, seen};
use crate::harness::{
    Address, App, CONTROL, Host, LineClient, Output, Wire, app, component, free_address, free_port, keys,
    until,
};

/// The time of a trial.
const TRIAL: Duration = Duration::from_secs(1);
/// It is ready when its `run` is entered, so nothing but time shows that it works.
const STARTED: &str = "ready = \"started\"\n";

/// A service with this listener, and more arguments, beside an http component of this version.
struct Desk {
    web: std::net::SocketAddr,
    port: u16,
}

impl Desk {
    fn new() -> Desk {
        Desk { web: free_address(), port: free_port() }
    }

    fn manifest(&self, web: u32, args: &[&str], keys_of_desk: &str) -> String {
        let listen = format!("listen=127.0.0.1:{}", self.port);
        let args: Vec<&str> = [listen.as_str()].iter().chain(args).copied().collect();
        let network = format!("network = {{ listen = [\"127.0.0.1:{}\"] }}", self.port);
        app(&format!("{CONTROL}\ngrace = \"20s\""))
            + &lab("web", self.web, web, "")
            + &component("desk", SERVICE_LAB, &format!("{}\n{network}\n{keys_of_desk}", keys(&args)))
    }

    /// `desk` takes clients, in its first generation.
    #[track_caller]
    fn expect_as_before(&self, app: &App) {
        app.wait_for_generation("desk", 1);
        until("desk to run again", || (app.component("desk").text("state") == "running").then_some(()));
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], self.port));
        until("its listener", || app.listeners().contains_key(&address).then_some(()));
        let mut client = LineClient::connect(self.port);
        client.send("hello");
        assert_eq!(client.receive().as_deref(), Some("hello"));
        until("the app to be ready", || (app.status()["ready"] == true).then_some(()));
    }
}

fn curfew_reload(app: &App) -> Output {
    let control = app.path().join("control.sock");
    Host::manifest("").call(&["reload", "--control", control.to_str().unwrap()])
}

/// Issue 12: a service that dies at its start is no new version, with `overlap` or without, also before it is ready; the http
/// component that came with it does not take over either.
#[test]
fn a_service_that_dies_at_its_start_is_taken_back() {
    let ways = [(false, "fail=2", STARTED), (true, "trap=2", STARTED), (false, "fail=2", "")];
    crate::in_parallel(2, ways.to_vec(), |(overlap, dies, ready)| {
        let desk = Desk::new();
        let more = format!("overlap = {overlap}\n{ready}");
        let app = Host::manifest(&desk.manifest(1, &[], &more)).start_ready();
        let mut web = Wire::connect(&Address::Tcp(desk.web));
        let before = seen(&mut web).id;
        // Both cannot have the port.
        let args = if ready.is_empty() { vec![dies, "ready=60000"] } else { vec![dies] };
        app.rewrite(&desk.manifest(2, &args, &more));
        let output = curfew_reload(&app);
        output.expect_code(1);
        let told = output.stderr_text();
        assert!(told.contains("reload failed: desk: "), "{told}");
        assert!(!overlap || told.trim_end().ends_with("nothing has changed"), "{told}");
        assert!(overlap || told.contains("nothing has changed; starting again as before: desk"), "{told}");
        desk.expect_as_before(&app);
        assert_eq!(seen(&mut web).id, before, "web was replaced");
        app.wait_for_generation("web", 1);
        assert_eq!((&app.status()["reloads"], &app.status()["failed_reloads"]), (&0.into(), &1.into()));
        assert!(
            app.component("desk").text("last_failure").is_empty(),
            "that is the reload's: {}",
            app.status()
        );
        // The next good one is taken.
        let good = desk.manifest(2, &["v=2"], &format!("overlap = false\n{ready}"));
        assert_eq!(app.reload(&good).text("what"), "web, desk changed");
        app.stop().expect_code(0).expect_outcome("desk", "stopped").expect_outcome("web", "stopped");
    });
}

/// The same by HUP; the log has the failure and what happens now.
#[test]
fn the_log_tells_what_was_taken_back() {
    let desk = Desk::new();
    let app = Host::manifest(&desk.manifest(1, &[], STARTED)).start_ready();
    let failed = app.reload_fails(&desk.manifest(1, &["fail=2"], STARTED));
    assert!(failed.text("error").starts_with("desk: its `run` returned an error"), "{}", failed.fields);
    assert!(failed.text("note").ends_with("starting again as before: desk"), "{}", failed.fields);
    desk.expect_as_before(&app);
    let output = app.stop();
    output.expect_code(0);
    assert_eq!(output.records("component started", "desk").len(), 3, "{}", output.said());
}

#[test]
fn a_service_takes_over_when_it_has_run_for_a_moment_or_says_that_it_is_ready() {
    for (overlap, ready) in [(false, STARTED), (true, STARTED), (false, "")] {
        let manifest = |version: &str| {
            let keys = format!("{}\noverlap = {overlap}\n{ready}", keys(&[version]));
            app(CONTROL) + &component("desk", SERVICE_LAB, &keys)
        };
        let app = Host::manifest(&manifest("v=1")).start_ready();
        let reloaded = app.reload(&manifest("v=2"));
        assert_eq!(reloaded.text("what"), "desk changed");
        let started = app.wait_for_logs("component started", "desk", 2).pop().unwrap();
        let took = reloaded.after(&started);
        assert_eq!(took >= TRIAL - Duration::from_millis(5), !ready.is_empty(), "{took:?} with {ready:?}");
        app.wait_for_generation("desk", 2);
        assert_eq!(app.status()["ready"], true);
        app.stop().expect_code(0);
    }
}

/// A job has nothing to show but its end. If that would stop the app, it cannot take over.
#[test]
fn a_job_that_is_done_has_passed_its_trial() {
    let manifest = |version: &str, on_exit: &str| {
        let keys = format!("{}\n{STARTED}on-exit = {on_exit:?}", keys(&["end=10", version]));
        let good = component("job", SERVICE_LAB, &keys);
        app(CONTROL) + &component("web", HELLO_HTTP, "listen = [\"127.0.0.1:0\"]") + &good
    };
    let app = Host::manifest(&manifest("v=1", "ignore")).start();
    app.wait_for_log("component ended", "job");
    assert_eq!(app.reload(&manifest("v=2", "ignore")).text("what"), "job changed");
    let failed = app.reload_fails(&manifest("v=3", "stop-app")).text("error");
    assert_eq!(failed, "job: it ended, which would stop the app (`on-exit`)");
    app.stop().expect_code(0);
}

/// R6: TERM while the old generation makes room, and while the fresh one is on trial: both are stopped, nothing is put back.
#[test]
fn a_stop_in_the_middle_of_a_trial_is_a_clean_stop() {
    crate::in_parallel(2, vec![false, true], |is_on_trial| {
        let desk = Desk::new();
        let app = Host::manifest(&desk.manifest(1, &["stop=1500"], STARTED)).start_ready();
        app.rewrite(&desk.manifest(2, &[], STARTED));
        let waits = app.begin_order("POST", "/reload");
        app.wait_for_log("asked to stop", "desk");
        if is_on_trial {
            app.wait_for_logs("component started", "desk", 2);
        }
        app.signal(SIGTERM);
        assert!(waits.answer().expect(409).body["error"].as_str().unwrap().contains("stopping"));
        let output = app.wait();
        output.expect_code(0).expect_cause("signal", "SIGTERM");
        assert_eq!(output.records("reload failed", "").len(), 1, "{}", output.said());
        let starts = if is_on_trial { 2 } else { 1 };
        assert_eq!(output.records("component started", "desk").len(), starts, "{}", output.said());
    });
}

/// An operator who has no time for one that makes room stops it: that takes the reload back.
#[test]
fn one_that_makes_room_can_be_stopped() {
    let desk = Desk::new();
    let app = Host::manifest(&desk.manifest(1, &["stop=60000"], "on-exit = \"ignore\"")).start_ready();
    app.rewrite(&desk.manifest(2, &["v=2"], "on-exit = \"ignore\""));
    app.signal(SIGHUP);
    app.wait_for_log("asked to stop", "desk");
    app.order("/stop?component=desk&now=1").expect(200);
    let failed = app.wait_for_reload(1);
    assert_eq!(failed.text("error"), "desk: it was stopped by an operator");
    app.wait_for_generation("web", 1);
    app.order("/restart?component=desk").expect(200);
    app.order("/stop?component=desk&now=1").expect(200);
    app.stop().expect_code(124).expect_outcome("desk", "cut-off").expect_outcome("web", "stopped");
}
