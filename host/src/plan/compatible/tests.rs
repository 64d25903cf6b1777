//! The effect of a change of a manifest on the components that run, key by key.

use std::path::Path;

use super::super::keys::{HookTiming, OnEnd, ReadyWhen};
use super::*;

const SHOP: &str = "[app]\nname = \"shop\"\n[component.db]\nsource = \"a.wasm\"\n\
                    [component.web]\nsource = \"a.wasm\"\nlisten = [\"127.0.0.1:80\"]\n";

fn plan(text: &str) -> Plan {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.wasm"), "").unwrap();
    std::fs::write(dir.path().join("b.wasm"), "").unwrap();
    let mut plan =
        Plan::from_str(text, &dir.path().join("curfew.toml")).unwrap_or_else(|error| panic!("{error}"));
    // Each call has a folder of its own.
    for component in &mut plan.components {
        let file = component.source.file_name().unwrap().to_owned();
        component.source = Path::new("/shop").join(file);
    }
    plan.app.control = plan.app.control.map(|path| Path::new("/shop").join(path.file_name().unwrap()));
    plan
}

/// Whether the instances of `db`, a service, and of `web`, a server, can go on when `old` becomes `new`.
fn goes_on_from(old: &str, new: &str) -> [bool; 2] {
    let (old, new) = (plan(old), plan(new));
    let [db, web] = ["db", "web"].map(|name| {
        let find = |plan: &Plan| plan.components.iter().find(|one| one.name == name).unwrap().clone();
        (find(&old), find(&new))
    });
    let kind = |on_failure| KindDefaults {
        is_async: true,
        hook: HookTiming::AfterDrain,
        on_failure,
        max_restarts: None,
        ready: ReadyWhen::Started,
        max_instances: 1,
        concurrency: 1,
        requests: 0,
    };
    [db.0.runs_like(&db.1, &kind(OnEnd::StopApp)), web.0.runs_like(&web.1, &kind(OnEnd::Restart))]
}

/// The same for a plan that has `line` in addition, in both.
fn goes_on(line: &str) -> [bool; 2] {
    goes_on_from(SHOP, &SHOP.replace("source = \"a.wasm\"\n", &format!("source = \"a.wasm\"\n{line}\n")))
}

#[test]
fn what_only_the_supervisor_reads_replaces_nobody() {
    for line in
        ["ready = \"started\"", "on-exit = \"ignore\"", "on-exit = \"restart\"\nrestart = { max = 9 }"]
    {
        assert_eq!(goes_on(line), [true, true], "{line}");
    }
    for line in ["grace = \"1s\"", "start-timeout = \"1s\"", "on-failure = \"ignore\""] {
        assert_eq!(goes_on(line), [true, false], "{line}: a server reads it, too");
    }
    // For kind `http` it is the default.
    assert_eq!(goes_on("on-failure = \"restart\""), [true, true]);
    let ordered = SHOP.to_owned() + "after = [\"db\"]\n";
    assert_eq!(goes_on_from(SHOP, &ordered), [true, true]);
    let overlapping = SHOP.replace("[component.web]", "overlap = true\n[component.web]");
    assert_eq!(goes_on_from(SHOP, &overlapping), [true, true]);
}

#[test]
fn what_an_instance_sees_replaces_it() {
    for line in [
        "hook = \"after-drain\"",
        "memory = \"1MiB\"",
        "args = [\"x\"]",
        "env = { A = \"x\" }",
        "dirs = [{ host = \"/\", guest = \"/d\" }]",
        "network = { names = true }",
        "outbound-http = [\"https://a.b\"]",
        "config = { a = \"x\" }",
    ] {
        assert_eq!(goes_on(line), [false, false], "{line}");
    }
    let one = |place: &str, line: &str| goes_on_from(SHOP, &SHOP.replace(place, &format!("{line}\n{place}")));
    assert_eq!(one("[component.web]", "health = {}"), [false, true]);
    assert_eq!(one("[component.web]", "stdin = true"), [false, true]);
    assert_eq!(one("listen", "request-timeout = \"1s\""), [true, false]);
    assert_eq!(one("listen", "health = { path = \"/\" }"), [true, false]);
    assert_eq!(goes_on_from(SHOP, &SHOP.replace(":80", ":81")), [true, false]);
    assert_eq!(goes_on_from(SHOP, &SHOP.replacen("a.wasm", "b.wasm", 1)), [false, true]);
}

#[test]
fn what_is_opened_once_cannot_change() {
    let app = |line: &str| plan(&SHOP.replace("[component.db]", &format!("{line}\n[component.db]")));
    let told = |old: &str, new: &str| app(old).cannot_reload_to(&app(new)).unwrap_or_default();
    let restart = "that needs a restart of curfew";
    let (admin, other) = ("admin = \"127.0.0.1:9900\"", "admin = \"127.0.0.1:9901\"");
    assert_eq!(
        told(admin, other),
        format!("`admin` of [app] was 127.0.0.1:9900 and is 127.0.0.1:9901 now: {restart}")
    );
    assert_eq!(told(admin, ""), format!("`admin` of [app] was 127.0.0.1:9900 and is not set now: {restart}"));
    assert_eq!(
        told("", "control = \"c.sock\""),
        format!("`control` of [app] was not set and is /shop/c.sock now: {restart}")
    );
    assert_eq!(
        told("", "access-log = \"json\""),
        format!("`access-log` of [app] was off and is json now: {restart}")
    );
    let all = "grace = \"1s\"\nfail-grace = \"1s\"\ndrain-delay = \"1s\"\nsignals = \"nginx\"";
    assert_eq!((told(admin, admin), told("", all)), (String::new(), String::new()));
}

#[test]
fn settings_that_hold_from_then_on_are_named() {
    let app = "[app]\nname = \"shop\"\ngrace = \"20s\"\ndrain-delay = \"1s\"\nsignals = \"nginx\"\nmemory = \"1GiB\"";
    let (old, new) = (plan(SHOP), plan(&SHOP.replace("[app]\nname = \"shop\"", app)));
    let told = [
        "grace from 25s to 20s",
        "drain-delay from 0s to 1s",
        "signals from standard to nginx",
        "memory from no limit to 1GiB",
    ];
    assert_eq!(old.app.changes_to(&new.app), told);
    assert!(old.app.changes_to(&old.app).is_empty());
    let lines = "after = [\"web\"]\non-exit = \"restart\"\nrestart = { max = 9 }\nstart-timeout = \"1s\"\n[component.web]";
    let new = plan(&SHOP.replace("[component.web]", lines));
    let told = ["after", "on-exit", "restart", "start-timeout"];
    assert_eq!(old.components[0].settings_changed_in(&new.components[0]), told);
    assert!(old.components[1].settings_changed_in(&new.components[1]).is_empty());
}
