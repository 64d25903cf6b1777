//! Several generations on one address when the app stops: each has its own requests and its own time, and none takes
//! either from another.

use std::time::Duration;

use artifacts::TCP_LAB;
use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{
    App, CONTROL, Cut, Fate, H2, Host, Output, Wire, app, assert_within, block_on, until, web,
};
use crate::http::lab::LABS;
use crate::tcp::client::{Client, End};

/// For the bounds of H3 and H4, with two generations in one process.
const AT_ONCE: Duration = Duration::from_millis(150);

fn manifest(source: &str, grace: &str) -> String {
    app(&format!("grace = \"30s\"\n{CONTROL}")) + &web("lab", source, &format!("grace = \"{grace}\""))
}

/// Waits until the component has so much under way.
fn under_way(app: &App, count: u64) {
    until("it is under way", || (app.component("lab").number("in_flight") == count).then_some(()));
}

/// The newest one, which has nothing to do, ends at once; the older one in its own time, and so does the app.
#[track_caller]
fn expect_each_in_its_time(output: &Output) {
    output.expect_code(0).expect_outcome("lab", "stopped");
    let ended = output.records("component ended", "lab");
    assert_eq!(ended.len(), 2, "{}", output.said());
    assert!(output.records("cut off", "").is_empty(), "{}", output.said());
    assert_eq!(output.records("hook ended", "lab").len(), 2, "a hook for each:\n{}", output.said());
}

#[test]
fn an_older_request_outlasts_the_newer_generations_grace() {
    crate::in_parallel(2, LABS.into_iter().collect(), |source| {
        let app = Host::manifest(&manifest(source, "20s")).start_ready();
        let mut slow = Wire::connect(&app.address("lab"));
        slow.begin_get("/sleep?ms=3500");
        under_way(&app, 1);
        app.reload(&manifest(source, "1s"));
        let mut idle = Wire::connect(&app.address("lab"));
        idle.get("/").expect(200);
        let asked = app.signal(SIGTERM);
        assert_eq!(idle.end(), Cut::End);
        let first = app.wait_for_log("component ended", "lab");
        assert_within(first.at - asked, AT_ONCE, "the end of the idle one");
        assert_eq!(slow.fate().answered().expect(200).text(), "slept 3500 ms");
        assert_eq!(slow.end(), Cut::End);
        expect_each_in_its_time(&app.wait());
    });
}

/// The same where the request is on a connection that could bring more of them.
#[test]
fn an_older_http2_request_outlasts_the_newer_generations_grace() {
    crate::in_parallel(2, LABS.into_iter().collect(), |source| {
        let app = Host::manifest(&manifest(source, "20s")).start_ready();
        let address = app.address("lab");
        std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                block_on(async { H2::connect(&address).await.get("/sleep?ms=3500").await.expect(200).text() })
            });
            under_way(&app, 1);
            app.reload(&manifest(source, "2s"));
            let asked = app.signal(SIGTERM);
            let first = app.wait_for_log("component ended", "lab");
            assert_within(first.at - asked, Duration::from_millis(1200), "the end of the idle one");
            assert_eq!(client.join().unwrap(), "slept 3500 ms");
        });
        expect_each_in_its_time(&app.wait());
    });
}

#[test]
fn an_older_connection_outlasts_the_newer_generations_grace() {
    let app = Host::manifest(&manifest(TCP_LAB, "20s")).start_ready();
    let mut slow = Client::new(&app, "lab");
    slow.send("sleep 3500\n");
    under_way(&app, 1);
    app.reload(&manifest(TCP_LAB, "1s"));
    let asked = app.signal(SIGTERM);
    let first = app.wait_for_log("component ended", "lab");
    assert_within(first.at - asked, AT_ONCE, "the end of the idle one");
    assert_eq!(slow.rest_text(), ("slept\n".to_owned(), End::Clean));
    drop(slow);
    expect_each_in_its_time(&app.wait());
}

/// The older one's own time is over: its clients can tell, and nobody waits for them any longer.
#[test]
fn an_older_generation_is_cut_off_in_its_own_time() {
    crate::in_parallel(2, LABS.into_iter().collect(), |source| {
        let app = Host::manifest(&manifest(source, "2s")).start_ready();
        let mut slow = Wire::connect(&app.address("lab"));
        slow.begin_get("/sleep?ms=3000000");
        under_way(&app, 1);
        app.reload(&manifest(source, "20s"));
        let asked = app.signal(SIGTERM);
        let fate = slow.fate();
        let told = !matches!(&fate, Fate::Answered(answer) if answer.status < 500);
        assert!(told, "{fate:?}");
        let output = app.wait();
        output.expect_code(124);
        assert_within(output.after(asked), Duration::from_millis(2500), "the stop");
    });
    let app = Host::manifest(&manifest(TCP_LAB, "2s")).start_ready();
    let mut slow = Client::new(&app, "lab");
    slow.send("half\n");
    under_way(&app, 1);
    app.reload(&manifest(TCP_LAB, "20s"));
    slow.expect("half\n");
    let asked = app.signal(SIGTERM);
    assert_eq!(slow.rest(), (Vec::new(), End::Reset));
    let output = app.wait();
    output.expect_code(124);
    assert_within(output.after(asked), Duration::from_millis(2500), "the stop");
}
