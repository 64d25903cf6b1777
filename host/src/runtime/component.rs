//! One loaded component: compiled, its type read, and checked as far as that is possible before it runs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, Func, Instance, InstancePre};

use super::exports::find_run;
use super::hook::{find_hook, stray_hooks};
use super::network::Network;
use super::outbound::Grant;
use super::{Adaptation, HookShape, Import, ImportState, Kind, LoadError, Refusal, RunExport, Runtime, Says};
use super::{State, StrayHook, diagnose, imports};
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
    /// It is granted something on which calls can block: files, or the look-up of names.
    pub(crate) may_block: bool,
    pub(super) network: Network,
    /// Shared by all its instances, so that each refused origin is logged once.
    pub(super) outbound: Arc<Grant>,
    pub(crate) pre: InstancePre<State>,
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
        adapted: Option<Adaptation>,
        plan: &ComponentPlan,
    ) -> Result<Self, LoadError> {
        let refused = |refusal: Refusal| refusal.of(&plan.source);
        let ty = component.component_type();
        let engine = &runtime.engine;
        let (kind, run) = find_run(runtime, component).map_err(refused)?;
        let hook = find_hook(component).map_err(refused)?;
        let stray_hooks = if hook.is_none() { stray_hooks(component) } else { Vec::new() };
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
            may_block: !plan.dirs.is_empty() || network.names || !outbound.is_empty(),
            network,
            outbound,
            pre,
            sources: SourceFiles::default(),
        })
    }

    /// Checks that the component has the kind and the imports for the plan; an error if not.
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
        Err(Refusal::new(found, hint).of(&plan.source))
    }

    /// Returns the called export of an instance; an error if it is not there.
    pub fn called(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Func> {
        let func = instance.get_func(store, self.run.index);
        func.ok_or_else(|| wasmtime::Error::msg("its export cannot be found"))
    }
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
