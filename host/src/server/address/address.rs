//! One address and the components that share it: their routes, where their requests come in, and how that ends.
//!
//! Invariant: the stage only rises; the routing is swapped in one step, under connections that stay. The listeners and
//! each connection that can still bring a request hold the intake open; when the last of them lets go, each member
//! hears that no more requests come from here. No connection is closed that another generation still works for.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Notify, SetOnce, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::acceptor::{Acceptor, Serve};
use super::client_connections::{ClientConnection, ClientConnections};
use super::descriptors::Descriptors;
use super::idle_connections::IdleConnections;
use crate::plan::{LimitsPlan, RouteTable};
use crate::runtime::Kind;
use crate::server::connection::access_log::AccessLog;
use crate::server::generation::{ClientFault, Generation, GenerationState, all_asked, all_ready, raise};
use crate::server::worker::Workers;
use crate::teardown::GenerationId;

/// The generations on an address and their routes at one moment: swapped as a whole, never changed.
///
/// Invariant: there is at least one member, and all of them have one kind and speak the same TLS: a checked plan has it so.
pub(crate) struct Routing {
    pub(crate) members: Vec<Arc<Generation>>,
    pub(crate) routes: RouteTable<Arc<Generation>>,
    pub(crate) tls: Option<TlsAcceptor>,
    /// The limits of its clients: those of its first member.
    pub(crate) limits: LimitsPlan,
}

opaque_debug!(Address, Routing);

impl Routing {
    pub(crate) fn new(members: Vec<Arc<Generation>>, tls: Option<TlsAcceptor>) -> Self {
        let routes = members.iter().map(|member| (member.plan.http.routes.clone(), member.clone()));
        let routes = RouteTable::new(routes);
        let limits = members.first().map(|member| member.plan.http.limits).unwrap_or_default();
        Self { members, routes, tls, limits }
    }

    /// Returns the names of all members, for logs.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.members.iter().map(|member| member.plan.name.as_str()).collect();
        names.join(", ")
    }

    pub(crate) fn kind(&self) -> Option<&'static Kind> {
        self.members.first().map(|first| first.loaded.kind)
    }

    pub(crate) fn has(&self, id: GenerationId) -> bool {
        self.members.iter().any(|member| member.id == id)
    }

    fn states(&self) -> impl Iterator<Item = &GenerationState> + Clone {
        self.members.iter().map(|member| &member.state)
    }
}

/// The treatment of an address's connections. The order is the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// The same, but clients are told to come back on another connection.
    Delay,
    /// Accepted work is finished, and none is accepted.
    Drain,
    /// Whatever is left is closed.
    Cut,
}

/// Longest wait for a place until another idle connection is evicted.
const PAUSE: Duration = Duration::from_millis(50);

/// A client has as many connections as it may.
#[derive(Debug)]
pub(super) struct TooMany;

pub(crate) struct Address {
    pub(crate) access: Option<Arc<AccessLog>>,
    pub(crate) serve: Serve,
    routing: ArcSwap<Routing>,
    /// Replaced generations, which may still work for connections.
    former: Mutex<Vec<Weak<Generation>>>,
    acceptors: Mutex<Vec<Arc<Acceptor>>>,
    closed: Condvar,
    stage: watch::Sender<Stage>,
    /// Connections may be accepted.
    pub(super) opened: SetOnce<()>,
    holders: AtomicUsize,
    connections: AtomicUsize,
    freed: Notify,
    pub(crate) idle: IdleConnections,
    clients: Arc<ClientConnections>,
    pub(super) descriptors: Arc<Descriptors>,
    /// Milliseconds for which a stop waits at most for a client that stands still: half the shortest grace of its members.
    drain_window: AtomicU64,
    /// A rollout may take it over soon: it stays open for that.
    claimed: AtomicBool,
}

/// Keeps the intake of an address open while it exists.
#[derive(Debug)]
pub(crate) struct Intake(Arc<Address>);

impl Drop for Intake {
    fn drop(&mut self) {
        if self.0.holders.fetch_sub(1, SeqCst) == 1 {
            self.0.notify();
        }
    }
}

/// One connection, counted while it exists.
#[derive(Debug)]
pub(crate) struct CountedConnection {
    address: Arc<Address>,
    _client: Option<ClientConnection>,
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let last = self.address.connections.fetch_sub(1, SeqCst) == 1;
        self.address.freed.notify_one();
        self.address.descriptors.freed();
        if last && self.address.stage() >= Stage::Drain {
            self.address.notify();
        }
    }
}

impl Address {
    pub(crate) fn new(
        routing: Routing,
        access: Option<Arc<AccessLog>>,
        serve: Serve,
        descriptors: &Arc<Descriptors>,
    ) -> Arc<Self> {
        let address = Arc::new(Self {
            access,
            serve,
            routing: ArcSwap::from_pointee(routing),
            former: Mutex::default(),
            acceptors: Mutex::default(),
            closed: Condvar::new(),
            stage: watch::Sender::new(Stage::Serving),
            opened: SetOnce::new(),
            holders: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            freed: Notify::new(),
            idle: IdleConnections::new(),
            clients: Arc::default(),
            descriptors: descriptors.clone(),
            drain_window: AtomicU64::new(u64::MAX),
            claimed: AtomicBool::new(false),
        });
        descriptors.add(&address);
        address
    }

    /// Returns the routing at this moment. Not to be kept.
    pub(crate) fn routing(&self) -> Guard<Arc<Routing>> {
        self.routing.load()
    }

    /// Has others serve from now on.
    pub(crate) fn swap(&self, next: Routing) {
        {
            // Before they are left out.
            let (now, mut former) =
                (self.routing(), self.former.lock().unwrap_or_else(PoisonError::into_inner));
            former.retain(|one| one.upgrade().is_some_and(|one| !one.state.is_over()));
            former.extend(now.members.iter().filter(|one| !next.has(one.id)).map(Arc::downgrade));
        }
        let before = self.routing.swap(Arc::new(next));
        // There may be room for more connections now.
        self.freed.notify_one();
        before.members.iter().for_each(|member| member.notify());
        self.look();
    }

    fn former(&self) -> Vec<Arc<Generation>> {
        let former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        former.iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns whether this generation is on it, or was and may still work for its connections.
    pub(crate) fn concerns(&self, id: GenerationId) -> bool {
        self.routing().has(id) || self.former().iter().any(|one| one.id == id)
    }

    /// Returns whether no generation, former ones included, has any more use for its connections; `but` is not looked at.
    pub(crate) fn all_over(&self, but: Option<GenerationId>) -> bool {
        let is_over = |one: &Arc<Generation>| one.state.is_over() || Some(one.id) == but;
        self.routing().members.iter().all(is_over) && self.former().iter().all(is_over)
    }

    /// Returns the sockets on which it listens, to add or take away.
    pub(crate) fn acceptors(&self) -> MutexGuard<'_, Vec<Arc<Acceptor>>> {
        self.acceptors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acceptor_closed(&self, acceptor: &Arc<Acceptor>) {
        self.acceptors().retain(|other| !Arc::ptr_eq(other, acceptor));
        self.closed.notify_all();
    }

    /// Blocks until it listens nowhere any more, or for so long.
    pub(crate) fn wait_closed(&self, limit: Duration) {
        let _late =
            self.closed.wait_timeout_while(self.acceptors(), limit, |acceptors| !acceptors.is_empty());
    }

    /// Counts and logs a fault of a client whose request belongs to no component yet, for the first member.
    pub(crate) fn client_fault(&self, fault: ClientFault, client: &str) {
        if let Some(first) = self.routing().members.first() {
            first.client_fault(fault, client);
        }
    }

    /// Counts a connection that a stop has closed though its client can expect an answer, for the first member.
    pub(crate) fn count_turned_away(&self) {
        if self.stage() >= Stage::Drain
            && let Some(first) = self.routing().members.first()
        {
            first.stats.turned_away();
        }
    }

    /// Notes the grace of a member that is asked to stop.
    pub(crate) fn note_grace(&self, grace: Duration) {
        let half = u64::try_from((grace / 2).as_millis()).unwrap_or(u64::MAX);
        self.drain_window.fetch_min(half.max(1), SeqCst);
    }

    /// Returns how long a stop waits at most for a client that stands still.
    pub(crate) fn drain_window(&self) -> Duration {
        Duration::from_millis(self.drain_window.load(SeqCst))
    }

    /// Returns its addresses as users write them.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.acceptors().iter().map(|acceptor| acceptor.url(self)).collect()
    }

    pub(crate) fn intake(self: &Arc<Self>) -> Intake {
        self.holders.fetch_add(1, SeqCst);
        Intake(self.clone())
    }

    /// Returns whether no more requests can come from here.
    pub(crate) fn intake_is_over(&self) -> bool {
        self.stage() >= Stage::Drain && self.holders.load(SeqCst) == 0
    }

    /// Counts a connection of a client, where clients are bounded. Without a network address a client is not.
    ///
    /// # Errors
    /// When the client has as many as it may.
    pub(super) fn admit(&self, client: &str) -> Result<Option<ClientConnection>, TooMany> {
        let most = self.routing().limits.per_client;
        match most.and_then(|most| Some((most, client.parse().ok()?))) {
            Some((most, client)) => self.clients.admit(client, most).map(Some).ok_or(TooMany),
            None => Ok(None),
        }
    }

    pub(super) fn count(self: &Arc<Self>, client: Option<ClientConnection>) -> CountedConnection {
        self.connections.fetch_add(1, SeqCst);
        CountedConnection { address: self.clone(), _client: client }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Returns the threads that serve a connection that comes in now: those of the first member that has not ended.
    pub(crate) fn host(&self) -> Option<Arc<Workers>> {
        let routing = self.routing();
        routing.members.iter().find(|member| !member.workers.has_ended()).map(|member| member.workers.clone())
    }

    /// Returns once there is room for a connection that has come. Idle ones are evicted for it.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub(super) async fn room(&self) {
        while self.connections() >= self.routing().limits.connections {
            self.idle.evict(Instant::now());
            // Connections that are busy now can be idle later.
            let _again = timeout(PAUSE, self.freed.notified()).await;
        }
    }

    /// Draws the conclusions from the states of its members: connections are accepted when all can serve; it drains when
    /// all were asked; whatever is left is closed when no member has any more use for it.
    pub(crate) fn look(&self) {
        let routing = self.routing();
        if all_ready(routing.states()) {
            let _again = self.opened.set(());
        }
        if all_asked(routing.states()) {
            self.drain_unless_claimed();
        }
        if self.stage() >= Stage::Drain && self.all_over(None) {
            self.raise(Stage::Cut);
        }
        self.notify();
    }

    /// Keeps it open whatever its members do, unless it drains already: others may take over.
    pub(crate) fn claim(&self) {
        // Under the lock of the stage: either it drains, or it is claimed.
        self.stage.send_if_modified(|now| {
            self.claimed.store(*now < Stage::Drain, SeqCst);
            false
        });
    }

    /// Lets it go the way its members have it.
    pub(crate) fn release(&self) {
        if self.claimed.swap(false, SeqCst) {
            self.look();
        }
    }

    fn drain_unless_claimed(&self) {
        self.stage.send_if_modified(|now| {
            let drains = *now < Stage::Drain && !self.claimed.load(SeqCst);
            if drains {
                // A member that was never started looks after no requests: they are refused, before clients that have
                // connected already are let in.
                let idle = |member: &&Arc<Generation>| !member.state.is_started();
                self.routing().members.iter().filter(idle).for_each(|member| member.pool.call_hooks_now());
                *now = Stage::Drain;
            }
            drains
        });
    }

    /// Has all members look at it again, and those that were.
    fn notify(&self) {
        self.routing().members.iter().for_each(|member| member.notify());
        self.former().iter().for_each(|one| one.notify());
    }

    /// Returns whether connections are accepted, or have been.
    pub(crate) fn is_open(&self) -> bool {
        self.opened.initialized()
    }

    pub(crate) fn raise(&self, stage: Stage) {
        raise(&self.stage, stage);
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }
}
