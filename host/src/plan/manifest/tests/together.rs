//! What is refused because of other keys, of the disk, or of this version; each with its exact message.

use super::{WEB, plan, refused, refused_in_component, told};

#[test]
fn what_the_disk_does_not_have_is_refused() {
    refused_in_component(&[
        (
            "dirs = [{ host = \"no\", guest = \"/d\" }]\n",
            "3:18: `dirs.host` names a directory that does not exist: DIR/no",
        ),
        (
            "dirs = [{ host = \"web.wasm\", guest = \"/d\" }]\n",
            "3:18: `dirs.host` names a file, not a directory: DIR/web.wasm",
        ),
        (
            "dirs = [{ host = \"data\", guest = \"/d\" }, { host = \".\", guest = \"/d/\" }]\n",
            "3:64: two directories have the same `guest` path \"/d/\"",
        ),
    ]);
    refused(&[
        (
            "[component.a]\nsource = \"a/b.wasm\"\n",
            "2:10: `source` names a file that does not exist: DIR/a/b.wasm",
        ),
        ("[component.a]\nsource = \"data\"\n", "2:10: `source` names a directory, not a file: DIR/data"),
        (
            "[component.a]\nsource = \"\"\n",
            "2:10: `source` takes a path such as \"web.wasm\", found \"\": it is empty",
        ),
    ]);
}

#[test]
fn components_that_do_not_go_together() {
    let two = |a: &str, b: &str| format!("{WEB}{a}\n{}{b}\n", WEB.replace("web]", "queue]"));
    let circle = "(\"a → b\" is: a starts after b)";
    refused(&[
        (
            &two("stdin = true", "stdin = true"),
            "6:9: only one component can read the standard input: `web` does (line 3)",
        ),
        (
            &two("after = [\"queu\"]", ""),
            "3:10: `after` names a component that does not exist: \"queu\" (did you mean \"queue\"?)",
        ),
        (
            &two("after = [\"db\"]", ""),
            "3:10: `after` names a component that does not exist: \"db\" (the components are \"queue\" or \"web\")",
        ),
        (&two("after = [\"web\"]", ""), &format!("3:10: `after` goes round in a circle: web → web {circle}")),
        (
            &two("after = [\"queue\"]", "after = [\"web\"]"),
            &format!("3:10: `after` goes round in a circle: web → queue → web {circle}"),
        ),
    ]);
    refused_in_component(&[(
        "restart = { backoff = [\"2s\", \"1s\"] }\n",
        "3:23: `restart.backoff` is the first pause and the longest; the first is the longer one here",
    )]);
}

#[test]
fn what_is_not_built_is_refused_last() {
    let not = "is not supported by this version of curfew";
    refused_in_component(&[
        (
            "restart = { max = 5, within = \"1m\", backoff = [\"1s\", \"2s\"] }\n",
            &format!("3:1: `restart` {not}"),
        ),
        ("on-exit = \"restart\"\n", &format!("3:11: `on-exit = \"restart\"` {not}")),
        ("on-failure = \"restart\"\n", &format!("3:14: `on-failure = \"restart\"` {not}")),
        ("[app]\nadmin = \"127.0.0.1:1\"\n", &format!("4:1: `admin` {not}")),
        ("[app]\ncontrol = \"a.sock\"\n", &format!("4:1: `control` {not}")),
        (&format!("after = [\"b\"]\n{}", WEB.replace("web]", "b]")), &format!("3:1: `after` {not}")),
        // Something else is wrong, further down: that comes first.
        ("on-exit = \"restart\"\nstdin = 1\n", "4:9: `stdin` takes true or false, found an integer"),
        (
            "on-exit = \"restrat\"\n",
            &format!(
                "3:11: `on-exit` takes \"stop-app\" or \"ignore\", found \"restrat\" (\"restart\" {not})"
            ),
        ),
    ]);
    assert!(plan(&format!("{WEB}after = []\n")).is_ok());
}

#[test]
fn deep_and_long_orders_are_no_trouble() {
    let many = 5000;
    let component =
        |n: usize, after: usize| format!("[component.c{n}]\nsource = \"web.wasm\"\nafter = [\"c{after}\"]\n");
    let ring: String = (0..many).map(|n| component(n, (n + 1) % many)).collect();
    assert!(told(&ring).starts_with("3:10: `after` goes round in a circle: c0 → c1 → c2 → "));
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(told(&deep).contains("this is not TOML"));
}
