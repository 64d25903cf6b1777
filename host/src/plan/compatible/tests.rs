//! What a change of a manifest means for the components that run, key by key.

use std::path::Path;

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

fn diff(old: &str, new: &str) -> Diff {
    plan(old).diff(&plan(new))
}

#[test]
fn components_are_matched_by_name() {
    let same = Diff { same: vec![(0, 0), (1, 1)], ..Diff::default() };
    assert_eq!(diff(SHOP, SHOP), same);
    let turned = "[app]\nname = \"shop\"\n[component.web]\nsource = \"a.wasm\"\nlisten = [\"127.0.0.1:80\"]\n\
                  [component.new]\nsource = \"a.wasm\"\n[component.db]\nsource = \"a.wasm\"\nargs = [\"x\"]\n";
    let expected = Diff { same: vec![(1, 0)], changed: vec![(0, 2)], added: vec![1], ..Diff::default() };
    assert_eq!(diff(SHOP, turned), expected);
    let other = "[app]\nname = \"shop\"\ngrace = \"3s\"\n[component.c]\nsource = \"a.wasm\"\n";
    let expected = Diff { added: vec![0], removed: vec![0, 1], app: true, ..Diff::default() };
    assert_eq!(diff(SHOP, other), expected);
}

/// Whether `db`, a service, and `web`, a server, can go on under a plan that has `line` in addition.
fn goes_on(line: &str) -> (bool, bool) {
    let both = SHOP.replace("source = \"a.wasm\"\n", &format!("source = \"a.wasm\"\n{line}\n"));
    let diff = diff(SHOP, &both);
    assert!(!diff.app && diff.added.is_empty() && diff.removed.is_empty(), "{line}");
    (diff.same.contains(&(0, 0)), diff.same.contains(&(1, 1)))
}

#[test]
fn what_only_the_supervisor_reads_replaces_nobody() {
    for line in
        ["ready = \"started\"", "on-exit = \"ignore\"", "on-exit = \"restart\"\nrestart = { max = 9 }"]
    {
        assert_eq!(goes_on(line), (true, true), "{line}");
    }
    for line in ["grace = \"1s\"", "start-timeout = \"1s\"", "on-failure = \"ignore\""] {
        assert_eq!(goes_on(line), (true, false), "{line}: a server reads it, too");
    }
    // For kind `http` it is the default.
    assert_eq!(goes_on("on-failure = \"restart\""), (true, true));
    let ordered = SHOP.to_owned() + "after = [\"db\"]\n";
    assert_eq!(diff(SHOP, &ordered).same.len(), 2);
    let overlapping = SHOP.replace("[component.web]", "overlap = true\n[component.web]");
    assert_eq!(diff(SHOP, &overlapping).same.len(), 2);
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
        assert_eq!(goes_on(line), (false, false), "{line}");
    }
    let one = |place: &str, line: &str| {
        let new = SHOP.replace(place, &format!("{line}\n{place}"));
        diff(SHOP, &new).changed
    };
    assert_eq!(one("[component.web]", "health = {}"), [(0, 0)]);
    assert_eq!(one("[component.web]", "stdin = true"), [(0, 0)]);
    assert_eq!(one("listen", "request-timeout = \"1s\""), [(1, 1)]);
    assert_eq!(one("listen", "health = { path = \"/\" }"), [(1, 1)]);
    assert_eq!(diff(SHOP, &SHOP.replace(":80", ":81")).changed, [(1, 1)]);
    assert_eq!(diff(SHOP, &SHOP.replacen("a.wasm", "b.wasm", 1)).changed, [(0, 0)]);
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
    assert!(app("").diff(&app(all)).app);
}
