//! S13, S14 and every form of the hook: who is asked, when, and what becomes of its answer.

use std::time::Duration;

use artifacts::{HOSTILE_ASYNC, HOSTILE_CLASSIC, ODD_HOOK, SERVER, SERVER_CLASSIC, TWO_HOOKS};
use nix::sys::signal::Signal::SIGTERM;

use crate::harness::{Hook, HookResult, Host, Run, app, assert_within, component, keys};

/// An app with one component for each form of the hook.
fn app_of_hooks(hooks: &[Hook], run: Run) -> Host {
    let mut manifest = app("grace = \"20s\"");
    for hook in hooks {
        manifest.push_str(&component(&hook.name(), &format!("{}.wasm", hook.name()), ""));
    }
    let host = Host::manifest(&manifest);
    hooks.iter().fold(host, |host, hook| host.file(&format!("{}.wasm", hook.name()), hook.component(run)))
}

/// Design 2: the accepted forms of `shutdown`. I1: exactly once for each instance that was started.
fn every_accepted_hook_is_called_once(run: Run) {
    let hooks = Hook::all(false);
    let output = app_of_hooks(&hooks, run).start_ready().stop();
    output.expect_code(0).expect_cause("signal", "SIGTERM");
    for hook in hooks {
        let name = hook.name();
        output.expect_outcome(&name, "stopped").expect_hook(&name, "ok");
        assert_eq!(output.records("hook started", &name).len(), 1, "hook of {name}:\n{}", output.said());
    }
}

#[test]
fn every_accepted_hook_of_a_classic_component_is_called_once() {
    every_accepted_hook_is_called_once(Run::Classic);
}

#[test]
fn every_accepted_hook_of_an_async_component_is_called_once() {
    every_accepted_hook_is_called_once(Run::Async);
}

/// Exit code 3: stopped in time, but a hook failed. What the hook said, and what it was told, is in the report.
fn an_error_from_every_form_of_hook_is_reported(run: Run) {
    let mut hooks = Hook::all(true);
    hooks.retain(|hook| hook.result != HookResult::Nothing);
    let output = app_of_hooks(&hooks, run).start_ready().stop();
    output.expect_code(3).expect_cause("signal", "SIGTERM");
    for hook in hooks {
        let name = hook.name();
        output.expect_outcome(&name, "hook-failed").expect_hook(&name, "error");
        if hook.result == HookResult::WithText {
            let said = if hook.notice { "SIGTERM" } else { "it said no" };
            let detail = output.row(&name).detail().to_string();
            assert!(detail.contains(said), "{name}: {said:?} is not in {detail:?}");
        }
    }
}

#[test]
fn an_error_from_a_hook_of_a_classic_component_is_reported() {
    an_error_from_every_form_of_hook_is_reported(Run::Classic);
}

#[test]
fn an_error_from_a_hook_of_an_async_component_is_reported() {
    an_error_from_every_form_of_hook_is_reported(Run::Async);
}

/// Design 2: another shape under that name, or more than one hook, is an error at load which shows what was
/// found and what is accepted.
#[test]
fn a_hook_of_another_shape_is_refused_before_anything_is_started() {
    for (file, texts) in [(ODD_HOOK, ["shutdown", "u32"]), (TWO_HOOKS, ["shutdown", "curfew:lifecycle/hook"])]
    {
        let manifest = app("") + &component("fine", SERVER, "") + &component("odd", file, "");
        Host::manifest(&manifest).run().expect_refused(78, &texts).expect_refused(78, &[file]);
    }
    for shape in ODD_SHAPES {
        let text = odd_component(shape);
        let bytes = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let host = Host::manifest(&(app("") + &component("odd", "odd.wasm", "")));
        let output = host.file("odd.wasm", bytes).run();
        output.expect_refused(78, &["shutdown", "odd"]);
    }
}

/// The core type and the component type of hooks that are not accepted.
const ODD_SHAPES: &[(&str, &str)] = &[
    ("(result i32)", "(result u32)"),
    ("(result i32)", "(result bool)"),
    ("(param i32)", "(param \"notice\" u32)"),
    ("(param i64)", "(param \"grace\" u64)"),
    ("(param i32 i32)", "(param \"a\" u32) (param \"b\" u32)"),
    ("(result i32)", "(result (result (error u8)))"),
    ("(result i32)", "(result (result u8 (error string)))"),
];

fn odd_component((core, shape): &(&str, &str)) -> String {
    format!(
        r#"(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "run") (result i32) (i32.const 0))
    (func (export "shutdown") {core} (unreachable)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli))
  (func $shutdown {shape} (canon lift (core func $i "shutdown") (memory (core memory $i "memory"))))
  (export "shutdown" (func $shutdown)))"#
    )
}

/// S13 (oklog/run#22): the first component's hook hangs → its siblings' hooks start within 10 ms.
#[test]
fn a_hook_that_hangs_does_not_delay_the_hooks_of_its_siblings() {
    for (stuck, hook) in [(HOSTILE_ASYNC, "hook=park"), (HOSTILE_CLASSIC, "hook=spin")] {
        let manifest = app("grace = \"4s\"")
            + &component("stuck", stuck, &keys(&["run=good", hook]))
            + &component("b", SERVER, "")
            + &component("c", SERVER_CLASSIC, "");
        let app = Host::manifest(&manifest).start_ready();
        app.wait_for_line("stuck | run entered");
        let asked = app.signal(SIGTERM);
        for sibling in ["b", "c"] {
            let ended = app.wait_for_log("hook ended", sibling);
            assert_within(ended.at - asked, Duration::from_millis(10), "a sibling's hook");
        }
        app.wait_for_log("hook started", "stuck");
        let output = app.wait();
        output.expect_code(124).expect_outcome("stuck", "cut-off").expect_hook("stuck", "cut-off");
        output.expect_outcome("b", "stopped").expect_outcome("c", "stopped");
    }
}

/// S14 (uber-go/fx): hook 1 fails, hook 2 eats the grace → both are in the report, hook 3 was called.
#[test]
fn a_failed_hook_and_one_that_overruns_are_both_reported() {
    let manifest = app("grace = \"500ms\"")
        + &component("one", HOSTILE_ASYNC, &keys(&["run=good", "hook=error"]))
        + &component("two", HOSTILE_ASYNC, &keys(&["run=good", "hook=park"]))
        + &component("three", SERVER, "");
    let output = Host::manifest(&manifest).start_ready().stop();
    output.expect_code(124);
    output.expect_outcome("one", "hook-failed").expect_hook("one", "error");
    output.expect_outcome("two", "cut-off").expect_hook("two", "cut-off");
    output.expect_outcome("three", "stopped").expect_hook("three", "ok");
}

/// Design 3.5: a component that trapped cannot be entered again: no hook, and its outcome says so.
#[test]
fn a_component_that_trapped_gets_no_hook() {
    for guest in [HOSTILE_ASYNC, HOSTILE_CLASSIC] {
        let ignored = keys(&["run=trap"]) + "\non-failure = \"ignore\"";
        let manifest = app("") + &component("bad", guest, &ignored) + &component("b", SERVER, "");
        let app = Host::manifest(&manifest).start_ready();
        app.wait_for_log("component ended", "bad");
        let output = app.stop();
        output.expect_code(1).expect_cause("signal", "SIGTERM");
        output.expect_outcome("bad", "failed").expect_hook("bad", "not-called");
        output.expect_outcome("b", "stopped").expect_hook("b", "ok");
    }
}

/// Design 3.5: an async `run` gets its hook next to it, unless the manifest says `after-drain`; a sync `run` can not
/// be entered while it runs.
#[test]
fn a_hook_comes_beside_an_async_run_and_after_a_sync_one() {
    let cases = [
        (HOSTILE_ASYNC, "", "ok"),
        (HOSTILE_ASYNC, "hook = \"at-start\"", "ok"),
        (HOSTILE_ASYNC, "hook = \"after-drain\"", "not-called"),
        (HOSTILE_CLASSIC, "", "not-called"),
        (HOSTILE_CLASSIC, "hook = \"after-drain\"", "not-called"),
    ];
    for (guest, timing, hook) in cases {
        // Its `run` never ends, so only a hook beside it can be called.
        let parked = format!("{}\n{timing}", keys(&["run=park"]));
        let manifest = app("grace = \"300ms\"") + &component("a", guest, &parked);
        let output = Host::manifest(&manifest).start_ready().stop();
        output.expect_code(124).expect_outcome("a", "cut-off").expect_hook("a", hook);
    }
}

/// Design 3.5 and issue 2: what knows nothing of curfew runs too, and is cut off when it does not end.
#[test]
fn a_component_without_a_hook_is_cut_off_at_the_end_of_its_grace() {
    let manifest = app("grace = \"300ms\"") + &component("plain", artifacts::NO_HOOK, &keys(&["sleep"]));
    let app = Host::manifest(&manifest).start_ready();
    let asked = app.signal(SIGTERM);
    let output = app.wait();
    output.expect_code(124).expect_outcome("plain", "cut-off");
    assert!(output.after(asked) >= Duration::from_millis(295), "it was cut off before the end of its grace");
    assert_within(output.after(asked), Duration::from_millis(550), "exit");
}
