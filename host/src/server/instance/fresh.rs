//! One slot of kind `http` in which each request has an instance of its own, as on other hosts: a trap, a leak, or a state that
//! one request leaves behind concerns no other.
//!
//! Invariant: an instance handles one request. Its store is dropped when its handler has returned, trapped or overrun its time. The
//! component cannot hear of a stop, so no instance has a hook.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use wasmtime::{AsContextMut, Result, Store};
use wasmtime_wasi_http::handler::Proxy;

use super::answer::{BodyError, OpenAnswers};
use super::failure::{CouldNotStart, could_not_start, guest_failure};
use super::handler_loop::{Handler, HandlerLoop};
use super::lifecycle::{InstanceEnd, InstanceSpec, KindWork};
use crate::runtime::{
    AtEpoch, Failure, Interruption, MakeStdio, Outbound, State, is_shortage, name_limit, new_store,
};
use crate::server::http::call::call;
use crate::server::pool::{Claim, Job, Work};
use crate::teardown::Outcome;
use crate::threads;

/// The parts of a slot that its instances share.
pub(super) struct FreshSlot<'a> {
    pub(super) spec: &'a InstanceSpec,
    pub(super) work: &'a HandlerLoop,
    pub(super) make_stdio: &'a MakeStdio,
    pub(super) outbound: Outbound,
    /// Hears of the failure of an instance.
    pub(super) failed: &'a (dyn Fn(Failure) + Send + Sync),
}

/// The fresh instances of a component, in all its slots. When the machine is short of something, a request waits for one of them to
/// end.
///
/// Invariant: each end wakes one request that waits, and each request that gives up another: none waits when there is no instance.
#[derive(Debug, Default)]
pub(crate) struct FreshInstances {
    count: AtomicUsize,
    ended: Notify,
}

/// One of them. Dropped after its store.
struct Counted(Arc<FreshInstances>);

impl Counted {
    fn new(all: &Arc<FreshInstances>) -> Self {
        all.count.fetch_add(1, SeqCst);
        Self(all.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, SeqCst);
        self.0.ended.notify_one();
    }
}

/// One instance before its request.
struct Instance {
    counted: Counted,
    store: Store<State>,
    proxy: Proxy,
    /// Its request, once it has one.
    claim: Arc<OnceLock<Arc<Claim>>>,
}

/// Ends what an instance has not answered.
struct Seal<'a>(&'a OpenAnswers);

impl Drop for Seal<'_> {
    fn drop(&mut self) {
        self.0.seal(|| BodyError::CutShort);
    }
}

impl FreshSlot<'_> {
    /// Serves the slot to its end. The first instance is made before the first request: a component that cannot start says so at
    /// its start.
    ///
    /// # Cancel safety
    /// Dropping the future drops the stores of all requests.
    pub(super) async fn serve(&self) -> InstanceEnd {
        let orders = &self.spec.link.orders;
        let first = match self.first().await {
            _ if orders.is_abandoned() => return Ok(Outcome::NotStarted),
            Ok(first) => first,
            Err(_) if orders.must_trap() => return Ok(Outcome::CutOff),
            Err(error) => return Err(could_not_start(&error)),
        };
        self.work.opens();
        if self.spec.link.enter() {
            self.handle_all(first).await;
        }
        self.work.closes();
        Ok(if orders.is_abandoned() { Outcome::NotStarted } else { Outcome::Stopped })
    }

    async fn first(&self) -> Result<Instance> {
        if self.spec.loaded.may_block {
            threads::keep_one_for_blocking()?;
        }
        threads::catch_in(self.instantiate()).await?
    }

    async fn handle_all(&self, first: Instance) {
        let HandlerLoop { instance, pool, .. } = self.work;
        let mut spare = Some(first);
        let mut calls = FuturesUnordered::new();
        poll_fn(|context| {
            instance.register(context.waker());
            if instance.turn.came_back() {
                pool.set_spinning(instance, false);
            }
            loop {
                if let Poll::Ready(Some(())) = calls.poll_next_unpin(context) {
                    continue;
                }
                let job = if instance.is_closing() { None } else { pool.take(instance) };
                let Some(job) = job else { break };
                calls.push(Box::pin(self.handle(spare.take(), job)));
            }
            self.work.close_in_time(false);
            match instance.is_closing() && instance.is_quiet() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Has an instance handle a request, and ends it.
    async fn handle(&self, spare: Option<Instance>, job: Job) {
        let Job { work: Work::Request(request, reply), claim, .. } = job else { return };
        let answers = Arc::<OpenAnswers>::default();
        let handled = async {
            let made = match spare {
                Some(spare) => Ok(spare),
                None => self.instantiate_in_turn().await,
            };
            let Instance { counted: _counted, mut store, proxy, claim: its } = match made {
                Ok(made) => made,
                Err(error) if is_shortage(&error) => {
                    // The client can have left.
                    let _left = reply.send(Err(error));
                    return Ok(());
                }
                Err(error) => {
                    let _left = reply.send(Err(CouldNotStart.into()));
                    return Err(Failure { is_start: true, ..could_not_start(&error) });
                }
            };
            // Dropped before the store, whatever ends the call: an answer of a store that is gone looks whole.
            let _seal = Seal(&answers);
            let _first = its.set(claim.clone());
            let called = store
                .run_concurrent(async |accessor| call(accessor, &proxy, request, reply, &answers, 1).await)
                .await;
            let failed = |error| guest_failure(&name_limit(store.as_context_mut(), error));
            called.flatten().map(drop).map_err(failed)
        };
        let result = tokio::select! {
            biased;
            result = threads::catch_in(handled) => {
                result.unwrap_or_else(|no_thread| Err(guest_failure(&no_thread.into())))
            }
            () = claim.must_end() => Ok(()),
        };
        self.work.instance.call_ended();
        let is_over = claim.is_cut() || self.spec.link.orders.must_trap();
        drop(claim);
        if let Err(failure) = result
            && !is_over
        {
            (self.failed)(failure);
        }
    }

    /// Makes an instance. While the machine is too short of something for it, it waits for others to end; an error if there is none.
    async fn instantiate_in_turn(&self) -> Result<Instance> {
        match self.instantiate().await {
            Err(error) if is_shortage(&error) => {}
            made => return made,
        }
        let FreshInstances { count, ended } = &*self.work.fresh;
        loop {
            let mut another = pin!(ended.notified());
            // From here on no end is missed.
            another.as_mut().enable();
            let is_alone = count.load(SeqCst) == 0;
            match self.instantiate().await {
                Err(error) if is_shortage(&error) && !is_alone => another.await,
                made => {
                    if made.is_err() {
                        ended.notify_one();
                    }
                    return made;
                }
            }
        }
    }

    async fn instantiate(&self) -> Result<Instance> {
        let InstanceSpec { runtime, loaded, plan, link, .. } = self.spec;
        // A line without its end goes out when the streams are dropped.
        let (stdio, _) = (self.make_stdio)();
        let slice = self.work.instance.turn.clone();
        let claim: Arc<OnceLock<Arc<Claim>>> = Arc::default();
        let its = claim.clone();
        let at_epoch: AtEpoch = Box::new(move || match its.get() {
            Some(claim) if claim.is_cut() => Interruption::Trap,
            _ if slice.must_yield() => Interruption::Yield,
            _ => Interruption::None,
        });
        let outbound = self.outbound.clone();
        let mut store = new_store(runtime, loaded, plan, stdio, link.clone(), outbound, Some(at_epoch))?;
        let instance = loaded.component()?.0.instantiate_async(&mut store).await?;
        match self.work.export(&mut store, &instance, loaded)? {
            Handler::Http(proxy) => {
                Ok(Instance { counted: Counted::new(&self.work.fresh), store, proxy, claim })
            }
            Handler::Tcp(_) => Err(wasmtime::Error::msg("a handler of connections has no fresh instances")),
        }
    }
}
