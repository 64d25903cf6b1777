//! One component, loaded: compiled, its type read, and checked as far as that is possible before it runs.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Func, Instance, InstancePre};

use super::adapt::Adaptation;
use super::diagnose;
use super::engine::Runtime;
use super::exports::{RunExport, find_run};
use super::fingerprint::SourceFiles;
use super::hook::{HookPlace, HookShape, StrayHook, find_hook, stray_hooks};
use super::imports::{self, Import, ImportState, Says};
use super::kind::Kind;
use super::network::Network;
use super::outbound::Grant;
use super::refusal::{LoadError, Refusal};
use super::state::State;
use crate::plan::{ComponentPlan, HookTiming, KindDefaults, ReadyWhen};

/// A component that is ready to be instantiated any number of times.
#[derive(Clone)]
pub struct Loaded {
    /// Its kind.
    pub kind: &'static Kind,
    /// The export that the host calls.
    pub run: RunExport,
    /// Its hook, if it has one.
    pub hook: Option<HookShape>,
    /// Exports that may have been meant as its hook, where there is none.
    pub stray_hooks: Vec<StrayHook>,
    /// The defaults of its kind.
    pub defaults: KindDefaults,
    /// The time at which the hook is called.
    pub timing: HookTiming,
    /// Its imports, and whether it gets them.
    pub imports: Vec<Import>,
    /// The reports that it can make.
    pub says: Says,
    /// The adaptation, if its file is a core module.
    pub adapted: Option<Adaptation>,
    pub(super) network: Network,
    /// Shared by all its instances, so that each refused origin is logged once.
    pub(super) outbound: Arc<Grant>,
    pub(crate) pre: InstancePre<State>,
    hook_index: Option<ComponentExportIndex>,
    /// The files that it was made of, as they were when they were read.
    pub(super) sources: SourceFiles,
}

opaque_debug!(Loaded);

impl Loaded {
    /// Reads the type of a compiled component, and checks that it can run as planned.
    ///
    /// # Errors
    /// When it has nothing that can be called, a hook of an unknown form, or an import that the host does not provide.
    pub(super) fn new(
        runtime: &Runtime,
        component: &Component,
        plan: &ComponentPlan,
    ) -> Result<Self, LoadError> {
        let refused = |refusal: Refusal| refusal.of(&plan.source);
        let ty = component.component_type();
        let engine = &runtime.engine;
        let (kind, run) = find_run(runtime, component).map_err(refused)?;
        let hook = find_hook(engine, &ty).map_err(refused)?;
        let stray_hooks = if hook.is_none() { stray_hooks(engine, &ty) } else { Vec::new() };
        let network = Network::resolve(&plan.network).map_err(|(name, cause)| LoadError::Name {
            component: plan.name.clone(),
            name,
            cause: Arc::new(cause),
        })?;
        let outbound = Arc::new(Grant::new(&plan.name, plan.outbound_http.as_slice()));
        let says = imports::says(engine, &ty);
        let imports = imports::list(engine, &ty, plan, &network, &outbound);
        if let Some(import) = imports.iter().find(|import| import.state == ImportState::Unknown) {
            return Err(refused(diagnose::import(&import.name)));
        }
        let pre = runtime.linker.instantiate_pre(component).map_err(|error| {
            let found = format!("its imports cannot be provided: {error:#}");
            refused(Refusal::new(found, "it may need a newer curfew"))
        })?;
        (kind.check_export)(&pre, &run.version).map_err(|error| {
            let found = format!("its handler cannot be called: {error:#}");
            refused(Refusal::new(found, "build it for `wasi:http` 0.2.x or 0.3.x"))
        })?;
        let defaults = kind.defaults(run.is_async, says.ready);
        let timing = plan.resolve(&defaults).hook;
        let hook_index = hook.as_ref().and_then(|hook| hook_index(component, hook));
        Ok(Self {
            kind,
            run,
            hook,
            stray_hooks,
            defaults,
            timing,
            imports,
            says,
            adapted: None,
            network,
            outbound,
            pre,
            hook_index,
            sources: SourceFiles::default(),
        })
    }

    /// Checks what the plan alone cannot know: that the component has the kind, and the imports, for what is
    /// planned.
    ///
    /// # Errors
    /// When it is not so.
    pub fn check_plan(&self, plan: &ComponentPlan) -> Result<(), LoadError> {
        (self.kind.check_plan)(plan).map_err(|refusal| refusal.of(&plan.source))?;
        let (found, hint) = if plan.ready == Some(ReadyWhen::Said) && !self.says.ready {
            (
                "`ready = \"said\"` is planned, and it does not import `ready` of `curfew:lifecycle/host`",
                "without it the component could never be ready: call it, or leave `ready` out of the manifest",
            )
        } else if plan.health.as_ref().is_some_and(|health| health.path.is_none()) && !self.says.alive {
            (
                "`health` is planned, and it does not import `alive` of `curfew:lifecycle/host`",
                "a service that does not call it counts as hung: call it, or leave `health` out of the manifest",
            )
        } else {
            return Ok(());
        };
        Err(LoadError::Invalid { path: plan.source.clone(), found: found.to_owned(), hint: hint.to_owned() })
    }

    /// Returns the export that is called, in an instance.
    ///
    /// # Errors
    /// When it is not there.
    pub fn called(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Func> {
        let func = instance.get_func(store, self.run.index);
        func.ok_or_else(|| wasmtime::Error::msg("its export cannot be found"))
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

fn hook_index(component: &Component, hook: &HookShape) -> Option<ComponentExportIndex> {
    let parent = match &hook.place {
        HookPlace::World => None,
        HookPlace::Interface(name) => Some(component.get_export_index(None, name)?),
    };
    component.get_export_index(parent.as_ref(), "shutdown")
}
