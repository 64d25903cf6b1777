//! One generation of a component of kind `http` or `tcp` as its addresses, its requests and its controller share it.
//!
//! Invariant: its state only goes on: started, ready, asked, over. No change is missed: `changed` keeps one notification for
//! the controller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use futures::future::{BoxFuture, Fuse};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, watch};

use super::client_fault::ClientFault;
use super::fault_log::FaultLog;
use super::stats::{Stats, Unit};
use crate::plan::{ComponentPlan, HealthPlan};
use crate::runtime::{Kind, Loaded};
use crate::server::instance::HandlerIndex;
use crate::server::pool::{Pool, PoolLimits};
use crate::server::worker::{WorkerEvent, Workers};
use crate::teardown::GenerationId;

/// Facts of a kind that the host listens for, beside those of every kind. There is one static for each.
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(crate) kind: &'static Kind,
    /// The scheme of its addresses, without TLS and with it.
    pub(crate) schemes: [&'static str; 2],
    /// The protocols that its TLS offers.
    pub(crate) alpn: &'static [&'static [u8]],
    pub(crate) unit: &'static Unit,
    /// Finds the handler of a loaded component.
    pub(crate) handler: fn(&Loaded) -> wasmtime::Result<HandlerIndex>,
    /// Returns the liveness checks of a generation.
    pub(crate) liveness: fn(&HealthPlan, &Arc<Generation>) -> Liveness,
}

/// Liveness checks. They end at the first failure, with its description. No check is made while they are not polled.
pub(crate) type Liveness = Fuse<BoxFuture<'static, String>>;

/// One generation that the host listens for.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) id: GenerationId,
    pub(crate) plan: Arc<ComponentPlan>,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) protocol: &'static Protocol,
    pub(crate) pool: Arc<Pool>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) faults: Arc<FaultLog>,
    /// The threads of all components of its name.
    pub(crate) workers: Arc<Workers>,
    pub(crate) alive: AtomicUsize,
    /// A client got a good answer of its guest, as a whole, since the last failure that counts.
    answered_well: AtomicBool,
    pub(crate) state: GenerationState,
    /// The end of each request notifies the controller.
    drains: AtomicBool,
    changed: Notify,
}

/// The inputs of its controller.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The slots in which an instance shall be started.
    pub(crate) starts: UnboundedReceiver<usize>,
    pub(crate) events: UnboundedReceiver<WorkerEvent>,
    /// The other end of `events`.
    pub(crate) tell: UnboundedSender<WorkerEvent>,
}

impl Generation {
    /// Returns a generation without instances, and the inputs of its controller. If the last one on these workers has ended,
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
        let resolved = plan.resolve(&loaded.defaults);
        let (rooms, requests) = match loaded.is_fresh(&plan) {
            true => (shared_among_cores(resolved.max_instances), 0),
            false => (vec![resolved.concurrency; resolved.max_instances], resolved.requests),
        };
        let slots = rooms.len();
        let limits = PoolLimits { rooms, requests, queue: instances.queue };
        if !workers.join(id, slots, tell.clone()) {
            *workers = Workers::new(plan.name.clone());
            workers.join(id, slots, tell.clone());
        }
        let generation = Arc::new(Self {
            id,
            pool: Pool::new(limits, want),
            stats: Arc::new(Stats::new(protocol.unit, slots)),
            faults: FaultLog::new(plan.name.clone()),
            workers: workers.clone(),
            alive: AtomicUsize::new(0),
            answered_well: AtomicBool::new(false),
            state: GenerationState::default(),
            drains: AtomicBool::new(false),
            changed: Notify::new(),
            plan,
            loaded,
            protocol,
        });
        (generation, Inputs { starts, events, tell })
    }

    /// Returns its liveness checks, if its plan has any.
    pub(crate) fn liveness(self: &Arc<Self>) -> Liveness {
        let checks = |plan| (self.protocol.liveness)(plan, self);
        self.plan.health.as_ref().map_or_else(Liveness::terminated, checks)
    }

    /// Returns whether each request gets a fresh instance.
    pub(crate) fn is_fresh(&self) -> bool {
        self.loaded.is_fresh(&self.plan)
    }

    pub(crate) fn drain(&self) {
        self.drains.store(true, SeqCst);
    }

    /// Counts and logs a fault of a client.
    pub(crate) fn client_fault(&self, fault: ClientFault, client: &str) {
        self.stats.client_fault(fault);
        self.faults.report_client(fault, client);
    }

    /// Notes a good answer.
    pub(crate) fn answered_well(&self) {
        // Threads share this: it is rarely written.
        if !self.has_answered_well() {
            self.answered_well.store(true, SeqCst);
        }
    }

    pub(crate) fn has_answered_well(&self) -> bool {
        self.answered_well.load(SeqCst)
    }

    /// Notes a failure that counts.
    pub(crate) fn failed(&self) {
        self.answered_well.store(false, SeqCst);
    }

    /// Notes that a request has ended, and been counted.
    pub(crate) fn request_ended(&self) {
        if self.drains.load(SeqCst) {
            self.notify();
        }
    }

    /// Notifies the controller of a change that the end can depend on.
    pub(crate) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Returns once something has changed since the last time. It is cancel safe.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Shares so many instances out among slots: one slot for each core, since a thread serves any number of fresh instances.
fn shared_among_cores(instances: usize) -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let slots = instances.min(cores);
    (0..slots).map(|slot| (instances + slots - 1 - slot) / slots).collect()
}

/// Lifecycle state of one generation, shared with the other components on its addresses.
#[derive(Debug, Default)]
pub(crate) struct GenerationState {
    started: AtomicBool,
    ready: AtomicBool,
    call: watch::Sender<Call>,
    over: AtomicBool,
}

/// The order to a generation. It only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    #[default]
    Serve,
    /// Finish what it has: it was asked to stop.
    Finish,
    /// End now: it is cut off.
    Cut,
}

impl GenerationState {
    pub(crate) fn set_started(&self) {
        self.started.store(true, SeqCst);
    }

    pub(crate) fn set_ready(&self) {
        self.ready.store(true, SeqCst);
    }

    /// Notes that it was asked to stop. From here on nothing waits for it to be ready.
    pub(crate) fn set_asked(&self) {
        self.set_ready();
        raise(&self.call, Call::Finish);
    }

    pub(crate) fn set_cut(&self) {
        raise(&self.call, Call::Cut);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Call> {
        self.call.subscribe()
    }

    pub(crate) fn set_over(&self) {
        self.over.store(true, SeqCst);
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.load(SeqCst)
    }

    fn is_asked(&self) -> bool {
        *self.call.borrow() >= Call::Finish
    }

    /// Returns whether it has no more use for connections. A generation that has not been started has none.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(SeqCst) || !self.is_started()
    }
}

/// Raises a value that never falls.
pub(crate) fn raise<T: Copy + Ord>(value: &watch::Sender<T>, to: T) {
    value.send_if_modified(|now| {
        let higher = to > *now;
        *now = to.max(*now);
        higher
    });
}

/// Returns whether connections can be accepted: all serve, or never will.
pub(crate) fn all_ready<'a>(mut members: impl Iterator<Item = &'a GenerationState>) -> bool {
    members.all(|member| member.ready.load(SeqCst))
}

/// Returns whether an address drains: a member was asked to stop, and none serves on.
pub(crate) fn all_asked<'a>(members: impl Iterator<Item = &'a GenerationState> + Clone) -> bool {
    let serves = |member: &GenerationState| member.is_started() && !member.is_asked();
    members.clone().any(GenerationState::is_asked) && !members.clone().any(serves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_opens_when_all_are_ready_and_drains_when_all_were_asked() {
        let [a, b] = [GenerationState::default(), GenerationState::default()];
        let both = || [&a, &b].into_iter();
        assert!(!all_ready(both()) && !all_asked(both()), "nobody has been started");
        a.set_started();
        a.set_ready();
        assert!(!all_ready(both()) && all_ready([&a].into_iter()));
        b.set_started();
        b.set_ready();
        assert!(all_ready(both()) && !all_asked(both()));
        b.set_asked();
        assert!(!all_asked(both()) && all_asked([&b].into_iter()), "one of them serves on");
        b.set_over();
        assert!(b.is_over() && !a.is_over());
        a.set_asked();
        assert!(all_asked(both()));
    }

    #[test]
    fn nobody_waits_for_one_that_was_never_started() {
        let [a, idle] = [GenerationState::default(), GenerationState::default()];
        a.set_started();
        a.set_asked();
        assert!(all_asked([&a, &idle].into_iter()) && idle.is_over());
    }
}
