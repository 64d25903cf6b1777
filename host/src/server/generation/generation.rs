//! One generation of a component of kind `http` or `tcp` as its addresses, its requests and its controller share it.
//!
//! Invariant: no change is missed: `changed` keeps one notification for the controller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::protocol::Protocol;
use super::state::GenerationState;
use super::stats::Stats;
use crate::plan::{ComponentPlan, Resolved};
use crate::runtime::Loaded;
use crate::server::pool::pool::{Pool, PoolLimits};
use crate::server::worker::worker::WorkerEvent;
use crate::server::worker::workers::Workers;
use crate::teardown::GenerationId;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Which generation it is.
    pub(crate) id: GenerationId,
    /// Its plan.
    pub(crate) plan: Arc<ComponentPlan>,
    /// The loaded component.
    pub(crate) loaded: Arc<Loaded>,
    /// The facts of its kind.
    pub(crate) protocol: &'static Protocol,
    /// Its instances and requests.
    pub(crate) pool: Arc<Pool>,
    /// Its counts.
    pub(crate) stats: Arc<Stats>,
    /// The threads of all components of its name.
    pub(crate) workers: Arc<Workers>,
    /// How many instances it has.
    pub(crate) alive: AtomicUsize,
    /// Its state, for the others on its addresses.
    pub(crate) state: GenerationState,
    /// Whether the end of each request is told.
    drains: AtomicBool,
    changed: Notify,
}

/// The inputs of its controller.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The slots in which an instance shall be started.
    pub(crate) starts: UnboundedReceiver<usize>,
    /// Events of its instances.
    pub(crate) events: UnboundedReceiver<WorkerEvent>,
    /// Where that is told.
    pub(crate) tell: UnboundedSender<WorkerEvent>,
}

impl Generation {
    /// Returns a component without instances, and where it says what it needs. If the last one on these workers has ended,
    /// it gets others.
    pub(crate) fn new(
        id: GenerationId,
        plan: Arc<ComponentPlan>,
        loaded: Arc<Loaded>,
        protocol: &'static Protocol,
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
        let stats = Stats::new(protocol.unit, max);
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
            protocol,
        });
        (component, Inputs { starts, events, tell })
    }

    /// From now on the end of each request notifies the controller.
    pub(crate) fn drain(&self) {
        self.drains.store(true, Ordering::SeqCst);
    }

    /// Notes that a request has ended, and been counted.
    pub(crate) fn request_ended(&self) {
        if self.drains.load(Ordering::SeqCst) {
            self.notify();
        }
    }

    /// Notifies the controller of a change that the end can depend on.
    pub(crate) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Returns once something has changed since the last time.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
