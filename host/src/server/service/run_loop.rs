//! The life of one instance of kind `service`: instantiate, call `run`, call the hook once when asked, wait
//! until nothing is in flight. Invariant: the hook is called at most once (I1), and only on an instance whose
//! `run` was entered. Deadlines are not here: whoever drops the future of `live` ends the instance.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;

use futures::future::try_join;
use tokio::sync::watch;
use wasmtime::component::{Accessor, Func, Instance, TypedFunc};

use crate::plan::{ComponentPlan, HookTiming};
use crate::runtime::{
    Failure, HookResult, HookShape, InstanceEvent, Link, Loaded, Outbound, Runtime, State, Stdio, StoreParts,
    call_hook, new_store,
};
use crate::server::instance::failure::{GuestEnd, could_not_start, guest_end, is_in, returned_error};
use crate::teardown::Outcome;

type Run = TypedFunc<(), (Result<(), ()>,)>;

/// What an instance is made from.
#[derive(Debug)]
pub struct ServiceSpec {
    /// The engine and what belongs to it.
    pub runtime: Runtime,
    /// The component.
    pub loaded: Arc<Loaded>,
    /// What it is granted.
    pub plan: Arc<ComponentPlan>,
    /// The conversation with the supervisor.
    pub link: Arc<Link>,
}

/// How far an instance got, kept outside its store: a trap in one call ends all of them at once.
#[derive(Default)]
struct Progress {
    /// Whether `run` was still under way when the notice came.
    asked_first: Cell<bool>,
    run_returned: Cell<bool>,
    run_failed: Cell<bool>,
    hook_under_way: Cell<bool>,
    hook_failed: Cell<bool>,
}

/// Where `run` is, for those who wait for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RunState {
    UnderWay,
    Returned,
    Failed,
}

/// Runs one instance to its end and returns how it ended. Failures are told as soon as they are known.
///
/// # Cancel safety
/// Dropping the future drops the store with everything in it: that is how parked code is cut off.
pub async fn live(spec: &ServiceSpec, stdio: Stdio) -> Outcome {
    let link = &spec.link;
    let progress = Progress::default();
    let result = call(spec, stdio, &progress).await;
    if link.orders.is_abandoned() {
        return Outcome::NotStarted;
    }
    if !progress.run_returned.get() {
        progress.asked_first.set(link.orders.notice().is_some());
    }
    match result {
        Ok(()) => {}
        Err(_) if link.orders.is_cut() => return Outcome::CutOff,
        Err(error) if !link.orders.has_entered() => {
            progress.run_failed.set(true);
            link.tell(InstanceEvent::Failed(could_not_start(&error)));
        }
        Err(error) => judge(link, &progress, guest_end(&error), is_in(&error, "wasi:cli/run@")),
    }
    if progress.run_failed.get() {
        Outcome::Failed
    } else if progress.hook_failed.get() {
        Outcome::HookFailed
    } else if progress.asked_first.get() {
        Outcome::Stopped
    } else {
        Outcome::Finished
    }
}

/// Puts a trap or an exit down to `run` or to the hook. It takes all calls of the instance with it and does not say
/// in which of them it was: where the backtrace does not tell either, it is the hook's while one is under way.
fn judge(link: &Link, progress: &Progress, end: GuestEnd, in_run: bool) {
    match (end, progress.hook_under_way.get() && !in_run) {
        (GuestEnd::ExitOk, false) => {}
        (GuestEnd::ExitOk, true) => {
            let summary = "called exit instead of returning".to_owned();
            let failure = Failure { summary, backtrace: None, exit_code: Some(0) };
            progress.hook_failed.set(true);
            link.tell(InstanceEvent::HookEnded(HookResult::Trapped(failure)));
        }
        (GuestEnd::Failed(failure), true) => {
            progress.hook_failed.set(true);
            link.tell(InstanceEvent::HookEnded(HookResult::Trapped(failure)));
        }
        (GuestEnd::Failed(failure), false) => {
            progress.run_failed.set(true);
            link.tell(InstanceEvent::Failed(failure));
        }
    }
}

async fn call(spec: &ServiceSpec, stdio: Stdio, progress: &Progress) -> wasmtime::Result<()> {
    let ServiceSpec { runtime, loaded, plan, link } = spec;
    let parts = StoreParts { stdio, link: link.clone(), outbound: Outbound::default(), fairness: None };
    let mut store = new_store(runtime, loaded, plan, parts)?;
    if link.orders.must_trap() {
        return Ok(());
    }
    let instance = loaded.pre.instantiate_async(&mut store).await?;
    let run: Run = instance.get_typed_func(&mut store, loaded.run_index())?;
    let hook = hook_func(&instance, &mut store, loaded);
    if !link.enter() {
        return Ok(());
    }
    let service = Service { link, timing: loaded.timing, progress };
    store.run_concurrent(async |accessor| service.drive(accessor, run, hook).await).await?
}

fn hook_func<'a>(
    instance: &Instance,
    store: &mut wasmtime::Store<State>,
    loaded: &'a Loaded,
) -> Option<(Func, &'a HookShape)> {
    let func = instance.get_func(store, loaded.hook_index()?)?;
    Some((func, loaded.hook.as_ref()?))
}

struct Service<'a> {
    link: &'a Link,
    timing: HookTiming,
    progress: &'a Progress,
}

impl Service<'_> {
    /// Calls `run`, and the hook next to it or behind it, and returns when nothing is in flight.
    async fn drive(
        &self,
        accessor: &Accessor<State>,
        run: Run,
        hook: Option<(Func, &HookShape)>,
    ) -> wasmtime::Result<()> {
        let state = watch::Sender::new(RunState::UnderWay);
        let (run_end, hook_end) = (state.clone(), state.subscribe());
        let hook = async {
            match hook {
                Some((func, shape)) => self.hook(accessor, func, shape, hook_end).await,
                None => Ok(()),
            }
        };
        try_join(self.run(accessor, run, run_end), hook).await?;
        poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
        Ok(())
    }

    async fn run(
        &self,
        accessor: &Accessor<State>,
        run: Run,
        state: watch::Sender<RunState>,
    ) -> wasmtime::Result<()> {
        let (result,) = run.call_concurrent(accessor, ()).await?;
        self.progress.run_returned.set(true);
        self.progress.asked_first.set(self.link.orders.notice().is_some());
        match result {
            Ok(()) => {
                self.link.tell(InstanceEvent::Returned);
                state.send_replace(RunState::Returned);
            }
            Err(()) => {
                self.progress.run_failed.set(true);
                self.link.tell(InstanceEvent::Failed(returned_error()));
                state.send_replace(RunState::Failed);
            }
        }
        Ok(())
    }

    /// Waits for the notice, and for `run` where the hook comes behind it; calls the hook unless `run` failed.
    async fn hook(
        &self,
        accessor: &Accessor<State>,
        hook: Func,
        shape: &HookShape,
        mut state: watch::Receiver<RunState>,
    ) -> wasmtime::Result<()> {
        let notice = tokio::select! {
            biased;
            _failed = state.wait_for(|state| *state == RunState::Failed) => return Ok(()),
            notice = self.link.orders.asked() => notice,
        };
        if self.timing == HookTiming::AfterDrain {
            let end = state.wait_for(|state| *state != RunState::UnderWay).await;
            if end.map_or(RunState::Failed, |state| *state) == RunState::Failed {
                return Ok(());
            }
        }
        tokio::select! {
            biased;
            _failed = state.wait_for(|state| *state == RunState::Failed) => return Ok(()),
            () = poll_fn(|context| accessor.poll_ready_for_concurrent_call(hook, context)) => {}
        }
        self.link.tell(InstanceEvent::HookStarted);
        self.progress.hook_under_way.set(true);
        let result = call_hook(accessor, hook, shape, &notice).await?;
        self.progress.hook_under_way.set(false);
        self.progress.hook_failed.set(result.is_err());
        let result = result.map_or_else(HookResult::Error, |()| HookResult::Ok);
        self.link.tell(InstanceEvent::HookEnded(result));
        Ok(())
    }
}
