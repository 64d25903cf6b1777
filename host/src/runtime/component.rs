//! One component, loaded: compiled, its type read, everything about it checked that can be checked before it
//! runs.

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::exports::{Kind, RunExport, find_run};

use super::hook_shape::{HookError, find_hook};
use super::imports::{self, Import, ImportState};
use super::network::Network;
use super::outbound::Grant;
use super::state::State;
use super::{HookPlace, HookShape, ProxyPre, Runtime};
use crate::plan::{ComponentPlan, HookTiming};

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
    /// Whether it imports `ready` of `curfew:lifecycle/host`, and so is ready when it has said so.
    pub says_ready: bool,
    /// Whether it imports `alive` of the same: a service with `health` that does not would always fail.
    pub says_alive: bool,
    pub(super) network: Network,
    /// Shared by all its instances: what is refused is logged once.
    pub(super) outbound: Arc<Grant>,
    /// How its requests are handled, where it is of kind `http`.
    pub(crate) proxy: Option<ProxyPre>,
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
    /// When it has nothing that can be called, a hook of an unknown form, or an import that nobody provides.
    pub fn new(runtime: &Runtime, component: &Component, plan: &ComponentPlan) -> Result<Self, LoadError> {
        let invalid = |found: String, hint: &str| LoadError::Invalid {
            path: plan.source.clone(),
            found,
            hint: hint.to_owned(),
        };
        let ty = component.component_type();
        let engine = &runtime.engine;
        let (kind, run) = find_run(runtime, component).map_err(|(found, hint)| invalid(found, hint))?;
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
        let outbound = Arc::new(Grant::new(&plan.name, plan.outbound_http.as_slice()));
        let imports = imports::list(engine, &ty, plan, &network, &outbound);
        if let Some(import) = imports.iter().find(|import| import.state == ImportState::Unknown) {
            let found = format!("it imports `{}`, which this host does not provide", import.name);
            return Err(invalid(
                found,
                "`curfew inspect FILE` lists what it imports; build it without this one",
            ));
        }
        let says_ready = imports::imports_of_host(engine, &ty, "ready");
        let says_alive = imports::imports_of_host(engine, &ty, "alive");
        let pre = runtime.linker.instantiate_pre(component).map_err(|error| {
            invalid(format!("its imports cannot be provided: {error:#}"), "it may need a newer curfew")
        })?;
        let proxy = match kind {
            Kind::Service => None,
            Kind::Http => Some(ProxyPre::new(&pre, run.version.starts_with("0.3.")).map_err(|error| {
                invalid(
                    format!("its handler cannot be called: {error:#}"),
                    "build it for `wasi:http` 0.2.x or 0.3.x",
                )
            })?),
        };
        let timing = hook_timing(&run, plan, kind);
        let hook_index = hook.as_ref().and_then(|hook| hook_index(component, hook));
        Ok(Self {
            kind,
            run,
            hook,
            timing,
            imports,
            says_ready,
            says_alive,
            network,
            outbound,
            proxy,
            pre,
            hook_index,
        })
    }

    /// Checks that a component of kind `http` has an address to listen on, and that no other has.
    ///
    /// # Errors
    /// When it is not so.
    pub fn check_addresses(&self, plan: &ComponentPlan) -> Result<(), LoadError> {
        let (found, hint) = match (self.kind, plan.http.listen.is_empty()) {
            (Kind::Http, true) => (
                "it is of kind `http`, and no address is given to listen on for it".to_owned(),
                "write `listen = [\"127.0.0.1:8080\"]` in the manifest, or run a single file with `--listen \
                 127.0.0.1:8080`",
            ),
            (Kind::Service, false) => (
                "it is of kind `service`, and `listen` is for kind `http` only".to_owned(),
                "a service listens by itself: `network = { listen = [\"127.0.0.1:8080\"] }` allows it to",
            ),
            (Kind::Http, false) | (Kind::Service, true) => return Ok(()),
        };
        Err(LoadError::Invalid { path: plan.source.clone(), found, hint: hint.to_owned() })
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

fn hook_timing(run: &RunExport, plan: &ComponentPlan, kind: Kind) -> HookTiming {
    match (run.is_async, plan.hook, kind) {
        (true, Some(timing), _) => timing,
        (true, None, Kind::Service) => HookTiming::AtStart,
        (true, None, Kind::Http) | (false, ..) => HookTiming::AfterDrain,
    }
}

fn hook_index(component: &Component, hook: &HookShape) -> Option<ComponentExportIndex> {
    let parent = match &hook.place {
        HookPlace::World => None,
        HookPlace::Interface(name) => Some(component.get_export_index(None, name)?),
    };
    component.get_export_index(parent.as_ref(), "shutdown")
}
