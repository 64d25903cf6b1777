//! One loaded component: compiled, its type read, and checked as far as that is possible before it runs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{Component, ComponentExportIndex, Func, Instance, InstancePre};
use wasmtime::{Engine, Module, Store};

use super::code::{Code, Linked};
use super::exports::find_run;
use super::hook::{find_hook, stray_hooks};
use super::needs::StartNeeds;
use super::network::Network;
use super::outbound::Grant;
use super::{Adaptation, HookShape, Import, ImportState, Kind, LoadError, LoadFault, Refusal, RunExport};
use super::{Runtime, Says, State, StrayHook, diagnose, imports, program};
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
    /// Its imports, and their states.
    pub imports: Vec<Import>,
    pub(crate) says: Says,
    /// The adaptation, if its file is a core module.
    pub adapted: Option<Adaptation>,
    needs: StartNeeds,
    /// It is granted something on which calls can block: files, or the look-up of names.
    pub(crate) may_block: bool,
    /// These two are shared by all its instances, so that each refusal is logged once.
    pub(super) network: Arc<Network>,
    pub(super) outbound: Arc<Grant>,
    pub(crate) linked: Linked,
    pub(super) sources: SourceFiles,
}

opaque_debug!(Loaded);

impl Loaded {
    /// Reads the type of compiled code, and checks that it can run as planned.
    ///
    /// # Errors
    /// When it has nothing that can be called, a hook of an unknown form, or an import that the host does not provide, or when it
    /// needs what no instance can have.
    pub(super) fn new(
        runtime: &Runtime,
        code: &Code,
        adapted: Option<Adaptation>,
        needs: StartNeeds,
        plan: &ComponentPlan,
    ) -> Result<Self, LoadError> {
        let refused = |refusal: Refusal| refusal.of(&plan.source);
        let network = Network::resolve(&plan.name, &plan.network)
            .map_err(|(name, cause)| LoadFault::Name { name, cause: Arc::new(cause) })?;
        let network = Arc::new(network);
        let quota = runtime.quotas.of(&plan.name);
        let most = plan.http.limits.outbound;
        let outbound = Arc::new(Grant::new(&plan.name, plan.outbound_http.as_slice(), quota, most));
        let facts = match code {
            Code::Component(component) => of_component(runtime, component, plan, &network, &outbound),
            Code::Program(module) => of_program(runtime, module, plan),
        };
        let Facts { kind, run, hook, stray_hooks, says, imports, linked } = facts.map_err(refused)?;
        needs.check().map_err(refused)?;
        let defaults = kind.defaults(run.is_async, hook.is_some() || says.anything, says);
        let timing = plan.resolve(&defaults).hook;
        Ok(Self {
            kind,
            run,
            hook,
            stray_hooks,
            defaults,
            timing,
            imports,
            says,
            adapted,
            needs,
            may_block: !plan.dirs.is_empty() || network.names || !outbound.is_empty(),
            network,
            outbound,
            linked,
            sources: SourceFiles::default(),
        })
    }

    /// Returns the engine that it is compiled and linked for.
    pub(super) fn engine(&self) -> &Engine {
        match &self.linked {
            Linked::Component(pre, _) => pre.engine(),
            Linked::Program(pre) => pre.module().engine(),
        }
    }

    /// Returns the component, and the place of its export that is called.
    ///
    /// # Errors
    /// When it is a core module, which has a program's kind only.
    pub(crate) fn component(&self) -> wasmtime::Result<(&InstancePre<State>, ComponentExportIndex)> {
        match &self.linked {
            Linked::Component(pre, index) => Ok((pre, *index)),
            Linked::Program(_) => Err(wasmtime::Error::msg("it is a core module, not a component")),
        }
    }

    /// Returns the keys of a plan that have no effect, each with the reason.
    pub fn unusable(&self, plan: &ComponentPlan) -> Vec<(&'static str, &'static str)> {
        const WHY: &str = "a core module for WASI preview 1 has no functions for it; build it for WASI 0.2, target \
                           `wasm32-wasip2`";
        match &self.linked {
            Linked::Component(..) => Vec::new(),
            Linked::Program(_) => program::unusable(plan).into_iter().map(|key| (key, WHY)).collect(),
        }
    }

    /// Checks that the component has the kind and the imports for the plan; an error if not.
    pub fn check_plan(&self, plan: &ComponentPlan) -> Result<(), LoadError> {
        let refused = |refusal: Refusal| refusal.of(&plan.source);
        (self.kind.check_plan)(plan).map_err(refused)?;
        self.needs.check_plan(plan).map_err(refused)?;
        let (key, found, hint) = if plan.ready == Some(ReadyWhen::Said) && !self.says.ready {
            (
                "ready",
                "`ready = \"said\"` is planned, and it does not import `ready` of `curfew:lifecycle/host`",
                "without it the component could never be ready: call it, or leave `ready` out of the manifest",
            )
        } else if plan.health.as_ref().is_some_and(|health| health.path.is_none()) && !self.says.alive {
            (
                "health",
                "`health` is planned, and it does not import `alive` of `curfew:lifecycle/host`",
                "a service that does not call it counts as hung: call it, or leave `health` out of the manifest",
            )
        } else {
            return Ok(());
        };
        Err(refused(Refusal::new(found, hint).about(key)))
    }

    /// Returns whether an instance can hear of a stop: by its hook, or through the host's interface.
    pub(crate) fn hears_of_a_stop(&self) -> bool {
        self.hook.is_some() || self.says.anything
    }

    /// Returns whether each request gets a fresh instance. A component that can hear of a stop is never one of these: its
    /// instances are replaced one by one, each with its hook.
    pub fn is_fresh(&self, plan: &ComponentPlan) -> bool {
        self.defaults.requests == 1 && plan.resolve(&self.defaults).requests == 1
    }

    /// Returns the called export of an instance; an error if it is not there.
    pub fn called(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Func> {
        let func = instance.get_func(store, self.component()?.1);
        func.ok_or_else(|| wasmtime::Error::msg("its export cannot be found"))
    }
}

/// The facts of code that its plan says nothing of.
struct Facts {
    kind: &'static Kind,
    run: RunExport,
    hook: Option<HookShape>,
    stray_hooks: Vec<StrayHook>,
    says: Says,
    imports: Vec<Import>,
    linked: Linked,
}

fn of_component(
    runtime: &Runtime,
    component: &Component,
    plan: &ComponentPlan,
    network: &Network,
    outbound: &Grant,
) -> Result<Facts, Refusal> {
    let (ty, engine) = (component.component_type(), &runtime.engine);
    let (kind, run, index) = find_run(runtime, component)?;
    let hook = find_hook(component)?;
    let stray_hooks = if hook.is_none() { stray_hooks(component) } else { Vec::new() };
    let says = imports::says(engine, &ty);
    let imports = imports::list(engine, &ty, plan, network, outbound);
    if let Some(import) = imports.iter().find(|import| import.state == ImportState::Unknown) {
        return Err(diagnose::import(&import.name));
    }
    let pre = runtime.linker.instantiate_pre(component).map_err(without_imports)?;
    (kind.check_export)(&pre, &run.version).map_err(|error| {
        let found = format!("its handler cannot be called: {error:#}");
        Refusal::new(found, "build it for `wasi:http` 0.2.x or 0.3.x")
    })?;
    Ok(Facts { kind, run, hook, stray_hooks, says, imports, linked: Linked::Component(pre, index) })
}

/// A core module is of the kind whose components are programs, too. It has no hook.
fn of_program(runtime: &Runtime, module: &Module, plan: &ComponentPlan) -> Result<Facts, Refusal> {
    let kind = runtime.kinds.iter().copied().find(|kind| kind.is_program);
    let kind =
        kind.ok_or_else(|| Refusal::new("it is a program", "this host runs none: give it a component"))?;
    let pre = runtime.programs.instantiate_pre(module).map_err(without_imports)?;
    Ok(Facts {
        kind,
        run: RunExport { version: "preview 1".to_owned(), is_async: false, unused: None },
        hook: None,
        stray_hooks: Vec::new(),
        says: Says::default(),
        imports: program::imports(module, plan),
        linked: Linked::Program(pre),
    })
}

fn without_imports(error: wasmtime::Error) -> Refusal {
    let found = format!("its imports cannot be provided: {error:#}");
    Refusal::new(found, "it may need a newer curfew")
}

/// One version of a file: device, inode and size; seconds and nanoseconds of the last change of its data, and of its attributes.
/// Equal fingerprints mean equal content: no program can set the last of these times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u64; 3], [i64; 4]);

impl Fingerprint {
    /// Returns the fingerprint of a file. Take it before the file is read: a later write then changes it.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        Some(Self([meta.dev(), meta.ino(), meta.size()], times))
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct SourceFiles {
    pub(super) component: Option<Fingerprint>,
    /// SHA-256 of the content of its own file.
    pub(super) digest: Option<[u8; 32]>,
    /// Fingerprints of its certificate and its key.
    pub(super) tls: Vec<Option<Fingerprint>>,
}

impl SourceFiles {
    pub(super) fn tls_of(plan: &ComponentPlan) -> Vec<Option<Fingerprint>> {
        let tls = plan.http.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]);
        tls.map(|path| Fingerprint::of(path)).collect()
    }
}
