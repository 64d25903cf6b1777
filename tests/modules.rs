//! Core modules for WASI preview 1 run as they are; those with an embedded world are adapted while they are loaded, said in one
//! line. What cannot run is refused in words that its author understands.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::harness::{Host, Output, app, assert_within, component, keys, sample};

/// Says hello, and leaves with the status that is its first argument's length; no argument is its end by itself.
const COMMAND: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\06\00\00\00")
  (data (i32.const 16) "hello\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $sizes (i32.const 32) (i32.const 36)))
    (if (i32.gt_u (i32.load (i32.const 32)) (i32.const 1))
      (then (call $exit (i32.const 42))))))"#;

/// A program with a world embedded: it waits for the stop, and has a hook.
const WITH_HOOK: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "curfew:lifecycle/host@0.2.0" "subscribe-stop" (func $subscribe (result i32)))
  (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\05\00\00\00")
  (data (i32.const 16) "hook\n")
  (func (export "START") (call $block (call $subscribe)))
  (func (export "shutdown")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

fn bytes(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Embeds a world in a module, as `wasm-tools component embed` does.
fn embed(module: &str, world: &str) -> Vec<u8> {
    let mut module = bytes(module);
    let mut resolve = Resolve::default();
    resolve.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/0.2")).unwrap();
    let wit = format!("package my:app;\nworld app {{ {world} }}");
    let package = resolve.push_str("app.wit", &wit).unwrap();
    let world = resolve.select_world(&[package], Some("app")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

fn single(module: impl AsRef<[u8]>) -> Host {
    let host = Host::files(&["app.wasm"]);
    host.file("app.wasm", module)
}

#[test]
fn a_module_runs_and_its_exit_status_is_the_exit_code() {
    let output = single(bytes(COMMAND)).text_logs().run();
    assert_eq!((output.code(), output.stdout_text().as_str()), (0, "hello\n"), "{}", output.said());
    assert_eq!(output.stderr_text(), "", "to its user it is a program like any other");
    let output = single(bytes(COMMAND)).text_logs().guest_args(&["x"]).run();
    assert_eq!((output.code(), output.stdout_text().as_str()), (42, "hello\n"), "{}", output.said());
    assert_eq!(output.stderr_text(), "");
}

/// Up to the largest that a system has.
#[test]
fn a_module_leaves_with_any_status() {
    for status in [3, 125, 126, 200, 255] {
        let exits = format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
              (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {status}))))"#
        );
        single(bytes(&exits)).run().expect_code(status);
    }
}

/// As with `wasmtime run`: it does not have to fit in one page of memory.
#[test]
fn a_module_gets_a_large_environment_and_large_arguments() {
    let module = r#"(module
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ-sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args-sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (memory (export "memory") 16)
  (func $check (param $size i32)
    (if (i32.lt_u (i32.load (local.get $size)) (i32.const 200000)) (then (unreachable))))
  (func (export "_start")
    (if (call $environ-sizes (i32.const 0) (i32.const 4)) (then (unreachable)))
    (call $check (i32.const 4))
    (if (call $environ (i32.const 16) (i32.const 1024)) (then (unreachable)))
    (if (i32.ne (i32.load8_u (i32.const 100000)) (i32.const 120)) (then (unreachable)))
    (if (call $args-sizes (i32.const 0) (i32.const 4)) (then (unreachable)))
    (call $check (i32.const 4))
    (if (call $args (i32.const 16) (i32.const 1024)) (then (unreachable)))))"#;
    let long = "x".repeat(100_000);
    let given = format!("{}\nenv = {{ A = {long:?}, B = {long:?} }}", keys(&[&long, &long]));
    let host = Host::manifest(&(app("") + &component("old", "old.wasm", &given)));
    host.file("old.wasm", bytes(module)).run().expect_code(0).expect_outcome("old", "finished");
}

const MISBEHAVING: &str = r#"(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (memory (export "memory") 1)
  (func $deep (unreachable))
  (func (export "_start") BODY))"#;

/// It hears of no stop: code that runs, and code in calls of the host, end at the end of the grace. A sibling notices nothing.
#[test]
fn a_module_that_never_ends_is_cut_off_in_time() {
    for body in ["(loop (br 0))", "(loop (drop (call $yield)) (br 0))"] {
        let manifest = app("grace = \"500ms\"")
            + &component("old", "old.wasm", "")
            + &component("sibling", artifacts::SERVER, "");
        let host = Host::manifest(&manifest).file("old.wasm", bytes(&MISBEHAVING.replace("BODY", body)));
        let app = host.start_ready();
        let asked = app.signal(SIGTERM);
        let output = app.wait();
        output.expect_code(124).expect_outcome("old", "cut-off").expect_hook("old", "none");
        output.expect_outcome("sibling", "stopped").expect_hook("sibling", "ok");
        assert_within(output.after(asked), Duration::from_millis(500), "exit");
    }
}

#[test]
fn a_module_has_the_limit_of_memory_and_a_backtrace() {
    let grows = "(if (i32.eq (memory.grow (i32.const 1024)) (i32.const -1)) (then (call $deep)))";
    let manifest = |memory: &str| app("") + &component("old", "old.wasm", &format!("memory = \"{memory}\""));
    let run = |memory: &str| {
        let module = bytes(&MISBEHAVING.replace("BODY", grows));
        Host::manifest(&manifest(memory)).file("old.wasm", module).run()
    };
    run("65MiB").expect_code(0).expect_outcome("old", "finished");
    let output = run("32MiB");
    output.expect_code(1).expect_outcome("old", "failed");
    let failed = output.records("failed", "old");
    assert!(failed[0].text("error").starts_with("trapped: wasm `unreachable`"), "{}", output.said());
    assert!(output.said().contains("deep"), "no backtrace:\n{}", output.said());
}

/// Not granted, it is not there; granted, it is.
#[test]
fn a_module_reads_its_input_only_if_it_may() {
    let module = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\40\00\00\00")
  (func (export "_start")
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    ;; The bytes that it read, and 100 more if it has a folder.
    (call $exit (i32.add (i32.load (i32.const 8))
      (select (i32.const 0) (i32.const 100) (call $prestat (i32.const 3) (i32.const 200)))))))"#;
    for (granted, code) in
        [("", 0), ("stdin = true", 5), ("stdin = true\ndirs = [{ host = \".\", guest = \"/data\" }]", 105)]
    {
        let host = Host::manifest(&(app("") + &component("old", "old.wasm", granted)));
        let input = host.path().join("input");
        std::fs::write(&input, "input").unwrap();
        let output = host.file("old.wasm", bytes(module)).stdin(std::fs::File::open(input).unwrap()).run();
        let outcome = if code == 0 { "finished" } else { "failed" };
        output.expect_outcome("old", outcome);
        if code > 0 {
            let failed = output.records("failed", "old");
            assert_eq!(failed[0].text("error"), format!("exited with status {code}"), "{}", output.said());
        }
    }
}

/// It has no functions for them.
#[test]
fn grants_that_a_module_cannot_use_are_said() {
    let granted = "network = { connect = [\"127.0.0.1:1\"] }\nconfig = { a = \"b\" }";
    let manifest = app("") + &component("old", "old.wasm", granted);
    let host = || Host::manifest(&manifest).file("old.wasm", bytes(COMMAND));
    let text = host().call(&["check"]).expect_code(0).stdout_text();
    assert!(
        text.contains("warning   `network` has no effect: a core module") && text.contains("`config`"),
        "{text}"
    );
    assert!(text.contains("kind      service, WASI preview 1, sync run"), "{text}");
    assert!(text.contains("delivery  none: it ends with the last client of its own listeners, or with its input; else it is cut off"), "{text}");
    let output = host().run();
    assert!(output.expect_code(0).said().contains("a key has no effect"), "{}", output.said());
}

/// AssemblyScript imports it twice when both its runtime and its author call it.
#[test]
fn each_import_of_the_exit_keeps_its_status() {
    let module = r#"(module
  (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $again (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $again (i32.const 5))))"#;
    single(bytes(module)).run().expect_code(5);
}

/// One that imports nothing at all is a program, too.
#[test]
fn a_module_without_imports_runs() {
    let module =
        |start: &str| format!(r#"(module (memory (export "memory") 1) (func (export "_start") {start}))"#);
    let output = single(bytes(&module(""))).run();
    output.expect_code(0).expect_outcome("app", "finished");
    let output = single(bytes(&module("unreachable"))).run();
    let failed = output.expect_code(1).records("failed", "app");
    assert!(failed[0].text("error").starts_with("trapped: wasm `unreachable`"), "{}", output.said());
}

/// An allocator that takes all the memory there is when it begins, as that of older C and Rust does, and then more of it.
const GREEDY: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (global $a-global (mut i32) (i32.const 7))
  (data (i32.const 0) "\10\00\00\00\01\00\00\00")
  (data (i32.const 16) ".")
  (func $say (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable))))
  (func $sbrk (param $pages i32) (result i32)
    (i32.shl
      (if (result i32) (local.get $pages) (then (memory.grow (local.get $pages))) (else (memory.size)))
      (i32.const 16)))
  (func (export "_start")
    (call $say)
    (memory.fill (i32.const 1024) (i32.const 0xAA) (i32.sub (call $sbrk (i32.const 0)) (i32.const 1024)))
    (call $say)
    (memory.fill (call $sbrk (i32.const 1)) (i32.const 0xAA) (i32.const 65536))
    (call $say)
    ;; What it has got by now ends where the memory does.
    (i32.store8 (i32.sub (call $sbrk (i32.const 0)) (i32.const 1)) (i32.const 0xAA))
    (call $exit (i32.load8_u (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1))))))"#;

/// The adapter needs memory of its own, and the allocator of the module must not find it.
#[test]
fn a_greedy_allocator_does_not_take_the_memory_of_the_adapter() {
    for module in [bytes(GREEDY), embed(&with_go(GREEDY), GO)] {
        let output = single(module).text_logs().run();
        assert_eq!((output.code(), output.stdout_text().as_str()), (0xAA, "..."), "{}", output.said());
    }
}

/// A world that makes an adapted module of a program.
const GO: &str = "export go: func();";

fn with_go(program: &str) -> String {
    program.replacen("(memory (export", "(func (export \"go\")) (memory (export", 1)
}

const SAID: &str = "a core module with `_start` and an embedded world, adapted as a WASI preview-1 command";

#[test]
fn what_was_done_is_said_in_one_line() {
    let manifest = app("") + &component("old", "old.wasm", "");
    let host = || Host::manifest(&manifest).file("old.wasm", embed(&with_go(COMMAND), GO));
    let output = host().run();
    output.expect_code(0).expect_line("old | hello");
    let said = output.records(SAID, "old");
    assert_eq!(said.len(), 1, "{}", output.said());
    assert!(said[0].text("file").ends_with("old.wasm"));
    let line = format!("  adapted   {SAID}\n");
    for args in [&["check"][..], &["inspect", "old.wasm"]] {
        let output = host().call(args);
        let text = output.expect_code(0).stdout_text();
        assert!(text.contains(&line) && text.contains("kind      service, WASI 0.2"), "{text}");
    }
    let output = host().call(&["inspect", "--json", "old.wasm"]);
    let value: serde_json::Value = serde_json::from_str(&output.stdout_text()).unwrap();
    assert_eq!(value["adapted"], SAID);
}

#[test]
fn a_go_program_has_all_that_it_was_given() {
    let Some(file) = sample("hostile/plain-go") else { return };
    let host = Host::files(&[file]);
    std::fs::create_dir(host.path().join("work")).unwrap();
    let input = host.path().join("input");
    std::fs::write(&input, "through stdin").unwrap();
    let work = format!("{}::/data", host.path().join("work").display());
    let flags = ["--env", "GIVEN=as-variable", "--dir", &work];
    let output = host
        .text_logs()
        .flags(&flags)
        .stdin(std::fs::File::open(input).unwrap())
        .guest_args(&["100", "an argument"])
        .run();
    assert_eq!(output.code(), 7, "{}", output.said());
    let expected = "given [100 an argument] as-variable through stdin\n100 MiB, 0 bad bytes\n";
    assert_eq!(output.stdout_text(), expected);
}

/// Issue 5: runtimes that would overwrite what the host keeps in their memory, and of which nobody can see where.
#[test]
fn runtimes_that_take_all_memory_are_refused_where_a_component_is_made_of_them() {
    let program = |language: &str, more: &str| {
        format!(
            r#"(module (memory (export "memory") 1) (func (export "_start")) {more} {})"#,
            made_by(language)
        )
    };
    let go = r#"(func (export "go"))"#;
    let old = refused(embed(&program("Go", go), GO));
    assert!(old.contains("by Go") && old.contains("`cabi_realloc`"), "{old}");
    let tiny = refused(embed(&program("TinyGo", go), GO));
    assert!(tiny.contains("tinygo build -target=wasip2"), "{tiny}");
    for language in ["Go", "TinyGo"] {
        single(bytes(&program(language, ""))).run().expect_code(0);
    }
}

/// What was compiled of a module is kept under what its file has in it: the next start neither adapts nor compiles.
#[test]
fn a_second_start_neither_adapts_nor_compiles_again() {
    let cache = tempfile::tempdir().unwrap();
    let run = |module: &[u8], point: &str| {
        let host = single(module).env("CURFEW_CACHE_DIR", cache.path());
        host.env("CURFEW_FAIL_POINT", point).run().code()
    };
    let other = COMMAND.replace("hello", "HELLO");
    for (point, module, other) in [
        ("compile", bytes(COMMAND), bytes(&other)),
        ("adapt", embed(&with_go(COMMAND), GO), embed(&with_go(&other), GO)),
    ] {
        assert_eq!(run(&module, point), 70, "nothing is kept yet");
        assert_eq!(run(&module, ""), 0);
        assert_eq!(run(&module, point), 0);
        assert_eq!(run(&other, point), 70, "another file is another component");
    }
}

#[test]
fn a_module_with_a_world_can_have_a_hook() {
    let world = "import curfew:lifecycle/host@0.2.0; export shutdown: func();";
    let program = embed(&WITH_HOOK.replace("START", "_start"), world);
    let run = r#"(func (export "wasi:cli/run@0.2.12#run") (result i32) (call $block (call $subscribe)) (i32.const 0))"#;
    let reactor = WITH_HOOK.replace(r#"(func (export "START") (call $block (call $subscribe)))"#, run);
    let reactor = embed(&reactor, &format!("{world} export wasi:cli/run@0.2.12;"));
    for (module, said) in [
        (program, "a core module with `_start` and an embedded world, adapted as a WASI preview-1 command"),
        (reactor, "a core module with an embedded world, adapted as a WASI preview-1 reactor"),
    ] {
        let manifest = app("") + &component("old", "old.wasm", "");
        let app = Host::manifest(&manifest).file("old.wasm", module).start_ready();
        assert_eq!(app.records(said, "old").len(), 1);
        app.signal(SIGTERM);
        let output = app.wait();
        output
            .expect_code(0)
            .expect_outcome("old", "stopped")
            .expect_hook("old", "ok")
            .expect_line("old | hook");
    }
}

fn refused(module: impl AsRef<[u8]>) -> String {
    let output: Output = single(module).text_logs().run();
    let text = output.stderr_text();
    assert_eq!(output.code(), 78, "{}", output.said());
    assert_eq!(text.lines().count(), 2, "a finding and a hint:\n{text}");
    assert!(text.starts_with("error: app.wasm: it") && text.contains("\nhint: "), "{text}");
    text
}

/// A core module that imports this, and has a program.
fn importing(from: &str, name: &str) -> Vec<u8> {
    bytes(&format!(r#"(module (import "{from}" "{name}" (func)) (func (export "_start")))"#))
}

/// Issue 5, bad input: what was found and what to do, in words that the author of that language understands.
#[test]
fn modules_for_elsewhere_are_told_where_they_belong() {
    for (from, name, words) in [
        ("__wbindgen_placeholder__", "x", &["wasm-bindgen", "cargo build --target wasm32-wasip2"][..]),
        ("./app_bg.js", "__wbg_log", &["wasm-bindgen"]),
        ("gojs", "runtime.wasmExit", &["GOOS=js", "GOOS=wasip1 GOARCH=wasm go build"]),
        ("wasi_unstable", "fd_write", &["`wasi_unstable`", "before preview 1"]),
        ("wasix_32v1", "proc_fork", &["WASIX", "wasm32-wasip2"]),
        ("wasi", "thread-spawn", &["threads", "-pthread"]),
        ("env", "emscripten_notify_memory_growth", &["Emscripten", "-sSTANDALONE_WASM"]),
        ("env", "abort", &["AssemblyScript", "@assemblyscript/wasi-shim"]),
        ("env", "proxy_log", &["proxy-wasm"]),
        ("env", "sqlite3_open", &["`env.sqlite3_open`", "nothing defined", "link the library"]),
        ("acme", "frob", &["`frob` of `acme`", "wasm-tools component embed"]),
        ("wasi_snapshot_preview1", "sock_open", &["`sock_open`", "WASI preview 1 does not have"]),
    ] {
        let text = refused(importing(from, name));
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} are not in\n{text}");
    }
    let shared = r#"(module (import "env" "memory" (memory 1 2 shared)) (func (export "_start")))"#;
    assert!(refused(bytes(shared)).contains("threads"));
}

/// What a file has in it does nothing to the terminal of who reads about it.
#[test]
fn names_of_a_hostile_module_are_shown_harmless_and_short() {
    let text = refused(importing(r"evil\1b[2J\0aname", r"fu\1b]0;x\07nc"));
    assert!(text.contains("`fu ]0;x nc` of `evil [2J name`"), "{text:?}");
    assert!(refused(importing("evil", &"long".repeat(10_000))).len() < 1000);
    let embedded = format!(
        r#"(module (import "a\1b[2J" "{}" (func)) (memory (export "memory") 1))"#,
        "x".repeat(10_000)
    );
    let text = refused(embed(&embedded, "import curfew:lifecycle/host@0.2.0;"));
    assert!(!text.contains('\u{1b}') && text.len() < 2000, "{text:?}");
}

/// A custom section of the producers of a module.
fn made_by(language: &str) -> String {
    let name = |text: &str| format!("\\{:02x}{text}", text.len());
    let fields = format!("\\01{}\\01{}{}", name("language"), name(language), name(""));
    format!("(@custom \"producers\" \"{fields}\")")
}

/// Issue 5, bad input: a C module without `_start`, and the same of other languages.
#[test]
fn modules_without_a_program_are_told_how_to_get_one() {
    let initialize = r#"(func (export "_initialize"))"#;
    for (module, words) in [
        (initialize.to_owned(), &["`-mexec-model=reactor`", "so that its `main` runs"][..]),
        (format!("{}{initialize}", made_by("Go")), &["-buildmode=c-shared"]),
        (format!("{}{initialize}", made_by("Rust")), &["wasm32-wasip1", "build it for `wasm32-wasip2`"]),
        (made_by("Rust"), &["wasm32-unknown-unknown", "cargo build --target wasm32-wasip2"]),
        (r#"(func (export "main"))"#.to_owned(), &["`main`", "-nostartfiles"]),
        (
            r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32))) (func (export "_start"))"#
                .to_owned(),
            &["does not export its `memory`"],
        ),
        (String::new(), &["there is no program in it", "`main`"]),
        ("(@custom \"linking\" \"\\02\")".to_owned(), &["object file", "without `-c`"]),
        ("(@custom \"dylink.0\" \"\")".to_owned(), &["shared library", "-shared"]),
    ] {
        let text = refused(bytes(&format!("(module {module})")));
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} are not in\n{text}");
    }
}

#[test]
fn a_module_that_does_not_fit_its_world_is_refused() {
    let missing = embed(r#"(module (memory (export "memory") 1))"#, "export shutdown: func();");
    let text = refused(missing);
    assert!(text.contains("does not fit the world") && text.contains("shutdown"), "{text}");
    let undeclared = embed(
        r#"(module (import "acme" "frob" (func)) (memory (export "memory") 1) (func (export "shutdown")))"#,
        "export shutdown: func();",
    );
    let text = refused(undeclared);
    assert!(text.contains("acme"), "{text}");
    let mut cut = bytes(COMMAND);
    cut.truncate(cut.len() - 9);
    assert!(refused(cut).contains("it is not a valid core module"));
}
