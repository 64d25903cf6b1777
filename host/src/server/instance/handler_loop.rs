//! The life of one instance of kind `http` or `tcp` inside its store: requests go in, side by side as far as the component
//! allows; the hook is called once when it ends; it has ended when the hook has returned and nothing is in flight.
//!
//! Invariant: the hook is called at most once (I1), and on a sync component never before its last call has returned. Deadlines are not here: whoever drops the future of
//! `live` ends the instance, and has called `InstanceHandle::die` before.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, Func};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::Prepared;

use super::failure::{GuestEnd, could_not_start, guest_end, is_in};
use super::handle::{CloseReason, InstanceHandle};
use crate::plan::{ComponentPlan, HookTiming};
use crate::runtime::{
    Failure, Fairness, Handler, HookResult, HookShape, InstanceEvent, Loaded, Notice, NoticeCause, Outbound,
    Runtime, State, Stdio, StoreParts, call_hook, new_store,
};
use crate::server::pool::job::{Job, Work};
use crate::server::pool::pool::Pool;
use crate::server::tcp::handler;
use crate::teardown::Outcome;

/// What an instance is made from.
pub struct InstanceSpec {
    /// The engine and what belongs to it.
    pub runtime: Runtime,
    /// The component.
    pub loaded: Arc<Loaded>,
    /// What it is granted.
    pub plan: Arc<ComponentPlan>,
    /// What is known of it outside.
    pub instance: Arc<InstanceHandle>,
    /// Where its requests come from.
    pub pool: Arc<Pool>,
    /// The requests that it sends, on this thread.
    pub outbound: Outbound,
    /// Longest time that it has when it ends before its component does.
    pub grace: Duration,
}

/// How an instance ended.
#[derive(Debug)]
pub struct InstanceEnd {
    /// In the words of the report.
    pub outcome: Outcome,
    /// What it failed with.
    pub failure: Option<Failure>,
}

/// How far an instance got, kept outside its store: a trap in one call ends all of them at once.
#[derive(Default)]
struct Progress {
    opened: AtomicBool,
    hook_under_way: AtomicBool,
    hook_failed: AtomicBool,
}

/// Runs one instance to its end.
///
/// # Cancel safety
/// Dropping the future drops the store with everything in it: call [`InstanceHandle::die`] first, or answers that are under
/// way look complete.
pub async fn live(spec: &InstanceSpec, stdio: Stdio) -> InstanceEnd {
    let progress = Progress::default();
    let result = call(spec, stdio, &progress).await;
    let link = &spec.instance.link;
    let failed = |failure| InstanceEnd { outcome: Outcome::Failed, failure: Some(failure) };
    match result {
        Ok(()) if progress.hook_failed.load(Ordering::Acquire) => {
            InstanceEnd { outcome: Outcome::HookFailed, failure: None }
        }
        Ok(()) => InstanceEnd { outcome: Outcome::Stopped, failure: None },
        Err(_) if link.orders.must_trap() => InstanceEnd { outcome: Outcome::CutOff, failure: None },
        Err(error) if !progress.opened.load(Ordering::Acquire) => failed(could_not_start(&error)),
        Err(error) => {
            let failure = match guest_end(&error) {
                GuestEnd::ExitOk => {
                    let summary = "called exit instead of returning".to_owned();
                    Failure { summary, backtrace: None, exit_code: Some(0) }
                }
                GuestEnd::Failed(failure) => failure,
            };
            if progress.hook_under_way.load(Ordering::Acquire) && !is_in(&error, "wasi:http/") {
                link.tell(InstanceEvent::HookEnded(HookResult::Trapped(failure)));
                return InstanceEnd { outcome: Outcome::HookFailed, failure: None };
            }
            failed(failure)
        }
    }
}

async fn call(spec: &InstanceSpec, stdio: Stdio, progress: &Progress) -> wasmtime::Result<()> {
    let InstanceSpec { runtime, loaded, plan, instance, outbound, .. } = spec;
    let turn = instance.turn.clone();
    let fairness: Fairness = Box::new(move || turn.must_yield());
    let parts = StoreParts {
        stdio,
        link: instance.link.clone(),
        outbound: outbound.clone(),
        fairness: Some(fairness),
    };
    let mut store = new_store(runtime, loaded, plan, parts)?;
    if instance.link.orders.must_trap() {
        return Ok(());
    }
    let result = serve(spec, &mut store, progress).await;
    instance.die();
    result
}

async fn serve(
    spec: &InstanceSpec,
    store: &mut wasmtime::Store<State>,
    progress: &Progress,
) -> wasmtime::Result<()> {
    let InstanceSpec { loaded, pool, instance, .. } = spec;
    let pre =
        loaded.handler.as_ref().ok_or_else(|| wasmtime::Error::msg("not a component with a handler"))?;
    let (handler, raw) = pre.instantiate(&mut *store).await?;
    let hook = loaded.hook_index().and_then(|index| raw.get_func(&mut *store, index));
    let hook = hook.zip(loaded.hook.as_ref());
    progress.opened.store(true, Ordering::Release);
    pool.opened(instance);
    instance.link.tell(InstanceEvent::Entered);
    let is_async = loaded.run.is_async;
    let at_start = is_async && loaded.timing == HookTiming::AtStart;
    let driver = Driver { spec, progress, is_async, at_start };
    store.run_concurrent(async |accessor| driver.drive(accessor, &handler, hook).await).await?
}

struct Driver<'a> {
    spec: &'a InstanceSpec,
    progress: &'a Progress,
    is_async: bool,
    /// Whether the hook is called at the very notice, next to requests.
    at_start: bool,
}

type HookCall<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>>;

/// How far the hook is.
enum Hook<'a> {
    None,
    Ready(Func, &'a HookShape),
    Called(HookCall<'a>),
    Done,
}

impl Driver<'_> {
    async fn drive<'b>(
        &'b self,
        accessor: &'b Accessor<State>,
        handler: &'b Handler,
        hook: Option<(Func, &'b HookShape)>,
    ) -> wasmtime::Result<()> {
        let func = handler.func();
        let mut calls = FuturesUnordered::new();
        let mut hook = hook.map_or(Hook::None, |(func, shape)| Hook::Ready(func, shape));
        let InstanceSpec { instance, pool, .. } = self.spec;
        poll_fn(|context| {
            instance.register(context.waker());
            if instance.turn.came_back() {
                pool.set_spinning(instance, false);
            }
            loop {
                match calls.poll_next_unpin(context) {
                    Poll::Ready(Some(Ok(()))) => continue,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) | Poll::Pending => {}
                }
                if instance.is_closing()
                    || accessor.poll_ready_for_concurrent_call(func, context).is_pending()
                {
                    break;
                }
                let Some(job) = pool.take(instance) else { break };
                calls.push(handle(accessor, handler, job, instance));
            }
            self.close_in_time();
            if !instance.is_closing() {
                if self.at_start
                    && instance.link.orders.is_asked()
                    && let Poll::Ready(Err(error)) = self.poll_hook(context, accessor, &mut hook, true)
                {
                    return Poll::Ready(Err(error));
                }
                return Poll::Pending;
            }
            if !instance.link.orders.is_asked() {
                // The notice comes first: it is on its way.
                return Poll::Pending;
            }
            let quiet = instance.is_quiet();
            let may_call = quiet || (self.is_async && pool.hooks_are_due());
            std::task::ready!(self.poll_hook(context, accessor, &mut hook, may_call))?;
            // Requests whose clients have left hold nobody up; work behind answers that were given does.
            let left_behind = self.is_async && instance.in_flight() > 0;
            if !quiet || !(left_behind || accessor.poll_no_interesting_tasks(context).is_ready()) {
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Takes no more requests once the component stops and none can come any more, or its hook is due anyway.
    fn close_in_time(&self) {
        let InstanceSpec { instance, pool, .. } = self.spec;
        if instance.is_closing() || !instance.link.orders.is_asked() {
            return;
        }
        let drained = pool.is_drained() && instance.live() == 0;
        if drained || (self.is_async && pool.hooks_are_due()) {
            pool.close(instance, CloseReason::Stop);
        }
    }

    /// Calls the hook when it may be called. Ready when it has returned, or there is none.
    fn poll_hook<'b>(
        &'b self,
        context: &mut Context<'_>,
        accessor: &'b Accessor<State>,
        hook: &mut Hook<'b>,
        may_call: bool,
    ) -> Poll<wasmtime::Result<()>> {
        loop {
            match hook {
                Hook::None | Hook::Done => return Poll::Ready(Ok(())),
                Hook::Ready(..) if !may_call => return Poll::Pending,
                Hook::Ready(func, shape) => {
                    if accessor.poll_ready_for_concurrent_call(*func, context).is_pending() {
                        return Poll::Pending;
                    }
                    *hook = Hook::Called(Box::pin(self.call_hook(accessor, *func, shape)));
                }
                Hook::Called(call) => {
                    let result = std::task::ready!(call.as_mut().poll(context));
                    *hook = Hook::Done;
                    return Poll::Ready(result);
                }
            }
        }
    }

    async fn call_hook(
        &self,
        accessor: &Accessor<State>,
        func: Func,
        shape: &HookShape,
    ) -> wasmtime::Result<()> {
        let instance = &self.spec.instance;
        let notice = instance
            .link
            .orders
            .notice()
            .unwrap_or(Notice { cause: NoticeCause::Request("curfew".to_owned()), grace: Duration::ZERO });
        instance.link.tell(InstanceEvent::HookStarted);
        self.progress.hook_under_way.store(true, Ordering::Release);
        let result = call_hook(accessor, func, shape, &notice).await?;
        self.progress.hook_under_way.store(false, Ordering::Release);
        self.progress.hook_failed.store(result.is_err(), Ordering::Release);
        let result = result.map_or_else(HookResult::Error, |()| HookResult::Ok);
        instance.link.tell(InstanceEvent::HookEnded(result));
        Ok(())
    }
}

/// Has the guest handle one request or connection. Returns when its call has returned; the answer goes its own way.
async fn handle(
    accessor: &Accessor<State>,
    handler: &Handler,
    job: Job,
    instance: &InstanceHandle,
) -> wasmtime::Result<()> {
    let Job { work, claim, .. } = job;
    match (work, handler) {
        (Work::Request(request, reply), Handler::Http(proxy)) => {
            let prepared = accessor.with(|mut store| {
                Prepared::new(store.as_context_mut(), proxy, request, State::http, reply)
            })?;
            prepared.run(accessor, pending()).await?;
        }
        (Work::Connection(talk), Handler::Tcp(func)) => {
            Box::pin(handler::converse(accessor, func, talk, claim.clone())).await?;
        }
        // Whoever hands it in has looked at the kind. Its client sees that nobody answers.
        (Work::Request(..), Handler::Tcp(_)) | (Work::Connection(_), Handler::Http(_)) => {}
    }
    instance.call_ended();
    drop(claim);
    Ok(())
}
