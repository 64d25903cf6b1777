//! Components with every accepted form of the hook, written as WebAssembly text.
//!
//! `run` waits for the notice and then ends. The hook checks what it is given: the cause must be a signal and
//! the grace must not be 0, or it traps. An error with a text carries the name of the signal back.

use std::fmt::Write as _;

/// Which generation of `wasi:cli/run` the component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Classic,
    Async,
}

/// Where the hook is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    World,
    Interface(&'static str),
}

/// What the hook returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookResult {
    Nothing,
    Plain,
    WithText,
}

/// One form of the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    pub place: Place,
    pub result: HookResult,
    pub notice: bool,
    pub is_async: bool,
    /// It returns an error; has no meaning for a hook that returns nothing.
    pub fails: bool,
}

impl Hook {
    /// All 36 accepted forms.
    pub fn all(fails: bool) -> Vec<Hook> {
        let mut all = Vec::new();
        for place in [Place::World, Place::Interface("0.2.0"), Place::Interface("0.3.0")] {
            for result in [HookResult::Nothing, HookResult::Plain, HookResult::WithText] {
                for (notice, is_async) in [(false, false), (false, true), (true, false), (true, true)] {
                    all.push(Hook { place, result, notice, is_async, fails });
                }
            }
        }
        all
    }

    /// A name for a manifest that tells the form.
    pub fn name(&self) -> String {
        let place = match self.place {
            Place::World => "world".to_string(),
            Place::Interface(version) => format!("v{}", version.replace('.', "")),
        };
        let result = match self.result {
            HookResult::Nothing => "nothing",
            HookResult::Plain => "plain",
            HookResult::WithText => "text",
        };
        let form = if self.is_async { "async" } else { "sync" };
        let notice = if self.notice { "notice" } else { "bare" };
        format!("{place}-{result}-{form}-{notice}")
    }

    /// The component as bytes.
    pub fn component(&self, run: Run) -> Vec<u8> {
        let text = self.text(run);
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{self:?} {run:?}: {error}\n{text}"))
    }

    fn text(&self, run: Run) -> String {
        let mut text = String::from("(component\n");
        let notice = self.version(run);
        if run == Run::Async || notice == "0.3.0" {
            text.push_str(&types("0.3.0", "3"));
        }
        if notice == "0.2.0" {
            text.push_str(&types("0.2.0", "2"));
        }
        text.push_str(MEMORY);
        text.push_str(match run {
            Run::Classic => CLASSIC_IMPORTS,
            Run::Async => ASYNC_IMPORTS,
        });
        writeln!(text, "  (core func $return-hook (canon task.return {}))", self.returned()).unwrap();
        let (imports, code, instance) = match run {
            Run::Classic => (CLASSIC_CORE_IMPORTS, CLASSIC_RUN, CLASSIC_INSTANCE),
            Run::Async => (ASYNC_CORE_IMPORTS, ASYNC_RUN, ASYNC_INSTANCE),
        };
        let import = match self.result {
            HookResult::Nothing => "",
            HookResult::Plain => "(param i32)",
            HookResult::WithText => "(param i32 i32 i32)",
        };
        write!(
            text,
            "  (core module $m\n    (import \"memory\" \"memory\" (memory 1))
    (import \"host\" \"return-hook\" (func $return-hook {import}))\n{imports}{code}{}  )\n{instance}{}",
            self.code(),
            self.lift(run),
        )
        .unwrap();
        text.push_str(match run {
            Run::Classic => CLASSIC_LIFT,
            Run::Async => ASYNC_LIFT,
        });
        text.push_str(")\n");
        text
    }

    /// The version of the types that the hook's notice comes from; empty without a notice.
    fn version(&self, run: Run) -> &'static str {
        match (self.notice, self.place, run) {
            (false, ..) => "",
            (true, Place::Interface(version), _) => version,
            (true, Place::World, Run::Classic) => "0.2.0",
            (true, Place::World, Run::Async) => "0.3.0",
        }
    }

    fn returned(&self) -> &'static str {
        match self.result {
            HookResult::Nothing => "",
            HookResult::Plain => "(result (result))",
            HookResult::WithText => "(result (result (error string))) (memory $memory)",
        }
    }

    /// The core function, and the callback that an async one needs and that is never reached.
    fn code(&self) -> String {
        let flag = i32::from(self.fails);
        let mut params = "";
        let mut check = "";
        let (mut at, mut len) = ("(i32.const 16)", "(i32.const 10)");
        if self.notice {
            params = "(param $case i32) (param $at i32) (param $len i32) (param $grace i64)";
            // Case 0 is a signal.
            check = "(if (i32.or (local.get $case) (i64.eqz (local.get $grace))) (then (unreachable)))";
            (at, len) = ("(local.get $at)", "(local.get $len)");
        }
        let (result, end) = match (self.is_async, self.result) {
            (false, HookResult::Nothing) => ("", String::new()),
            (false, HookResult::Plain) => ("(result i32)", format!("(i32.const {flag})")),
            (false, HookResult::WithText) => (
                "(result i32)",
                format!(
                    "(i32.store8 (i32.const 32) (i32.const {flag})) (i32.store (i32.const 36) {at})
      (i32.store (i32.const 40) {len}) (i32.const 32)"
                ),
            ),
            (true, HookResult::Nothing) => ("(result i32)", "(call $return-hook) (i32.const 0)".into()),
            (true, HookResult::Plain) => {
                ("(result i32)", format!("(call $return-hook (i32.const {flag})) (i32.const 0)"))
            }
            (true, HookResult::WithText) => {
                ("(result i32)", format!("(call $return-hook (i32.const {flag}) {at} {len}) (i32.const 0)"))
            }
        };
        format!(
            "    (func (export \"shutdown\") {params} {result}\n      {check}\n      {end})
    (func (export \"shutdown-callback\") (param i32 i32 i32) (result i32) (unreachable))\n"
        )
    }

    fn lift(&self, run: Run) -> String {
        let notice = if self.version(run) == "0.2.0" { "$notice2" } else { "$notice3" };
        let param = if self.notice { format!("(param \"notice\" {notice})") } else { String::new() };
        let result = match self.result {
            HookResult::Nothing => "",
            HookResult::Plain => "(result (result))",
            HookResult::WithText => "(result (result (error string)))",
        };
        let (kind, option) = match self.is_async {
            true => ("async", "async (callback (core func $i \"shutdown-callback\"))"),
            false => ("", ""),
        };
        let mut text = format!(
            "  (func $shutdown {kind} {param} {result}
    (canon lift (core func $i \"shutdown\") {option} (memory $memory) (realloc (core func $realloc))))\n"
        );
        match self.place {
            Place::World => text.push_str("  (export \"shutdown\" (func $shutdown))\n"),
            Place::Interface(version) => {
                let types =
                    if self.notice { format!("(export \"notice\" (type {notice}))") } else { String::new() };
                writeln!(text, "  (instance $hook {types} (export \"shutdown\" (func $shutdown)))").unwrap();
                writeln!(text, "  (export \"curfew:lifecycle/hook@{version}\" (instance $hook))").unwrap();
            }
        }
        text
    }
}

/// The import of the types of one generation, as `$notice2` or `$notice3`.
fn types(version: &str, generation: &str) -> String {
    format!(
        r#"  (import "curfew:lifecycle/types@{version}" (instance $types{generation}
    (type $c (variant (case "signal" string) (case "failure" string) (case "finished" string) (case "reload")
      (case "request" string)))
    (export "cause" (type $cause (eq $c)))
    (type $n (record (field "cause" $cause) (field "grace" u64)))
    (export "notice" (type (eq $n)))))
  (alias export $types{generation} "notice" (type $notice{generation}))
"#
    )
}

/// The memory comes first: lowering an import needs it. Allocations only ever grow, the guest ends soon.
const MEMORY: &str = r#"
  (core module $libc
    (memory (export "memory") 1)
    (data (i32.const 16) "it said no")
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (local.get 3)))))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
"#;

const CLASSIC_IMPORTS: &str = r#"
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "curfew:lifecycle/host@0.2.0" (instance $host
    (alias outer 1 $pollable (type $p))
    (export "subscribe-stop" (func (result (own $p))))))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $subscribe (canon lower (func $host "subscribe-stop")))
"#;

const CLASSIC_CORE_IMPORTS: &str = r#"
    (import "host" "subscribe" (func $subscribe (result i32)))
    (import "host" "block" (func $block (param i32)))
"#;

const CLASSIC_RUN: &str = r#"
    (func (export "run") (result i32) (call $block (call $subscribe)) (i32.const 0))
"#;

const CLASSIC_INSTANCE: &str = r#"
  (core instance $i (instantiate $m
    (with "memory" (instance $libc))
    (with "host" (instance
      (export "return-hook" (func $return-hook))
      (export "subscribe" (func $subscribe))
      (export "block" (func $block))))))
"#;

const CLASSIC_LIFT: &str = r#"
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $cli))
"#;

const ASYNC_IMPORTS: &str = r#"
  (import "curfew:lifecycle/host@0.3.0" (instance $host
    (alias outer 1 $notice3 (type $n))
    (export "notice" (type $notice (eq $n)))
    (export "stop-requested" (func async (result $notice)))))
  (core func $stop (canon lower (func $host "stop-requested") async (memory $memory) (realloc (core func $realloc))))
  (core func $set-new (canon waitable-set.new))
  (core func $join (canon waitable.join))
  (core func $return-run (canon task.return (result (result))))
"#;

const ASYNC_CORE_IMPORTS: &str = r#"
    (import "host" "stop" (func $stop (param i32) (result i32)))
    (import "host" "set-new" (func $set-new (result i32)))
    (import "host" "join" (func $join (param i32 i32)))
    (import "host" "return-run" (func $return-run (param i32)))
"#;

/// The low four bits of a call's answer are its state, 2 is "returned"; the others are the subtask. To wait,
/// `run` returns 2 and the waitable set; when the notice is there, its callback ends the task.
const ASYNC_RUN: &str = r#"
    (func (export "run") (result i32) (local $call i32) (local $set i32)
      (local.set $call (call $stop (i32.const 64)))
      (if (i32.eq (i32.and (local.get $call) (i32.const 15)) (i32.const 2))
        (then (call $return-run (i32.const 0)) (return (i32.const 0))))
      (local.set $set (call $set-new))
      (call $join (i32.shr_u (local.get $call) (i32.const 4)) (local.get $set))
      (i32.or (i32.const 2) (i32.shl (local.get $set) (i32.const 4))))
    (func (export "run-callback") (param i32 i32 i32) (result i32)
      (if (i32.ne (local.get 2) (i32.const 2)) (then (unreachable)))
      (call $return-run (i32.const 0)) (i32.const 0))
"#;

const ASYNC_INSTANCE: &str = r#"
  (core instance $i (instantiate $m
    (with "memory" (instance $libc))
    (with "host" (instance
      (export "return-hook" (func $return-hook))
      (export "stop" (func $stop))
      (export "set-new" (func $set-new))
      (export "join" (func $join))
      (export "return-run" (func $return-run))))))
"#;

const ASYNC_LIFT: &str = r#"
  (func $run async (result (result))
    (canon lift (core func $i "run") async (callback (core func $i "run-callback")) (memory $memory)))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.3.0" (instance $cli))
"#;
