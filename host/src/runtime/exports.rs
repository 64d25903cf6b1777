//! Which of its exports a component is called by, and so of which kind it is.
//!
//! Invariant: a handler comes before `run`, which every program has; the highest version that is known here wins, compared
//! as versions are; what cannot be called is refused with what was found.

use semver::Version;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex};

use super::hook::describe;
use super::refusal::Refusal;
use super::{Runtime, diagnose};

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It exports `wasi:cli/run`.
    Service,
    /// It exports `wasi:http/handler`, or `wasi:http/incoming-handler`.
    Http,
    /// It exports `curfew:lifecycle/tcp-handler`.
    Tcp,
}

impl Kind {
    /// Returns the word that users read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }

    /// Returns whether the host listens for components of this kind.
    pub fn is_listened_for(self) -> bool {
        match self {
            Self::Service => false,
            Self::Http | Self::Tcp => true,
        }
    }
}

/// The export that is called: a service's `run`, or the handler of requests or connections.
#[derive(Clone, Debug)]
pub struct RunExport {
    /// The version in its name, for instance `0.2.6`.
    pub version: String,
    /// Whether it is an `async func`.
    pub is_async: bool,
    /// A `wasi:cli/run` that is exported besides a handler, and never called: programs whose `main` is empty have one.
    pub unused: Option<String>,
    pub(super) index: ComponentExportIndex,
}

/// One interface that can be called.
struct Callable {
    kind: Kind,
    interface: &'static str,
    function: &'static str,
    /// What to do about a function of another form.
    form: &'static str,
    /// The minor versions that are known, of 0.
    generations: &'static [u64],
}

const CALLABLE: [Callable; 4] = [
    Callable {
        kind: Kind::Service,
        interface: "wasi:cli/run",
        function: "run",
        form: "its WIT is not the published one: `run` has to be `func() -> result`, in 0.3 `async`",
        generations: &[2, 3],
    },
    Callable {
        kind: Kind::Http,
        interface: "wasi:http/incoming-handler",
        function: "handle",
        form: "build it for `wasi:http` 0.2.x or 0.3.x as it was published",
        generations: &[2],
    },
    Callable {
        kind: Kind::Http,
        interface: "wasi:http/handler",
        function: "handle",
        form: "build it for `wasi:http` 0.2.x or 0.3.x as it was published",
        generations: &[3],
    },
    Callable {
        kind: Kind::Tcp,
        interface: "curfew:lifecycle/tcp-handler",
        function: "handle",
        form: "it has to be `async func(peer: string, input: stream<u8>) -> stream<u8>`, as in curfew's wit/0.3",
        generations: &[3],
    },
];

/// An export that could be called.
struct Found {
    callable: &'static Callable,
    name: String,
    /// `None` where it is not one.
    version: Option<Version>,
    is_async: bool,
    /// Its type, where it cannot be called with that.
    misfit: Option<String>,
}

impl Found {
    /// Whether its version is one that can be called.
    fn is_known(&self) -> bool {
        self.version.as_ref().is_some_and(|version| {
            version.major == 0 && version.pre.is_empty() && self.callable.generations.contains(&version.minor)
        })
    }
}

/// Returns what the component is called by.
pub(super) fn find_run(runtime: &Runtime, component: &Component) -> Result<(Kind, RunExport), Refusal> {
    let ty = component.component_type();
    let mut found = Vec::new();
    let mut exports = Vec::new();
    let mut only_types = true;
    for (name, item) in ty.exports(&runtime.engine) {
        exports.push(name.to_owned());
        only_types &= matches!(item.ty, ComponentItem::Type(_) | ComponentItem::Component(_));
        if let ComponentItem::ComponentInstance(instance) = item.ty {
            found.extend(callable(runtime, name, &instance));
        }
    }
    if found.iter().any(Found::is_known) {
        found.retain(Found::is_known);
    }
    let unused = found.iter().find(|found| found.callable.kind == Kind::Service).map(|run| run.name.clone());
    if found.iter().any(|found| found.callable.kind.is_listened_for()) {
        found.retain(|found| found.callable.kind.is_listened_for());
    }
    if let Some(several) = several_kinds(&found) {
        return Err(Refusal::new(several, "a component is of one kind: build two, one for each"));
    }
    // Within one kind the interface with the higher version is also the later generation.
    found.sort_by(|a, b| a.version.cmp(&b.version));
    let Some(best) = found.pop() else {
        return Err(match only_types && !exports.is_empty() {
            true => diagnose::component::wit_package(),
            false => diagnose::component::exports(&exports),
        });
    };
    let Some(version) = best.version.as_ref().filter(|_| best.is_known()) else {
        return Err(diagnose::component::export_version(&best.name));
    };
    if let Some(misfit) = best.misfit {
        let found = format!("the `{}` of its `{}` is `{misfit}`", best.callable.function, best.name);
        return Err(Refusal::new(found, best.callable.form));
    }
    let interface = component.get_export_index(None, best.name.as_str());
    let index =
        interface.and_then(|interface| component.get_export_index(Some(&interface), best.callable.function));
    let (version, is_async) = (version.to_string(), best.is_async);
    let unused = unused.filter(|_| best.callable.kind != Kind::Service);
    index
        .map(|index| (best.callable.kind, RunExport { version, is_async, unused, index }))
        .ok_or_else(|| Refusal::new("its function cannot be found", "this is a bug in curfew"))
}

/// Says what makes the component one of two kinds, if anything does.
fn several_kinds(found: &[Found]) -> Option<&'static str> {
    let has = |kind| found.iter().any(|found| found.callable.kind == kind);
    let both = "it exports a handler of both `wasi:http` and `curfew:lifecycle/tcp-handler`";
    (has(Kind::Http) && has(Kind::Tcp)).then_some(both)
}

fn callable(runtime: &Runtime, name: &str, instance: &ComponentInstance) -> Option<Found> {
    let (interface, version) = name.split_once('@')?;
    let callable = CALLABLE.iter().find(|callable| callable.interface == interface)?;
    let ComponentItem::ComponentFunc(func) = instance.get_export(&runtime.engine, callable.function)?.ty
    else {
        return None;
    };
    let fits = match callable.kind {
        Kind::Service => is_run(&func),
        // What is wrong with it is told when it is looked up.
        Kind::Http => true,
        Kind::Tcp => is_tcp_handler(&func),
    };
    Some(Found {
        callable,
        name: name.to_owned(),
        version: Version::parse(version).ok(),
        is_async: func.async_(),
        misfit: (!fits).then(|| describe(&func)),
    })
}

/// Returns whether a function is `async func(string, stream<u8>) -> stream<u8>`.
fn is_tcp_handler(func: &ComponentFunc) -> bool {
    let is_bytes = |ty: &Type| matches!(ty, Type::Stream(stream) if stream.ty() == Some(Type::U8));
    let params: Vec<_> = func.params().map(|(_, ty)| ty).collect();
    let results: Vec<_> = func.results().collect();
    func.async_()
        && matches!(params.as_slice(), [Type::String, input] if is_bytes(input))
        && matches!(results.as_slice(), [output] if is_bytes(output))
}

/// Returns whether a function is `func() -> result`.
fn is_run(func: &ComponentFunc) -> bool {
    let results: Vec<_> = func.results().collect();
    func.params().len() == 0
        && matches!(results.as_slice(), [Type::Result(result)] if result.ok().is_none() && result.err().is_none())
}
