//! Everything of kind `http` in an app: its addresses, and which generation of which component is on them.
//!
//! Invariant: an address that cannot be had is told before any component has started, or been asked to stop; until a
//! switch nothing changes for anybody, and from then on everything has changed. Here are the orders; what is accepted
//! and controlled is on the thread in `thread`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::assignment::{Key, Rollover, close_others, keys};
use super::thread::{Order, Thread};
use crate::plan::{ComponentPlan, ListenAddress};
use crate::runtime::{Link, Loaded, Runtime};
use crate::server::address::acceptor::{Acceptor, PendingAcceptor};
use crate::server::address::address::{Address, Stage};
use crate::server::address::listener::Listener;
use crate::server::address::routing::Routing;
use crate::server::connection::access_log::AccessLog;
use crate::server::connection::tls::{TlsError, tls_acceptor};
use crate::server::generation::controller::{ControllerParts, MakeStdio};
use crate::server::generation::generation::{Generation, Inputs};
use crate::server::generation::stats::Stats;
use crate::server::worker::worker::SharedParts;
use crate::server::worker::workers::Workers;
use crate::teardown::GenerationId;

/// Why the addresses of an app cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The system refuses an address.
    #[error("[component.{component}] listen: cannot listen on {address}: {cause}")]
    Bind {
        /// Whose it is.
        component: String,
        /// The address.
        address: ListenAddress,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A certificate or a key cannot be used.
    #[error("[component.{component}] tls: {cause}")]
    Tls {
        /// Whose it is.
        component: String,
        /// What is wrong.
        cause: TlsError,
    },
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// A generation of a component that is to serve. Only kind `http` can.
#[derive(Clone, Debug)]
pub struct IncomingGeneration {
    /// Its own id, never used before.
    pub id: GenerationId,
    /// What it is granted.
    pub plan: Arc<ComponentPlan>,
    /// What was loaded.
    pub loaded: Arc<Loaded>,
}

/// One generation.
struct Place {
    component: Arc<Generation>,
    addresses: Vec<Arc<Address>>,
    inputs: Mutex<Option<Inputs>>,
}

/// The ingress of an app, as the supervisor holds it. Dropping it ends its thread, and whatever is served.
pub struct Ingress {
    runtime: Runtime,
    access: Option<Arc<AccessLog>>,
    died: Arc<dyn Fn() + Send + Sync>,
    thread: Option<Thread>,
    places: BTreeMap<GenerationId, Place>,
    addresses: BTreeMap<Key, Arc<Address>>,
    /// The threads of each component, by its name, as long as it has any.
    workers: BTreeMap<String, Weak<Workers>>,
    prepared: Option<Prepared>,
}

impl std::fmt::Debug for Ingress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("components", &self.places.keys()).finish_non_exhaustive()
    }
}

impl Ingress {
    /// Returns an ingress that serves nothing. Its thread starts with the first listener; `died` hears of its death, which
    /// is a bug of the host.
    pub fn new(runtime: Runtime, access: Option<AccessLog>, died: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            runtime,
            access: access.map(Arc::new),
            died: died.into(),
            thread: None,
            places: BTreeMap::new(),
            addresses: BTreeMap::new(),
            workers: BTreeMap::new(),
            prepared: None,
        }
    }

    /// Starts a component that was prepared: its first instance. It tells `Entered` through its link when that takes
    /// requests, and `Ended` when nothing of it is left. `grace` is what an instance has that ends alone. A second call
    /// changes nothing.
    pub fn start(&self, id: GenerationId, link: Arc<Link>, make_stdio: MakeStdio, grace: Duration) {
        let Some(place) = self.places.get(&id) else { return };
        let inputs = place.inputs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(inputs), Some(thread)) = (inputs, self.thread.as_ref()) else { return };
        let component = place.component.clone();
        component.state.set_started();
        let parts = Arc::new(SharedParts {
            runtime: self.runtime.clone(),
            loaded: component.loaded.clone(),
            plan: component.plan.clone(),
            pool: component.pool.clone(),
            grace,
        });
        let (addresses, ticker) = (place.addresses.clone(), thread.ticker.clone());
        let parts = ControllerParts { generation: component, addresses, link, make_stdio, ticker, parts };
        thread.order(Order::Conduct(Box::new((parts, inputs))));
    }

    /// All that was prepared takes over, in one step for each address: no client is refused or reset. Addresses without
    /// a component close, as in a drain. Connections stay; their next requests go to whoever serves then.
    ///
    /// At the app's start it is called right after [`Ingress::prepare`]: an address accepts then as soon as all its
    /// components have started. On a later switch all fresh ones have started already.
    pub fn switch(&mut self) {
        let Some(Prepared { fresh: _, openings, created, swaps, moves, closings }) = self.prepared.take()
        else {
            return;
        };
        for (from, to) in &moves {
            if let Some(address) = self.addresses.remove(from) {
                self.addresses.insert(to.clone(), address);
            }
        }
        for (mut opening, beside) in openings {
            if let Err(error) = opening.listener.listen_beside(&beside) {
                tracing::error!(address = %opening.acceptor.listens_on, %error, "nobody can connect here");
            }
            opening.address.acceptors().push(opening.acceptor.clone());
            if let Some(thread) = &self.thread {
                thread.order(Order::Open(Box::new(opening)));
            }
        }
        for (address, routing) in swaps {
            address.swap(routing);
        }
        for (key, address) in created {
            address.look();
            self.addresses.insert(key, address);
        }
        for address in moves.iter().filter_map(|(_, to)| Some((to, self.addresses.get(to)?))) {
            close_others(address);
        }
        self.release();
        for key in closings {
            if let Some(address) = self.addresses.remove(&key) {
                address.raise(Stage::Drain);
            }
        }
    }

    /// Takes back what was prepared: new listeners are closed, nothing else is changed. Fresh components that were
    /// started are ended by the supervisor through their links. A stop of the app that comes before the switch calls this
    /// first: addresses that wait for a switch do not drain.
    pub fn roll_back(&mut self) {
        let Some(Prepared { fresh, openings, created, .. }) = self.prepared.take() else { return };
        created.iter().for_each(|(_, address)| address.raise(Stage::Drain));
        drop(openings);
        self.release();
        for id in fresh {
            if self.places.get(&id).is_some_and(|place| !place.component.state.is_started()) {
                self.forget(id);
            }
        }
    }

    /// Lets all addresses go the way their components have it.
    fn release(&self) {
        self.addresses.values().for_each(|address| address.release());
    }

    /// Removes what would outlast the process: its thread may not get to it any more.
    pub fn leave(&self) {
        for address in self.addresses.values() {
            address.acceptors().iter().for_each(|acceptor| acceptor.remove_file());
        }
    }

    /// Forgets a component that has ended.
    pub fn forget(&mut self, id: GenerationId) {
        if let Some(place) = self.places.remove(&id) {
            place.component.workers.leave(id);
        }
        self.workers.retain(|_, workers| workers.strong_count() > 0);
        self.addresses.retain(|_, address| address.stage() < Stage::Drain || !address.acceptors().is_empty());
    }

    /// Returns the counts of a component.
    pub fn stats(&self, id: GenerationId) -> Option<Arc<Stats>> {
        self.places.get(&id).map(|place| place.component.stats.clone())
    }

    /// Returns the addresses on which a component is, as users write them; none when others have taken over.
    pub fn urls(&self, id: GenerationId) -> Vec<String> {
        let addresses = self.places.get(&id).map(|place| place.addresses.as_slice()).unwrap_or_default();
        addresses
            .iter()
            .filter(|address| address.routing().has(id))
            .flat_map(|address| address.urls())
            .collect()
    }

    /// Returns how many instances of a component are alive.
    pub fn instances(&self, id: GenerationId) -> usize {
        self.places.get(&id).map_or(0, |place| place.component.alive.load(Ordering::Relaxed))
    }

    /// Returns whether this component is served here.
    pub fn has(&self, id: GenerationId) -> bool {
        self.places.contains_key(&id)
    }
}

/// How long an address that was just given up may take to close.
const CLOSES_WITHIN: Duration = Duration::from_millis(250);

/// What waits for its switch.
#[derive(Default)]
struct Prepared {
    fresh: Vec<GenerationId>,
    /// New sockets, each with those that it overlaps.
    openings: Vec<(PendingAcceptor, Vec<Arc<Acceptor>>)>,
    /// New addresses.
    created: Vec<(Key, Arc<Address>)>,
    /// Who serves on those that are there.
    swaps: Vec<(Arc<Address>, Routing)>,
    /// Those that are known by another name then.
    moves: Vec<(Key, Key)>,
    /// Those that nobody serves on then.
    closings: Vec<Key>,
}

/// An address that goes on as another one.
type Heir = (Key, Arc<Address>);

/// An address with those who come there.
struct Wanted {
    key: Key,
    listen: ListenAddress,
    come: Vec<Arc<Generation>>,
}

impl Ingress {
    /// Binds every address that is new, reads certificates, makes the fresh components. Accepts nothing new yet. The
    /// `stale` ones are those that the fresh ones take over from, or that go away: after the switch they have no address
    /// any more. A fresh one takes over from any other of its name, too.
    ///
    /// Until the switch, or until it is taken back, none of these addresses drains, whatever its components do: others
    /// are about to take over. What was prepared before and has not been switched to is taken back first.
    ///
    /// It blocks for a quarter of a second at most: where an address is wanted again that closes in this moment.
    ///
    /// # Errors
    /// When an address cannot be had, or a certificate cannot be used: everything is as before then.
    pub fn prepare(
        &mut self,
        fresh: Vec<IncomingGeneration>,
        stale: &[GenerationId],
    ) -> Result<(), IngressError> {
        self.roll_back();
        if self.thread.is_none() && !fresh.is_empty() {
            let thread = Thread::start(self.runtime.clone(), self.died.clone());
            self.thread = Some(thread.map_err(IngressError::Thread)?);
        }
        let made: Vec<_> = fresh.into_iter().map(|fresh| self.make(fresh)).collect();
        let components: Vec<_> = made.iter().map(|(component, _)| component.clone()).collect();
        let prepared = self.arrange(&Rollover { fresh: &components, stale });
        match prepared {
            Ok(prepared) => {
                self.settle(made, prepared);
                Ok(())
            }
            Err(error) => {
                self.release();
                components.iter().for_each(|component| {
                    component.workers.leave(component.id);
                });
                Err(error)
            }
        }
    }

    fn make(&mut self, fresh: IncomingGeneration) -> (Arc<Generation>, Inputs) {
        let IncomingGeneration { id, plan, loaded } = fresh;
        let name = plan.name.clone();
        let known = self.workers.get(&name).and_then(|workers| workers.upgrade());
        let mut workers = known.unwrap_or_else(|| Workers::new(name.clone()));
        let made = Generation::new(id, plan, loaded, &mut workers);
        self.workers.insert(name, Arc::downgrade(&workers));
        made
    }

    /// Finds out what is to be done on each address.
    fn arrange(&mut self, change: &Rollover<'_>) -> Result<Prepared, IngressError> {
        let wanted = wanted(change.fresh);
        let is_wanted = |key: &Key| wanted.iter().any(|wanted| wanted.key == *key);
        let concerned =
            |key: &Key, address: &Address| is_wanted(key) || change.touches(&address.routing().members);
        self.addresses
            .iter()
            .filter(|(key, address)| concerned(key, address))
            .for_each(|(_, address)| address.claim());
        self.let_close(&wanted);
        let mut prepared = Prepared::default();
        for (key, address) in self.addresses.iter().filter(|(key, _)| !is_wanted(key)) {
            let now = address.routing();
            if !change.touches(&now.members) {
                continue;
            }
            match change.after(&now.members, &[]) {
                after if after.is_empty() => prepared.closings.push(key.clone()),
                after => prepared.swaps.push((address.clone(), self.route(after, change, Some(address))?)),
            }
        }
        for wanted in wanted {
            match self.addresses.get(&wanted.key).cloned() {
                Some(address) => {
                    let after = change.after(&address.routing().members, &wanted.come);
                    let routing = self.route(after, change, Some(&address))?;
                    prepared.swaps.push((address, routing));
                }
                None => self.open(wanted, change, &mut prepared)?,
            }
        }
        Ok(prepared)
    }

    /// Drops addresses that were closed. Those that close right now, and are wanted again, get a moment for it.
    fn let_close(&mut self, wanted: &[Wanted]) {
        let closed = |address: &Arc<Address>| address.stage() >= Stage::Drain;
        let overlaps = |acceptor: &Arc<Acceptor>| {
            wanted.iter().any(|wanted| acceptor.listens_on.overlaps(&wanted.listen))
        };
        let waits = |address: &&Arc<Address>| closed(address) && address.acceptors().iter().any(overlaps);
        self.addresses.values().filter(waits).for_each(|address| address.wait_closed(CLOSES_WITHIN));
        self.addresses.retain(|_, address| !closed(address));
    }

    /// Gets an address that is not there yet. One that overlaps it and has nobody left goes on as this one: its
    /// connections stay.
    fn open(
        &self,
        wanted: Wanted,
        change: &Rollover<'_>,
        prepared: &mut Prepared,
    ) -> Result<(), IngressError> {
        let Wanted { key, listen, come } = wanted;
        let (beside, heir) = self.left_beside(&listen, prepared);
        let is_open = heir.is_some() && beside.iter().any(|acceptor| acceptor.listens_on == listen);
        let listeners = match &listen {
            ListenAddress::Activated(name) => Listener::activated(name),
            _ if is_open => Ok(Vec::new()),
            _ if beside.is_empty() => Listener::bind(&listen).map(|listener| vec![listener]),
            _ => Listener::bind_beside(&listen, &beside).map(|listener| vec![listener]),
        };
        let listeners = listeners.map_err(|cause| IngressError::Bind {
            component: come.first().map(|first| first.plan.name.clone()).unwrap_or_default(),
            address: listen,
            cause,
        })?;
        let address = match heir {
            Some((from, address)) => {
                let routing = self.route(come, change, Some(&address))?;
                prepared.closings.retain(|closing| *closing != from);
                prepared.moves.push((from, key));
                prepared.swaps.push((address.clone(), routing));
                address
            }
            None => {
                let address = Address::new(self.route(come, change, None)?, self.access.clone());
                prepared.created.push((key, address.clone()));
                address
            }
        };
        let openings =
            listeners.into_iter().map(|listener| (PendingAcceptor::new(&address, listener), beside.clone()));
        prepared.openings.extend(openings);
        Ok(())
    }

    /// Returns the acceptors that overlap an address and will close, and an address of theirs that nobody is left on.
    fn left_beside(&self, listen: &ListenAddress, prepared: &Prepared) -> (Vec<Arc<Acceptor>>, Option<Heir>) {
        let acceptors = |key: &Key| {
            let address = self.addresses.get(key)?;
            let acceptors = address.acceptors().clone();
            let beside: Vec<_> =
                acceptors.into_iter().filter(|acceptor| acceptor.listens_on.overlaps(listen)).collect();
            (!beside.is_empty()).then(|| (address.clone(), beside))
        };
        let heir = prepared.closings.iter().find_map(|key| Some((key.clone(), acceptors(key)?.0)));
        let all = prepared.closings.iter().chain(prepared.moves.iter().map(|(from, _)| from));
        (all.filter_map(|key| Some(acceptors(key)?.1)).flatten().collect(), heir)
    }

    /// Returns the routing between these on an address. Certificates are read again for fresh components.
    fn route(
        &self,
        members: Vec<Arc<Generation>>,
        change: &Rollover<'_>,
        now: Option<&Arc<Address>>,
    ) -> Result<Routing, IngressError> {
        let Some(first) = members.first() else { return Ok(Routing::new(members, None)) };
        let is_fresh =
            members.iter().any(|member| change.fresh.iter().any(|fresh| Arc::ptr_eq(fresh, member)));
        let tls = match (&first.plan.http.tls, now.filter(|_| !is_fresh)) {
            (None, _) => None,
            (Some(_), Some(now)) if now.routing().tls.is_some() => now.routing().tls.clone(),
            (Some(plan), _) => Some(tls_acceptor(plan, first.loaded.kind).map_err(|cause| {
                let component = first.plan.name.clone();
                IngressError::Tls { component, cause }
            })?),
        };
        Ok(Routing::new(members, tls))
    }

    /// Keeps what was prepared until its switch.
    fn settle(&mut self, made: Vec<(Arc<Generation>, Inputs)>, mut prepared: Prepared) {
        for (component, inputs) in made {
            let is_on = |routing: &Routing| routing.has(component.id);
            let created = prepared
                .created
                .iter()
                .map(|(_, address)| address)
                .filter(|address| is_on(&address.routing()));
            let swapped =
                prepared.swaps.iter().filter(|(_, routing)| is_on(routing)).map(|(address, _)| address);
            let addresses = swapped.chain(created).cloned().collect();
            let id = component.id;
            self.places.insert(id, Place { component, addresses, inputs: Mutex::new(Some(inputs)) });
            prepared.fresh.push(id);
        }
        self.prepared = Some(prepared);
    }
}

/// Returns the addresses of these components, each once, with those who share it.
fn wanted(fresh: &[Arc<Generation>]) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for component in fresh {
        for (key, listen) in keys(&component.plan) {
            match all.iter_mut().find(|wanted| wanted.key == key) {
                Some(wanted) => wanted.come.push(component.clone()),
                None => all.push(Wanted { key, listen, come: vec![component.clone()] }),
            }
        }
    }
    all
}
