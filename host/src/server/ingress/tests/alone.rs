//! One of several on an address stops alone, and comes back.

use artifacts::{HELLO_HTTP, HTTP_LAB};

use super::load::Load;
use super::{Client, World, free_address, plan, until};
use crate::plan::{ComponentPlan, parse_route};
use crate::server::servers::Server;
use crate::teardown::Outcome;

fn routed(name: &str, source: &str, listen: &str, route: &str) -> ComponentPlan {
    let mut plan = plan(name, source, &[listen]);
    plan.http.routes = vec![parse_route(route).unwrap()];
    plan
}

/// Its requests get 503, those of the others their answers; it ends without waiting for anybody.
#[test]
fn who_stops_alone_leaves_the_address_to_the_others() {
    let mut world = World::new();
    let listen = free_address();
    let (stays, goes) = (plan("stays", HELLO_HTTP, &[&listen]), routed("goes", HTTP_LAB, &listen, "/lab"));
    let ids = world.run(&[&stays, &goes]);
    let load = Load::on(listen.parse().unwrap(), "/");
    let mut kept = Client::to(listen.parse().unwrap());
    assert_eq!(kept.get("/lab").status, 404, "the lab answers");
    world.stop(&ids[1..]);
    let got = kept.get("/lab");
    assert_eq!(got.status, 503);
    assert!(got.head.contains("retry-after: "), "{}", got.head);
    load.pass(50);
    // It comes back, on connections that were there all the time.
    let back = world.switch(&[&goes], &[]);
    assert_eq!(kept.get("/lab").status, 404);
    load.pass(50);
    load.end();
    world.stop(&[ids[0], back[0]]);
    assert!(Client::connect(listen.parse().unwrap()).is_err());
}

/// A request that is in flight when it is asked is answered first.
#[test]
fn who_stops_alone_answers_what_is_in_flight() {
    let mut world = World::new();
    let listen = free_address();
    let (stays, goes) =
        (routed("stays", HTTP_LAB, &listen, "/sleep"), routed("goes", HTTP_LAB, &listen, "/"));
    let ids = world.run(&[&goes, &stays]);
    let mut slow = Client::to(listen.parse().unwrap());
    slow.send("/hand-over").unwrap();
    drop(slow);
    let mut slow = Client::to(listen.parse().unwrap());
    slow.send("/sized?bytes=9").unwrap();
    assert_eq!(slow.receive().unwrap().status, 200);
    let mut other = Client::to(listen.parse().unwrap());
    other.send("/sleep?ms=600").unwrap();
    until("it is in flight", || world.front.stats(ids[1]).unwrap().in_flight() == 1);
    world.stop(&ids[..1]);
    assert_eq!(world.front.stats(ids[1]).unwrap().in_flight(), 1, "nobody waited for the other's");
    assert_eq!(other.receive().unwrap().body, "slept 600 ms");
    world.stop(&ids[1..]);
}

/// Those who are asked together drain their address like any other: what was accepted is served.
#[test]
fn who_stop_together_serve_what_was_accepted() {
    let mut world = World::new();
    let listen = free_address();
    let plans = [routed("a", HTTP_LAB, &listen, "/sleep"), routed("b", HELLO_HTTP, &listen, "/")];
    let ids = world.run(&[&plans[0], &plans[1]]);
    let mut client = Client::to(listen.parse().unwrap());
    client.send("/sleep?ms=200").unwrap();
    until("it is in flight", || world.front.stats(ids[0]).unwrap().in_flight() == 1);
    world.stop(&ids);
    assert_eq!(client.receive().unwrap().status, 200);
    assert!(Client::connect(listen.parse().unwrap()).is_err());
}

/// Who is the only one closes its address, and binds it again when it comes back.
#[test]
fn who_comes_back_binds_its_address_again() {
    let mut world = World::new();
    let listen = free_address();
    let plan = plan("web", HELLO_HTTP, &[&listen]);
    let mut id = world.run(&[&plan])[0];
    for _ in 0..5 {
        assert_eq!(Client::to(listen.parse().unwrap()).get("/").body, "Hello");
        world.ask(id);
        assert_eq!(world.ended(id), Outcome::Stopped);
        assert!(Client::connect(listen.parse().unwrap()).is_err());
        id = world.switch(&[&plan], &[])[0];
    }
    // The same without waiting for its end.
    world.ask(id);
    let back = world.switch(&[&plan], &[id])[0];
    assert_eq!(Client::to(listen.parse().unwrap()).get("/").body, "Hello");
    assert_eq!(world.ended(id), Outcome::Stopped);
    world.stop(&[back]);
}
