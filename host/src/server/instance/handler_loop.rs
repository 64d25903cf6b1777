//! The work of kinds `http` and `tcp` in one instance: requests or connections go in, side by side as far as the component
//! allows; the hook is called once when the instance ends.
//!
//! Invariant: in a sync component the hook is never called before its last call has returned.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{FuturesUnordered, StreamExt};
use wasmtime::component::{Accessor, Instance};
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::Prepared;

use super::handle::{CloseReason, InstanceHandle};
use super::handler::{Handler, HandlerIndex};
use super::lifecycle::{KindWork, Lifecycle};
use crate::plan::HookTiming;
use crate::runtime::{Fairness, Loaded, State};
use crate::server::pool::job::{Job, Work};
use crate::server::pool::pool::Pool;
use crate::server::tcp::handler::converse;

/// The work of one instance whose requests or connections come from a pool.
pub(crate) struct HandlerLoop {
    /// The instance's handle.
    pub(crate) instance: Arc<InstanceHandle>,
    /// Where its work comes from.
    pub(crate) pool: Arc<Pool>,
    /// Where its handler is.
    pub(crate) handler: HandlerIndex,
}

impl KindWork for HandlerLoop {
    type Export = Handler;

    const FRAMES: &'static str = "wasi:http/";

    fn export(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        _loaded: &Loaded,
    ) -> wasmtime::Result<Handler> {
        self.handler.load(store, instance)
    }

    fn fairness(&self) -> Option<Fairness> {
        let slice = self.instance.turn.clone();
        Some(Box::new(move || slice.must_yield()))
    }

    fn opens(&self) {
        self.pool.opened(&self.instance);
    }

    /// From here on an answer that just ends was cut short.
    fn closes(&self) {
        self.instance.die();
    }

    async fn work(
        &self,
        accessor: &Accessor<State>,
        handler: Handler,
        life: &Lifecycle<'_>,
    ) -> wasmtime::Result<()> {
        self.drive(accessor, &handler, life).await
    }
}

type HookCall<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>>;

/// Progress of the hook.
enum Hook<'a> {
    Due,
    Called(HookCall<'a>),
    Done,
}

impl HandlerLoop {
    async fn drive<'b>(
        &'b self,
        accessor: &'b Accessor<State>,
        handler: &'b Handler,
        life: &'b Lifecycle<'_>,
    ) -> wasmtime::Result<()> {
        let func = handler.func();
        let mut calls = FuturesUnordered::new();
        let mut hook = Hook::Due;
        let (is_async, at_start) = (life.is_async(), life.timing() == HookTiming::AtStart);
        let Self { instance, pool, .. } = self;
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
            self.close_in_time(is_async);
            if !instance.is_closing() {
                if is_async
                    && at_start
                    && instance.link.orders.is_asked()
                    && let Poll::Ready(Err(error)) = Self::poll_hook(context, accessor, life, &mut hook, true)
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
            let may_call = quiet || (is_async && pool.hooks_are_due());
            std::task::ready!(Self::poll_hook(context, accessor, life, &mut hook, may_call))?;
            // Requests whose clients have left hold nobody up; work behind answers that were given does.
            let left_behind = is_async && instance.in_flight() > 0;
            if !quiet || !(left_behind || accessor.poll_no_interesting_tasks(context).is_ready()) {
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Takes no more requests once the component stops and none can come any more, or its hook is due anyway.
    fn close_in_time(&self, is_async: bool) {
        let Self { instance, pool, .. } = self;
        if instance.is_closing() || !instance.link.orders.is_asked() {
            return;
        }
        let drained = pool.is_drained() && instance.live() == 0;
        if drained || (is_async && pool.hooks_are_due()) {
            pool.close(instance, CloseReason::Stop);
        }
    }

    /// Calls the hook when it may be called. Ready when it has returned, or there is none.
    fn poll_hook<'b>(
        context: &mut Context<'_>,
        accessor: &'b Accessor<State>,
        life: &'b Lifecycle<'_>,
        hook: &mut Hook<'b>,
        may_call: bool,
    ) -> Poll<wasmtime::Result<()>> {
        loop {
            match (&mut *hook, life.hook()) {
                (Hook::Done, _) | (Hook::Due, None) => return Poll::Ready(Ok(())),
                (Hook::Due, Some(_)) if !may_call => return Poll::Pending,
                (Hook::Due, Some(func)) => {
                    if accessor.poll_ready_for_concurrent_call(func, context).is_pending() {
                        return Poll::Pending;
                    }
                    *hook = Hook::Called(Box::pin(life.call_hook(accessor)));
                }
                (Hook::Called(call), _) => {
                    let result = std::task::ready!(call.as_mut().poll(context));
                    *hook = Hook::Done;
                    return Poll::Ready(result);
                }
            }
        }
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
            Box::pin(converse(accessor, func, talk, claim.clone())).await?;
        }
        // The submitter has looked at the kind. Its client would see a missing answer.
        (Work::Request(..), Handler::Tcp(_)) | (Work::Connection(_), Handler::Http(_)) => {}
    }
    instance.call_ended();
    drop(claim);
    Ok(())
}
