//! The life of one instance, whatever its kind: store, instantiation, entry, the work of its kind, its hook, its end.
//!
//! Invariant: the hook is called at most once (I1), and only in an instance that was entered. Deadlines are not here: dropping
//! the future of [`live`] ends the instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::component::{Accessor, Func, Instance};
use wasmtime::{AsContextMut, InstancePre, Store};

use super::failure::{could_not_start, guest_failure, is_in};
use crate::plan::ComponentPlan;
use crate::runtime::{
    AtEpoch, Failure, HookResult, HookShape, InstanceEvent, Link, Linked, Loaded, Notice, NoticeCause,
    Outbound, Runtime, START, State, Stdio, call_hook, name_limit, new_store,
};
use crate::server::generation::RunInFlight;
use crate::teardown::Outcome;
use crate::threads;

/// The parts of an instance.
#[derive(Debug)]
pub(crate) struct InstanceSpec {
    pub(crate) runtime: Runtime,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) plan: Arc<ComponentPlan>,
    /// Its connection to the supervisor, or to the controller of its generation.
    pub(crate) link: Arc<Link>,
    /// Its run, where the instance runs by itself.
    pub(crate) run: Option<RunInFlight>,
}

impl InstanceSpec {
    /// Tells of a failure of an instance that runs by itself.
    pub(crate) fn fail(&self, failure: Failure) {
        self.run.iter().for_each(|run| run.stats.instance_failed());
        self.link.tell(InstanceEvent::Failed(failure));
    }
}

/// The end of an instance: its outcome, or a failure that the link has not told.
pub(crate) type InstanceEnd = Result<Outcome, Failure>;

/// The work of one kind in one instance. It lives outside the store, so that it can be asked when the store is gone.
pub trait KindWork: Send + Sync {
    /// The export, as it is called.
    type Export: Send + Sync;

    /// The beginning of the names of the kind's interfaces, as frames of a backtrace have them. A trap in one of them is the
    /// work's, also while the hook is under way.
    const FRAMES: &'static str;
    /// True if an exit with status 0 is a normal end.
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

    /// Decides about running code at each epoch.
    #[doc(hidden)]
    fn at_epoch(&self) -> Option<AtEpoch> {
        None
    }

    /// Takes note that the instance is about to be entered.
    fn opens(&self) {}

    /// Takes note that the store is about to be dropped.
    fn closes(&self) {}
}

/// The instance as the work of its kind sees it, and its hook.
#[derive(Debug)]
pub struct Lifecycle<'a> {
    pub(crate) spec: &'a InstanceSpec,
    hook: Option<(Func, &'a HookShape)>,
    // Outside the store: a trap in one call ends all of them at once.
    hook_called: AtomicBool,
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

    /// Returns once the instance was asked to stop.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn asked(&self) {
        self.spec.link.orders.asked().await;
    }

    /// Returns the hook's function, if there is one.
    pub(crate) fn hook(&self) -> Option<Func> {
        self.hook.map(|(func, _)| func)
    }

    /// Calls the hook, if there is one: once in the life of an instance (I1), however often it is asked to.
    ///
    /// # Errors
    /// A trap or an exit of the guest.
    ///
    /// # Cancel safety
    /// None: dropping it leaves the instance in the middle of its hook. Drop its store, too.
    pub async fn call_hook(&self, accessor: &Accessor<State>) -> wasmtime::Result<()> {
        let Some((func, shape)) = self.hook else { return Ok(()) };
        if self.hook_called.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let link = &self.spec.link;
        let unasked = || Notice { cause: NoticeCause::Request("curfew".to_owned()), grace: Duration::ZERO };
        let notice = link.orders.notice().unwrap_or_else(unasked);
        link.tell(InstanceEvent::HookStarted);
        self.hook_under_way.store(true, Ordering::Release);
        let result = call_hook(accessor, func, shape, &notice).await?;
        self.hook_under_way.store(false, Ordering::Release);
        self.hook_failed.store(result.is_err(), Ordering::Release);
        link.tell(InstanceEvent::HookEnded(result.map_or_else(HookResult::Error, |()| HookResult::Ok)));
        Ok(())
    }
}

/// Runs one instance to its end. `outbound` is the client of its thread, for the requests that it sends.
///
/// # Cancel safety
/// Dropping the future drops the store with everything in it: that is how parked code is cut off. The work has not heard of
/// [`KindWork::closes`] then.
pub(crate) async fn live<W: KindWork>(
    spec: &InstanceSpec,
    stdio: Stdio,
    outbound: Outbound,
    work: &W,
) -> InstanceEnd {
    let [hook_called, hook_under_way, hook_failed] = [false; 3].map(AtomicBool::new);
    let mut life = Lifecycle { spec, hook: None, hook_called, hook_under_way, hook_failed };
    let result = match threads::catch_in(enter(&mut life, stdio, outbound, work)).await {
        Ok(result) => result,
        Err(no_thread) => {
            work.closes();
            Err(no_thread.into())
        }
    };
    let orders = &spec.link.orders;
    let stopped = || match life.hook_failed.load(Ordering::Acquire) {
        true => Ok(Outcome::HookFailed),
        false => Ok(Outcome::Stopped),
    };
    match result {
        _ if orders.is_abandoned() => Ok(Outcome::NotStarted),
        Ok(()) => stopped(),
        Err(_) if orders.must_trap() => Ok(Outcome::CutOff),
        Err(error) if !orders.has_entered() => Err(could_not_start(&error)),
        // A trap takes all calls of the instance with it and does not say in which of them it was: where the
        // backtrace does not tell either, it is the hook's while the hook is under way.
        Err(error) if life.hook_under_way.load(Ordering::Acquire) && !is_in(&error, W::FRAMES) => {
            spec.link.tell(InstanceEvent::HookEnded(HookResult::Trapped(guest_failure(&error))));
            Ok(Outcome::HookFailed)
        }
        Err(error) => match guest_failure(&error) {
            exited if W::MAY_EXIT && exited.exit_code == Some(0) => stopped(),
            failure => Err(failure),
        },
    }
}

async fn enter<W: KindWork>(
    life: &mut Lifecycle<'_>,
    stdio: Stdio,
    outbound: Outbound,
    work: &W,
) -> wasmtime::Result<()> {
    let InstanceSpec { runtime, loaded, plan, link, run: _ } = life.spec;
    if loaded.may_block {
        threads::keep_one_for_blocking()?;
    }
    let mut store = new_store(runtime, loaded, plan, stdio, link.clone(), outbound, work.at_epoch())?;
    if link.orders.must_trap() {
        return Ok(());
    }
    let entered = async {
        let pre = match &loaded.linked {
            Linked::Component(pre, _) => pre,
            Linked::Program(pre) => return run_program(life, &mut store, pre, work).await,
        };
        let instance = pre.instantiate_async(&mut store).await?;
        let export = work.export(&mut store, &instance, loaded)?;
        let shape = loaded.hook.as_ref();
        life.hook = shape.and_then(|hook| Some((instance.get_func(&mut store, hook.index?)?, hook)));
        work.opens();
        if !link.enter() {
            return Ok(());
        }
        store.run_concurrent(async |accessor| work.work(accessor, export, life).await).await?
    };
    let result = entered.await;
    work.closes();
    result.map_err(|error| name_limit(store.as_context_mut(), error))
}

/// Calls `_start` of a core module. No kind has to work for it: it has no other export and no hook, and nothing is left when it
/// has returned.
async fn run_program<W: KindWork>(
    life: &Lifecycle<'_>,
    store: &mut Store<State>,
    pre: &InstancePre<State>,
    work: &W,
) -> wasmtime::Result<()> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, START)?;
    work.opens();
    match life.spec.link.enter() {
        true => start.call_async(store, ()).await,
        false => Ok(()),
    }
}
