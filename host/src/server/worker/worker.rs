//! One OS thread of a component: it runs the instances of one slot, one after the other (those of another generation
//! beside them), and the connections that it is handed. Invariant: whatever happens on the thread, the controller hears
//! of the end of each instance, and `workers` of the thread's. What ends it is the order to, when its instances and its
//! connections have ended.

use std::future::{Future, poll_fn};
use std::pin::pin;
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
use crate::server::address::acceptor::Accepted;
use crate::server::http::connection;
use crate::server::instance::handle::{CloseReason, InstanceHandle};
use crate::server::instance::handler_loop::{InstanceEnd, InstanceSpec, live};
use crate::server::pool::pool::Pool;
use crate::server::service::thread::{InstanceRuntime, STACK_BYTES};
use crate::teardown::Outcome;
use crate::text::units::format_duration;

/// What a worker is told to do.
pub enum WorkerOrder {
    /// Start an instance.
    InstanceStart(Box<InstanceStart>),
    /// Serve a connection.
    Connection(Accepted, ConnectionSlot),
}

/// An instance that is to be started.
pub struct InstanceStart {
    /// What it has in common with all of its component.
    pub parts: Arc<SharedParts>,
    /// What is known of it outside.
    pub instance: Arc<InstanceHandle>,
    /// Its streams.
    pub stdio: Stdio,
    /// What is done with them when it has ended.
    pub finish: Box<dyn FnOnce() + Send>,
    /// Who hears of its end.
    pub tell: UnboundedSender<WorkerEvent>,
}

/// What a worker tells.
#[derive(Debug)]
pub enum WorkerEvent {
    /// The instance of this slot takes requests.
    Up(usize),
    /// The instance of this slot has ended.
    Ended(usize, Arc<InstanceHandle>, InstanceEnd),
    /// The worker of this slot has died of a bug.
    Died(usize),
}

/// A worker as others hold it. Dropping all of them is the order to end.
#[derive(Clone, Debug)]
pub struct Worker {
    orders: UnboundedSender<WorkerOrder>,
    /// How many connections it serves.
    pub connections: Arc<AtomicUsize>,
}

impl Worker {
    /// Gives an order. False: the worker has ended.
    pub fn order(&self, order: WorkerOrder) -> bool {
        self.orders.send(order).is_ok()
    }
}

impl std::fmt::Debug for SharedParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceParts").field("component", &self.plan.name).finish_non_exhaustive()
    }
}

/// What all instances of one generation have in common.
pub struct SharedParts {
    /// The engine and what belongs to it.
    pub runtime: Runtime,
    /// The component.
    pub loaded: Arc<Loaded>,
    /// What it is granted.
    pub plan: Arc<ComponentPlan>,
    /// Its requests.
    pub pool: Arc<Pool>,
    /// Longest time for an instance that ends alone.
    pub grace: Duration,
}

/// Starts a worker of a component of this name.
///
/// # Errors
/// When the system gives no thread, or no descriptors for one.
pub fn spawn(slot: usize, name: &str, workers: Weak<Workers>) -> std::io::Result<Worker> {
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
        // Without anybody who holds the workers nobody wants to know.
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
                Some(WorkerOrder::Connection(accepted, place)) => {
                    tasks.spawn(connection::serve(accepted, slot, place));
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
        pool: parts.pool.clone(),
        instance: instance.clone(),
        outbound,
        grace: parts.grace,
    };
    let end = run_instance(&spec, stdio).await;
    drop(spec);
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
async fn run_instance(spec: &InstanceSpec, stdio: Stdio) -> InstanceEnd {
    let InstanceSpec { instance, pool, .. } = spec;
    let mut life = Box::pin(live(spec, stdio));
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
        let bounds = pin!(own_bounds(spec));
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
                Some(Overrun::InstanceStart(failure)) => {
                    InstanceEnd { outcome: Outcome::Failed, failure: Some(failure) }
                }
                Some(Overrun::End) | None => InstanceEnd { outcome: Outcome::CutOff, failure: None },
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
async fn own_bounds(spec: &InstanceSpec) -> Overrun {
    let InstanceSpec { instance, plan, grace, .. } = spec;
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
    let deadline = spec.runtime.clock().now().saturating_add(*grace);
    instance
        .link
        .orders
        .ask(Notice { cause: NoticeCause::Request(why.word().to_owned()), grace: *grace }, deadline);
    instance.wake();
    tokio::time::sleep(*grace).await;
    Overrun::End
}
