//! One component, loaded: compiled, its type read, everything about it checked that can be checked before it
//! runs.

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::adapt::Adaptation;
use super::exports::{Kind, RunExport, find_run};
use super::fingerprint::Fingerprint;
use super::hook_shape::{HookError, StrayHook, find_hook, stray_hooks};
use super::imports::{self, Import, ImportState, Says};
use super::network::Network;
use super::outbound::Grant;
use super::refusal::shown;
use super::state::State;
use super::{HandlerPre, HookPlace, HookShape, Runtime, diagnose};
use crate::plan::schema::KeyGroup;
use crate::plan::{ComponentPlan, HookTiming, KindDefaults, OnEnd, ReadyWhen};

/// A component that is ready to be instantiated any number of times.
#[derive(Clone)]
pub struct Loaded {
    /// What it is.
    pub kind: Kind,
    /// What is called.
    pub run: RunExport,
    /// Its hook, if it has one.
    pub hook: Option<HookShape>,
    /// What may have been meant as its hook, where there is none.
    pub stray_hooks: Vec<StrayHook>,
    /// What holds for its kind where the manifest says nothing.
    pub defaults: KindDefaults,
    /// When the hook is called.
    pub timing: HookTiming,
    /// What it imports, and what of it it gets.
    pub imports: Vec<Import>,
    /// What it can say of itself.
    pub says: Says,
    /// How it became a component, if its file is a core module.
    pub adapted: Option<Adaptation>,
    pub(super) network: Network,
    /// Shared by all its instances: what is refused is logged once.
    pub(super) outbound: Arc<Grant>,
    /// How its requests or connections are handled, where the host listens for it.
    pub(crate) handler: Option<HandlerPre>,
    pub(crate) pre: InstancePre<State>,
    hook_index: Option<ComponentExportIndex>,
    /// Its file, as it was when it was read, and what else of the disk it depends on.
    pub(super) made_of: MadeOf,
}

/// The files that a component was made of.
#[derive(Clone, Debug, Default)]
pub(super) struct MadeOf {
    /// Of its own file.
    pub(super) stamp: Option<Fingerprint>,
    /// The same of what its file has in it.
    pub(super) digest: Option<[u8; 32]>,
    /// Of its certificate and its key.
    pub(super) tls: Vec<Option<Fingerprint>>,
}

impl MadeOf {
    /// Looks at what a plan names besides the component's own file.
    pub(super) fn tls_of(plan: &ComponentPlan) -> Vec<Option<Fingerprint>> {
        let tls = plan.http.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]);
        tls.map(|path| Fingerprint::of(path).ok()).collect()
    }
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
    #[error("{}: {}\nhint: {}", path.display(), shown(found), shown(hint))]
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
        let (kind, run) = find_run(runtime, component).map_err(|refusal| refusal.of(&plan.source))?;
        let hook = find_hook(engine, &ty).map_err(|error| {
            let hint = match error {
                HookError::Shape { .. } => "change the hook's type, or rename the function",
                HookError::Several(_) => "remove the others",
            };
            invalid(error.to_string(), hint)
        })?;
        let stray_hooks = if hook.is_none() { stray_hooks(engine, &ty) } else { Vec::new() };
        let network = Network::resolve(&plan.network).map_err(|(name, cause)| LoadError::Name {
            component: plan.name.clone(),
            name,
            cause,
        })?;
        let outbound = Arc::new(Grant::new(&plan.name, plan.outbound_http.as_slice()));
        let says = imports::says(engine, &ty);
        let imports = imports::list(engine, &ty, plan, &network, &outbound);
        if let Some(import) = imports.iter().find(|import| import.state == ImportState::Unknown) {
            return Err(diagnose::component::import(&import.name).of(&plan.source));
        }
        let pre = runtime.linker.instantiate_pre(component).map_err(|error| {
            invalid(format!("its imports cannot be provided: {error:#}"), "it may need a newer curfew")
        })?;
        let handler = HandlerPre::new(&pre, kind, &run).map_err(|error| {
            invalid(
                format!("its handler cannot be called: {error:#}"),
                "build it for `wasi:http` 0.2.x or 0.3.x",
            )
        })?;
        let defaults = kind_defaults(kind, run.is_async, &says);
        let timing = plan.resolve(&defaults).hook;
        let hook_index = hook.as_ref().and_then(|hook| hook_index(component, hook));
        let made_of = MadeOf::default();
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
            handler,
            pre,
            hook_index,
            made_of,
        })
    }

    /// Checks what the plan alone cannot know: that the component has the kind, and the imports, for what is
    /// planned.
    ///
    /// # Errors
    /// When it is not so.
    pub fn check_plan(&self, plan: &ComponentPlan) -> Result<(), LoadError> {
        self.check_addresses(plan)?;
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

    /// Checks that a component has an address to listen on if it is of a kind that the host listens for, and only then.
    ///
    /// # Errors
    /// When it is not so.
    pub fn check_addresses(&self, plan: &ComponentPlan) -> Result<(), LoadError> {
        let word = self.kind.word();
        let (found, hint) = match (self.kind, plan.http.listen.is_empty()) {
            (Kind::Http | Kind::Tcp, true) => (
                format!("it is of kind `{word}`, and no address is given to listen on for it"),
                "write `listen = [\"127.0.0.1:8080\"]` in the manifest, or run a single file with `--listen \
                 127.0.0.1:8080`",
            ),
            (Kind::Service, false) => (
                "it is of kind `service`, and `listen` is for kinds `http` and `tcp` only".to_owned(),
                "a service listens by itself: `network = { listen = [\"127.0.0.1:8080\"] }` in a manifest allows it to, or \
                 `--allow-net` with a single file",
            ),
            (Kind::Tcp, false) => match plan.key_beyond(&[KeyGroup::Listen]) {
                Some(key) => (
                    format!("it is of kind `tcp`, and `{key}` is for kind `http` only"),
                    "leave it out: a connection has no requests, the host passes on its bytes as they are",
                ),
                None => return Ok(()),
            },
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

/// Returns what holds for a kind where the manifest says nothing.
fn kind_defaults(kind: Kind, is_async: bool, says: &Says) -> KindDefaults {
    let is_service = kind == Kind::Service;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    KindDefaults {
        is_async,
        hook: if is_service { HookTiming::AtStart } else { HookTiming::AfterDrain },
        on_failure: if is_service { OnEnd::StopApp } else { OnEnd::Restart },
        ready: if is_service && says.ready { ReadyWhen::Said } else { ReadyWhen::Started },
        max_instances: if is_async { cores } else { 32 },
        concurrency: if kind == Kind::Tcp { 512 } else { 64 },
    }
}

fn hook_index(component: &Component, hook: &HookShape) -> Option<ComponentExportIndex> {
    let parent = match &hook.place {
        HookPlace::World => None,
        HookPlace::Interface(name) => Some(component.get_export_index(None, name)?),
    };
    component.get_export_index(parent.as_ref(), "shutdown")
}
