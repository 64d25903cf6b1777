//! What is refused because of other components, or of the disk; each with its exact message.

use super::{WEB, refused, refused_in_component, told};

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
