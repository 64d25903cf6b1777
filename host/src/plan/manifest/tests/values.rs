//! Keys and single values that are refused, each with its exact message.

use super::{WEB, refused, refused_in_component};

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    let known = "source, listen, routes, tls, after, grace, hook, on-exit, on-failure, restart, ready, health, overlap, \
                 instances, request-timeout, limits, forwarded, start-timeout, memory, stdin, args, env, dirs, \
                 network, outbound-http, config";
    let far = format!("3:1: unknown key `frobnicate` in [component.web] (known here: {known})");
    refused_in_component(&[
        ("grcae = 1\n", "3:1: unknown key `grcae` in [component.web] (did you mean `grace`?)"),
        (
            "start_timeout = 1\n",
            "3:1: unknown key `start_timeout` in [component.web] (did you mean `start-timeout`?)",
        ),
        (
            "fail-grace = 1\n",
            "3:1: unknown key `fail-grace` in [component.web] (`fail-grace` belongs in [app])",
        ),
        ("frobnicate = 1\n", &far),
        (
            "network = { lisen = [] }\n",
            "3:13: unknown key `lisen` in `network` of [component.web] (did you mean `listen`?)",
        ),
        (
            "dirs = [{ host = \"data\", guest = \"/d\", acess = 1 }]\n",
            "3:40: unknown key `acess` in `dirs` of [component.web] (did you mean `access`?)",
        ),
    ]);
    refused(&[
        ("[components.web]\n", "1:2: unknown key `components` in the manifest (did you mean `component`?)"),
        // The typo, not the `source` that is missing for it.
        (
            "[component.web]\nsorce = 1\n",
            "2:1: unknown key `sorce` in [component.web] (did you mean `source`?)",
        ),
        (
            "[app]\nmemory = 1\n",
            "2:1: unknown key `memory` in [app] (`memory` belongs in a [component.NAME] table)",
        ),
    ]);
}

#[test]
fn wrong_types_say_what_is_taken() {
    refused_in_component(&[
        (
            "grace = 10\n",
            "3:9: `grace` takes a duration such as \"10s\", found an integer (did you mean \"10s\"?)",
        ),
        ("memory = 1.5\n", "3:10: `memory` takes a size such as \"64MiB\", found a float"),
        ("stdin = \"true\"\n", "3:9: `stdin` takes true or false, found \"true\" (did you mean true?)"),
        (
            "args = \"-v\"\n",
            "3:8: `args` takes a list, each item of it a string, found \"-v\" (did you mean [\"-v\"]?)",
        ),
        (
            "args = [\"a\", 1]\n",
            "3:14: each item of `args` takes a string, found an integer (did you mean \"1\"?)",
        ),
        ("env = { A = true }\n", "3:13: `env.A` takes a string, found `true` (did you mean \"true\"?)"),
        ("env = []\n", "3:7: `env` takes a table, found a list"),
        ("config.a.b = \"x\"\n", "3:8: `config.a` takes a string, found a table"),
        ("hook = 1979-05-27\n", "3:8: `hook` takes \"at-start\" or \"after-drain\", found a date or time"),
        (
            "dirs = [\"data\"]\n",
            "3:9: each item of `dirs` takes a table with `host`, `guest`, `access`, found \"data\"",
        ),
        ("restart = { max = -1 }\n", "3:19: `restart.max` takes a whole number from 0 on, found -1"),
        ("instances = { max = 0 }\n", "3:21: `instances.max` takes a whole number from 1 on, found 0"),
        (
            "restart = { backoff = [\"1s\"] }\n",
            "3:23: `restart.backoff` takes a list of two, each a duration such as \"10s\", found a list of 1",
        ),
    ]);
}

#[test]
fn components_are_tables() {
    refused(&[
        ("[[component]]\n", "1:1: `component` takes tables such as [component.web], found a list"),
        ("component.web = 3\n", "1:17: `component.web` takes a table, found an integer"),
    ]);
}

#[test]
fn wrong_values_say_why() {
    refused_in_component(&[
        (
            "grace = \"10\"\n",
            "3:9: `grace` takes a duration such as \"10s\", found \"10\": the unit is missing (one of ms, s, m, h) \
             (did you mean \"10s\"?)",
        ),
        (
            "grace = \"9000h\"\n",
            "3:9: `grace` takes a duration such as \"10s\", found \"9000h\": the longest is 8760h (365 days)",
        ),
        (
            "start-timeout = \"0s\"\n",
            "3:17: `start-timeout` takes a duration such as \"10s\", found \"0s\": it must be above 0",
        ),
        (
            "memory = \"0B\"\n",
            "3:10: `memory` takes a size such as \"64MiB\", found \"0B\": it must be above 0",
        ),
        (
            "memory = \"64MB\"\n",
            "3:10: `memory` takes a size such as \"64MiB\", found \"64MB\": \"MB\" is not a unit \
             (one of B, KiB, MiB, GiB) (did you mean \"64MiB\"?)",
        ),
        (
            "on-exit = \"ingore\"\n",
            "3:11: `on-exit` takes \"stop-app\", \"ignore\" or \"restart\", found \"ingore\" (did you mean \"ignore\"?)",
        ),
        (
            "args = [\"a\\u0000\"]\n",
            "3:9: each item of `args` takes a string, found \"a\\0\": there is a NUL in it",
        ),
        (
            "network.listen = [\"localhost:80\"]\n",
            "3:19: each item of `network.listen` takes an address such as \"127.0.0.1:8080\", found \
             \"localhost:80\": it must be an IP address, not a name (did you mean \"127.0.0.1:80\"?)",
        ),
        (
            "network.connect = [\"redis\"]\n",
            "3:20: each item of `network.connect` takes a peer such as \"127.0.0.1:6379\", \"redis:6379\" or \
             \"*:443\", found \"redis\": the port is missing (\"redis:*\" is any port of it)",
        ),
        (
            "outbound-http = [\"x\"]\n",
            "3:18: each item of `outbound-http` takes a server such as \"https://api.example.com\", found \"x\": \
             it does not start with http:// or https:// (did you mean \"https://x\"?)",
        ),
    ]);
    refused(&[(
        "[app]\nname = \"\"\n",
        "2:8: `name` takes a name of 1 to 64 characters on one line, found \"\"",
    )]);
}

#[test]
fn wrong_names_and_missing_keys() {
    let rule =
        "a component has a name: a-z, 0-9, `-` and `_`, starting with a letter or digit, at most 64 long";
    let variable = "the name of a variable is not empty, and has neither `=` nor NUL in it";
    refused_in_component(&[
        ("env = { \"A=B\" = \"x\" }\n", &format!("3:9: {variable}; found `A=B`")),
        ("env = { \"A\\u0000\" = \"x\" }\n", &format!("3:9: {variable}; found `A\\0`")),
        (
            "dirs = [{ host = \"data\" }]\n",
            "3:9: `dirs` of [component.web] has no `guest` (add `guest = \"/data\"`)",
        ),
    ]);
    let add = "add `source = \"web.wasm\"`";
    refused(&[
        ("[component.Web]\n", &format!("1:1: [component.Web] has no `source` ({add})")),
        (&WEB.replace("web]", "Web]"), &format!("1:12: {rule}; found `Web` (did you mean `web`?)")),
        (&WEB.replace("web]", "\"\"]"), &format!("1:12: {rule}; found `\"\"` (did you mean `component`?)")),
        ("[component.web]\n", &format!("1:1: [component.web] has no `source` ({add})")),
        ("", "1:1: the app has no component (add one: [component.web] with `source = \"web.wasm\"`)"),
        (
            "[component]\n",
            "1:2: the app has no component (add one: [component.web] with `source = \"web.wasm\"`)",
        ),
    ]);
}
