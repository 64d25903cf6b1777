//! Which of its exports a component is called by, and so of which kind it is.
//!
//! Invariant: the highest WASI generation wins; what cannot be called is refused with what was found.

use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex};

use super::Runtime;

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It exports `wasi:cli/run`.
    Service,
    /// It exports `wasi:http/handler`, or `wasi:http/incoming-handler`.
    Http,
}

impl Kind {
    /// Returns the word that users read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Http => "http",
        }
    }
}

/// The export that is called: a service's `run`, or the handler of requests.
#[derive(Clone, Debug)]
pub struct RunExport {
    /// The version in its name, for instance `0.2.6`.
    pub version: String,
    /// Whether it is an `async func`.
    pub is_async: bool,
    pub(super) index: ComponentExportIndex,
}

/// One interface that can be called.
struct Callable {
    kind: Kind,
    interface: &'static str,
    function: &'static str,
    generations: &'static [&'static str],
}

const CALLABLE: [Callable; 3] = [
    Callable {
        kind: Kind::Service,
        interface: "wasi:cli/run",
        function: "run",
        generations: &["0.2.", "0.3."],
    },
    Callable {
        kind: Kind::Http,
        interface: "wasi:http/incoming-handler",
        function: "handle",
        generations: &["0.2."],
    },
    Callable { kind: Kind::Http, interface: "wasi:http/handler", function: "handle", generations: &["0.3."] },
];

/// An export that could be called.
struct Found {
    callable: &'static Callable,
    name: String,
    version: String,
    is_async: bool,
}

/// What was found instead, and what to do.
type Refusal = (String, &'static str);

/// Returns what the component is called by.
pub(super) fn find_run(runtime: &Runtime, component: &Component) -> Result<(Kind, RunExport), Refusal> {
    let ty = component.component_type();
    let mut found = Vec::new();
    let mut exports = Vec::new();
    for (name, item) in ty.exports(&runtime.engine) {
        exports.push(name.to_owned());
        if let ComponentItem::ComponentInstance(instance) = item.ty {
            found.extend(callable(runtime, name, &instance));
        }
    }
    let kinds = |kind| found.iter().any(|found: &Found| found.callable.kind == kind);
    if kinds(Kind::Service) && kinds(Kind::Http) {
        let found = "it exports both `wasi:cli/run` and `wasi:http`".to_owned();
        return Err((found, "a component is of one kind: build two, one for each"));
    }
    // Within one kind the interface with the higher version is also the later generation.
    found.sort_by(|a, b| a.version.cmp(&b.version));
    let Some(best) = found.pop() else { return Err(nothing(&exports)) };
    let known = best.callable.generations.iter().any(|known| best.version.starts_with(known));
    if !known || best.version.contains('-') {
        let found = format!("it exports `{}`", best.name);
        return Err((
            found,
            "this curfew runs versions 0.2.x and 0.3.x: build it for one of them, or use a newer curfew",
        ));
    }
    let interface = component.get_export_index(None, best.name.as_str());
    let index =
        interface.and_then(|interface| component.get_export_index(Some(&interface), best.callable.function));
    let Found { callable, version, is_async, .. } = best;
    index
        .map(|index| (callable.kind, RunExport { version, is_async, index }))
        .ok_or(("its function cannot be found".to_owned(), "this is a bug in curfew"))
}

fn callable(runtime: &Runtime, name: &str, instance: &ComponentInstance) -> Option<Found> {
    let (interface, version) = name.split_once('@')?;
    let callable = CALLABLE.iter().find(|callable| callable.interface == interface)?;
    let ComponentItem::ComponentFunc(func) = instance.get_export(&runtime.engine, callable.function)?.ty
    else {
        return None;
    };
    let fits = callable.kind == Kind::Http || is_run(&func);
    fits.then(|| Found {
        callable,
        name: name.to_owned(),
        version: version.to_owned(),
        is_async: func.async_(),
    })
}

/// Returns whether a function is `func() -> result`.
fn is_run(func: &ComponentFunc) -> bool {
    let results: Vec<_> = func.results().collect();
    func.params().len() == 0
        && matches!(results.as_slice(), [Type::Result(result)] if result.ok().is_none() && result.err().is_none())
}

fn nothing(exports: &[String]) -> Refusal {
    let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
    (
        format!("it exports neither `wasi:cli/run` nor a handler of `wasi:http`; it exports: {found}"),
        "build it as a command, or for the world `wasi:http/proxy` (0.2) or `wasi:http/service` (0.3)",
    )
}
