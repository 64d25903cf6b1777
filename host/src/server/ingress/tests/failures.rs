//! Instances that fail, where a failure means a restart; and components that do not answer.

use std::io::Read;
use std::time::{Duration, Instant};

use artifacts::{HTTP_LAB, HTTP_TRAP_AT_START};

use super::{Client, Got, World, plan, until};
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
        assert!(world.instance_failed(id));
        let mut waits = Client::to(socket);
        // No good answer: the next failure counts as well.
        waits.send("/status-line?code=500").unwrap();
        until("it waits", || world.front.stats(id).unwrap().in_flight() == 1);
        assert_eq!(world.front.instances(id), 0);
        world.unread.clear();
        let pause = Duration::from_millis(300);
        let asked = Instant::now();
        world.link(id).restarts.restart_after(pause);
        assert_eq!(waits.receive().unwrap().status, 500);
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
        assert!(world.instance_failed(id));
        assert_eq!(world.front.instances(id), 0);
        world.link(id).restarts.restart_after(Duration::from_millis(1));
    }
    assert!(world.instance_failed(id));
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
        assert!(world.instance_failed(id));
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

/// What a client can cause, once there was a good answer; and whatever a fresh instance for each request does.
#[test]
fn a_trap_that_does_not_count_is_followed_at_once() {
    for requests in [0, 1] {
        let mut world = World::new();
        let mut plan = plan("lab", HTTP_LAB, &["127.0.0.1:0"]);
        (plan.http.instances.max, plan.http.instances.requests) = (Some(1), Some(requests));
        let id = world.run(&[&plan])[0];
        if requests == 0 {
            assert_eq!(Client::to(world.socket(id)).get("/").status, 200);
        }
        for _ in 0..8 {
            assert_eq!(Client::to(world.socket(id)).get("/trap").status, 502);
            assert!(!world.instance_failed(id), "with {requests} requests");
        }
        assert_eq!(Client::to(world.socket(id)).get("/").status, 200);
        assert_eq!(world.front.stats(id).unwrap().counts().failed_instances, 8);
        world.stop(&[id]);
    }
}

/// The head is out, its client leaves, and then the guest traps.
#[test]
fn a_trap_after_a_client_has_left_does_not_count() {
    let mut world = World::new();
    let mut plan = plan("lab", HTTP_LAB, &["127.0.0.1:0"]);
    plan.http.instances.max = Some(1);
    let id = world.run(&[&plan])[0];
    for _ in 0..3 {
        let mut client = Client::to(world.socket(id));
        client.send("/trap-mid?after=500").unwrap();
        let mut head = [0; 12];
        client.0.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        drop(client);
        assert!(!world.instance_failed(id));
    }
    // One that stays sees a failure of the component.
    let mut client = Client::to(world.socket(id));
    client.send("/trap-mid").unwrap();
    assert!(world.instance_failed(id));
    world.stop(&[id]);
}

/// Its budget is spent: clients hear so at once, those that wait, too; and another generation brings it back.
#[test]
fn one_that_is_out_of_service_refuses_its_clients() {
    let out = |got: Got| assert_eq!((got.status, got.body.contains("out of service")), (503, true));
    let mut world = World::new();
    let mut lab = plan("lab", HTTP_LAB, &["127.0.0.1:0"]);
    lab.http.instances.max = Some(1);
    let id = world.run(&[&lab])[0];
    let socket = world.socket(id);
    assert_eq!(Client::to(socket).get("/trap").status, 502);
    assert!(world.instance_failed(id));
    let mut waits = Client::to(socket);
    waits.send("/").unwrap();
    until("it waits", || world.front.stats(id).unwrap().in_flight() == 1);
    world.link(id).orders.put_out_of_service();
    out(waits.receive().unwrap());
    // On a connection that stays.
    (0..3).for_each(|_| out(waits.get("/")));
    assert_eq!(world.front.instances(id), 0);
    let next = world.switch(&[&lab], &[id])[0];
    assert_eq!(waits.get("/").body, "Hello 1");
    world.stop(&[id, next]);
    // One that never started opens its address for that.
    let id = world.prepare(&[&plan("trap", HTTP_TRAP_AT_START, &["127.0.0.1:0"])], &[]).unwrap()[0];
    world.front.switch();
    world.start(id);
    assert!(world.instance_failed(id));
    world.link(id).orders.put_out_of_service();
    out(Client::to(world.socket(id)).get("/"));
    world.stop(&[id]);
}

/// What is in flight elsewhere is answered first.
#[test]
fn one_that_goes_out_of_service_answers_what_it_has() {
    let mut world = World::new();
    let mut plan = plan("lab", HTTP_LAB, &["127.0.0.1:0"]);
    (plan.http.instances.max, plan.http.instances.concurrency) = (Some(2), Some(1));
    let id = world.run(&[&plan])[0];
    let socket = world.socket(id);
    let mut slow = Client::to(socket);
    slow.send("/sleep?ms=700").unwrap();
    until("it is under way", || world.front.stats(id).unwrap().in_flight() == 1);
    world.link(id).orders.put_out_of_service();
    until("it refuses", || Client::to(socket).get("/").status == 503);
    assert_eq!(slow.receive().unwrap().body, "slept 700 ms");
    until("its end", || world.front.instances(id) == 0);
    world.stop(&[id]);
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
