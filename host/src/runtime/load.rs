//! From files to loaded components: read, compiled or taken from the cache, checked. In parallel, on threads
//! of its own, so that whoever waits can stop waiting at any time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wasmtime::component::Component;

use sha2::{Digest, Sha256};

use super::adapt::{self, Adaptation};
use super::component::MadeOf;
use super::fingerprint::Fingerprint;
use super::refusal::Refusal;
use super::{LoadError, Loaded, Runtime, check_sharing};
use crate::fail_point;
use crate::plan::{ComponentPlan, Plan};

/// Largest file that is compiled: compiling cannot be interrupted, and takes a minute for each 100 MiB.
pub(super) const LARGEST: u64 = 128 << 20;

/// What loading tells of itself, from its threads.
#[derive(Debug)]
pub enum LoadEvent {
    /// A component is ready: which one of the plan.
    Done(usize),
    /// A loading thread died, which is a bug of the host.
    Died,
    /// Everything is ready, in the order of the plan, or the first error in that order.
    Ended(Result<Vec<Arc<Loaded>>, LoadError>),
}

/// Loading under way. Dropping it lets the threads end after the component they are at.
#[derive(Debug)]
pub struct Loading {
    given_up: Arc<AtomicBool>,
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Release);
    }
}

/// What runs already, by the names of its components: what has not changed is not loaded again.
pub type Known = HashMap<String, (Arc<ComponentPlan>, Arc<Loaded>)>;

/// A file that was read and compiled.
struct File {
    component: Component,
    stamp: Option<Fingerprint>,
    digest: [u8; 32],
    /// How it became a component, if it is a core module.
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

/// Loads all components of a plan on threads of its own and tells of each through `tell`. Of what is `known`, those that
/// would run alike and whose files have not changed are given back as they are.
///
/// # Errors
/// When not one thread can be started.
pub fn load_all(
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

/// Loads one component, here and now. Whether it has the addresses it needs is not looked at.
///
/// # Errors
/// As [`LoadError`] says.
pub fn load_one(runtime: &Runtime, plan: &ComponentPlan) -> Result<Loaded, LoadError> {
    let file = compile(runtime, &plan.source)?;
    let mut loaded = Loaded::new(runtime, &file.component, plan)?;
    loaded.adapted = file.adapted;
    Ok(loaded)
}

/// Tells of a loading thread's death: others wait for what it had in hand.
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
        let tls = MadeOf::tls_of(plan);
        let alike = |(old, loaded): &&(Arc<ComponentPlan>, Arc<Loaded>)| {
            old.runs_like(plan, &loaded.defaults) && loaded.made_of.tls == tls
        };
        let known = self.known.get(&plan.name).filter(alike).map(|(_, loaded)| loaded);
        let stamp = Fingerprint::of(&plan.source).ok();
        if let Some(known) = known.filter(|known| stamp.is_some() && known.made_of.stamp == stamp) {
            return Ok(known.clone());
        }
        let slot = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.entry(plan.source.clone()).or_default().clone()
        };
        match slot.get_or_init(|| compile(&self.runtime, &plan.source)) {
            Ok(file) => {
                if let Some(known) = known.filter(|known| known.made_of.digest == Some(file.digest)) {
                    return Ok(known.clone());
                }
                let mut loaded = Loaded::new(&self.runtime, &file.component, plan)?;
                loaded.check_plan(plan)?;
                loaded.adapted = file.adapted;
                if let Some(adapted) = file.adapted {
                    let (component, file) = (plan.name.as_str(), plan.source.display());
                    tracing::info!(component, %file, "{adapted}");
                }
                loaded.made_of = MadeOf { stamp: file.stamp, digest: Some(file.digest), tls };
                Ok(Arc::new(loaded))
            }
            Err(error) => Err(error.again()),
        }
    }

    /// Takes the results, or the first error. Called once, when all slots are full.
    fn collect(&self) -> Result<Vec<Arc<Loaded>>, LoadError> {
        let mut all = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            match slot.get() {
                Some(Ok(loaded)) => all.push(loaded.clone()),
                Some(Err(error)) => return Err(error.again()),
                None => {}
            }
        }
        check_sharing(self.plan.components.iter().zip(all.iter().map(|loaded| &**loaded)))?;
        Ok(all)
    }
}

impl LoadError {
    /// Returns the same error once more; `io::Error` cannot be cloned.
    fn again(&self) -> Self {
        let io = |cause: &std::io::Error| match cause.raw_os_error() {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => std::io::Error::new(cause.kind(), cause.to_string()),
        };
        match self {
            Self::Unreadable { path, cause } => Self::Unreadable { path: path.clone(), cause: io(cause) },
            Self::Invalid { path, found, hint } => {
                Self::Invalid { path: path.clone(), found: found.clone(), hint: hint.clone() }
            }
            Self::Name { component, name, cause } => {
                Self::Name { component: component.clone(), name: name.clone(), cause: io(cause) }
            }
        }
    }
}

/// Reads and compiles a file, or takes it from the cache.
fn compile(runtime: &Runtime, path: &Path) -> Compiled {
    let unreadable = |cause| LoadError::Unreadable { path: path.to_owned(), cause };
    let invalid = |found: String, hint: &str| LoadError::Invalid {
        path: path.to_owned(),
        found,
        hint: hint.to_owned(),
    };
    let stamp = Fingerprint::of(path).ok();
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() {
        let found = if meta.is_dir() { "it is a folder" } else { "it is not a regular file" };
        return Err(invalid(found.to_owned(), "give the `.wasm` file itself"));
    }
    if meta.len() > LARGEST {
        let found = format!("it has {} MiB; {} MiB is the most", meta.len() >> 20, LARGEST >> 20);
        return Err(invalid(found, "strip its debug information (`wasm-tools strip -a`)"));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    if let Some((found, hint)) = not_a_component(&bytes) {
        return Err(invalid(found.to_owned(), hint));
    }
    let refused = |refusal: Refusal| refusal.of(path);
    let adapted = adapt::plan(&bytes).map_err(refused)?;
    let digest = Sha256::digest(&bytes).into();
    let cached = runtime.cache.as_ref().and_then(|cache| cache.load(&runtime.engine, &bytes));
    if let Some(component) = cached {
        return Ok(File { component, stamp, digest, adapted });
    }
    tracing::debug!(file = %path.display(), "compiling");
    fail_point::reach(if adapted.is_some() { "adapt" } else { "compile" });
    let made = adapted.map(|adapted| adapt::adapt(&bytes, adapted)).transpose().map_err(refused)?;
    let component =
        Component::from_binary(&runtime.engine, made.as_deref().unwrap_or(&bytes)).map_err(|error| {
            let what = if adapted.is_some() { "core module" } else { "component" };
            let hint = "`wasm-tools validate --features all FILE` tells more; it may be cut short";
            invalid(format!("it is not a valid {what}: {error:#}"), hint)
        })?;
    if let Some(cache) = &runtime.cache {
        cache.store(&runtime.engine, &bytes, &component);
    }
    Ok(File { component, stamp, digest, adapted })
}

/// Says what a file is that does not even begin as a component.
fn not_a_component(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    match bytes {
        [] => Some(("it is empty", "build the component again")),
        [0, b'a', b's', b'm', ..] => None,
        _ if bytes.len() < 4 && [0, b'a', b's', b'm'].starts_with(bytes) => {
            Some(("it is cut short", "build the component again"))
        }
        _ => Some((
            "it is not WebAssembly",
            "give a `.wasm` file that is built for WASI, for `wasm32-wasip2` for instance",
        )),
    }
}
