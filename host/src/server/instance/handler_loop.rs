//! One pooled instance of kinds `http` and `tcp`: requests or connections go in, side by side as far as the component allows;
//! the hook is called once when the instance ends.
//!
//! Invariant: in a sync component the hook is never called before its last call has returned.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use wasmtime::component::{
    Accessor, ComponentExportIndex, Func, Instance, InstancePre, StreamReader, TypedFunc,
};
use wasmtime::{AsContextMut, Result, Store};
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::{p2, p3};

use super::fresh::{FreshInstances, FreshSlot};
use super::handle::{CloseReason, InstanceHandle};
use super::lifecycle::{InstanceEnd, InstanceSpec, KindWork, Lifecycle, live};
use crate::plan::HookTiming;
use crate::runtime::{
    AtEpoch, Failure, Interruption, Loaded, MakeStdio, NearlyFull, Notice, NoticeCause, Outbound, State, look,
};
use crate::server::http::call::{Answered, call};
use crate::server::pool::{Job, Pool, Work};
use crate::server::tcp::handler::converse;
use crate::server::worker::InstanceWaker;
use crate::teardown::Outcome;
use crate::text::units::format_duration;

/// The handler of a TCP connection: its client's address and its bytes go in, the bytes for the client come out.
pub(crate) type TcpFunc = TypedFunc<(String, StreamReader<u8>), (StreamReader<u8>,)>;

pub(crate) enum Handler {
    Http(Proxy),
    Tcp(TcpFunc),
}

impl Handler {
    /// Returns the function, which may not be ready for a call.
    fn func(&self) -> Func {
        match self {
            Self::Http(Proxy::P3(guest)) => *guest.wasi_http_handler().func_handle().func(),
            Self::Http(Proxy::P2(guest)) => *guest.wasi_http_incoming_handler().func_handle().func(),
            Self::Tcp(func) => *func.func(),
        }
    }
}

/// The place of a component's handler in its instances.
#[derive(Clone)]
pub(crate) enum HandlerIndex {
    P2(p2::bindings::ProxyIndices),
    P3(p3::bindings::ServiceIndices),
    Tcp(ComponentExportIndex),
}

opaque_debug!(HandlerIndex);

impl HandlerIndex {
    /// Finds the handler of requests.
    ///
    /// # Errors
    /// When it has another type than the published one.
    pub(crate) fn http(pre: &InstancePre<State>, version: &str) -> Result<Self> {
        match version.starts_with("0.3.") {
            true => p3::bindings::ServiceIndices::new(pre).map(Self::P3),
            false => p2::bindings::ProxyIndices::new(pre).map(Self::P2),
        }
    }
}

/// The work of one instance whose requests or connections come from a pool.
pub(crate) struct HandlerLoop {
    pub(crate) instance: Arc<InstanceHandle>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) handler: HandlerIndex,
    pub(crate) fresh: Arc<FreshInstances>,
}

impl KindWork for HandlerLoop {
    type Export = Handler;

    const FRAMES: &'static str = "wasi:http/";

    fn export(&self, store: &mut Store<State>, instance: &Instance, _loaded: &Loaded) -> Result<Handler> {
        Ok(match &self.handler {
            HandlerIndex::P2(indices) => Handler::Http(Proxy::P2(indices.load(&mut *store, instance)?)),
            HandlerIndex::P3(indices) => Handler::Http(Proxy::P3(indices.load(&mut *store, instance)?)),
            HandlerIndex::Tcp(index) => Handler::Tcp(instance.get_typed_func(&mut *store, index)?),
        })
    }

    fn at_epoch(&self) -> Option<AtEpoch> {
        let slice = self.instance.turn.clone();
        Some(Box::new(move || if slice.must_yield() { Interruption::Yield } else { Interruption::None }))
    }

    fn opens(&self) {
        self.pool.opened(&self.instance);
    }

    fn closes(&self) {
        self.instance.die();
    }

    async fn work(&self, accessor: &Accessor<State>, handler: Handler, life: &Lifecycle<'_>) -> Result<()> {
        let (func, handler) = (handler.func(), &handler);
        let mut calls = FuturesUnordered::new();
        let mut hook = Hook::Due;
        let Loaded { run, timing, .. } = &*life.spec.loaded;
        let (is_async, at_start) = (run.is_async, *timing == HookTiming::AtStart);
        let Self { instance, pool, .. } = self;
        poll_fn(|context| {
            instance.register(context.waker());
            if instance.turn.came_back() {
                pool.set_spinning(instance, false);
            }
            loop {
                if let Poll::Ready(Some(())) = calls.poll_next_unpin(context)? {
                    continue;
                }
                if instance.is_closing()
                    || accessor.poll_ready_for_concurrent_call(func, context).is_pending()
                {
                    break;
                }
                let Some(job) = pool.take(instance) else { break };
                calls.push(self.handle(accessor, handler, job, life));
            }
            self.close_in_time(is_async);
            if !instance.is_closing() {
                if is_async && at_start && instance.link.orders.is_asked() {
                    let _called: Poll<()> = Self::poll_hook(context, accessor, life, &mut hook, true)?;
                }
                return Poll::Pending;
            }
            if !instance.link.orders.is_asked() {
                // The notice comes first: it is on its way.
                return Poll::Pending;
            }
            let quiet = instance.is_quiet();
            let may_call = quiet || (is_async && pool.hooks_are_due());
            ready!(Self::poll_hook(context, accessor, life, &mut hook, may_call))?;
            // A request whose client has left delays no end. Work behind a given answer does.
            let left_behind = is_async && instance.in_flight() > 0;
            if !quiet || !(left_behind || accessor.poll_no_interesting_tasks(context).is_ready()) {
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

enum Hook<'a> {
    Due,
    Called(BoxFuture<'a, Result<()>>),
    Done,
}

impl HandlerLoop {
    /// Has the guest handle one request or connection. Returns when its call has returned; the answer goes its own way.
    async fn handle(
        &self,
        accessor: &Accessor<State>,
        handler: &Handler,
        job: Job,
        life: &Lifecycle<'_>,
    ) -> Result<()> {
        let Self { instance, pool, .. } = self;
        let Job { work, claim, .. } = job;
        match (work, handler) {
            (Work::Request(request, reply), Handler::Http(proxy)) => {
                let answered =
                    call(accessor, proxy, request, reply, &instance.answers, instance.taken()).await?;
                if answered == Answered::Badly {
                    pool.close(instance, CloseReason::BadAnswer);
                }
            }
            (Work::Connection(talk), Handler::Tcp(func)) => {
                Box::pin(converse(accessor, func, talk, claim.clone())).await?;
            }
            // The submitter has looked at the kind. Its client would see a missing answer.
            (Work::Request(..), Handler::Tcp(_)) | (Work::Connection(_), Handler::Http(_)) => {}
        }
        if !instance.is_closing()
            && let Some(full) = accessor.with(|mut store| look(store.as_context_mut()))
        {
            let (component, instance) = (&life.spec.plan.name, instance.number);
            let NearlyFull { what, used, limit, per_call } = full;
            tracing::warn!(
                component,
                instance,
                what,
                used,
                limit,
                per_call,
                "instance is nearly full: it is replaced"
            );
            pool.close(&self.instance, CloseReason::Full);
        }
        instance.call_ended();
        drop(claim);
        Ok(())
    }

    /// Takes no more requests once the component stops and none can come any more, or its hook is due anyway.
    pub(super) fn close_in_time(&self, is_async: bool) {
        let Self { instance, pool, .. } = self;
        if instance.is_closing() || !instance.link.orders.is_asked() {
            return;
        }
        let drained = pool.intake_is_over() && !pool.has_waiting() && instance.live() == 0;
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
    ) -> Poll<Result<()>> {
        if let (Hook::Due, Some(func)) = (&*hook, life.hook()) {
            if !may_call || accessor.poll_ready_for_concurrent_call(func, context).is_pending() {
                return Poll::Pending;
            }
            *hook = Hook::Called(Box::pin(life.call_hook(accessor)));
        }
        let Hook::Called(call) = hook else { return Poll::Ready(Ok(())) };
        let result = ready!(call.as_mut().poll(context));
        *hook = Hook::Done;
        Poll::Ready(result)
    }
}

/// Runs one instance, or one slot of fresh instances, to its end, or until it is cut off: on an order, or when it overruns a bound of
/// its own. `failed` hears of fresh instances that fail.
pub(crate) async fn run_instance(
    spec: InstanceSpec,
    work: HandlerLoop,
    grace: Duration,
    make_stdio: MakeStdio,
    outbound: Outbound,
    failed: &(dyn Fn(Failure) + Send + Sync),
) -> InstanceEnd {
    let HandlerLoop { instance, pool, .. } = &work;
    let mut life: BoxFuture<'_, InstanceEnd> = match instance.is_fresh {
        true => {
            let slot = FreshSlot { spec: &spec, work: &work, make_stdio: &make_stdio, outbound, failed };
            Box::pin(async move { slot.serve().await })
        }
        false => {
            let (stdio, finish) = make_stdio();
            let life = live(&spec, stdio, outbound, &work);
            Box::pin(life.inspect(|_| finish()))
        }
    };
    let mut waker = InstanceWaker::default();
    let turns = poll_fn(|context| {
        let turn = |context: &mut Context<'_>| instance.turn.run(|| life.as_mut().poll(context));
        let (poll, waits) = waker.poll(context, turn, || instance.turn.spins());
        instance.turn.set_waits(waits);
        match poll {
            Poll::Pending if instance.turn.spins() => pool.set_spinning(instance, true),
            Poll::Pending => pool.settle(instance),
            Poll::Ready(_) => {}
        }
        poll
    });
    let cut = tokio::select! {
        biased;
        // A guest makes thousands of calls in one poll; tokio's budget of 128 would make its ready sockets
        // look idle, and a guest that polls them would spin.
        end = tokio::task::unconstrained(turns) => return end,
        () = instance.link.orders.must_drop() => Ok(Outcome::CutOff),
        overrun = own_bounds(&spec, instance, pool, grace) => overrun,
    };
    instance.link.orders.cut();
    instance.die();
    drop(life);
    cut
}

/// Returns when an instance has overrun its start, or its end where that is not its component's. Closes an instance that
/// is idle and not needed. Tells an instance that ends alone why: its own loop can be held up by its guest.
async fn own_bounds(
    spec: &InstanceSpec,
    instance: &InstanceHandle,
    pool: &Pool,
    grace: Duration,
) -> InstanceEnd {
    let plan = &spec.plan;
    if tokio::time::timeout(plan.start_timeout, instance.opened.wait()).await.is_err() {
        let limit = format_duration(plan.start_timeout);
        let summary = format!("could not be started: it overran its start-timeout of {limit}");
        return Err(Failure { summary, ..Failure::default() });
    }
    let why = tokio::select! {
        biased;
        why = instance.closed() => why,
        () = instance.idle(plan.http.instances.idle) => instance.closed().await,
    };
    if why == CloseReason::Stop {
        // Its component's deadline holds.
        pending::<()>().await;
    }
    let deadline = || spec.runtime.clock().now().saturating_add(grace);
    let notice = Notice { cause: NoticeCause::Request(why.word().to_owned()), grace };
    instance.link.orders.ask(notice, deadline());
    instance.wake();
    // One request that does not end takes no other with it, as long as the component serves.
    tokio::select! {
        () = instance.still(grace, || instance.link.orders.set_deadline(deadline())) => {}
        () = pool.starved(grace) => {}
    }
    Ok(Outcome::CutOff)
}
