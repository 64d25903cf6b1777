//! The life of one instance, whatever its kind: store, instantiation, entry, the work of its kind, its hook, its end.
//!
//! Invariant: the hook is called at most once (I1), and only in an instance that was entered. Deadlines are not here: dropping
//! the future of [`live`] ends the instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::{Accessor, Func, Instance};

use super::failure::{GuestEnd, could_not_start, exited, guest_end, is_in};
use crate::plan::{ComponentPlan, HookTiming};
use crate::runtime::{
    Failure, Fairness, HookResult, HookShape, InstanceEvent, Link, Loaded, Notice, NoticeCause, Outbound,
    Runtime, State, Stdio, call_hook, new_store,
};
use crate::server::generation::stats::RunInFlight;
use crate::teardown::Outcome;

/// The parts of an instance.
pub(crate) struct InstanceSpec {
    /// The engine and what belongs to it.
    pub(crate) runtime: Runtime,
    /// The component.
    pub(crate) loaded: Arc<Loaded>,
    /// Its plan.
    pub(crate) plan: Arc<ComponentPlan>,
    /// Its connection to the supervisor, or to the controller of its generation.
    pub(crate) link: Arc<Link>,
    /// The client of its thread, for the requests that it sends.
    pub(crate) outbound: Outbound,
    /// Its run, where the instance runs by itself.
    pub(crate) run: Option<RunInFlight>,
}

impl InstanceSpec {
    /// Tells of a failure of an instance that runs by itself.
    pub(crate) fn fail(&self, failure: Failure) {
        self.run.iter().for_each(RunInFlight::failed);
        self.link.tell(InstanceEvent::Failed(failure));
    }
}

/// How an instance ended.
#[derive(Debug)]
pub(crate) struct InstanceEnd {
    /// In the words of the report.
    pub(crate) outcome: Outcome,
    /// The failure, which the link has not told.
    pub(crate) failure: Option<Failure>,
}

impl InstanceEnd {
    /// Returns an end without a failure to tell.
    pub(crate) fn of(outcome: Outcome) -> Self {
        Self { outcome, failure: None }
    }

    /// Returns the end of an instance that failed.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self { outcome: Outcome::Failed, failure: Some(failure) }
    }
}

/// The work of one kind in one instance: all that its life has of its own. It lives outside the store, so that it can be asked
/// when the store is gone.
pub trait KindWork: Send + Sync {
    /// The export, as it is called.
    type Export: Send + Sync;

    /// The beginning of the names of the kind's interfaces, as frames of a backtrace have them. A trap in one of them is the
    /// work's, also while the hook is under way.
    const FRAMES: &'static str;
    /// Whether an exit with status 0 is a normal end.
    const MAY_EXIT: bool = false;

    /// Looks the export up.
    ///
    /// # Errors
    /// When it is not there.
    fn export(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        loaded: &Loaded,
    ) -> wasmtime::Result<Self::Export>;

    /// Works until nothing is in flight and the hook has returned.
    ///
    /// # Errors
    /// A trap or an exit of the guest.
    fn work(
        &self,
        accessor: &Accessor<State>,
        export: Self::Export,
        life: &Lifecycle<'_>,
    ) -> impl Future<Output = wasmtime::Result<()>> + Send;

    /// Says whether running code has to let others on its thread run; asked at each epoch.
    fn fairness(&self) -> Option<Fairness> {
        None
    }

    /// Takes note that the instance is about to be entered.
    fn opens(&self) {}

    /// Takes note that the store is about to be dropped.
    fn closes(&self) {}
}

/// The instance as the work of its kind sees it, and its hook.
pub struct Lifecycle<'a> {
    spec: &'a InstanceSpec,
    progress: &'a Progress,
    hook: Option<(Func, &'a HookShape)>,
}

impl std::fmt::Debug for Lifecycle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lifecycle").field("component", &self.spec.plan.name).finish_non_exhaustive()
    }
}

/// Progress of the hook, kept outside the store: a trap in one call ends all of them at once.
#[derive(Default)]
struct Progress {
    hook_under_way: AtomicBool,
    hook_failed: AtomicBool,
}

impl Lifecycle<'_> {
    /// Returns whether the instance was asked to stop.
    pub fn is_asked(&self) -> bool {
        self.spec.link.orders.is_asked()
    }

    /// Tells that the run has returned: what is left is work behind it, and the hook.
    pub fn returned(&self) {
        self.spec.run.iter().for_each(RunInFlight::end);
        self.spec.link.tell(InstanceEvent::Returned);
    }

    /// Tells that the run has failed, before the instance ends.
    pub(crate) fn fail(&self, failure: Failure) {
        self.spec.fail(failure);
    }

    /// Returns once the instance was asked to stop.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn asked(&self) {
        self.spec.link.orders.asked().await;
    }

    /// Returns whether the component's function is async, so that calls can be in it side by side.
    pub(crate) fn is_async(&self) -> bool {
        self.spec.loaded.run.is_async
    }

    /// Returns when the hook is called.
    pub(crate) fn timing(&self) -> HookTiming {
        self.spec.loaded.timing
    }

    /// Returns the hook's function, if there is one.
    pub(crate) fn hook(&self) -> Option<Func> {
        self.hook.map(|(func, _)| func)
    }

    /// Calls the hook, if there is one. Call it once.
    ///
    /// # Errors
    /// A trap or an exit of the guest.
    ///
    /// # Cancel safety
    /// None: dropping it leaves the instance in the middle of its hook. Drop its store, too.
    pub async fn call_hook(&self, accessor: &Accessor<State>) -> wasmtime::Result<()> {
        let Some((func, shape)) = self.hook else { return Ok(()) };
        let link = &self.spec.link;
        let unasked = || Notice { cause: NoticeCause::Request("curfew".to_owned()), grace: Duration::ZERO };
        let notice = link.orders.notice().unwrap_or_else(unasked);
        link.tell(InstanceEvent::HookStarted);
        self.progress.hook_under_way.store(true, Ordering::Release);
        let result = call_hook(accessor, func, shape, &notice).await?;
        self.progress.hook_under_way.store(false, Ordering::Release);
        self.progress.hook_failed.store(result.is_err(), Ordering::Release);
        link.tell(InstanceEvent::HookEnded(result.map_or_else(HookResult::Error, |()| HookResult::Ok)));
        Ok(())
    }
}

/// Runs one instance to its end.
///
/// # Cancel safety
/// Dropping the future drops the store with everything in it: that is how parked code is cut off. The work has not heard of
/// [`KindWork::closes`] then.
pub(crate) async fn live<W: KindWork>(spec: &InstanceSpec, stdio: Stdio, work: &W) -> InstanceEnd {
    let progress = Progress::default();
    let result = enter(spec, stdio, work, &progress).await;
    let orders = &spec.link.orders;
    let stopped = || match progress.hook_failed.load(Ordering::Acquire) {
        true => InstanceEnd::of(Outcome::HookFailed),
        false => InstanceEnd::of(Outcome::Stopped),
    };
    match result {
        _ if orders.is_abandoned() => InstanceEnd::of(Outcome::NotStarted),
        Ok(()) => stopped(),
        Err(_) if orders.must_trap() => InstanceEnd::of(Outcome::CutOff),
        Err(error) if !orders.has_entered() => InstanceEnd::failed(could_not_start(&error)),
        Err(error) => {
            // A trap takes all calls of the instance with it and does not say in which of them it was: where the
            // backtrace does not tell either, it is the hook's while the hook is under way.
            let in_hook = progress.hook_under_way.load(Ordering::Acquire) && !is_in(&error, W::FRAMES);
            match (guest_end(&error), in_hook) {
                (GuestEnd::ExitOk, false) if W::MAY_EXIT => stopped(),
                (GuestEnd::ExitOk, false) => InstanceEnd::failed(exited()),
                (GuestEnd::Failed(failure), false) => InstanceEnd::failed(failure),
                (end, true) => {
                    let failure = if let GuestEnd::Failed(failure) = end { failure } else { exited() };
                    spec.link.tell(InstanceEvent::HookEnded(HookResult::Trapped(failure)));
                    InstanceEnd::of(Outcome::HookFailed)
                }
            }
        }
    }
}

async fn enter<W: KindWork>(
    spec: &InstanceSpec,
    stdio: Stdio,
    work: &W,
    progress: &Progress,
) -> wasmtime::Result<()> {
    let InstanceSpec { runtime, loaded, plan, link, outbound, run: _ } = spec;
    let (shared, outbound, fairness) = (link.clone(), outbound.clone(), work.fairness());
    let mut store = new_store(runtime, loaded, plan, stdio, shared, outbound, fairness)?;
    if spec.link.orders.must_trap() {
        return Ok(());
    }
    let result = run(spec, &mut store, work, progress).await;
    work.closes();
    result
}

async fn run<W: KindWork>(
    spec: &InstanceSpec,
    store: &mut Store<State>,
    work: &W,
    progress: &Progress,
) -> wasmtime::Result<()> {
    let loaded = &spec.loaded;
    let instance = loaded.pre.instantiate_async(&mut *store).await?;
    let export = work.export(store, &instance, loaded)?;
    let shape = loaded.hook.as_ref();
    let hook = shape.and_then(|hook| Some((instance.get_func(&mut *store, hook.index?)?, hook)));
    let life = Lifecycle { spec, progress, hook };
    work.opens();
    if !spec.link.enter() {
        return Ok(());
    }
    store.run_concurrent(async |accessor| work.work(accessor, export, &life).await).await?
}
