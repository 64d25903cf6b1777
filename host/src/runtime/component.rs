//! One component, loaded: compiled, its type read, everything about it checked that can be checked before it
//! runs.

use std::path::PathBuf;

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::hook_shape::{HookError, find_hook};
use super::imports::{self, Import, ImportState};
use super::network::Network;
use super::state::State;
use super::{HookPlace, HookShape, Runtime};
use crate::plan::{ComponentPlan, HookTiming};

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It exports `wasi:cli/run`.
    Service,
}

/// The `run` that is called.
#[derive(Clone, Debug)]
pub struct RunExport {
    /// The version in its name, for instance `0.2.6`.
    pub version: String,
    /// Whether it is an `async func`.
    pub is_async: bool,
    index: ComponentExportIndex,
}

/// A component that is ready to be instantiated any number of times.
#[derive(Clone)]
pub struct Loaded {
    /// What it is.
    pub kind: Kind,
    /// What is called.
    pub run: RunExport,
    /// Its hook, if it has one.
    pub hook: Option<HookShape>,
    /// When the hook is called.
    pub timing: HookTiming,
    /// What it imports, and what of it it gets.
    pub imports: Vec<Import>,
    pub(super) network: Network,
    pub(crate) pre: InstancePre<State>,
    hook_index: Option<ComponentExportIndex>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("run", &self.run).field("hook", &self.hook).finish_non_exhaustive()
    }
}

/// Why a component cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not a component that can be run.
    #[error("{}: {found}\nhint: {hint}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        hint: String,
    },
    /// A name it may connect to has no address.
    #[error("[component.{component}] network.connect: cannot look up `{name}`: {cause}")]
    Name {
        /// The component.
        component: String,
        /// The name.
        name: String,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl Loaded {
    /// Reads off a compiled component what it is, and checks that it can run as planned.
    ///
    /// # Errors
    /// When it has no `run`, a hook of an unknown form, or an import that nobody provides.
    pub fn new(runtime: &Runtime, component: &Component, plan: &ComponentPlan) -> Result<Self, LoadError> {
        let invalid = |found: String, hint: &str| LoadError::Invalid {
            path: plan.source.clone(),
            found,
            hint: hint.to_owned(),
        };
        let ty = component.component_type();
        let engine = &runtime.engine;
        let run = find_run(runtime, component).map_err(|(found, hint)| invalid(found, hint))?;
        let hook = find_hook(engine, &ty).map_err(|error| {
            let hint = match error {
                HookError::Shape { .. } => "change the hook's type, or rename the function",
                HookError::Several(_) => "remove the others",
            };
            invalid(error.to_string(), hint)
        })?;
        let network = Network::resolve(&plan.network).map_err(|(name, cause)| LoadError::Name {
            component: plan.name.clone(),
            name,
            cause,
        })?;
        let imports = imports::list(engine, &ty, plan, &network);
        if let Some(import) = imports.iter().find(|import| import.state == ImportState::Unknown) {
            let found = format!("it imports `{}`, which this host does not provide", import.name);
            return Err(invalid(
                found,
                "`curfew inspect FILE` lists what it imports; build it without this one",
            ));
        }
        let pre = runtime.linker.instantiate_pre(component).map_err(|error| {
            invalid(format!("its imports cannot be provided: {error:#}"), "it may need a newer curfew")
        })?;
        let timing = match (run.is_async, plan.hook) {
            (true, Some(timing)) => timing,
            (true, None) => HookTiming::AtStart,
            (false, _) => HookTiming::AfterDrain,
        };
        let hook_index = hook.as_ref().and_then(|hook| hook_index(component, hook));
        Ok(Self { kind: Kind::Service, run, hook, timing, imports, network, pre, hook_index })
    }

    /// Returns where `run` is in an instance.
    pub(crate) fn run_index(&self) -> ComponentExportIndex {
        self.run.index
    }

    /// Returns where the hook is in an instance, if there is one.
    pub(crate) fn hook_index(&self) -> Option<ComponentExportIndex> {
        self.hook_index
    }
}

/// Returns whether a function is `func() -> result`.
fn is_run(func: &ComponentFunc) -> bool {
    let results: Vec<_> = func.results().collect();
    func.params().len() == 0
        && matches!(results.as_slice(), [Type::Result(result)] if result.ok().is_none() && result.err().is_none())
}

fn hook_index(component: &Component, hook: &HookShape) -> Option<ComponentExportIndex> {
    let parent = match &hook.place {
        HookPlace::World => None,
        HookPlace::Interface(name) => Some(component.get_export_index(None, name)?),
    };
    component.get_export_index(parent.as_ref(), "shutdown")
}

/// Returns the `run` of the highest WASI generation, or what was found instead and what to do.
fn find_run(runtime: &Runtime, component: &Component) -> Result<RunExport, (String, &'static str)> {
    let ty = component.component_type();
    let mut runs = Vec::new();
    let mut exports = Vec::new();
    for (name, item) in ty.exports(&runtime.engine) {
        exports.push(name.to_owned());
        let ComponentItem::ComponentInstance(instance) = item.ty else {
            continue;
        };
        let Some(version) = name.strip_prefix("wasi:cli/run@") else {
            continue;
        };
        let Some(run) = instance.get_export(&runtime.engine, "run") else {
            continue;
        };
        if let ComponentItem::ComponentFunc(func) = run.ty
            && is_run(&func)
        {
            runs.push((version.to_owned(), func.async_()));
        }
    }
    runs.sort();
    let known = |version: &str| version.starts_with("0.2.") || version.starts_with("0.3.");
    let is_http = |name: &String| {
        name.starts_with("wasi:http/incoming-handler@") || name.starts_with("wasi:http/handler@")
    };
    match runs.pop() {
        Some((version, is_async)) if known(&version) && !version.contains('-') => {
            let interface = component.get_export_index(None, format!("wasi:cli/run@{version}").as_str());
            let index = interface.and_then(|interface| component.get_export_index(Some(&interface), "run"));
            index
                .map(|index| RunExport { version, is_async, index })
                .ok_or(("its `run` cannot be found".to_owned(), "this is a bug in curfew"))
        }
        Some((version, _)) => Err((
            format!("it exports `wasi:cli/run@{version}`"),
            "this curfew runs versions 0.2.x and 0.3.x: build it for one of them, or use a newer curfew",
        )),
        None if exports.iter().any(is_http) => Err((
            "it is of kind `http` (it exports `wasi:http`), which this version of curfew does not serve"
                .to_owned(),
            "a service exports `wasi:cli/run`",
        )),
        None => {
            let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
            Err((
                format!("it exports no `wasi:cli/run`; it exports: {found}"),
                "build it as a command, or give it a `run`",
            ))
        }
    }
}
