//! One OS thread of a component: it runs the instances of one slot, one after the other (those of another generation
//! beside them), and the connections that it is handed. Invariant: whatever happens on the thread, the conductor hears
//! of the end of each instance, and `lanes` of the thread's. What ends it is the order to, when its instances and its
//! connections have ended.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::bell::Bell;
use super::connection::{self, Accepted};
use super::driver::{Birth, End, live};
use super::instance::{Instance, Why};
use super::lanes::{Lanes, Seat};
use super::pool::Pool;
use crate::fail_point;
use crate::plan::ComponentPlan;
use crate::runtime::{Failure, Loaded, Notice, NoticeCause, Outbound, Runtime, Stdio};
use crate::server::thread::{InstanceRuntime, STACK_BYTES};
use crate::teardown::Outcome;
use crate::text::units::format_duration;

/// What a lane is told to do.
pub enum LaneOrder {
    /// Start an instance.
    Start(Box<Start>),
    /// Serve a connection.
    Connection(Accepted, Seat),
}

/// An instance that is to be started.
pub struct Start {
    /// What it has in common with all of its component.
    pub parts: Arc<InstanceParts>,
    /// What is known of it outside.
    pub instance: Arc<Instance>,
    /// Its streams.
    pub stdio: Stdio,
    /// What is done with them when it has ended.
    pub finish: Box<dyn FnOnce() + Send>,
    /// Who hears of its end.
    pub tell: UnboundedSender<LaneEvent>,
}

/// What a lane tells.
#[derive(Debug)]
pub enum LaneEvent {
    /// The instance of this slot takes requests.
    Up(usize),
    /// The instance of this slot has ended.
    Ended(usize, Arc<Instance>, End),
    /// The lane of this slot has died of a bug.
    Died(usize),
}

/// A lane as others hold it. Dropping all of them is the order to end.
#[derive(Clone, Debug)]
pub struct Lane {
    orders: UnboundedSender<LaneOrder>,
    /// How many connections it serves.
    pub connections: Arc<AtomicUsize>,
}

impl Lane {
    /// Gives an order. False: the lane has ended.
    pub fn order(&self, order: LaneOrder) -> bool {
        self.orders.send(order).is_ok()
    }
}

impl std::fmt::Debug for InstanceParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceParts").field("component", &self.plan.name).finish_non_exhaustive()
    }
}

/// What all instances of one generation have in common.
pub struct InstanceParts {
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

/// Starts a lane of a component of this name.
///
/// # Errors
/// When the system gives no thread, or no descriptors for one.
pub fn spawn(slot: usize, name: &str, lanes: Weak<Lanes>) -> std::io::Result<Lane> {
    let runtime = InstanceRuntime::new()?;
    let (orders, receiver) = tokio::sync::mpsc::unbounded_channel();
    let name: String = name.chars().take(15).collect();
    std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || {
        let mut gone = Gone { slot, lanes, leaked: None };
        gone.leaked = Some(run(runtime, follow(slot, receiver)));
    })?;
    Ok(Lane { orders, connections: Arc::default() })
}

/// Tells of the lane's end, also when it panics.
struct Gone {
    slot: usize,
    lanes: Weak<Lanes>,
    leaked: Option<bool>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let (leaked, died) = (self.leaked.unwrap_or(false), self.leaked.is_none());
        // Without anybody who holds the lanes nobody wants to know.
        if let Some(lanes) = self.lanes.upgrade() {
            lanes.thread_gone(self.slot, leaked, died);
        }
    }
}

/// Returns whether something was left behind.
fn run(runtime: InstanceRuntime, work: impl Future<Output = ()>) -> bool {
    fail_point::reach("lane");
    runtime.block_on(work);
    runtime.shut_down()
}

async fn follow(slot: usize, mut orders: UnboundedReceiver<LaneOrder>) {
    let outbound = Outbound::default();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(LaneOrder::Start(start)) => {
                    tasks.spawn(start_instance(slot, *start, outbound.clone()));
                }
                Some(LaneOrder::Connection(accepted, seat)) => {
                    tasks.spawn(connection::serve(accepted, slot, seat));
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

async fn start_instance(slot: usize, start: Start, outbound: Outbound) {
    let Start { parts, instance, stdio, finish, tell } = start;
    let birth = Birth {
        runtime: parts.runtime.clone(),
        loaded: parts.loaded.clone(),
        plan: parts.plan.clone(),
        pool: parts.pool.clone(),
        instance: instance.clone(),
        outbound,
        grace: parts.grace,
    };
    let end = run_instance(&birth, stdio).await;
    drop(birth);
    finish();
    // A conductor that is gone wants to know nothing more.
    let _unheard = tell.send(LaneEvent::Ended(slot, instance, end));
}

/// A panic on the lane is a bug of the host, and ends the lane.
fn resume(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// Runs one instance to its end, or until it is cut off: on an order, or when it overruns a bound of its own.
async fn run_instance(birth: &Birth, stdio: Stdio) -> End {
    let Birth { instance, pool, .. } = birth;
    let mut life = Box::pin(live(birth, stdio));
    let outcome = {
        let mut bell = Bell::default();
        let turns = poll_fn(|context| {
            let turn = |context: &mut Context<'_>| {
                instance.turn.begin();
                let poll = life.as_mut().poll(context);
                instance.turn.end();
                poll
            };
            let (poll, waits) = bell.poll(context, turn, || instance.turn.spins());
            instance.turn.set_waits(waits);
            match poll {
                Poll::Pending if instance.turn.spins() => pool.set_spinning(instance, true),
                Poll::Pending => pool.settle(instance),
                Poll::Ready(_) => {}
            }
            poll
        });
        let bounds = pin!(own_bounds(birth));
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
                Some(Overrun::Start(failure)) => End { outcome: Outcome::Failed, failure: Some(failure) },
                Some(Overrun::End) | None => End { outcome: Outcome::CutOff, failure: None },
            }
        }
    }
}

enum Overrun {
    Start(Failure),
    End,
}

/// Returns when an instance has overrun its start, or its end where that is not its component's. Ends those that
/// are idle and not needed, and tells those that end alone why: their own loop can be held up by their guest.
async fn own_bounds(birth: &Birth) -> Overrun {
    let Birth { instance, plan, grace, .. } = birth;
    if tokio::time::timeout(plan.start_timeout, instance.opened()).await.is_err() {
        let limit = format_duration(plan.start_timeout);
        let summary = format!("could not be started: it overran its start-timeout of {limit}");
        return Overrun::Start(Failure { summary, backtrace: None, exit_code: None });
    }
    let why = tokio::select! {
        biased;
        why = instance.closed() => why,
        () = instance.idle(plan.http.instances.idle) => instance.closed().await,
    };
    if why == Why::Stop {
        // Its component's deadline holds.
        std::future::pending::<()>().await;
    }
    let deadline = birth.runtime.clock().now().saturating_add(*grace);
    instance
        .link
        .orders
        .ask(Notice { cause: NoticeCause::Request(why.word().to_owned()), grace: *grace }, deadline);
    instance.wake();
    tokio::time::sleep(*grace).await;
    Overrun::End
}
