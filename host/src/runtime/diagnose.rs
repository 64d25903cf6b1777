//! Refusals of components that were built for another world, for a version of WASI that is not here, or with a feature that this
//! wasmtime does not run. `exports` finds what can be called, `imports` what is provided.

use semver::Version;
use wasmparser::{Validator, WasmFeatures};

use super::imports::PACKAGES;
use super::refusal::Refusal;

/// Other hosts of components, by their packages.
const OTHERS: [(&str, &str); 8] = [
    ("fermyon:", "Spin"),
    ("spin:", "Spin"),
    ("wasmcloud:", "wasmCloud"),
    ("fastly:", "Fastly Compute"),
    ("golem:", "Golem"),
    ("edgee:", "Edgee"),
    ("wasmtime:", "wasmtime itself"),
    ("wasix:", "Wasmer"),
];
/// The interfaces that the host calls, and a version of each that it knows.
pub(super) const CALLED: [(&str, &str); 4] = [
    ("wasi:cli/run", "0.2.0"),
    ("wasi:http/incoming-handler", "0.2.0"),
    ("wasi:http/handler", "0.3.0"),
    ("curfew:lifecycle/tcp-handler", "0.3.0"),
];
const WHAT_IS_CALLED: &str = "curfew calls `wasi:cli/run`, `wasi:http/incoming-handler` (0.2), `wasi:http/handler` (0.3) and \
                              `curfew:lifecycle/tcp-handler`: build it as a command, or for one of these";

/// The engine, for users who look for the features that it runs.
const ENGINE: &str = "wasmtime 48.0.8";
/// The tools that know no feature that came after that engine.
const TOOLS: &str = "wasm-tools 1.254 and wit-bindgen 0.61, or older";
/// Features that the parser knows and the engine does not run, as WIT and the tools have them, with the way to do without.
const FEATURES: [(WasmFeatures, &str, &str); 14] = [
    (WasmFeatures::CM_MAP, "`map` types in WIT", "write `list<tuple<k, v>>` in the WIT"),
    (
        WasmFeatures::CM_IMPLEMENTS,
        "`implements` in WIT",
        "give each import of an interface a package and a name of its own",
    ),
    (
        WasmFeatures::CM_FIXED_LENGTH_LISTS,
        "lists of a fixed length in WIT",
        "write `list<t>` or a tuple in the WIT",
    ),
    (WasmFeatures::CM_ERROR_CONTEXT, "`error-context` in WIT", "write a `result` with a string in the WIT"),
    (WasmFeatures::CM_THREADING, "threads of the component model", "build it without threads"),
    (WasmFeatures::SHARED_EVERYTHING_THREADS, "shared types", "build it without threads"),
    (
        WasmFeatures::CM_GC,
        "garbage collection in the component model",
        "build it with its data in linear memory",
    ),
    (WasmFeatures::CM64, "64-bit memory in the component model", "build it for wasm32"),
    (WasmFeatures::CM_VALUES, "values in the component model", "build it without them"),
    (
        WasmFeatures::CM_NESTED_NAMES,
        "nested namespaces in names of packages",
        "name each package `namespace:name`",
    ),
    (WasmFeatures::CM_CANON_NAMES, "suffixes of versions in names", "write whole versions in the WIT"),
    (
        WasmFeatures::LEGACY_EXCEPTIONS,
        "exceptions in their legacy form",
        "build it with `-wasm-use-legacy-eh=false`",
    ),
    (WasmFeatures::STACK_SWITCHING, "stack switching", "build it without"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "pages of another size than 64 KiB", "build it with the usual pages"),
];

/// Refuses a component, or the core module that it was made of, that does not compile.
pub(super) fn not_compiled(bytes: &[u8], was_module: bool, error: &wasmtime::Error) -> Refusal {
    let what = if was_module { "core module" } else { "component" };
    let validates = |features| Validator::new_with_features(features).validate_all(bytes).is_ok();
    if !validates(WasmFeatures::all()) {
        let hint = format!(
            "it may be cut short, or use what is newer than {ENGINE}, which curfew is built with: `wasm-tools validate \
             --features all FILE` tells more; if that finds nothing, build it with {TOOLS}"
        );
        return Refusal::new(format!("it is not a valid {what}: {error:#}"), hint);
    }
    let missing = error.downcast_ref::<wasmparser::Error>().and_then(wasmparser::Error::missing_wasm_feature);
    let told = FEATURES.iter().find(|(feature, ..)| Some(*feature) == missing);
    let is_used =
        |(feature, ..): &&(WasmFeatures, &str, &str)| !validates(WasmFeatures::all().difference(*feature));
    let used = told.or_else(|| FEATURES.iter().find(is_used));
    match used {
        Some((feature, name, hint)) => {
            let flag = feature
                .iter_names()
                .next()
                .map_or(String::new(), |(name, _)| name.to_lowercase().replace('_', "-"));
            Refusal::new(
                format!("it uses {name} (`{flag}`): {ENGINE}, which curfew is built with, does not run that"),
                format!("{hint}; or build it with {TOOLS}"),
            )
        }
        None => Refusal::new(
            format!(
                "it is a valid {what}, and {ENGINE}, which curfew is built with, cannot compile it: {error:#}"
            ),
            format!("build it without that, or with {TOOLS}"),
        ),
    }
}

/// Refuses a component that exports nothing that the host calls.
pub(super) fn exports(names: &[String]) -> Refusal {
    if names.is_empty() {
        return Refusal::new(
            "it exports nothing",
            "its world has to export what is to be called, and its code has to implement it: `export wasi:cli/run@0.2.0;` \
             in the WIT and, in JavaScript, `export const run = { run() { ... } }`",
        );
    }
    let found = |start: &str| names.iter().find(|name| name.starts_with(start));
    for (interface, version) in CALLED {
        match found(interface) {
            None => {}
            Some(name) if !name.contains('@') => return without_version("exports", name, version),
            Some(name) => {
                return Refusal::new(
                    format!("it exports `{name}`, and not the function in it that is called"),
                    format!("build it with the WIT of `{interface}@{version}` as it was published"),
                );
            }
        }
    }
    if let Some((name, host)) = OTHERS.iter().find_map(|(prefix, host)| Some((found(prefix)?, host))) {
        return Refusal::new(
            format!(
                "it exports `{name}`: it is built for {host}, and has neither `wasi:cli/run` nor a handler of `wasi:http`"
            ),
            "build it for the world of WASI: a command, or `wasi:http/incoming-handler@0.2.x`, which most SDKs have by now",
        );
    }
    let at_world_level = |name: &&String| ["run", "main", "handle", "start"].contains(&name.as_str());
    if let Some(name) = names.iter().find(at_world_level) {
        return Refusal::new(
            format!("it exports the function `{name}` by itself, not in an interface that the host knows"),
            "have its world export the interface: `export wasi:cli/run@0.2.0;` with the function `run` in it",
        );
    }
    if let [hook] = names
        && (hook == "shutdown" || hook.starts_with("curfew:lifecycle/hook"))
    {
        return Refusal::new("it exports its hook, and nothing that runs before that", WHAT_IS_CALLED);
    }
    let list: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    Refusal::new(
        format!(
            "it exports {}, and neither `wasi:cli/run` nor a handler: it is a library, or for another host",
            list.join(", ")
        ),
        WHAT_IS_CALLED,
    )
}

pub(super) fn wit_package() -> Refusal {
    Refusal::new(
        "it is a WIT package in binary form: it has types, and no code",
        "give the component that is built with it",
    )
}

pub(super) fn export_version(name: &str) -> Refusal {
    wrong_version("exports", name)
        .unwrap_or_else(|| Refusal::new(format!("it exports `{name}`"), WHAT_IS_CALLED))
}

pub(super) fn import(name: &str) -> Refusal {
    let is_ours = PACKAGES.iter().any(|(ours, _)| package(ours) == package(name));
    if let Some(refusal) = is_ours.then(|| wrong_version("imports", name)).flatten() {
        return refusal;
    }
    if let Some((_, host)) = OTHERS.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        return Refusal::new(
            format!("it imports `{name}`, which is of {host} and which this host does not provide"),
            format!(
                "build it without what only {host} has; `curfew inspect FILE` on what is left tells the next one"
            ),
        );
    }
    let hint = if name.starts_with("wasi:") {
        "it is a proposal of WASI that is not here: build it without"
    } else if name.contains(':') {
        "another component has to provide it: compose the two into one (`wac plug`), or build it without"
    } else {
        "a world of your own cannot import functions of the host: build it for a world of WASI"
    };
    Refusal::new(format!("it imports `{name}`, which this host does not provide"), hint)
}

fn package(name: &str) -> &str {
    name.split_once('/').map_or("", |(package, _)| package)
}

fn without_version(verb: &str, name: &str, version: &str) -> Refusal {
    Refusal::new(
        format!("it {verb} `{name}` without a version"),
        format!("name the package with its version in the WIT: `{name}@{version}`, for instance"),
    )
}

/// Refuses a name whose version is unknown.
fn wrong_version(verb: &str, name: &str) -> Option<Refusal> {
    const AGAIN: &str = "build it again with bindings and tools of today, for WASI 0.2.x or 0.3.x";
    let Some((interface, text)) = name.split_once('@') else {
        return Some(without_version(verb, name, "0.2.0"));
    };
    let Ok(version) = Version::parse(text) else {
        return Some(Refusal::new(format!("it {verb} `{name}`, whose version cannot be read"), AGAIN));
    };
    let wasi = interface.starts_with("wasi:");
    if !version.pre.is_empty() {
        let released = format!("{}.{}.{}", version.major, version.minor, version.patch);
        let found = format!("it {verb} `{name}`, a draft from before {released} was released");
        return Some(Refusal::new(found, AGAIN));
    }
    match (version.major, version.minor) {
        (0, 2 | 3) => None,
        (0, 0 | 1) => Some(Refusal::new(format!("it {verb} `{name}`, which is from before WASI 0.2"), AGAIN)),
        _ if wasi => Some(Refusal::new(
            format!("it {verb} `{name}`, which is newer than this curfew: that knows WASI 0.2.x and 0.3.x"),
            "build it for one of them, or use a newer curfew",
        )),
        _ => Some(Refusal::new(
            format!("it {verb} `{name}`, which is newer than this curfew: that knows 0.2.x and 0.3.x of it"),
            "use the WIT that came with this curfew, or a newer curfew",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Runtime, RuntimeOptions};

    /// Both are literals, as no library tells its version.
    #[test]
    fn the_versions_that_users_are_told_are_those_that_are_built_in() {
        let lock = include_str!("../../../Cargo.lock");
        let has =
            |name: &str, version: &str| lock.contains(&format!("name = \"{name}\"\nversion = \"{version}"));
        let engine = ENGINE.strip_prefix("wasmtime ").unwrap();
        assert!(has("wasmtime", engine), "{ENGINE}");
        let tools = TOOLS.split_once("wasm-tools 1.").unwrap().1.split(' ').next().unwrap();
        assert!(has("wasmparser", &format!("0.{tools}.")), "{TOOLS}");
    }

    #[test]
    fn features_that_are_too_new_are_named() {
        let options = RuntimeOptions { cache: None, interruptible: true, kinds: Vec::new() };
        let engine = Runtime::new(options).unwrap().engine;
        let refusal = |bytes: &[u8]| {
            let error = wasmtime::component::Component::new(&engine, bytes).unwrap_err();
            not_compiled(bytes, false, &error)
        };
        for (text, name) in [
            ("(type (map string u32))", "`cm-map`"),
            ("(type (list u32 4))", "`cm-fixed-length-lists`"),
            ("(import \"a:b/c\" (func (param \"e\" error-context)))", "`cm-error-context`"),
            ("(core type (shared (func)))", "`shared-everything-threads`"),
        ] {
            let refusal = refusal(&wat::parse_str(format!("(component {text})")).unwrap());
            let found = &refusal.found;
            assert!(found.contains(name) && found.contains(ENGINE), "{text}: {found}");
            assert!(!refusal.hint.contains("validate"), "{text}: {}", refusal.hint);
        }
        let damaged = refusal(b"\0asm\x0d\0\x01\0\xff");
        assert!(damaged.found.starts_with("it is not a valid component: "), "{}", damaged.found);
    }
}
