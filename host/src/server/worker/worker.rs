//! One OS thread of a component: it runs the instances of one slot, one after the other (those of another generation
//! beside them), and the connections that it is handed. Invariant: whatever happens on the thread, the controller hears
//! of the end of each instance, and `workers` of the thread's. What ends it is the order to, when its instances and its
//! connections have ended.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::waker::InstanceWaker;
use super::workers::{ConnectionSlot, Workers};
use crate::fail_point;
use crate::plan::ComponentPlan;
use crate::runtime::{Failure, Loaded, Notice, NoticeCause, Outbound, Runtime, Stdio};
use crate::server::instance::handle::{CloseReason, InstanceHandle};
use crate::server::instance::handler::HandlerIndex;
use crate::server::instance::handler_loop::HandlerLoop;
use crate::server::instance::lifecycle::{InstanceEnd, InstanceSpec, live};
use crate::server::instance::runtime::{InstanceRuntime, STACK_BYTES};
use crate::server::pool::pool::Pool;
use crate::teardown::Outcome;
use crate::text::units::format_duration;

/// An order to a worker.
pub(crate) enum WorkerOrder {
    /// Start an instance.
    InstanceStart(Box<InstanceStart>),
    /// Serve a connection.
    Connection(ConnectionTask, ConnectionSlot),
}

/// A connection that is to be served: on the worker of this slot, with its place there.
pub(crate) type ConnectionTask =
    Box<dyn FnOnce(usize, ConnectionSlot) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// An instance that is to be started.
pub(crate) struct InstanceStart {
    /// The common parts of its generation's instances.
    pub(crate) parts: Arc<SharedParts>,
    /// Its handle.
    pub(crate) instance: Arc<InstanceHandle>,
    /// Its streams.
    pub(crate) stdio: Stdio,
    /// Ends its streams.
    pub(crate) finish: Box<dyn FnOnce() + Send>,
    /// The channel for its end.
    pub(crate) tell: UnboundedSender<WorkerEvent>,
}

/// An event on a worker.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// The instance of this slot takes requests.
    Up(usize),
    /// The instance of this slot has ended.
    Ended(usize, Arc<InstanceHandle>, InstanceEnd),
    /// The worker of this slot has died of a bug.
    Died(usize),
}

/// A worker as others hold it. Dropping all of them is the order to end.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    orders: UnboundedSender<WorkerOrder>,
    /// The number of its connections.
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Worker {
    /// Gives an order. False: the worker has ended.
    pub(crate) fn order(&self, order: WorkerOrder) -> bool {
        self.orders.send(order).is_ok()
    }
}

impl std::fmt::Debug for SharedParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceParts").field("component", &self.plan.name).finish_non_exhaustive()
    }
}

/// The common parts of all instances of one generation.
pub(crate) struct SharedParts {
    /// The engine and what belongs to it.
    pub(crate) runtime: Runtime,
    /// The component.
    pub(crate) loaded: Arc<Loaded>,
    /// Its plan.
    pub(crate) plan: Arc<ComponentPlan>,
    /// Its requests.
    pub(crate) pool: Arc<Pool>,
    /// The index of its handler.
    pub(crate) handler: HandlerIndex,
    /// Longest time for an instance that ends alone.
    pub(crate) grace: Duration,
}

/// Starts a worker of a component of this name.
///
/// # Errors
/// When the system gives no thread, or no descriptors for one.
pub(crate) fn spawn(slot: usize, name: &str, workers: Weak<Workers>) -> std::io::Result<Worker> {
    let runtime = InstanceRuntime::new()?;
    let (orders, receiver) = tokio::sync::mpsc::unbounded_channel();
    let name: String = name.chars().take(15).collect();
    std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || {
        let mut gone = Gone { slot, workers, leaked: None };
        gone.leaked = Some(run(runtime, follow(slot, receiver)));
    })?;
    Ok(Worker { orders, connections: Arc::default() })
}

/// Tells of the worker's end, also when it panics.
struct Gone {
    slot: usize,
    workers: Weak<Workers>,
    leaked: Option<bool>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let (leaked, died) = (self.leaked.unwrap_or(false), self.leaked.is_none());
        // If no one holds the workers any more, the end has no listener.
        if let Some(workers) = self.workers.upgrade() {
            workers.thread_gone(self.slot, leaked, died);
        }
    }
}

/// Returns whether something was left behind.
fn run(runtime: InstanceRuntime, work: impl Future<Output = ()>) -> bool {
    fail_point::reach("lane");
    runtime.block_on(work);
    runtime.shut_down()
}

async fn follow(slot: usize, mut orders: UnboundedReceiver<WorkerOrder>) {
    let outbound = Outbound::default();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(WorkerOrder::InstanceStart(start)) => {
                    tasks.spawn(start_instance(slot, *start, outbound.clone()));
                }
                Some(WorkerOrder::Connection(serve, place)) => {
                    tasks.spawn(serve(slot, place));
                }
                None => break,
            },
            Some(done) = tasks.join_next() => resume(done),
        }
    }
    while let Some(done) = tasks.join_next().await {
        resume(done);
    }
}

async fn start_instance(slot: usize, start: InstanceStart, outbound: Outbound) {
    let InstanceStart { parts, instance, stdio, finish, tell } = start;
    let spec = InstanceSpec {
        runtime: parts.runtime.clone(),
        loaded: parts.loaded.clone(),
        plan: parts.plan.clone(),
        link: instance.link.clone(),
        outbound,
        run: None,
    };
    let (instance, pool, handler) = (instance, parts.pool.clone(), parts.handler.clone());
    let work = HandlerLoop { instance: instance.clone(), pool, handler };
    let end = run_instance(&spec, &work, parts.grace, stdio).await;
    drop((spec, work));
    finish();
    // A controller that is gone wants to know nothing more.
    let _unheard = tell.send(WorkerEvent::Ended(slot, instance, end));
}

/// A panic on the worker is a bug of the host, and ends the worker.
fn resume(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// Runs one instance to its end, or until it is cut off: on an order, or when it overruns a bound of its own.
async fn run_instance(spec: &InstanceSpec, work: &HandlerLoop, grace: Duration, stdio: Stdio) -> InstanceEnd {
    let HandlerLoop { instance, pool, .. } = work;
    let mut life = Box::pin(live(spec, stdio, work));
    let outcome = {
        let mut waker = InstanceWaker::default();
        let turns = poll_fn(|context| {
            let turn = |context: &mut Context<'_>| {
                instance.turn.begin();
                let poll = life.as_mut().poll(context);
                instance.turn.end();
                poll
            };
            let (poll, waits) = waker.poll(context, turn, || instance.turn.spins());
            instance.turn.set_waits(waits);
            match poll {
                Poll::Pending if instance.turn.spins() => pool.set_spinning(instance, true),
                Poll::Pending => pool.settle(instance),
                Poll::Ready(_) => {}
            }
            poll
        });
        let bounds = pin!(own_bounds(spec, instance, grace));
        tokio::select! {
            biased;
            // A guest makes thousands of calls in one poll; tokio's budget of 128 would make its ready sockets
            // look idle, and a guest that polls them would spin.
            end = tokio::task::unconstrained(turns) => Ok(end),
            () = instance.link.orders.must_drop() => Err(None),
            overrun = bounds => Err(Some(overrun)),
        }
    };
    match outcome {
        Ok(end) => end,
        Err(overrun) => {
            instance.link.orders.cut();
            instance.die();
            drop(life);
            match overrun {
                Some(Overrun::InstanceStart(failure)) => InstanceEnd::failed(failure),
                Some(Overrun::End) | None => InstanceEnd::of(Outcome::CutOff),
            }
        }
    }
}

enum Overrun {
    InstanceStart(Failure),
    End,
}

/// Returns when an instance has overrun its start, or its end where that is not its component's. Ends those that
/// are idle and not needed, and tells those that end alone why: their own loop can be held up by their guest.
async fn own_bounds(spec: &InstanceSpec, instance: &InstanceHandle, grace: Duration) -> Overrun {
    let plan = &spec.plan;
    if tokio::time::timeout(plan.start_timeout, instance.opened()).await.is_err() {
        let limit = format_duration(plan.start_timeout);
        let summary = format!("could not be started: it overran its start-timeout of {limit}");
        return Overrun::InstanceStart(Failure { summary, backtrace: None, exit_code: None });
    }
    let why = tokio::select! {
        biased;
        why = instance.closed() => why,
        () = instance.idle(plan.http.instances.idle) => instance.closed().await,
    };
    if why == CloseReason::Stop {
        // Its component's deadline holds.
        std::future::pending::<()>().await;
    }
    let deadline = spec.runtime.clock().now().saturating_add(grace);
    instance.link.orders.ask(Notice { cause: NoticeCause::Request(why.word().to_owned()), grace }, deadline);
    instance.wake();
    tokio::time::sleep(grace).await;
    Overrun::End
}
