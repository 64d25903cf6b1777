//! Loading: files are read, compiled or taken from the cache, and checked, on threads of its own: the waiting side can give up
//! at any time.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};
use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};
use wasmtime::Module;
use wasmtime::component::Component;

use super::code::Code;
use super::component::{Fingerprint, SourceFiles};
use super::module::Form;
use super::needs::StartNeeds;
use super::shortage::system_error;
use super::{Adaptation, LoadError, LoadErrors, LoadFault, Loaded, Refusal, Runtime, adapt, diagnose};
use crate::fail_point;
use crate::plan::{ComponentPlan, Plan};
use crate::teardown::MOST_GENERATIONS;

/// Largest file that is compiled: compiling cannot be interrupted, and takes a minute for each 100 MiB.
const LARGEST: u64 = 128 << 20;

const MORE_MEMORY: &str = "raise the limit of memory, or of address space (`ulimit -v`)";
const MORE_THREADS: &str = "raise the limit of threads (`pids` of the container, `ulimit -u`)";

#[derive(Debug)]
pub(crate) enum LoadEvent {
    /// The component at this index of the plan is ready.
    Done(usize),
    /// A loading thread died, which is a bug of the host.
    Died,
    /// Everything is ready, or the errors, in the order of the plan.
    Ended(Result<Vec<Arc<Loaded>>, LoadErrors>),
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

/// The running components by name.
pub(crate) type Known = HashMap<String, (Arc<ComponentPlan>, Arc<Loaded>)>;

struct File {
    code: Code,
    fingerprint: Option<Fingerprint>,
    digest: [u8; 32],
    adapted: Option<Adaptation>,
    needs: StartNeeds,
}

type Compiled = Result<File, LoadError>;

/// The threads that compile, while something is compiled. wasmtime's own would stay for ever, and panic where there are none.
#[derive(Debug, Default)]
struct CompileThreads(OnceLock<Result<ThreadPool, String>>);

impl CompileThreads {
    /// Does work on them. Fails when the system gives not one.
    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, String> {
        let threads = self.0.get_or_init(|| {
            let start = |count| {
                ThreadPoolBuilder::new()
                    .num_threads(count)
                    .thread_name(|_| "curfew-compile".to_owned())
                    .build()
            };
            // 0 stands for one for each core.
            start(0).or_else(|_| start(1)).map_err(|error| format!("it gives no thread to compile: {error}"))
        });
        threads.as_ref().map(|threads| threads.install(work)).map_err(Clone::clone)
    }
}

struct Work {
    runtime: Runtime,
    plan: Plan,
    known: Known,
    next: AtomicUsize,
    left: AtomicUsize,
    slots: Vec<OnceLock<Result<Arc<Loaded>, LoadError>>>,
    /// Each file is compiled once, however many components are made of it.
    files: Mutex<HashMap<PathBuf, Arc<OnceLock<Compiled>>>>,
    threads: CompileThreads,
    given_up: Arc<AtomicBool>,
    tell: Box<dyn Fn(LoadEvent) + Send + Sync>,
}

/// Loads all components of a plan, unless they are `known`, run alike and have the same files.
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
        threads: CompileThreads::default(),
        given_up: given_up.clone(),
        tell,
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut started = 0;
    for _ in 0..cores.min(plan.components.len()) {
        let work = work.clone();
        // Other components wait for the one that a dying thread has in hand.
        let run = move || {
            catch_unwind(AssertUnwindSafe(|| work.run())).unwrap_or_else(|_| (work.tell)(LoadEvent::Died))
        };
        match std::thread::Builder::new().name("curfew-load".to_owned()).spawn(run) {
            Ok(_detached) => started += 1,
            Err(error) if started == 0 => return Err(error),
            Err(_fewer_will_do) => break,
        }
    }
    Ok(Loading { given_up })
}

/// Loads one component, here and now. Its addresses are not checked.
pub fn load_one(runtime: &Runtime, plan: &ComponentPlan) -> Result<Loaded, LoadError> {
    let file = compile(runtime, &plan.source, &CompileThreads::default())?;
    Loaded::new(runtime, &file.code, file.adapted, file.needs, plan)
}

impl Work {
    fn run(&self) {
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
        let fingerprint = Fingerprint::of(&plan.source);
        let is_same = |known: &&Arc<Loaded>| fingerprint.is_some() && known.sources.component == fingerprint;
        if let Some(known) = known.filter(is_same) {
            return Ok(known.clone());
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = files.entry(plan.source.clone()).or_default().clone();
        drop(files);
        let file = slot.get_or_init(|| compile(&self.runtime, &plan.source, &self.threads));
        let file = file.as_ref().map_err(Clone::clone)?;
        if let Some(known) = known.filter(|known| known.sources.digest == Some(file.digest)) {
            return Ok(known.clone());
        }
        let mut loaded = Loaded::new(&self.runtime, &file.code, file.adapted, file.needs, plan)?;
        loaded.check_plan(plan)?;
        if loaded.is_fresh(plan) {
            loaded = self.with_pool(loaded, file, plan)?;
        }
        if let Some(adapted) = file.adapted {
            let (component, file) = (plan.name.as_str(), plan.source.display());
            tracing::info!(component, %file, "{adapted}");
        }
        for (key, why) in loaded.unusable(plan) {
            tracing::warn!(component = plan.name.as_str(), key, "a key has no effect: {why}");
        }
        loaded.sources = SourceFiles { component: file.fingerprint, digest: Some(file.digest), tls };
        Ok(Arc::new(loaded))
    }

    /// Returns a component of which each request gets a fresh instance with a pool for those; without one if the system does not
    /// give it.
    fn with_pool(&self, loaded: Loaded, file: &File, plan: &ComponentPlan) -> Result<Loaded, LoadError> {
        // Generations that drain share the pool with the one that has taken over.
        let most = plan.resolve(&loaded.defaults).max_instances.saturating_mul(MOST_GENERATIONS);
        match self.runtime.pooled(&file.code, u32::try_from(most).unwrap_or(u32::MAX)) {
            Ok((runtime, code)) => Loaded::new(&runtime, &code, file.adapted, file.needs, plan),
            Err(error) => {
                let component = plan.name.as_str();
                tracing::info!(component, %error, "its instances get no memory in advance, and start slower");
                Ok(loaded)
            }
        }
    }

    fn collect(&self) -> Result<Vec<Arc<Loaded>>, LoadErrors> {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for (component, slot) in self.plan.components.iter().zip(&self.slots) {
            match slot.get() {
                Some(Ok(loaded)) => all.push((component, loaded.clone())),
                Some(Err(error)) => errors.push(error.clone().of(&component.name, &self.plan)),
                None => {}
            }
        }
        errors.extend(check_sharing(&self.plan, all.iter().map(|(plan, loaded)| (*plan, loaded.as_ref()))));
        let all = all.into_iter().map(|(_, loaded)| loaded).collect();
        if errors.is_empty() { Ok(all) } else { Err(LoadErrors(errors)) }
    }
}

fn compile(runtime: &Runtime, path: &Path, threads: &CompileThreads) -> Compiled {
    let unreadable = |cause| LoadFault::Unreadable { path: path.to_owned(), cause: Arc::new(cause) };
    let refused = |refusal: Refusal| refusal.of(path);
    let fingerprint = Fingerprint::of(path);
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
    let form = Form::of(&bytes).map_err(refused)?;
    let adapted = match &form {
        Form::WithWorld(module) => Some(adapt::plan(&bytes, module).map_err(refused)?),
        Form::Component | Form::Program => None,
    };
    let digest = Sha256::digest(&bytes).into();
    let cached = runtime.cache.as_ref().and_then(|cache| cache.load(&runtime.engine, &bytes));
    if let Some(code) = cached {
        let needs = StartNeeds::of(&bytes, &code);
        return Ok(File { code, fingerprint, digest, adapted, needs });
    }
    tracing::debug!(file = %path.display(), "compiling");
    fail_point::reach(if adapted.is_some() { "adapt" } else { "compile" });
    let made = adapted.map(|adapted| adapt::adapt(&bytes, adapted)).transpose().map_err(refused)?;
    let binary = made.as_deref().unwrap_or(&bytes);
    let compiled = threads.run(|| match form {
        Form::Program => Module::from_binary(&runtime.engine, binary).map(Code::Program),
        Form::Component | Form::WithWorld(_) => {
            Component::from_binary(&runtime.engine, binary).map(Code::Component)
        }
    });
    let unavailable = |cause, hint| LoadFault::Unavailable { path: path.to_owned(), cause, hint };
    let code = compiled.map_err(|cause| unavailable(cause, MORE_THREADS))?;
    let code = code.map_err(|error| match system_error(&error) {
        Some(_) => unavailable(format!("{error:#}"), MORE_MEMORY).into(),
        None => refused(diagnose::not_compiled(binary, Parser::is_core_wasm(&bytes), &error)),
    })?;
    if let Some(cache) = &runtime.cache {
        cache.store(&runtime.engine, &bytes, &code);
    }
    let needs = StartNeeds::of(&bytes, &code);
    Ok(File { code, fingerprint, digest, adapted, needs })
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

/// Returns an error for each component of these whose kind shares no address, and that has not its addresses for itself.
pub fn check_sharing<'a>(
    plan: &Plan,
    all: impl Iterator<Item = (&'a ComponentPlan, &'a Loaded)> + Clone,
) -> Vec<LoadError> {
    let taken = |(component, loaded): (&ComponentPlan, &Loaded)| {
        // Each port 0 is a port of its own.
        let own = || component.http.listen.iter().filter(|address| !address.is_any_port());
        let others = all.clone().filter(|(other, _)| other.name != component.name);
        let (address, other) = others
            .flat_map(|(other, _)| own().map(move |address| (address, other)))
            .find(|(address, other)| other.http.listen.contains(address))?;
        let (name, kind) = (&component.name, loaded.kind.name);
        let found = format!(
            "component `{name}` is of kind `{kind}` and listens on {address}, where `{}` listens, too",
            other.name
        );
        let hint = "a connection cannot be for both: give each an address of its own";
        Some(Refusal::new(found, hint).about("listen").of(&component.source).of(name, plan))
    };
    all.clone().filter(|(_, loaded)| !loaded.kind.shares_addresses).filter_map(taken).collect()
}

/// Returns whether a file exports one of these interfaces, in any version. Loading tells what cannot be read.
pub fn exports_any(path: &Path, interfaces: &[&str]) -> bool {
    let regular = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST);
    let Some(bytes) = regular.then(|| std::fs::read(path).ok()).flatten() else { return false };
    let is_one = |name: &str| name.split_once('@').is_some_and(|(name, _)| interfaces.contains(&name));
    match Parser::is_core_wasm(&bytes) {
        true => adapt::world_exports(&bytes, is_one),
        false => has_export(&bytes, is_one),
    }
}

/// Returns whether the component itself, not one inside it, has such an export.
fn has_export(component: &[u8], is_it: impl Fn(&str) -> bool) -> bool {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::Version { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentExportSection(section)) if depth == 1 => {
                if section.into_iter().flatten().any(|export| is_it(export.name.name)) {
                    return true;
                }
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLERS: [&str; 2] = ["wasi:http/incoming-handler", "wasi:http/handler"];

    fn serves(text: &str) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), wat::parse_str(text).unwrap()).unwrap();
        exports_any(file.path(), &HANDLERS)
    }

    #[test]
    fn only_what_the_component_itself_exports_counts() {
        let exports = |name: &str| format!("(instance $i) (export \"{name}\" (instance $i))");
        for (name, http) in [
            ("wasi:http/incoming-handler@0.2.3", true),
            ("wasi:http/handler@0.3.0", true),
            ("wasi:cli/run@0.2.0", false),
        ] {
            assert_eq!(serves(&format!("(component {})", exports(name))), http, "{name}");
            assert!(!serves(&format!("(component (component {}))", exports(name))), "{name} of one inside");
        }
        assert!(serves(&format!("(component (component) {})", exports("wasi:http/handler@0.3.0"))));
        assert!(!serves("(module)"));
    }

    #[test]
    fn what_cannot_be_read_serves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let text = dir.path().join("text");
        std::fs::write(&text, "wasi:http/handler@0.3.0").unwrap();
        for path in [dir.path(), &fifo, &text, &dir.path().join("none")] {
            assert!(!exports_any(path, &HANDLERS), "{}", path.display());
        }
    }
}
