//! The work of kind `service`: call `run`, and the hook next to it or behind it, and wait until nothing is in flight.
//!
//! Invariant: the hook is not called once `run` has failed.

use std::future::poll_fn;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::try_join;
use tokio::sync::watch;
use wasmtime::Store;
use wasmtime::component::{Accessor, Instance, TypedFunc};

use crate::plan::HookTiming;
use crate::runtime::{Link, Loaded, State};
use crate::server::instance::failure::returned_error;
use crate::server::instance::lifecycle::{KindWork, Lifecycle};
use crate::server::instance::single::SingleWork;
use crate::teardown::Outcome;

type Run = TypedFunc<(), (Result<(), ()>,)>;

/// State of `run`, for the hook that waits for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RunState {
    UnderWay,
    Returned,
    Failed,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct RunLoop {
    /// Whether the notice had come when `run` returned.
    asked_first: OnceLock<bool>,
    failed: AtomicBool,
}

impl KindWork for RunLoop {
    type Export = Run;

    const FRAMES: &'static str = "wasi:cli/run@";
    const MAY_EXIT: bool = true;

    fn export(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        loaded: &Loaded,
    ) -> wasmtime::Result<Run> {
        instance.get_typed_func(store, loaded.run_index())
    }

    async fn work(&self, accessor: &Accessor<State>, run: Run, life: &Lifecycle<'_>) -> wasmtime::Result<()> {
        let state = watch::Sender::new(RunState::UnderWay);
        let (run_end, hook_end) = (state.clone(), state.subscribe());
        try_join(self.run(accessor, run, life, run_end), hook(accessor, life, hook_end)).await?;
        poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
        Ok(())
    }
}

impl SingleWork for RunLoop {
    fn outcome(&self, outcome: Outcome, link: &Link) -> Outcome {
        let asked_first = || self.asked_first.get().copied().unwrap_or_else(|| link.orders.is_asked());
        match outcome {
            Outcome::Stopped | Outcome::HookFailed if self.failed.load(Ordering::Acquire) => Outcome::Failed,
            Outcome::Stopped if !asked_first() => Outcome::Finished,
            other => other,
        }
    }
}

impl RunLoop {
    async fn run(
        &self,
        accessor: &Accessor<State>,
        run: Run,
        life: &Lifecycle<'_>,
        state: watch::Sender<RunState>,
    ) -> wasmtime::Result<()> {
        let (result,) = run.call_concurrent(accessor, ()).await?;
        let _first = self.asked_first.set(life.is_asked());
        match result {
            Ok(()) => {
                life.returned();
                state.send_replace(RunState::Returned);
            }
            Err(()) => {
                self.failed.store(true, Ordering::Release);
                life.spec.fail(returned_error());
                state.send_replace(RunState::Failed);
            }
        }
        Ok(())
    }
}

/// Waits for the notice, and for `run` where the hook comes behind it; calls the hook unless `run` failed.
async fn hook(
    accessor: &Accessor<State>,
    life: &Lifecycle<'_>,
    mut state: watch::Receiver<RunState>,
) -> wasmtime::Result<()> {
    let Some(func) = life.hook() else { return Ok(()) };
    tokio::select! {
        biased;
        _failed = state.wait_for(|state| *state == RunState::Failed) => return Ok(()),
        () = life.asked() => {}
    }
    if life.spec.loaded.timing == HookTiming::AfterDrain {
        let end = state.wait_for(|state| *state != RunState::UnderWay).await;
        if end.map_or(RunState::Failed, |state| *state) == RunState::Failed {
            return Ok(());
        }
    }
    tokio::select! {
        biased;
        _failed = state.wait_for(|state| *state == RunState::Failed) => return Ok(()),
        () = poll_fn(|context| accessor.poll_ready_for_concurrent_call(func, context)) => {}
    }
    life.call_hook(accessor).await
}
