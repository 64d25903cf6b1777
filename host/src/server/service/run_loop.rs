//! The work of kind `service`: call `run`, and the hook next to it or behind it, and wait until nothing is in flight.
//!
//! Invariant: the hook is not called once `run` has failed.

use std::future::poll_fn;
use std::sync::OnceLock;

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

/// The result of `run`, once it has returned; for the hook.
type RunEnd = Option<Result<(), ()>>;

/// The work of one instance.
#[derive(Default)]
pub(crate) struct RunLoop {
    /// The result of `run`, and true if the notice had come before it.
    ended: OnceLock<(Result<(), ()>, bool)>,
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
        instance.get_typed_func(store, loaded.component()?.1)
    }

    async fn work(&self, accessor: &Accessor<State>, run: Run, life: &Lifecycle<'_>) -> wasmtime::Result<()> {
        let state = watch::Sender::new(None);
        let (run_end, hook_end) = (state.clone(), state.subscribe());
        try_join(self.run(accessor, run, life, run_end), hook(accessor, life, hook_end)).await?;
        poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
        Ok(())
    }
}

impl SingleWork for RunLoop {
    fn outcome(&self, outcome: Outcome, link: &Link) -> Outcome {
        let (result, asked_first) = self.ended.get().copied().unwrap_or((Ok(()), link.orders.is_asked()));
        match outcome {
            Outcome::Stopped | Outcome::HookFailed if result.is_err() => Outcome::Failed,
            Outcome::Stopped if !asked_first => Outcome::Finished,
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
        state: watch::Sender<RunEnd>,
    ) -> wasmtime::Result<()> {
        let (result,) = run.call_concurrent(accessor, ()).await?;
        let _first = self.ended.set((result, life.is_asked()));
        match result {
            Ok(()) => life.returned(),
            Err(()) => life.spec.fail(returned_error()),
        }
        state.send_replace(Some(result));
        Ok(())
    }
}

/// Waits for the notice, and for `run` where the hook comes behind it; calls the hook unless `run` failed.
async fn hook(
    accessor: &Accessor<State>,
    life: &Lifecycle<'_>,
    mut state: watch::Receiver<RunEnd>,
) -> wasmtime::Result<()> {
    let Some(func) = life.hook() else { return Ok(()) };
    let mut ended = state.clone();
    let due = async {
        life.asked().await;
        if life.spec.loaded.timing == HookTiming::AfterDrain {
            drop(ended.wait_for(|state| state.is_some()).await);
        }
        poll_fn(|context| accessor.poll_ready_for_concurrent_call(func, context)).await;
    };
    tokio::select! {
        biased;
        _failed = state.wait_for(|state| *state == Some(Err(()))) => return Ok(()),
        () = due => {}
    }
    life.call_hook(accessor).await
}
