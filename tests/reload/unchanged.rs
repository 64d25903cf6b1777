//! R5 (caddy#7222): what has not changed is not touched: a change to one component, to nothing, or to a file in its place.

use artifacts::{HELLO_HTTP, HTTP_LAB};

use super::shop::{Shop, Witness, lab, seen};
use crate::harness::{Address, CONTROL, Host, Wire, app, component, free_address, web};

#[test]
fn a_change_to_one_component_leaves_the_others_alone() {
    let shop = Shop::new();
    let other = free_address();
    let manifest = |version| shop.manifest(1) + &lab("b", other, version, "");
    let app = Host::manifest(&manifest(1)).start_ready();
    let mut witness = Witness::of(&app, &shop);
    let mut b = Wire::connect(&Address::Tcp(other));
    for version in 2..6 {
        let before = seen(&mut b).id;
        let record = app.reload(&manifest(version));
        assert_eq!(record.text("what"), "b changed");
        assert_ne!(seen(&mut b).id, before, "b has not changed");
        app.wait_for_generation("b", u64::from(version));
        witness.expect_untouched(&app, &format!("version {version}"));
    }
    app.stop().expect_code(0);
}

#[test]
fn others_come_and_go_without_notice() {
    let shop = Shop::new();
    let app = Host::manifest(&shop.manifest(1)).start_ready();
    let mut witness = Witness::of(&app, &shop);
    let other = free_address();
    let more = lab("b", other, 1, "after = [\"web\"]");
    for round in 0..3 {
        let record = app.reload(&(shop.manifest(1) + &more));
        assert_eq!(record.text("what"), "b added");
        Wire::connect(&Address::Tcp(other)).get("/").expect(200);
        let extended = app.listeners();
        assert!(extended.contains_key(&other), "{extended:?}");
        let record = app.reload(&shop.manifest(1));
        assert_eq!(record.text("what"), "b removed");
        crate::harness::until("the end of b", || app.generations("b").is_empty().then_some(()));
        assert!(Wire::try_connect(&Address::Tcp(other)).is_err(), "the address of b is still open");
        witness.expect_untouched(&app, &format!("round {round}"));
    }
    app.stop().expect_code(0);
}

/// On a shared address even the connection is the same.
#[test]
fn a_neighbour_on_the_same_address_is_not_touched() {
    let address = free_address();
    let manifest = |version: u32| {
        let keys = |more: &str| format!("listen = [\"{address}\"]\ninstances = {{ max = 1 }}\n{more}");
        app(CONTROL)
            + &component("a", HTTP_LAB, &keys(""))
            + &component("b", HELLO_HTTP, &keys(&format!("routes = [\"/b\"]\nenv = {{ V = \"{version}\" }}")))
    };
    let app = Host::manifest(&manifest(1)).start_ready();
    let listeners = app.listeners();
    let mut wire = Wire::connect(&Address::Tcp(address));
    let first = seen(&mut wire);
    let mut slow = Wire::connect(&Address::Tcp(address));
    slow.begin_get("/sleep?ms=900");
    for version in 2..5 {
        app.reload(&manifest(version));
        wire.get("/b").expect(200);
        assert_eq!(seen(&mut wire).id, first.id);
    }
    assert_eq!(slow.fate().answered().expect(200).text(), "slept 900 ms");
    assert_eq!(app.listeners(), listeners);
    assert_eq!(app.component("a").number("generation"), 1);
    app.wait_for_generation("b", 4);
    app.stop().expect_code(0);
}

/// Comments, the order of the tables, and what only the supervisor reads; which settings hold from then on is told.
#[test]
fn a_manifest_that_says_the_same_changes_nothing() {
    let shop = Shop::new();
    let app = Host::manifest(&shop.manifest(1)).start_ready();
    let mut witness = Witness::of(&app, &shop);
    let unchanged = "no component has changed";
    let same = [
        (format!("# a comment\n{}", shop.manifest(1)), String::new()),
        (
            shop.manifest_with(1, "drain-delay = \"1ms\"\nfail-grace = \"1s\"", "on-exit = \"ignore\""),
            "; settings of web: on-exit; settings of the app: fail-grace from 5s to 1s, drain-delay from 0s to 1ms".into(),
        ),
        (
            shop.manifest_with(1, "", "restart = { max = 1, within = \"5m\" }\nafter = [\"desk\"]"),
            "; settings of web: after, on-exit, restart; settings of the app: fail-grace from 1s to 5s, drain-delay from \
             1ms to 0s"
                .into(),
        ),
    ];
    for (manifest, settings) in same {
        let record = app.reload(&manifest);
        assert_eq!(record.text("what"), format!("{unchanged}{settings}"), "{manifest}");
        assert_eq!(app.status()["last_reload"]["text"], record.text("what"));
        witness.expect_untouched(&app, "a manifest that says the same");
    }
    let output = app.stop();
    output.expect_code(0);
    // `after` holds from then on.
    let of = |name: &str| output.records("asked to stop", name)[0].at;
    assert!(of("web") <= of("desk"), "{}", output.said());
}

/// The bytes of a file count, not its name or its age.
#[test]
fn a_file_that_is_replaced_is_a_change() {
    let (lab, hello) = (std::fs::read(HTTP_LAB).unwrap(), std::fs::read(HELLO_HTTP).unwrap());
    let manifest = app(CONTROL) + &web("web", "web.wasm", "");
    let app = Host::manifest(&manifest).file("web.wasm", &lab).start_ready();
    let mut wire = Wire::connect(&app.address("web"));
    let first = seen(&mut wire).id;
    app.replace("web.wasm", &lab);
    assert_eq!(app.reload(&manifest).text("what"), "no component has changed");
    assert_eq!(seen(&mut wire).id, first);
    app.replace("web.wasm", &hello);
    assert_eq!(app.reload(&manifest).text("what"), "web changed");
    let text = wire.get("/state").text();
    assert!(!text.contains(&first), "{text}");
    app.stop().expect_code(0);
}
