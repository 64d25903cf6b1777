//! `curfew check` and `curfew inspect`, and the help texts: everything is loaded and validated, nothing starts.

use std::io::Read;
use std::time::Duration;

use artifacts::{
    CORE_MODULE, HELLO_HTTP, HOSTILE_ASYNC, MISSING_IMPORT, NO_HOOK, ODD_HOOK, SERVER, SERVER_CLASSIC,
    SPIN_AT_START,
};
use serde_json::Value;

use crate::harness::{Host, Output, app, component};

fn json(output: &Output) -> Value {
    let text = output.stdout_text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}\n{}", output.stderr_text()))
}

fn manifest() -> String {
    app("grace = \"7s\"\ndrain-delay = \"2s\"")
        + &component("modern", SERVER, "")
        + &component("classic", SERVER_CLASSIC, "")
        + &component("plain", NO_HOOK, "")
        + &component("spin", SPIN_AT_START, "")
}

/// Design 2: per component its kind, WASI version, how its hook will be delivered, and the worst-case stop time.
#[test]
fn check_describes_every_component_and_starts_none() {
    let output = Host::manifest(&manifest()).call(&["check"]);
    assert_eq!(output.code(), 0, "{}", output.said());
    let text = output.stdout_text();
    for word in ["modern", "classic", "plain", "service", "0.2", "0.3", "9s"] {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
    assert!(!text.contains("start\n"), "something was started:\n{text}");
}

#[test]
fn check_speaks_json() {
    let output = Host::manifest(&manifest()).call(&["check", "--json"]);
    assert_eq!(output.code(), 0, "{}", output.said());
    let value = json(&output);
    assert_eq!(value["worst_stop_ms"], 9000, "{value}");
    let components = value["components"].as_array().unwrap();
    let names: Vec<_> = components.iter().map(|component| component["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["modern", "classic", "plain", "spin"]);
    assert!(components.iter().all(|component| component["kind"] == "service"), "{value}");
    let versions: Vec<_> = components.iter().map(|component| component["wasi"].as_str().unwrap()).collect();
    assert!(versions[0].contains("0.3") && versions[1].contains("0.2"), "{versions:?}");
    assert!(components[2]["hook"].is_null(), "{}", components[2]);
    assert!(components[0]["hook"].is_string(), "{}", components[0]);
}

fn shop() -> String {
    let web = "listen = [\"127.0.0.1:0\"]\nafter = [\"queue\"]\ngrace = \"20s\"\n\
               health = { path = \"/up\", every = \"3s\", failures = 2 }";
    let queue =
        "after = [\"db\"]\non-exit = \"restart\"\nrestart = { max = 2, within = \"5m\" }\ngrace = \"2s\"";
    app("grace = \"12s\"\ndrain-delay = \"1s\"")
        + &component("web", HELLO_HTTP, web)
        + &component("queue", NO_HOOK, queue)
        + &component("db", SERVER, "start-timeout = \"4s\"\non-failure = \"restart\"")
}

/// What a supervisor's own timeout is set by: a failure may take longer than a stop.
#[test]
fn the_longest_stop_may_be_that_of_a_failure() {
    let manifest = app("grace = \"3s\"\nfail-grace = \"5s\"") + &component("a", SERVER, "");
    let output = Host::manifest(&manifest).call(&["check"]);
    output.expect_code(0).expect_line("the longest stop takes 5s, the process is gone by 6s");
}

#[test]
fn a_component_is_checked_as_by_inspect() {
    let output = Host::manifest("").call(&["check", SERVER]);
    output.expect_code(0).expect_line("kind      service");
}

/// Issue 4: `check` prints the waves, the worst-case stop time along them, and how each component is supervised.
#[test]
fn check_tells_the_order_and_who_is_watched() {
    let output = Host::manifest(&shop()).call(&["check"]);
    assert_eq!(output.code(), 0, "{}", output.said());
    let text = output.stdout_text();
    for line in [
        "  1  db\n  2  queue\n  3  web\n",
        "  1  web: by 7s\n  2  queue: by 9s\n  3  db: by 13s\n",
        "  after     queue\n",
        "  ready     when its `run` is entered, within 10s\n",
        "  ready     when it says so, within 4s\n",
        "  restart   when it has failed, at most 5 times within 1m, after 200ms to 30s\n",
        "  restart   when it has ended, at most 2 times within 5m, after 200ms to 30s\n",
        "  restart   when it has failed, without a limit, after 200ms to 30s\n",
        "  health    GET /up every 3s, answered within 3s; it has failed when it misses 2 in a row\n",
        "  warning   its grace of 20s is longer than the slice of its wave: if the other waves use all of their time, \
         it has 6s\n",
        "the longest stop takes 13s, the process is gone by 14s",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn check_tells_the_same_in_json() {
    let output = Host::manifest(&shop()).call(&["check", "--json"]);
    assert_eq!(output.code(), 0, "{}", output.said());
    let value = json(&output);
    assert_eq!(value["start_waves"], serde_json::json!([["db"], ["queue"], ["web"]]), "{value}");
    let stop = |wave: usize| {
        let wave = &value["stop_waves"][wave];
        (wave["components"][0].as_str(), wave["least_ms"].as_u64(), wave["end_by_ms"].as_u64())
    };
    assert_eq!(stop(0), (Some("web"), Some(6000), Some(7000)), "{value}");
    assert_eq!(stop(1), (Some("queue"), Some(2000), Some(9000)), "{value}");
    assert_eq!(stop(2), (Some("db"), Some(4000), Some(13_000)), "{value}");
    let [web, queue, db] = value["components"].as_array().unwrap().as_slice() else { panic!("{value}") };
    assert_eq!(web["after"], serde_json::json!(["queue"]));
    assert_eq!(web["health"]["path"], "/up");
    assert_eq!((&web["restart"]["on_failure"], &web["restart"]["on_exit"]), (&true.into(), &false.into()));
    assert_eq!((&queue["restart"]["max"], &queue["restart"]["within_ms"]), (&2.into(), &300_000.into()));
    assert_eq!((&db["restart"]["max"], &db["restart"]["within_ms"]), (&Value::Null, &Value::Null));
    assert_eq!((&db["health"], &db["ready"]["when"]), (&Value::Null, &"said".into()));
    assert_eq!((&queue["ready"]["when"], &db["ready"]["within_ms"]), (&"started".into(), &4000.into()));
}

/// R10, and what only the component itself tells.
#[test]
fn check_refuses_what_could_never_be() {
    let said = |keys: &str| {
        let output = Host::manifest(&(app("") + &component("plain", NO_HOOK, keys))).call(&["check"]);
        assert_eq!(output.code(), 78, "{keys}: {}", output.said());
        output.stderr_text()
    };
    let budget = said("on-failure = \"restart\"\ngrace = \"2s\"\nrestart = { max = 30, within = \"1m\" }");
    assert!(budget.contains("30 restarts can take"), "{budget}");
    for (keys, text) in [
        ("ready = \"said\"", "it does not import `ready` of `curfew:lifecycle/host`"),
        ("health = {}", "it does not import `alive` of `curfew:lifecycle/host`"),
        ("after = [\"plain\"]", "plain → plain"),
        ("listen = [\"fd:web\"]", "it is of kind `service`, and `listen` is for kinds `http` and `tcp` only"),
    ] {
        let said = said(keys);
        assert!(said.contains(text), "{keys}: {said}");
    }
}

/// Everything that is wrong is said, with the exit status of `run`.
#[test]
fn check_tells_of_everything_that_is_wrong() {
    let bad = app("")
        + &component("odd", ODD_HOOK, "")
        + &component("core", CORE_MODULE, "")
        + &component("fine", SERVER, "");
    let output = Host::manifest(&bad).call(&["check"]);
    assert_eq!(output.code(), 78, "{}", output.said());
    for word in ["odd", "core", "shutdown"] {
        assert!(output.stderr_text().contains(word), "{word:?} is missing:\n{}", output.said());
    }
    let output = Host::manifest(&bad).call(&["check", "--json"]);
    assert_eq!(output.code(), 78, "{}", output.said());
    assert_eq!(json(&output)["errors"].as_array().map(Vec::len), Some(2), "{}", output.said());

    let output = Host::manifest("[app]\ngrase = \"1s\"\n").call(&["check"]);
    assert_eq!(output.code(), 78, "{}", output.said());
    assert!(output.stderr_text().contains("curfew.toml:2:"), "{}", output.said());
    let output = Host::manifest("").call(&["check", "elsewhere.toml"]);
    assert_eq!(output.code(), 69, "{}", output.said());
}

/// Issue 12: a manifest with many errors costs one round, with `check` and with `run`.
#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let manifest = "[app]\ngrcae = \"1s\"\n".to_owned()
        + &component("core", CORE_MODULE, "grace = 10s")
        + &component("odd", ODD_HOOK, "memory = 64")
        + &component("plain", NO_HOOK, "ready = \"said\"\nafter = [\"nobody\"]")
        + &component("gone", "gone.wasm", "");
    let told = [
        "curfew.toml:2:1: unknown key `grcae` in [app]",
        "curfew.toml:4:10: [component.core] source: ",
        "curfew.toml:5:9: a string stands in quotes; found `10s`",
        "curfew.toml:8:10: [component.odd] source: ",
        "curfew.toml:9:10: `memory` takes a size",
        "curfew.toml:13:9: [component.plain] ready: ",
        "curfew.toml:14:10: `after` names a component that does not exist",
        "curfew.toml:17:10: `source` names a file that does not exist",
    ];
    let errors = |output: &Output| {
        let errors = output.stderr.iter().filter_map(|line| line.strip_prefix("error: "));
        errors.map(str::to_owned).collect::<Vec<_>>()
    };
    let checked = Host::manifest(&manifest).call(&["check"]);
    for output in [checked, Host::manifest(&manifest).run(), Host::manifest(&manifest).text_logs().run()] {
        assert_eq!(output.code(), 78, "{}", output.said());
        let errors = errors(&output);
        assert_eq!(errors.len(), told.len(), "{}", output.said());
        for (error, start) in errors.iter().zip(told) {
            assert!(error.starts_with(start), "{error}, and not {start}");
        }
    }
    let output = Host::manifest(&manifest).call(&["check", "--json"]);
    assert_eq!(json(&output)["errors"].as_array().map(Vec::len), Some(told.len()), "{}", output.said());
}

/// With a manifest that makes sense, `run` tells of each component's file, too.
#[test]
fn every_component_that_cannot_run_is_told_of() {
    let manifest = app("")
        + &component("odd", ODD_HOOK, "")
        + &component("fine", SERVER, "")
        + &component("core", CORE_MODULE, "")
        + &component("plain", NO_HOOK, "listen = [\"127.0.0.1:0\"]");
    for command in ["check", "run"] {
        let output = Host::manifest(&manifest).call(&[command]);
        assert_eq!(output.code(), 78, "{}", output.said());
        let errors = output.stderr.iter().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 3, "{}", output.said());
        for text in [
            "error: curfew.toml:6:10: [component.odd] source: ",
            "    6 | source = ",
            "error: curfew.toml:14:10: [component.core] source: ",
            "error: curfew.toml:19:10: [component.plain] listen: ",
        ] {
            output.expect_line(text);
        }
    }
}

/// A component of one core module, which does nothing.
fn module(definitions: &str) -> Vec<u8> {
    let text = format!(
        "(component (core module $m {definitions} (func (export \"run\") (result i32) (i32.const 0))) \
         (core instance $i (instantiate $m)) (func $run (result (result)) (canon lift (core func $i \"run\"))) \
         (instance $cli (export \"run\" (func $run))) (export \"wasi:cli/run@0.2.0\" (instance $cli)))"
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Issue 12: what no instance could get is told before the start: the component, what it needs, the limit, and the remedy.
#[test]
fn what_can_never_start_is_refused() {
    for (definitions, keys, said) in [
        ("(memory 1 1 shared)", "", &["source: ", "a shared memory", "without threads"][..]),
        (
            "(memory 4800)",
            "",
            &["memory: ", "needs 300MiB of memory", "`memory`, is 256MiB", "write `memory = \"600MiB\"`"],
        ),
        (
            "(memory 32)",
            "memory = \"1MiB\"",
            &["memory: ", "needs 2MiB of memory", "is 1MiB", "memory = \"4MiB\""],
        ),
        ("(memory 2400) (memory 2400)", "", &["needs 300MiB of memory"]),
        ("(table 2000000 funcref)", "", &["source: ", "tables of 2000000 elements", "at most 1048576"]),
    ] {
        for command in ["check", "run"] {
            let host = Host::manifest(&(app("") + &component("big", "big.wasm", keys)));
            let output = host.file("big.wasm", module(definitions)).call(&[command]);
            assert_eq!(output.code(), 78, "{command} {definitions}: {}", output.said());
            output.expect_line("[component.big] ");
            for text in said {
                output.expect_line(text);
            }
        }
    }
    for (definitions, keys) in
        [("(memory 4096)", ""), ("(memory 4800)", "memory = \"300MiB\""), ("(table 1048576 funcref)", "")]
    {
        let host = Host::manifest(&(app("") + &component("big", "big.wasm", keys)));
        host.file("big.wasm", module(definitions)).run().expect_code(0);
    }
}

/// Issue 12: a component that is valid, but too new, is not called damaged.
#[test]
fn a_feature_that_is_too_new_is_named() {
    let map = "(component (type $m (map string u32)) (import \"a:b/c\" (func (param \"m\" $m))))";
    let output = Host::manifest(&(app("") + &component("new", "new.wasm", "")))
        .file("new.wasm", wat::parse_str(map).unwrap())
        .call(&["check"]);
    assert_eq!(output.code(), 78, "{}", output.said());
    for text in
        ["it uses `map` types in WIT (`cm-map`)", "wasmtime 48.0.8", "list<tuple<k, v>>", "wasm-tools 1.254"]
    {
        output.expect_line(text);
    }
    assert!(!output.said().contains("not a valid"), "{}", output.said());
}

/// What a single file is not given is on one line, by the flags that grant it; for a component of a manifest by its keys.
#[test]
fn what_is_not_given_is_one_line() {
    let lines = |output: &Output| {
        let text = output.stdout_text();
        text.lines().filter(|line| line.contains("not given")).map(str::to_owned).collect::<Vec<_>>()
    };
    let single = lines(&Host::manifest("").call(&["inspect", HOSTILE_ASYNC]));
    assert_eq!(single.len(), 1, "{single:?}");
    assert!(single[0].contains("(`--dir`)") && single[0].contains("(`--allow-net`)"), "{single:?}");
    let planned = Host::manifest(&(app("") + &component("a", HOSTILE_ASYNC, ""))).call(&["check"]);
    let planned = lines(&planned);
    assert_eq!(planned.len(), 1, "{planned:?}");
    assert!(planned[0].contains("(`dirs`)") && planned[0].contains("(`network`)"), "{planned:?}");
    assert!(!planned[0].contains("--"), "{planned:?}");
}

#[test]
fn inspect_describes_one_file() {
    let output = Host::manifest("").call(&["inspect", HOSTILE_ASYNC]);
    assert_eq!(output.code(), 0, "{}", output.said());
    for word in ["service", "0.3", "curfew:lifecycle/hook"] {
        assert!(output.stdout_text().contains(word), "{word:?} is missing:\n{}", output.said());
    }
    let output = Host::manifest("").call(&["inspect", "--json", SERVER_CLASSIC]);
    assert_eq!(output.code(), 0, "{}", output.said());
    assert_eq!(json(&output)["kind"], "service");
    assert_eq!(json(&output)["async_run"], false);

    let output = Host::manifest("").call(&["inspect", MISSING_IMPORT]);
    let said = output.said();
    assert!(said.contains("acme:widgets/frob@1.0.0"), "the import nobody provides is not named:\n{said}");
    assert!(output.code() == 78 || output.code() == 0, "{said}");
    assert_eq!(Host::manifest("").call(&["inspect", CORE_MODULE]).code(), 78);
    assert_eq!(Host::manifest("").call(&["inspect", "nowhere.wasm"]).code(), 69);
}

/// Data is not a log: a reader that is slow to begin gets all of it. A pipe alone takes 64 KiB.
#[test]
fn a_slow_reader_gets_the_whole_description() {
    let manifest =
        (0..400).fold(app(""), |text, number| text + &component(&format!("c{number}"), SERVER, ""));
    let (mut reader, writer) = std::io::pipe().unwrap();
    let slow = std::thread::spawn(move || {
        // The scenario is about this time.
        std::thread::sleep(Duration::from_millis(1500));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let output = Host::manifest(&manifest).stdout(writer).call(&["check", "--json"]);
    assert_eq!(output.code(), 0, "{}", output.said());
    let text = slow.join().unwrap();
    let value: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} at byte {}", text.len()));
    assert_eq!(value["components"].as_array().map(Vec::len), Some(400));
}

/// The help texts are the first thing a new user reads: they name every command and flag of the contract.
#[test]
fn help_names_what_there_is() {
    let help = |args: &[&str]| {
        let output = Host::manifest("").call(args);
        assert_eq!(output.code(), 0, "{}", output.said());
        output.stdout_text()
    };
    let text = help(&["--help"]);
    for word in ["run", "check", "inspect"] {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
    let text = help(&["run", "--help"]);
    let flags =
        ["--grace", "--fail-grace", "--drain-delay", "--signals", "--report", "--log-format", "--log-level"];
    for word in flags.iter().chain(&["standard", "nginx", "124", "78"]) {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
    assert!(help(&["check", "--help"]).contains("--json"));
    assert!(help(&["inspect", "--help"]).contains("--json"));
    assert!(help(&["--version"]).starts_with("curfew "));
}
