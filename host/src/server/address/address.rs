//! One address and the components that share it: where their requests come in, and how that ends.
//!
//! Invariant: the stage only rises; who serves what is swapped in one step, under connections that stay. The listeners and
//! each connection that can still bring a request hold the intake open; when the last of them lets go, each member
//! hears that no more requests come from here. Nobody's end closes a connection that another generation still works for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Notify, watch};

use super::acceptor::{Acceptor, Serve};
use super::routing::Routing;
use crate::server::connection::access_log::AccessLog;
use crate::server::generation::generation::Generation;
use crate::server::generation::state;
use crate::server::worker::workers::Workers;
use crate::teardown::GenerationId;

/// The treatment of an address's connections. The order is the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Requests are served.
    Serving,
    /// The same, but clients are told to come back on another connection.
    Delay,
    /// Accepted work is finished, and none is accepted.
    Drain,
    /// Whatever is left is closed.
    Cut,
}

/// See the module's documentation.
pub(crate) struct Address {
    /// The access log, if there is one.
    pub(crate) access: Option<Arc<AccessLog>>,
    /// Serves its connections.
    pub(crate) serve: Serve,
    routing: ArcSwap<Routing>,
    /// Replaced generations, which may still work for connections.
    former: Mutex<Vec<Weak<Generation>>>,
    acceptors: Mutex<Vec<Arc<Acceptor>>>,
    closed: Condvar,
    stage: watch::Sender<Stage>,
    opened: watch::Sender<bool>,
    holders: AtomicUsize,
    connections: AtomicUsize,
    freed: Notify,
    /// A rollout may take it over soon: it stays open for that.
    claimed: AtomicBool,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("urls", &self.urls()).finish_non_exhaustive()
    }
}

/// Keeps the intake of an address open while it exists.
#[derive(Debug)]
pub(crate) struct Intake(Arc<Address>);

impl Drop for Intake {
    fn drop(&mut self) {
        if self.0.holders.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.notify();
        }
    }
}

/// One connection, counted while it exists.
#[derive(Debug)]
pub(crate) struct CountedConnection(Arc<Address>);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let last = self.0.connections.fetch_sub(1, Ordering::SeqCst) == 1;
        self.0.freed.notify_one();
        if last && self.0.stage() >= Stage::Drain {
            self.0.notify();
        }
    }
}

impl Address {
    /// Returns an address that serves nothing yet.
    pub(crate) fn new(routing: Routing, access: Option<Arc<AccessLog>>, serve: Serve) -> Arc<Self> {
        Arc::new(Self {
            access,
            serve,
            routing: ArcSwap::from_pointee(routing),
            former: Mutex::default(),
            acceptors: Mutex::default(),
            closed: Condvar::new(),
            stage: watch::Sender::new(Stage::Serving),
            opened: watch::Sender::new(false),
            holders: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            freed: Notify::new(),
            claimed: AtomicBool::new(false),
        })
    }

    /// Returns who serves what at this moment. Not to be kept.
    pub(crate) fn routing(&self) -> Guard<Arc<Routing>> {
        self.routing.load()
    }

    /// Has others serve from now on.
    pub(crate) fn swap(&self, routing: Routing) {
        self.keep_former(&routing);
        let before = self.routing.swap(Arc::new(routing));
        // There may be room for more connections now.
        self.freed.notify_one();
        before.members.iter().for_each(|member| member.notify());
        self.look();
    }

    fn lock_former(&self) -> MutexGuard<'_, Vec<Weak<Generation>>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an eye on those that this routing leaves out. Call it before they are.
    fn keep_former(&self, next: &Routing) {
        let now = self.routing();
        let mut former = self.lock_former();
        former.retain(|one| one.upgrade().is_some_and(|one| !one.state.is_over()));
        former.extend(now.members.iter().filter(|one| !next.has(one.id)).map(Arc::downgrade));
    }

    /// Returns those that others have taken over from, as far as they are left.
    fn former(&self) -> Vec<Arc<Generation>> {
        self.lock_former().iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns whether this generation is on it, or was and may still work for its connections.
    pub(crate) fn concerns(&self, id: GenerationId) -> bool {
        self.routing().has(id) || self.former().iter().any(|one| one.id == id)
    }

    /// Returns whether nobody, of whatever generation, has any more use for its connections; `but` is not looked at.
    pub(crate) fn all_over(&self, but: Option<GenerationId>) -> bool {
        let is_over = |one: &Arc<Generation>| one.state.is_over() || Some(one.id) == but;
        self.routing().members.iter().all(is_over) && self.former().iter().all(is_over)
    }

    /// Returns the sockets on which it listens, to add or take away.
    pub(crate) fn acceptors(&self) -> MutexGuard<'_, Vec<Arc<Acceptor>>> {
        self.acceptors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a acceptor away that has closed.
    pub(crate) fn acceptor_closed(&self, acceptor: &Arc<Acceptor>) {
        self.acceptors().retain(|other| !Arc::ptr_eq(other, acceptor));
        self.closed.notify_all();
    }

    /// Blocks until it listens nowhere any more, or for so long.
    pub(crate) fn wait_closed(&self, limit: Duration) {
        let _late =
            self.closed.wait_timeout_while(self.acceptors(), limit, |acceptors| !acceptors.is_empty());
    }

    /// Returns its addresses as users write them.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.acceptors().iter().map(|acceptor| acceptor.url(self)).collect()
    }

    /// Returns the names of everybody on it, for logs.
    pub(crate) fn names(&self) -> String {
        self.routing().names()
    }

    /// Holds the intake open.
    pub(crate) fn intake(self: &Arc<Self>) -> Intake {
        self.holders.fetch_add(1, Ordering::SeqCst);
        Intake(self.clone())
    }

    /// Returns whether no more requests can come from here.
    pub(crate) fn intake_is_over(&self) -> bool {
        self.stage() >= Stage::Drain && self.holders.load(Ordering::SeqCst) == 0
    }

    /// Counts a connection.
    pub(crate) fn count(self: &Arc<Self>) -> CountedConnection {
        self.connections.fetch_add(1, Ordering::SeqCst);
        CountedConnection(self.clone())
    }

    /// Returns how many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns whose threads serve a connection that comes in now: those of the first that has not ended.
    pub(crate) fn host(&self) -> Option<Arc<Workers>> {
        let routing = self.routing();
        routing.members.iter().find(|member| !member.workers.has_ended()).map(|member| member.workers.clone())
    }

    /// Returns once there is room for a connection more.
    pub(crate) async fn room(&self) {
        while self.connections() >= self.routing().limits.connections {
            self.freed.notified().await;
        }
    }

    /// Draws the conclusions from how far its members are: connections are accepted when all can serve; it drains when
    /// all were asked; whatever is left is closed when nobody has any more use for it.
    pub(crate) fn look(&self) {
        let routing = self.routing();
        if state::all_ready(routing.states()) {
            self.opened.send_replace(true);
        }
        if state::all_asked(routing.states()) {
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
            self.claimed.store(*now < Stage::Drain, Ordering::SeqCst);
            false
        });
    }

    /// Lets it go the way its members have it.
    pub(crate) fn release(&self) {
        if self.claimed.swap(false, Ordering::SeqCst) {
            self.look();
        }
    }

    fn drain_unless_claimed(&self) {
        self.stage.send_if_modified(|now| {
            let drains = *now < Stage::Drain && !self.claimed.load(Ordering::SeqCst);
            if drains {
                // Before those who have connected already are let in.
                self.refuse_for_idle();
                *now = Stage::Drain;
            }
            drains
        });
    }

    /// Has requests for members that were never started refused: nobody would ever look after them.
    fn refuse_for_idle(&self) {
        for member in self.routing().members.iter().filter(|member| !member.state.is_started()) {
            member.pool.call_hooks_now();
        }
    }

    /// Has all members look again how far it is, and those that were.
    fn notify(&self) {
        self.routing().members.iter().for_each(|member| member.notify());
        self.former().iter().for_each(|one| one.notify());
    }

    /// Returns once connections may be accepted.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub(crate) async fn opened(&self) {
        // The sender is a part of `self`: the channel cannot close while this waits.
        let mut changes = self.opened.subscribe();
        let _open = changes.wait_for(|opened| *opened).await;
    }

    /// Returns whether connections are accepted, or have been.
    pub(crate) fn is_open(&self) -> bool {
        *self.opened.borrow()
    }

    /// Raises the stage.
    pub(crate) fn raise(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let higher = stage > *now;
            *now = (*now).max(stage);
            higher
        });
    }

    /// Returns the stage as it is.
    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Returns a view on the stage.
    pub(crate) fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }
}
