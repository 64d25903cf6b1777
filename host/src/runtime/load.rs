//! Loading: files are read, compiled or taken from the cache, and checked. In parallel, on threads of its own, so that the
//! waiting side can give up at any time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wasmtime::component::Component;

use sha2::{Digest, Sha256};

use super::adapt::{self, Adaptation};
use super::address_conflicts::check_sharing;
use super::component::Loaded;
use super::engine::Runtime;
use super::fingerprint::{Fingerprint, SourceFiles};
use super::refusal::{LoadError, Refusal};
use crate::fail_point;
use crate::plan::{ComponentPlan, Plan};

/// Largest file that is compiled: compiling cannot be interrupted, and takes a minute for each 100 MiB.
pub(super) const LARGEST: u64 = 128 << 20;

/// Progress of loading, told on its threads.
#[derive(Debug)]
pub(crate) enum LoadEvent {
    /// The component at this place of the plan is ready.
    Done(usize),
    /// A loading thread died, which is a bug of the host.
    Died,
    /// Everything is ready, in the order of the plan, or the first error in that order.
    Ended(Result<Vec<Arc<Loaded>>, LoadError>),
}

/// Loading under way. Dropping it lets the threads end after the component they are at.
#[derive(Debug)]
pub(crate) struct Loading {
    given_up: Arc<AtomicBool>,
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Release);
    }
}

/// The running components by name: those that have not changed are not loaded again.
pub(crate) type Known = HashMap<String, (Arc<ComponentPlan>, Arc<Loaded>)>;

struct File {
    component: Component,
    fingerprint: Option<Fingerprint>,
    digest: [u8; 32],
    adapted: Option<Adaptation>,
}

type Compiled = Result<File, LoadError>;
type Slot = OnceLock<Result<Arc<Loaded>, LoadError>>;

struct Work {
    runtime: Runtime,
    plan: Plan,
    known: Known,
    next: AtomicUsize,
    left: AtomicUsize,
    slots: Vec<Slot>,
    /// Each file is compiled once, however many components are made of it.
    files: Mutex<HashMap<PathBuf, Arc<OnceLock<Compiled>>>>,
    given_up: Arc<AtomicBool>,
    tell: Box<dyn Fn(LoadEvent) + Send + Sync>,
}

/// Loads all components of a plan on threads of its own and tells of each through `tell`. A `known` component that would
/// run alike and whose files have not changed is given back as it is.
///
/// # Errors
/// When not one thread can be started.
pub(crate) fn load_all(
    runtime: &Runtime,
    plan: &Plan,
    known: Known,
    tell: Box<dyn Fn(LoadEvent) + Send + Sync>,
) -> std::io::Result<Loading> {
    let given_up = Arc::new(AtomicBool::new(false));
    let work = Arc::new(Work {
        runtime: runtime.clone(),
        plan: plan.clone(),
        known,
        next: AtomicUsize::new(0),
        left: AtomicUsize::new(plan.components.len()),
        slots: plan.components.iter().map(|_| OnceLock::new()).collect(),
        files: Mutex::new(HashMap::new()),
        given_up: given_up.clone(),
        tell,
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut started = 0;
    for _ in 0..cores.min(plan.components.len()) {
        let work = work.clone();
        match std::thread::Builder::new().name("curfew-load".to_owned()).spawn(move || work.run()) {
            Ok(_detached) => started += 1,
            Err(error) if started == 0 => return Err(error),
            Err(_fewer_will_do) => break,
        }
    }
    Ok(Loading { given_up })
}

/// Loads one component, here and now. Does not check that it has the addresses it needs.
pub fn load_one(runtime: &Runtime, plan: &ComponentPlan) -> Result<Loaded, LoadError> {
    let file = compile(runtime, &plan.source)?;
    let mut loaded = Loaded::new(runtime, &file.component, plan)?;
    loaded.adapted = file.adapted;
    Ok(loaded)
}

/// Tells of a loading thread's death: other components wait for the one that it had in hand.
struct OnPanic<'a>(&'a Work);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0.tell)(LoadEvent::Died);
        }
    }
}

impl Work {
    fn run(&self) {
        let _death = OnPanic(self);
        while !self.given_up.load(Ordering::Acquire) {
            let at = self.next.fetch_add(1, Ordering::AcqRel);
            let (Some(plan), Some(slot)) = (self.plan.components.get(at), self.slots.get(at)) else {
                return;
            };
            fail_point::reach(if self.known.is_empty() { "loader" } else { "loader-of-reload" });
            let _first = slot.set(self.load(plan));
            (self.tell)(LoadEvent::Done(at));
            if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                (self.tell)(LoadEvent::Ended(self.collect()));
            }
        }
    }

    fn load(&self, plan: &ComponentPlan) -> Result<Arc<Loaded>, LoadError> {
        let tls = SourceFiles::tls_of(plan);
        let alike = |(old, loaded): &&(Arc<ComponentPlan>, Arc<Loaded>)| {
            old.runs_like(plan, &loaded.defaults) && loaded.sources.tls == tls
        };
        let known = self.known.get(&plan.name).filter(alike).map(|(_, loaded)| loaded);
        let fingerprint = Fingerprint::of(&plan.source).ok();
        if let Some(known) =
            known.filter(|known| fingerprint.is_some() && known.sources.component == fingerprint)
        {
            return Ok(known.clone());
        }
        let slot = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.entry(plan.source.clone()).or_default().clone()
        };
        let file =
            slot.get_or_init(|| compile(&self.runtime, &plan.source)).as_ref().map_err(Clone::clone)?;
        if let Some(known) = known.filter(|known| known.sources.digest == Some(file.digest)) {
            return Ok(known.clone());
        }
        let mut loaded = Loaded::new(&self.runtime, &file.component, plan)?;
        loaded.check_plan(plan)?;
        loaded.adapted = file.adapted;
        if let Some(adapted) = file.adapted {
            let (component, file) = (plan.name.as_str(), plan.source.display());
            tracing::info!(component, %file, "{adapted}");
        }
        loaded.sources = SourceFiles { component: file.fingerprint, digest: Some(file.digest), tls };
        Ok(Arc::new(loaded))
    }

    fn collect(&self) -> Result<Vec<Arc<Loaded>>, LoadError> {
        let all: Vec<_> =
            self.slots.iter().filter_map(|slot| slot.get().cloned()).collect::<Result<_, _>>()?;
        check_sharing(self.plan.components.iter().zip(all.iter().map(|loaded| &**loaded)))?;
        Ok(all)
    }
}

/// Reads and compiles a file, or takes it from the cache.
fn compile(runtime: &Runtime, path: &Path) -> Compiled {
    let unreadable = |cause| LoadError::Unreadable { path: path.to_owned(), cause: Arc::new(cause) };
    let refused = |refusal: Refusal| refusal.of(path);
    let fingerprint = Fingerprint::of(path).ok();
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() {
        let found = if meta.is_dir() { "it is a folder" } else { "it is not a regular file" };
        return Err(refused(Refusal::new(found, "give the `.wasm` file itself")));
    }
    if meta.len() > LARGEST {
        let found = format!("it has {} MiB; {} MiB is the most", meta.len() >> 20, LARGEST >> 20);
        return Err(refused(Refusal::new(found, "strip its debug information (`wasm-tools strip -a`)")));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    check_begin(&bytes).map_err(refused)?;
    let adapted = adapt::plan(&bytes).map_err(refused)?;
    let digest = Sha256::digest(&bytes).into();
    let cached = runtime.cache.as_ref().and_then(|cache| cache.load(&runtime.engine, &bytes));
    if let Some(component) = cached {
        return Ok(File { component, fingerprint, digest, adapted });
    }
    tracing::debug!(file = %path.display(), "compiling");
    fail_point::reach(if adapted.is_some() { "adapt" } else { "compile" });
    let made = adapted.map(|adapted| adapt::adapt(&bytes, adapted)).transpose().map_err(refused)?;
    let component =
        Component::from_binary(&runtime.engine, made.as_deref().unwrap_or(&bytes)).map_err(|error| {
            let what = if adapted.is_some() { "core module" } else { "component" };
            let hint = "`wasm-tools validate --features all FILE` tells more; it may be cut short";
            refused(Refusal::new(format!("it is not a valid {what}: {error:#}"), hint))
        })?;
    if let Some(cache) = &runtime.cache {
        cache.store(&runtime.engine, &bytes, &component);
    }
    Ok(File { component, fingerprint, digest, adapted })
}

fn check_begin(bytes: &[u8]) -> Result<(), Refusal> {
    const MAGIC: [u8; 4] = *b"\0asm";
    let (found, hint) = match bytes {
        [] => ("it is empty", "build the component again"),
        _ if bytes.starts_with(&MAGIC) => return Ok(()),
        _ if MAGIC.starts_with(bytes) => ("it is cut short", "build the component again"),
        _ => (
            "it is not WebAssembly",
            "give a `.wasm` file that is built for WASI, for `wasm32-wasip2` for instance",
        ),
    };
    Err(Refusal::new(found, hint))
}
