//! One component of kind `http` as its listeners, lanes and conductor share it.
//!
//! Invariant: connections go to the thread with fewest of them, whether it has an instance of its own or not: that
//! is for their requests to bring about.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::connection::Accepted;
use super::lane::{self, Lane, LaneEvent, LaneOrder, LaneParts};
use super::pool::{Pool, PoolLimits};
use super::stats::Stats;
use crate::plan::{ComponentPlan, DEFAULT_CONCURRENCY, DEFAULT_SYNC_INSTANCES};
use crate::runtime::Loaded;

/// See the module's documentation.
#[derive(Debug)]
pub struct Component {
    /// What it is granted.
    pub plan: Arc<ComponentPlan>,
    /// What was loaded.
    pub loaded: Arc<Loaded>,
    /// Its instances and requests.
    pub pool: Arc<Pool>,
    /// Its counts.
    pub stats: Arc<Stats>,
    /// Its addresses, as far as new requests can come from there.
    intakes: AtomicUsize,
    parts: OnceLock<Arc<LaneParts>>,
    events: UnboundedSender<LaneEvent>,
    lanes: Mutex<Vec<Option<Lane>>>,
    /// Threads that connections are handed to.
    homes: usize,
    ended: AtomicBool,
    clients: watch::Sender<usize>,
}

/// The other ends of what a component sends.
pub type Ears =
    (tokio::sync::mpsc::UnboundedReceiver<usize>, tokio::sync::mpsc::UnboundedReceiver<LaneEvent>);

impl Component {
    /// Returns a component without instances, and where it says what it needs.
    pub fn new(plan: Arc<ComponentPlan>, loaded: Arc<Loaded>) -> (Arc<Self>, Ears) {
        let (starts, to_start) = tokio::sync::mpsc::unbounded_channel();
        let (events, heard) = tokio::sync::mpsc::unbounded_channel();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let instances = &plan.http.instances;
        let is_async = loaded.run.is_async;
        let max = instances.max.unwrap_or(if is_async { cores } else { DEFAULT_SYNC_INSTANCES });
        let concurrency = if is_async { instances.concurrency.unwrap_or(DEFAULT_CONCURRENCY) } else { 1 };
        let limits = PoolLimits { max, concurrency, requests: instances.requests, queue: instances.queue };
        let component = Arc::new(Self {
            pool: Pool::new(limits, starts),
            stats: Arc::new(Stats::new(max)),
            intakes: AtomicUsize::new(0),
            parts: OnceLock::new(),
            events,
            lanes: Mutex::new((0..max).map(|_| None).collect()),
            homes: cores.min(max),
            ended: AtomicBool::new(false),
            clients: watch::Sender::new(0),
            plan,
            loaded,
        });
        (component, (to_start, heard))
    }

    /// Returns where its threads tell what happens.
    pub fn ears(&self) -> UnboundedSender<LaneEvent> {
        self.events.clone()
    }

    /// Gives it what its threads need. Until then, none is started.
    pub fn equip(&self, parts: LaneParts) {
        let _once = self.parts.set(Arc::new(parts));
    }

    /// Counts an address from which requests come.
    pub fn add_intake(&self) {
        self.intakes.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that no more requests come from one of its addresses.
    pub fn intake_over(&self) {
        if self.intakes.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.pool.stop();
        }
    }

    /// Gives an order to the lane of a slot, which is started if need be.
    ///
    /// # Errors
    /// When the system gives no thread, or the component has ended.
    pub fn order(&self, slot: usize, order: LaneOrder) -> std::io::Result<()> {
        match self.lane(slot)?.order(order) {
            true => Ok(()),
            false => Err(std::io::Error::other("the thread has ended")),
        }
    }

    fn lane(&self, slot: usize) -> std::io::Result<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || std::io::Error::other("the component has ended");
        let place = lanes.get_mut(slot).filter(|_| !self.ended.load(Ordering::Acquire)).ok_or_else(gone)?;
        if let Some(lane) = place {
            return Ok(lane.clone());
        }
        let parts = self.parts.get().ok_or_else(gone)?;
        let lane = lane::spawn(slot, parts.clone(), self.events.clone())?;
        *place = Some(lane.clone());
        Ok(lane)
    }

    /// Hands a connection to the thread with fewest. Without a thread it is dropped, and so closed.
    pub fn place(self: &Arc<Self>, accepted: Accepted) {
        let slots = {
            let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let load = |lane: &Option<Lane>| lane.as_ref().map_or(0, Lane::connections);
            let mut slots: Vec<_> = lanes.iter().take(self.homes).map(load).enumerate().collect();
            slots.sort_by_key(|(_, load)| *load);
            slots
        };
        // Where the system gives no more threads, those that are there serve it.
        match slots.iter().find_map(|(slot, _)| self.lane(*slot).ok()) {
            Some(lane) => {
                let _ended_meanwhile = lane.order(LaneOrder::Connection(accepted));
            }
            None => tracing::warn!(component = self.plan.name, "a connection cannot be served"),
        }
    }

    /// Lets the lanes end when their work is done. Returns how many there are.
    pub fn dismiss_lanes(&self) -> usize {
        self.ended.store(true, Ordering::Release);
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *lanes).into_iter().flatten().count()
    }

    /// Returns whether nothing can be served on its threads any more.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Counts a client in: a connection on an address of its own, or a request on one that it shares.
    pub fn count_in(&self) {
        self.clients.send_modify(|count| *count += 1);
    }

    /// Counts a client out.
    pub fn count_out(&self) {
        self.clients.send_modify(|count| *count = count.saturating_sub(1));
    }

    /// Returns once there are no clients.
    pub async fn no_clients(&self) {
        // The sender is a part of `self`: the channel cannot close while this waits.
        let mut changes = self.clients.subscribe();
        let _open = changes.wait_for(|count| *count == 0).await;
    }
}
