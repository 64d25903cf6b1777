//! Components that were built for another world, or another version of WASI: those that can run do, and the others are told what
//! was found and what to do.

use crate::harness::Host;

/// A component with these exports of an interface with one function, `func() -> result`, and these imports.
fn exporting(names: &[(&str, &str)], imports: &str) -> Vec<u8> {
    let mut text = format!(
        "(component {imports}
  (core module $m (func (export \"f\") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $f (result (result)) (canon lift (core func $i \"f\")))\n"
    );
    for (at, (name, function)) in names.iter().enumerate() {
        text += &match function.is_empty() {
            true => format!("  (export \"{name}\" (func $f))\n"),
            false => format!(
                "  (instance $x{at} (export \"{function}\" (func $f)))\n  (export \"{name}\" (instance $x{at}))\n"
            ),
        };
    }
    text.push(')');
    bytes(&text)
}

fn bytes(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn single(component: impl AsRef<[u8]>) -> Host {
    Host::files(&["app.wasm"]).file("app.wasm", component)
}

#[track_caller]
fn refused(component: impl AsRef<[u8]>, words: &[&str]) {
    let output = single(component).text_logs().run();
    let text = output.stderr_text();
    assert_eq!(output.code(), 78, "{}", output.said());
    assert_eq!(text.lines().count(), 2, "a finding and a hint:\n{text}");
    assert!(text.starts_with("error: app.wasm: ") && text.contains("\nhint: "), "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} are not in\n{text}");
}

const RUN: &[(&str, &str)] = &[("wasi:cli/run@0.2.0", "run")];

/// Exports are found by semver over all of 0.2.x and 0.3.x; versions are numbers, not words.
#[test]
fn the_highest_version_that_is_known_is_called() {
    for (names, version) in [
        (&["wasi:cli/run@0.2.0"][..], "0.2.0"),
        (&["wasi:cli/run@0.2.99"], "0.2.99"),
        (&["wasi:cli/run@0.2.9", "wasi:cli/run@0.2.12"], "0.2.12"),
        (&["wasi:cli/run@0.2.12", "wasi:cli/run@0.2.9"], "0.2.12"),
        (&["wasi:cli/run@0.3.2", "wasi:cli/run@0.2.12"], "0.3.2"),
        (&["wasi:cli/run@0.3.10", "wasi:cli/run@0.3.9"], "0.3.10"),
        (&["wasi:cli/run@0.2.1", "wasi:cli/run@0.4.0"], "0.2.1"),
        (&["wasi:cli/run@0.2.1", "wasi:cli/run@0.3.0-rc-2025-09-16"], "0.2.1"),
        (&["wasi:cli/run@0.2.1", "wasi:http/incoming-handler@0.2.0-rc-2023-11-10"], "0.2.1"),
        (&["wasi:cli/run@0.2.1", "my:app/api@1.0.0"], "0.2.1"),
    ] {
        let names: Vec<_> = names.iter().map(|name| (*name, "run")).collect();
        let host = single(exporting(&names, ""));
        let output = host.call(&["inspect", "--json", "app.wasm"]);
        assert_eq!(output.code(), 0, "{names:?}: {}", output.said());
        let value: serde_json::Value = serde_json::from_str(&output.stdout_text()).unwrap();
        assert_eq!(value["wasi"], version, "{names:?}");
    }
}

/// Facts: guests use 0.2.0 to 0.2.12 and 0.3.2, mixed in one component, and all link.
#[test]
fn versions_of_imports_can_be_mixed() {
    let mut imports = String::new();
    for version in
        (0..14).map(|patch| format!("0.2.{patch}")).chain(["0.3.0", "0.3.2", "0.3.9"].map(str::to_owned))
    {
        imports.push_str(&format!(
            "(import \"wasi:clocks/monotonic-clock@{version}\" (instance (export \"now\" (func (result u64)))))\n"
        ));
    }
    let output = single(exporting(RUN, &imports)).run();
    output.expect_code(0).expect_outcome("app", "finished");
}

#[test]
fn other_worlds_are_named() {
    for (names, words) in [
        (&[][..], &["it exports nothing", "export wasi:cli/run@0.2.0;", "JavaScript"][..]),
        (&[("my:app/api@1.0.0", "f")], &["`my:app/api@1.0.0`", "a library", "wasi:cli/run"]),
        (
            &[("fermyon:spin/inbound-http", "handle-request")],
            &["built for Spin", "wasi:http/incoming-handler"],
        ),
        (&[("wasmcloud:messaging/handler@0.2.0", "handle")], &["built for wasmCloud"]),
        (
            &[("wasi:http/incoming-handler@0.2.0-rc-2023-12-05", "handle")],
            &["0.2.0-rc-2023-12-05`, a draft", "build it again"],
        ),
        (&[("wasi:cli/run@0.3.0-rc-2025-09-16", "run")], &["a draft from before 0.3.0 was released"]),
        (
            &[("wasi:cli/run@0.4.0", "run")],
            &["`wasi:cli/run@0.4.0`", "newer than this curfew", "0.2.x and 0.3.x"],
        ),
        (&[("wasi:cli/run@1.0.0", "run")], &["newer than this curfew"]),
        (&[("wasi:cli/run", "run")], &["`wasi:cli/run` without a version", "`wasi:cli/run@0.2.0`"]),
        (&[("wasi:cli/run@0.2.0", "start")], &["not the function in it that is called"]),
        (&[("run", "")], &["the function `run` by itself", "export wasi:cli/run@0.2.0;"]),
        (&[("shutdown", "")], &["its hook, and nothing that runs"]),
    ] {
        refused(exporting(names, ""), words);
    }
}

const PROGRAM_AND_SERVER: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $out))
  (core module $m
    (func (export "handle") (param i32 i32))
    (func (export "run") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $handle (param "request" (own $request)) (param "response-out" (own $out)) (canon lift (core func $i "handle")))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $handler (export "handle" (func $handle)))
  (instance $cli (export "run" (func $run)))
  (export "wasi:http/incoming-handler@0.2.3" (instance $handler))
  (export "wasi:cli/run@0.2.9" (instance $cli)))"#;

/// A program with an empty `main` is a command as well as a server: the host calls its handler.
#[test]
fn a_handler_comes_before_a_main() {
    let output = single(bytes(PROGRAM_AND_SERVER)).call(&["inspect", "app.wasm"]);
    output.expect_code(0).expect_line("kind      http, WASI 0.2.3");
    output.expect_line("its `wasi:cli/run@0.2.9` is never called");
    let both = [("wasi:http/handler@0.3.0", "handle"), ("curfew:lifecycle/tcp-handler@0.3.0", "handle")];
    refused(exporting(&both, ""), &["of both `wasi:http` and", "build two"]);
}

#[test]
fn a_wit_package_is_none() {
    let text = "(component (type $t (component (export \"run\" (func)))) (export \"run\" (type $t)))";
    refused(bytes(text), &["a WIT package"]);
}

#[test]
fn a_run_of_another_form_is_shown() {
    let text = r#"(component
  (core module $m (func (export "f") (param i32) (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $f (param "n" u32) (result u32) (canon lift (core func $i "f")))
  (instance $x (export "run" (func $f)))
  (export "wasi:cli/run@0.2.0" (instance $x)))"#;
    refused(
        bytes(text),
        &["the `run` of its `wasi:cli/run@0.2.0` is `func(n: u32) -> u32`", "`func() -> result`"],
    );
}

#[test]
fn imports_from_elsewhere_are_named() {
    for (name, words) in [
        (
            "wasi:io/streams@0.2.0-rc-2023-11-10",
            &["a draft from before 0.2.0 was released", "build it again"][..],
        ),
        ("wasi:cli/stdout@0.4.1", &["newer than this curfew"]),
        ("wasi:cli/stdout", &["without a version"]),
        ("curfew:lifecycle/host@0.4.0", &["newer than this curfew", "WIT that came with"]),
        ("fermyon:spin/key-value@2.0.0", &["which is of Spin"]),
        ("wasi:keyvalue/store@0.2.0-draft", &["a proposal of WASI"]),
        ("acme:widgets/frob@1.0.0", &["another component has to provide it", "wac plug"]),
    ] {
        let import = format!("(import \"{name}\" (instance (export \"f\" (func))))");
        refused(exporting(RUN, &import), &[words, &[name]].concat());
    }
    refused(exporting(RUN, "(import \"log\" (func))"), &["`log`", "a world of WASI"]);
}

/// A name that is nearly the hook's is one that nobody calls.
#[test]
fn a_hook_with_a_slip_in_its_name_is_told() {
    for (name, told) in [("shut-down", true), ("shutdwon", true), ("shutdown2", true), ("start", false)] {
        let exports = [RUN, &[(name, "")]].concat();
        let output = single(exporting(&exports, "")).call(&["inspect", "app.wasm"]);
        let warning = format!("it exports `{name}`, which nobody calls: if it is the hook");
        assert_eq!(output.expect_code(0).has_line(&warning), told, "{name}: {}", output.said());
    }
}

/// A `shutdown` that nobody calls would be a surprise at the first stop.
#[test]
fn a_hook_in_another_interface_is_told() {
    let stray = [RUN, &[("my:app/hooks@1.0.0", "shutdown")]].concat();
    let warning = "its `shutdown` in `my:app/hooks@1.0.0` is never called";
    let output = single(exporting(&stray, "")).call(&["inspect", "app.wasm"]);
    output.expect_code(0).expect_line(warning);
    let with_hook = [&stray[..], &[("shutdown", "")]].concat();
    let output = single(exporting(&with_hook, "")).call(&["inspect", "app.wasm"]);
    assert!(!output.expect_code(0).has_line(warning), "it has a hook: {}", output.said());
}

/// The names of functions are the guest's: in a backtrace they do nothing to a terminal.
#[test]
fn a_backtrace_is_harmless() {
    let text = r#"(component
      (core module $m (func $f (@name "fn\1b[2J\1b]0;x\07") (export "run") (result i32) unreachable))
      (core instance $i (instantiate $m))
      (func $run (result (result)) (canon lift (core func $i "run")))
      (instance $cli (export "run" (func $run)))
      (export "wasi:cli/run@0.2.0" (instance $cli)))"#;
    let output = single(bytes(text)).text_logs().run();
    output.expect_code(1).expect_line("fn [2J");
    let said = output.stderr_text();
    assert!(!said.contains(['\u{1b}', '\u{7}']), "{said:?}");
}
