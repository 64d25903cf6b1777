//! One generation of a component of kind `http` or `tcp` as its addresses, its requests and its controller share it.
//!
//! Invariant: who wants to know that something changed waits for its bell, which never rings unheard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::state::GenerationState;
use super::stats::Stats;
use crate::plan::{ComponentPlan, Resolved};
use crate::runtime::{Kind, Loaded};
use crate::server::pool::pool::{Pool, PoolLimits};
use crate::server::worker::worker::WorkerEvent;
use crate::server::worker::workers::Workers;
use crate::teardown::GenerationId;

/// See the module's documentation.
#[derive(Debug)]
pub struct Generation {
    /// Which generation it is.
    pub id: GenerationId,
    /// What it is granted.
    pub plan: Arc<ComponentPlan>,
    /// What was loaded.
    pub loaded: Arc<Loaded>,
    /// Its instances and requests.
    pub pool: Arc<Pool>,
    /// Its counts.
    pub stats: Arc<Stats>,
    /// The threads of all components of its name.
    pub workers: Arc<Workers>,
    /// How many instances it has.
    pub alive: AtomicUsize,
    /// How far it is, for those it shares addresses with.
    pub state: GenerationState,
    /// Whether the end of each request is told.
    drains: AtomicBool,
    changed: Notify,
}

/// Where its controller hears of it.
#[derive(Debug)]
pub struct Inputs {
    /// The slots in which an instance shall be started.
    pub starts: UnboundedReceiver<usize>,
    /// What its instances did.
    pub events: UnboundedReceiver<WorkerEvent>,
    /// Where that is told.
    pub tell: UnboundedSender<WorkerEvent>,
}

impl Generation {
    /// Returns a component without instances, and where it says what it needs. If the last one on these workers has ended,
    /// it gets others.
    pub fn new(
        id: GenerationId,
        plan: Arc<ComponentPlan>,
        loaded: Arc<Loaded>,
        workers: &mut Arc<Workers>,
    ) -> (Arc<Self>, Inputs) {
        let (want, starts) = unbounded_channel();
        let (tell, events) = unbounded_channel();
        let instances = &plan.http.instances;
        let Resolved { max_instances: max, concurrency, .. } = plan.resolve(&loaded.defaults);
        let limits = PoolLimits { max, concurrency, requests: instances.requests, queue: instances.queue };
        if !workers.join(id, max, tell.clone()) {
            *workers = Workers::new(plan.name.clone());
            workers.join(id, max, tell.clone());
        }
        let stats = if loaded.kind == Kind::Tcp { Stats::of_connections(max) } else { Stats::new(max) };
        let component = Arc::new(Self {
            id,
            pool: Pool::new(limits, want),
            stats: Arc::new(stats),
            workers: workers.clone(),
            alive: AtomicUsize::new(0),
            state: GenerationState::default(),
            drains: AtomicBool::new(false),
            changed: Notify::new(),
            plan,
            loaded,
        });
        (component, Inputs { starts, events, tell })
    }

    /// Has the end of each request ring the bell from now on.
    pub fn drain(&self) {
        self.drains.store(true, Ordering::SeqCst);
    }

    /// Notes that a request has ended, and been counted.
    pub fn request_ended(&self) {
        if self.drains.load(Ordering::SeqCst) {
            self.ring();
        }
    }

    /// Rings the bell: something that its end can depend on has changed.
    pub fn ring(&self) {
        self.changed.notify_one();
    }

    /// Returns when the bell rings, or has rung since the last time.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn rung(&self) {
        self.changed.notified().await;
    }
}
