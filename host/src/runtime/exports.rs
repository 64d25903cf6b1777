//! The export that a component is called by, and so its kind. A handler comes before `run`, which every program has; the highest
//! known version wins.

use semver::Version;
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex};

use super::hook::describe;
use super::{ExportSpec, Kind, Refusal, Runtime, diagnose};

/// The export that is called: a service's `run`, or the handler of requests or connections.
#[derive(Clone, Debug)]
pub struct RunExport {
    /// The version in its name, for instance `0.2.6`; of a core module `preview 1`.
    pub version: String,
    /// It is an `async func`.
    pub is_async: bool,
    /// A `wasi:cli/run` that is exported besides a handler, and never called: programs whose `main` is empty have one.
    pub unused: Option<String>,
}

struct Found {
    kind: &'static Kind,
    export: &'static ExportSpec,
    name: String,
    version: Option<Version>,
    is_async: bool,
    /// Its type, if it is a wrong one.
    misfit: Option<String>,
}

impl Found {
    fn is_known(&self) -> bool {
        self.version.as_ref().is_some_and(|version| {
            version.major == 0 && version.pre.is_empty() && self.export.generations.contains(&version.minor)
        })
    }
}

/// Returns the kind of a component, and the export that it is called by, with its place.
pub(super) fn find_run(
    runtime: &Runtime,
    component: &Component,
) -> Result<(&'static Kind, RunExport, ComponentExportIndex), Refusal> {
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
    let unused = found.iter().find(|found| found.kind.is_program).map(|run| run.name.clone());
    if found.iter().any(|found| !found.kind.is_program) {
        found.retain(|found| !found.kind.is_program);
    }
    found.sort_by_key(|found| runtime.kinds.iter().position(|kind| *kind == found.kind));
    if let Some(first) = found.first().map(|found| found.kind)
        && let Some(other) = found.iter().map(|found| found.kind).find(|kind| *kind != first)
    {
        let found = format!("it exports a handler of both `{}` and `{}`", first.handles, other.handles);
        return Err(Refusal::new(found, "a component is of one kind: build two, one for each"));
    }
    // Within one kind the interface with the higher version is also the later generation.
    found.sort_by(|a, b| a.version.cmp(&b.version));
    let Some(best) = found.pop() else {
        return Err(match only_types && !exports.is_empty() {
            true => diagnose::wit_package(),
            false => diagnose::exports(&exports),
        });
    };
    let Some(version) = best.version.as_ref().filter(|_| best.is_known()) else {
        return Err(diagnose::export_version(&best.name));
    };
    if let Some(misfit) = best.misfit {
        let found = format!("the `{}` of its `{}` is `{misfit}`", best.export.function, best.name);
        return Err(Refusal::new(found, best.export.form));
    }
    let interface = component.get_export_index(None, best.name.as_str());
    let index =
        interface.and_then(|interface| component.get_export_index(Some(&interface), best.export.function));
    let (version, is_async) = (version.to_string(), best.is_async);
    let unused = unused.filter(|_| !best.kind.is_program);
    index
        .map(|index| (best.kind, RunExport { version, is_async, unused }, index))
        .ok_or_else(|| Refusal::new("its function cannot be found", "this is a bug in curfew"))
}

fn callable(runtime: &Runtime, name: &str, instance: &ComponentInstance) -> Option<Found> {
    let (interface, version) = name.split_once('@')?;
    let kinds = runtime.kinds.iter().copied();
    let mut known = kinds.flat_map(|kind| kind.exports.iter().map(move |export| (kind, export)));
    let (kind, export) = known.find(|(_, export)| export.interface == interface)?;
    let ComponentItem::ComponentFunc(func) = instance.get_export(&runtime.engine, export.function)?.ty else {
        return None;
    };
    Some(Found {
        kind,
        export,
        name: name.to_owned(),
        version: Version::parse(version).ok(),
        is_async: func.async_(),
        misfit: (!(export.fits)(&func)).then(|| describe(&func)),
    })
}
