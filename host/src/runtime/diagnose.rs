//! Refusals of components that were built for another world, or for a version of WASI that is not here. They look at names
//! only; `exports` finds what can be called, `imports` what is provided.

use semver::Version;

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
