//! One generation of a component of kind `http` or `tcp` as its addresses, its requests and its conductor share it.
//!
//! Invariant: who wants to know that something changed waits for its bell, which never rings unheard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::lane::LaneEvent;
use super::lanes::Lanes;
use super::pool::{Pool, PoolLimits};
use super::standing::Standing;
use super::stats::Stats;
use crate::plan::{ComponentPlan, DEFAULT_CONCURRENCY, DEFAULT_SYNC_INSTANCES, DEFAULT_TCP_CONCURRENCY};
use crate::runtime::{Kind, Loaded};
use crate::teardown::GenerationId;

/// See the module's documentation.
#[derive(Debug)]
pub struct Component {
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
    pub lanes: Arc<Lanes>,
    /// How many instances it has.
    pub alive: AtomicUsize,
    /// How far it is, for those it shares addresses with.
    pub standing: Standing,
    /// Whether the end of each request is told.
    drains: AtomicBool,
    bell: Notify,
}

/// Where its conductor hears of it.
#[derive(Debug)]
pub struct Ears {
    /// The slots in which an instance shall be started.
    pub starts: UnboundedReceiver<usize>,
    /// What its instances did.
    pub events: UnboundedReceiver<LaneEvent>,
    /// Where that is told.
    pub tell: UnboundedSender<LaneEvent>,
}

impl Component {
    /// Returns a component without instances, and where it says what it needs. If the last one on these lanes has ended,
    /// it gets others.
    pub fn new(
        id: GenerationId,
        plan: Arc<ComponentPlan>,
        loaded: Arc<Loaded>,
        lanes: &mut Arc<Lanes>,
    ) -> (Arc<Self>, Ears) {
        let (want, starts) = unbounded_channel();
        let (tell, events) = unbounded_channel();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let instances = &plan.http.instances;
        let is_async = loaded.run.is_async;
        let max = instances.max.unwrap_or(if is_async { cores } else { DEFAULT_SYNC_INSTANCES });
        let usual = if loaded.kind == Kind::Tcp { DEFAULT_TCP_CONCURRENCY } else { DEFAULT_CONCURRENCY };
        let concurrency = if is_async { instances.concurrency.unwrap_or(usual) } else { 1 };
        let limits = PoolLimits { max, concurrency, requests: instances.requests, queue: instances.queue };
        if !lanes.join(id, max, tell.clone()) {
            *lanes = Lanes::new(plan.name.clone());
            lanes.join(id, max, tell.clone());
        }
        let stats = if loaded.kind == Kind::Tcp { Stats::of_connections(max) } else { Stats::new(max) };
        let component = Arc::new(Self {
            id,
            pool: Pool::new(limits, want),
            stats: Arc::new(stats),
            lanes: lanes.clone(),
            alive: AtomicUsize::new(0),
            standing: Standing::default(),
            drains: AtomicBool::new(false),
            bell: Notify::new(),
            plan,
            loaded,
        });
        (component, Ears { starts, events, tell })
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
        self.bell.notify_one();
    }

    /// Returns when the bell rings, or has rung since the last time.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}
