//! Refusals of core modules that cannot run: what a module was built for, and how to build it for WASI, in the terms
//! of the tools that made it. The more telling a sign is, the earlier the code looks for it.

use super::core_module::CoreModule;
use super::preview_1::PREVIEW_1;
use crate::runtime::Refusal;

/// Refuses a module that exports no `_start` and has no world, or imports something that is not provided.
pub(super) fn reason(module: &CoreModule) -> Refusal {
    not_linked(module)
        .or_else(|| known_import(module))
        .or_else(|| module.imports.iter().find(|(from, _)| from != PREVIEW_1).map(unknown))
        .unwrap_or_else(|| no_start(module))
}

pub(super) fn extension(function: &str) -> Refusal {
    Refusal::new(
        format!("it imports `{function}` of `wasi_snapshot_preview1`, which WASI preview 1 does not have"),
        "some other hosts have such extensions (sockets of WasmEdge, for instance): build it without; \
         sockets are in WASI 0.2, target `wasm32-wasip2`",
    )
}

pub(super) fn without_memory() -> Refusal {
    let found = "it is a core module that does not export its `memory`";
    Refusal::new(
        found,
        "export it, as every compiler for WASI does: in text `(memory (export \"memory\") 1)`",
    )
}

fn not_linked(module: &CoreModule) -> Option<Refusal> {
    if module.is_shared_library {
        let found = "it is a shared library, not a program";
        return Some(Refusal::new(found, "link it into one: leave `-shared` (and `-fPIC`) out"));
    }
    module.is_object.then(|| {
        let found = "it is an object file: it has not been linked";
        Refusal::new(found, "link it: `clang --target=wasm32-wasi FILE.o -o FILE.wasm`, without `-c` or `-r`")
    })
}

/// Refuses a module that was built for something else, if its imports tell.
pub(super) fn known_import(module: &CoreModule) -> Option<Refusal> {
    let imports = |is_it: fn(&str) -> bool| module.import_from(is_it).is_some();
    let env =
        |is_it: fn(&str) -> bool| module.imports.iter().any(|(from, name)| from == "env" && is_it(name));
    let (found, hint) = if imports(|from| {
        from.contains("__wbindgen") || from == "wbg" || from.ends_with("_bg.js")
    }) {
        (
            "it is built for JavaScript around it, by wasm-bindgen",
            "build it for WASI, without wasm-bindgen and wasm-pack: `cargo build --target wasm32-wasip2`",
        )
    } else if imports(|from| from == "gojs" || from == "go") {
        (
            "it is built for JavaScript around it, by Go with GOOS=js",
            "build it for WASI: `GOOS=wasip1 GOARCH=wasm go build -o app.wasm`",
        )
    } else if imports(|from| from == "wasi_unstable") {
        (
            "it imports `wasi_unstable`, which is WASI from before preview 1",
            "build it again with tools of today, for WASI preview 1 or 2",
        )
    } else if imports(|from| from.starts_with("wasix_")) {
        (
            "it is built for WASIX",
            "build it for WASI instead: target `wasm32-wasip2`, or wasi-libc's `wasm32-wasi`",
        )
    } else if module.is_threaded || imports(|from| from == "wasi") {
        (
            "it is built with threads (`wasi-threads`)",
            "curfew has none: build it for `wasm32-wasip1` or `wasm32-wasip2`, without `-pthread` and shared memory",
        )
    } else if imports(|from| from == "a") || env(is_emscripten) {
        (
            "it is built for JavaScript around it, by Emscripten",
            "build a program that needs WASI only: `emcc -sSTANDALONE_WASM -sPURE_WASI`, or use wasi-sdk's clang",
        )
    } else if env(|name| name == "abort" || name == "seed") && !module.is_made_by("clang") {
        (
            "it is built by AssemblyScript without WASI: it imports `env.abort`",
            "use its WASI shim: `asc --config node_modules/@assemblyscript/wasi-shim/asconfig.json --exportStart _start`",
        )
    } else if env(|name| name.starts_with("proxy_")) {
        (
            "it is a proxy-wasm filter",
            "curfew runs WASI components: services and servers, not filters of a proxy",
        )
    } else {
        return missing_symbol(module);
    };
    Some(Refusal::new(found, hint))
}

fn is_emscripten(name: &str) -> bool {
    ["emscripten_", "_emscripten", "__syscall_", "invoke_", "__cxa_"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// With `--allow-undefined`, a linker for C or Rust turns undefined symbols into imports of `env`.
fn missing_symbol(module: &CoreModule) -> Option<Refusal> {
    let (_, name) = module.import_from(|from| from == "env")?;
    Some(Refusal::new(
        format!(
            "it imports `env.{name}`: a symbol that nothing defined when it was linked, or a function of another host"
        ),
        "link the library or the object that defines it (without `--allow-undefined` the linker tells what is missing)",
    ))
}

fn unknown((from, name): &(String, String)) -> Refusal {
    Refusal::new(
        format!(
            "it imports `{name}` of `{from}`, which is neither WASI preview 1 nor in a world embedded in it"
        ),
        "it is built for another host: build it for WASI; an interface of its own has to be in the WIT that is embedded \
         (`wasm-tools component embed WIT IN.wasm -o OUT.wasm`)",
    )
}

fn no_start(module: &CoreModule) -> Refusal {
    let go = module.is_made_by("Go") || module.is_made_by("TinyGo");
    let rust = module.is_made_by("Rust") || module.is_made_by("rustc");
    let embed = "embed the world that it exports (`wasm-tools component embed WIT IN.wasm -o OUT.wasm`)";
    if module.has("_initialize") {
        let (built, hint) = match (go, rust) {
            (true, _) => ("by Go with `-buildmode=c-shared`", "build it without, so that its `main` runs"),
            (_, true) => ("as a library for `wasm32-wasip1`", "build it for `wasm32-wasip2`"),
            _ => ("with `-mexec-model=reactor`", "build it without, so that its `main` runs"),
        };
        let found = format!(
            "it is a core module without `_start` (a reactor, built {built}): nothing in it can be called"
        );
        return Refusal::new(found, format!("{hint}; or {embed}"));
    }
    let main = ["main", "_main", "__main_void", "__main_argc_argv", "__original_main"];
    let (why, hint) = if main.iter().any(|name| module.has(name)) {
        (
            "it exports `main`, and nothing that calls it",
            "link it with the start code of wasi-libc: without `-nostartfiles`, `-nostdlib` and `--no-entry`"
                .to_owned(),
        )
    } else if rust {
        (
            "a library, or built for `wasm32-unknown-unknown`",
            "build a program for WASI: `cargo build --target wasm32-wasip2`".to_owned(),
        )
    } else {
        (
            "there is no program in it",
            format!("give it a `main` and link it as a program for WASI; or {embed}"),
        )
    };
    Refusal::new(format!("it is a core module without `_start`: {why}"), hint)
}
