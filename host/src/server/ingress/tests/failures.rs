//! Instances that fail, where a failure means a restart; and components that do not answer.

use std::time::{Duration, Instant};

use artifacts::{HTTP_LAB, HTTP_TRAP_AT_START};

use super::{Client, World, plan, until};
use crate::plan::{HealthPlan, OnEnd};
use crate::runtime::InstanceEvent;
use crate::server::servers::Server;
use crate::teardown::Outcome;

fn is_up(event: &InstanceEvent) -> bool {
    matches!(event, InstanceEvent::Entered)
}

/// No instance is started before the supervisor says so, and requests wait.
#[test]
fn after_a_failure_the_next_instance_waits_for_the_answer() {
    let mut world = World::new();
    let mut plan = plan("lab", HTTP_LAB, &["127.0.0.1:0"]);
    plan.http.instances.max = Some(1);
    let id = world.run(&[&plan])[0];
    let socket = world.socket(id);
    world.unread.clear();
    for _ in 0..2 {
        assert_eq!(Client::to(socket).get("/trap").status, 502);
        world.instance_failed(id);
        let mut waits = Client::to(socket);
        waits.send("/").unwrap();
        until("it waits", || world.front.stats(id).unwrap().in_flight() == 1);
        assert_eq!(world.front.instances(id), 0);
        world.unread.clear();
        let pause = Duration::from_millis(300);
        let asked = Instant::now();
        world.link(id).restarts.restart_after(pause);
        assert_eq!(waits.receive().unwrap().body, "Hello 1");
        assert!(asked.elapsed() >= pause);
        assert_eq!(world.front.instances(id), 1);
    }
    world.stop(&[id]);
}

/// The first start of all is no exception; and a stop in the pause ends at once.
#[test]
fn a_first_instance_that_fails_is_tried_again() {
    let mut world = World::new();
    let id = world.prepare(&[&plan("trap", HTTP_TRAP_AT_START, &["127.0.0.1:0"])], &[]).unwrap()[0];
    world.front.switch();
    world.start(id);
    for _ in 0..3 {
        world.instance_failed(id);
        assert_eq!(world.front.instances(id), 0);
        world.link(id).restarts.restart_after(Duration::from_millis(1));
    }
    world.instance_failed(id);
    world.link(id).restarts.restart_after(Duration::from_secs(3600));
    assert!(!world.was_told(is_up));
    world.link(id).orders.abandon();
    assert_eq!(world.ended(id), Outcome::NotStarted);
}

/// A stop in the pause: nothing waits for its end. Who waits in the queue is served, if it can be.
#[test]
fn a_stop_in_the_pause_serves_who_waits_and_ends() {
    for waits in [false, true] {
        let mut world = World::new();
        let mut plan = plan("lab", HTTP_LAB, &["127.0.0.1:0"]);
        plan.http.instances.max = Some(1);
        let id = world.run(&[&plan])[0];
        let socket = world.socket(id);
        assert_eq!(Client::to(socket).get("/trap").status, 502);
        world.instance_failed(id);
        world.link(id).restarts.restart_after(Duration::from_secs(3600));
        let mut client = Client::to(socket);
        if waits {
            client.send("/").unwrap();
            until("it waits", || world.front.stats(id).unwrap().in_flight() == 1);
        }
        world.stop(&[id]);
        assert_eq!(client.receive().map(|got| got.status).ok(), waits.then_some(200));
    }
}

/// With `ignore` nobody is asked, and nobody waits.
#[test]
fn where_failures_are_ignored_nobody_waits() {
    let mut world = World::new();
    let mut plan = plan("lab", HTTP_LAB, &["127.0.0.1:0"]);
    plan.on_failure = Some(OnEnd::Ignore);
    let id = world.run(&[&plan])[0];
    for _ in 0..5 {
        assert_eq!(Client::to(world.socket(id)).get("/trap").status, 502);
        assert_eq!(Client::to(world.socket(id)).get("/").status, 200);
    }
    world.stop(&[id]);
}

fn health(path: &str, timeout: Duration) -> Option<HealthPlan> {
    let every = Duration::from_millis(20);
    Some(HealthPlan { path: Some(path.to_owned()), every, timeout, failures: 3 })
}

/// A component that answers badly, or not at all, is told of, once; its requests count for nobody.
#[test]
fn who_does_not_answer_well_is_told_of() {
    for (path, why) in [
        ("/status-line?code=500", "the answer is 500 Internal Server Error"),
        ("/park", "no answer within 100ms"),
        ("/no-response", "no answer"),
    ] {
        let mut world = World::new();
        let mut plan = plan("lab", HTTP_LAB, &["127.0.0.1:0"]);
        plan.health = health(path, Duration::from_millis(100));
        let id = world.run(&[&plan])[0];
        let told = world.hear(id, "unhealthy", |event| match event {
            InstanceEvent::Unhealthy(what) => Some(what.clone()),
            _ => None,
        });
        assert_eq!(told, format!("GET {path}: {why}, 3 times in a row"));
        let counts = world.front.stats(id).unwrap().counts();
        assert_eq!(counts.requests, 0);
        world.ask(id);
        // A call that never returns holds the hook up until half of the grace: the test does not wait for that.
        if path == "/park" {
            world.cut(id);
        }
        let outcome = world.ended(id);
        assert!(path == "/park" || outcome == Outcome::Stopped, "{path}: {outcome:?}");
    }
}

/// One that answers is left alone, and a stop does not wait for the next question.
#[test]
fn who_answers_is_healthy() {
    let mut world = World::new();
    let mut plan = plan("lab", HTTP_LAB, &["127.0.0.1:0"]);
    plan.health = health("/state", Duration::from_secs(20));
    let id = world.run(&[&plan])[0];
    let mut client = Client::to(world.socket(id));
    let mut asked = || -> u64 {
        let body = client.get("/state").body;
        body.split_whitespace().next().unwrap().parse().unwrap()
    };
    let first = asked();
    let mut own = 1;
    until("the host asks, too", || {
        own += 1;
        asked() > first + own + 5
    });
    assert!(!world.was_told(|event| matches!(event, InstanceEvent::Unhealthy(_))));
    world.stop(&[id]);
}

#[test]
fn a_socket_that_never_opened_leaves_no_file() {
    // The process leaves as soon as the supervisor does, and its component was never started.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let web = plan("web", HTTP_LAB, &[&format!("unix:{}", path.display())]);
    let mut world = World::new();
    world.prepare(&[&web], &[]).unwrap();
    world.front.switch();
    assert!(path.exists());
    world.front.leave();
    assert!(!path.exists());
    // Whoever comes next can have it at once.
    let _next = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(world);
    assert!(path.exists());
}
