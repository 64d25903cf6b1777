//! The addresses of an app, and the generations on them: the server of the kinds that the host listens for.
//!
//! Invariant: an address that cannot be had is told before any component has started or been asked to stop; the switch is the one
//! moment of change.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::assignment::{Key, Rollover, close_others, keys};
use crate::fail_point;
use crate::plan::ListenAddress;
use crate::runtime::{InstanceEvent, Kind, Runtime};
use crate::server::address::acceptor::{Accepted, Acceptor, Listener, PendingAcceptor, Serve, ServeFuture};
use crate::server::address::descriptors::Descriptors;
use crate::server::address::{Address, Routing, Stage};
use crate::server::connection::access_log::AccessLog;
use crate::server::connection::tls::tls_acceptor;
use crate::server::generation::{Controller, Generation, Inputs, Protocol, Stats};
use crate::server::instance::failure::could_not_start;
use crate::server::servers::{IncomingGeneration, PrepareError, Server, ServerParts, StartParts};
use crate::server::worker::fairness::FairnessTicker;
use crate::server::worker::workers::{ConnectionSlot, Workers};
use crate::server::{http, tcp};
use crate::teardown::{GenerationId, Outcome};

/// The kinds that the host listens for, and the code that serves connections of each.
static PROTOCOLS: [(&Protocol, Serve); 2] = [
    (&http::kind::PROTOCOL, |accepted, worker, slot| Box::pin(http::serve::serve(accepted, worker, slot))),
    (&tcp::kind::PROTOCOL, |accepted, worker, slot| Box::pin(tcp::connection::serve(accepted, worker, slot))),
];

fn protocol(kind: Option<&'static Kind>) -> Option<&'static (&'static Protocol, Serve)> {
    PROTOCOLS.iter().find(|(protocol, _)| Some(protocol.kind) == kind)
}

/// Serves a connection to its end, as the kind does that is on its address now.
fn serve(accepted: Accepted, worker: usize, slot: ConnectionSlot) -> ServeFuture {
    match protocol(accepted.address.routing().kind()) {
        Some((_, serve)) => serve(accepted, worker, slot),
        // An address without a generation has no connections.
        None => Box::pin(async {}),
    }
}

/// Longest time that an address that was just given up may take to close.
const CLOSES_WITHIN: Duration = Duration::from_millis(250);

/// The one thread that accepts connections, controls the generations and watches for guests that compute for long. It
/// runs no guest code. Dropping this is the order to end.
struct Thread {
    tasks: UnboundedSender<BoxFuture<'static, ()>>,
    ticker: Arc<FairnessTicker>,
}

impl Thread {
    /// Starts it. `died` is called if it panics.
    fn start(runtime: Runtime, died: Arc<dyn Fn() + Send + Sync>) -> io::Result<Self> {
        let (tasks, received) = unbounded_channel();
        let ticker = Arc::new(FairnessTicker::default());
        let watch = ticker.clone();
        let run = move || {
            if catch_unwind(AssertUnwindSafe(|| run(runtime, watch, received))).is_err() {
                died();
            }
        };
        std::thread::Builder::new().name("curfew-http".to_owned()).spawn(run)?;
        Ok(Self { tasks, ticker })
    }

    /// Has it run an acceptor or a controller. If it is gone, its death has been told.
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let _gone = self.tasks.send(Box::pin(task));
    }
}

fn run(runtime: Runtime, ticker: Arc<FairnessTicker>, mut tasks: UnboundedReceiver<BoxFuture<'static, ()>>) {
    let executor = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let told = |error: &io::Error| tracing::error!(%error, "nothing can be served");
    let Ok(executor) = executor.inspect_err(told) else { return };
    executor.block_on(async {
        let mut running = JoinSet::new();
        running.spawn(async move { ticker.watch(&runtime).await });
        fail_point::reach("front");
        loop {
            tokio::select! {
                task = tasks.recv() => match task {
                    Some(task) => drop(running.spawn(task)),
                    None => return,
                },
                Some(done) = running.join_next() => {
                    if let Err(error) = done && let Ok(panic) = error.try_into_panic() {
                        resume_unwind(panic);
                    }
                }
            }
        }
    });
}

struct Place {
    generation: Arc<Generation>,
    addresses: Vec<Arc<Address>>,
    /// The inputs of its controller, until it starts.
    inputs: Option<Inputs>,
}

/// The changes that wait for their switch.
#[derive(Default)]
struct Prepared {
    fresh: Vec<GenerationId>,
    /// New sockets, each with those that it overlaps.
    openings: Vec<(PendingAcceptor, Vec<Arc<Acceptor>>)>,
    created: Vec<(Key, Arc<Address>)>,
    /// New routings of existing addresses.
    swaps: Vec<(Arc<Address>, Routing)>,
    /// Addresses that are known by another name then.
    moves: Vec<(Key, Key)>,
    /// Addresses that are left without a generation.
    closings: Vec<Key>,
}

type Heir = (Key, Arc<Address>);

/// An address with the generations that come there.
struct Wanted {
    key: Key,
    come: Vec<Arc<Generation>>,
}

/// All addresses of an app, and the generations on them. Dropping it ends its thread, and all that is served.
pub(crate) struct Ingress {
    runtime: Runtime,
    access: Option<Arc<AccessLog>>,
    descriptors: Arc<Descriptors>,
    died: Arc<dyn Fn() + Send + Sync>,
    thread: Option<Thread>,
    places: BTreeMap<GenerationId, Place>,
    addresses: BTreeMap<Key, Arc<Address>>,
    /// The threads of each component, by its name, as long as it has any.
    workers: BTreeMap<String, Weak<Workers>>,
    prepared: Option<Prepared>,
}

impl Server for Ingress {
    /// Until the switch, or until it is taken back, none of these addresses drains, whatever its generations do: others
    /// are about to take over.
    ///
    /// It blocks for a quarter of a second at most: where an address is wanted again that closes in this moment.
    fn prepare(
        &mut self,
        incoming: Vec<IncomingGeneration>,
        outgoing: &[GenerationId],
    ) -> Result<(), PrepareError> {
        self.roll_back();
        if self.thread.is_none() && !incoming.is_empty() {
            let thread = Thread::start(self.runtime.clone(), self.died.clone());
            self.thread = Some(thread.map_err(PrepareError::Thread)?);
        }
        let made: Vec<_> = incoming.into_iter().filter_map(|incoming| self.make(incoming)).collect();
        let fresh: Vec<_> = made.iter().map(|(generation, _)| generation.clone()).collect();
        let arranged = self.arrange(&Rollover { fresh: &fresh, stale: outgoing });
        let prepared = arranged.inspect_err(|_| {
            self.release();
            for generation in &fresh {
                generation.workers.leave(generation.id);
            }
        })?;
        self.settle(made, prepared);
        Ok(())
    }

    /// All that was prepared takes over, in one step for each address: no client is refused or reset. Addresses without
    /// a generation close, as in a drain. Connections stay; their next requests go to the generation that serves then.
    ///
    /// At the app's start it is called right after [`Server::prepare`]: an address accepts then as soon as all its
    /// generations have started. On a later switch all fresh ones have started already.
    fn switch(&mut self) {
        let Some(prepared) = self.prepared.take() else { return };
        let Prepared { fresh: _, openings, created, swaps, moves, closings } = prepared;
        for (from, to) in &moves {
            if let Some(address) = self.addresses.remove(from) {
                self.addresses.insert(to.clone(), address);
            }
        }
        let mut acceptors = Vec::with_capacity(openings.len());
        for (opening, beside) in openings {
            acceptors.push((opening.acceptor.clone(), opening.address.clone()));
            if let Err(error) = opening.listener.listen_beside(&beside) {
                tracing::error!(address = %opening.acceptor.listens_on, %error, "nobody can connect here");
            }
            opening.address.acceptors().push(opening.acceptor.clone());
            if let Some(thread) = &self.thread {
                thread.run(opening.accept());
            }
        }
        for (address, routing) in swaps {
            address.swap(routing);
        }
        for (key, address) in created {
            address.look();
            self.addresses.insert(key, address);
        }
        // The new sockets listen already. The log tells so before the old ones close: that is the order of events.
        for (acceptor, address) in acceptors.iter().filter(|(_, address)| address.is_open()) {
            acceptor.announce(address);
        }
        for (_, to) in &moves {
            if let Some(address) = self.addresses.get(to) {
                close_others(to, address);
            }
        }
        self.release();
        for key in closings {
            if let Some(address) = self.addresses.remove(&key) {
                address.raise(Stage::Drain);
            }
        }
    }

    /// New listeners are closed, nothing else is changed. A stop of the app that comes before the switch calls this
    /// first: addresses that wait for a switch do not drain.
    fn roll_back(&mut self) {
        let Some(Prepared { fresh, openings, created, .. }) = self.prepared.take() else { return };
        created.iter().for_each(|(_, address)| address.raise(Stage::Drain));
        drop(openings);
        self.release();
        for id in fresh {
            if self.places.get(&id).is_some_and(|place| !place.generation.state.is_started()) {
                self.forget(id);
            }
        }
    }

    /// A second start of a generation changes nothing.
    fn start(&mut self, id: GenerationId, parts: StartParts) {
        let Some(place) = self.places.get_mut(&id) else { return };
        let (Some(inputs), Some(thread)) = (place.inputs.take(), self.thread.as_ref()) else { return };
        let (generation, link, addresses) =
            (place.generation.clone(), parts.link.clone(), place.addresses.clone());
        let (runtime, ticker) = (self.runtime.clone(), thread.ticker.clone());
        match Controller::new(generation, inputs, addresses, parts, runtime, ticker) {
            Ok(controller) => {
                place.generation.state.set_started();
                thread.run(controller.control());
            }
            // Loading has found it: this is a bug, told like any failed start.
            Err(error) => {
                link.tell(InstanceEvent::Failed(could_not_start(&error)));
                link.tell(InstanceEvent::Ended(Outcome::Failed));
            }
        }
    }

    fn forget(&mut self, id: GenerationId) {
        if let Some(place) = self.places.remove(&id) {
            place.generation.workers.leave(id);
        }
        self.workers.retain(|_, workers| workers.strong_count() > 0);
        self.addresses.retain(|_, address| address.stage() < Stage::Drain || !address.acceptors().is_empty());
    }

    /// Removes the files of sockets: its thread may not get to it any more.
    fn leave(&self) {
        for address in self.addresses.values() {
            address.acceptors().iter().for_each(|acceptor| acceptor.remove_file());
        }
    }

    fn stats(&self, id: GenerationId) -> Option<Arc<Stats>> {
        self.places.get(&id).map(|place| place.generation.stats.clone())
    }

    fn instances(&self, id: GenerationId) -> usize {
        self.places.get(&id).map_or(0, |place| place.generation.alive.load(Ordering::Relaxed))
    }

    fn orphans(&self, id: GenerationId) -> usize {
        self.places.get(&id).map_or(0, |place| place.generation.pool.orphans())
    }

    fn waiting(&self, id: GenerationId) -> usize {
        self.places.get(&id).map_or(0, |place| place.generation.pool.waiting())
    }

    /// The threads are those of all generations of its component.
    fn busy(&self, id: GenerationId) -> Duration {
        self.places.get(&id).map_or(Duration::ZERO, |place| place.generation.workers.busy())
    }

    /// Returns none when others have taken over.
    fn urls(&self, id: GenerationId) -> Vec<String> {
        let addresses = self.places.get(&id).into_iter().flat_map(|place| &place.addresses);
        addresses.filter(|address| address.routing().has(id)).flat_map(|address| address.urls()).collect()
    }
}

impl Ingress {
    /// Returns an ingress that serves nothing. Its thread starts with the first listener.
    pub(crate) fn new(parts: &ServerParts) -> Self {
        Self {
            runtime: parts.runtime.clone(),
            access: parts.access.clone(),
            descriptors: Descriptors::new(),
            died: parts.died.clone(),
            thread: None,
            places: BTreeMap::new(),
            addresses: BTreeMap::new(),
            workers: BTreeMap::new(),
            prepared: None,
        }
    }

    /// Lets all addresses go the way their generations have it.
    fn release(&self) {
        self.addresses.values().for_each(|address| address.release());
    }

    fn make(&mut self, incoming: IncomingGeneration) -> Option<(Arc<Generation>, Inputs)> {
        let IncomingGeneration { id, plan, loaded } = incoming;
        let (protocol, _) = protocol(Some(loaded.kind))?;
        let name = plan.name.clone();
        let known = self.workers.get(&name).and_then(|workers| workers.upgrade());
        let mut workers = known.unwrap_or_else(|| Workers::new(name.clone()));
        let made = Generation::new(id, plan, loaded, protocol, &mut workers);
        self.workers.insert(name, Arc::downgrade(&workers));
        Some(made)
    }

    /// Finds out what is to be done on each address.
    fn arrange(&mut self, change: &Rollover<'_>) -> Result<Prepared, PrepareError> {
        let wanted = wanted(change.fresh);
        let is_wanted = |key: &Key| wanted.iter().any(|wanted| wanted.key == *key);
        for (key, address) in &self.addresses {
            if is_wanted(key) || change.touches(&address.routing().members) {
                address.claim();
            }
        }
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

    /// Drops addresses that have closed. Those that close right now, and are wanted again, get a moment for it.
    fn let_close(&mut self, wanted: &[Wanted]) {
        let closed = |address: &Arc<Address>| address.stage() >= Stage::Drain;
        let overlaps = |acceptor: &Arc<Acceptor>| {
            wanted.iter().any(|wanted| acceptor.listens_on.overlaps(&wanted.key.listen))
        };
        let waits = |address: &&Arc<Address>| closed(address) && address.acceptors().iter().any(overlaps);
        self.addresses.values().filter(waits).for_each(|address| address.wait_closed(CLOSES_WITHIN));
        self.addresses.retain(|_, address| !closed(address));
    }

    /// Gets an address that is not there yet. An overlapping address without a generation goes on as this one: its
    /// connections stay.
    fn open(
        &self,
        wanted: Wanted,
        change: &Rollover<'_>,
        prepared: &mut Prepared,
    ) -> Result<(), PrepareError> {
        let Wanted { key, come } = wanted;
        let listen = &key.listen;
        let (beside, heir) = self.left_beside(listen, prepared);
        let is_open = heir.is_some() && beside.iter().any(|acceptor| acceptor.listens_on == *listen);
        let listeners = match listen {
            ListenAddress::Activated(name) => Listener::activated(name),
            _ if is_open => Ok(Vec::new()),
            _ => Listener::bind(listen, &beside).map(|listener| vec![listener]),
        };
        let listeners = listeners.map_err(|cause| PrepareError::Bind {
            component: come.first().map(|first| first.plan.name.clone()).unwrap_or_default(),
            address: listen.clone(),
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
                let routing = self.route(come, change, None)?;
                let address = Address::new(routing, self.access.clone(), serve, &self.descriptors);
                prepared.created.push((key, address.clone()));
                address
            }
        };
        for listener in listeners {
            prepared.openings.push((PendingAcceptor::new(&address, listener), beside.clone()));
        }
        Ok(())
    }

    /// Returns the acceptors that overlap an address and will close, and one of their addresses without a generation.
    fn left_beside(&self, listen: &ListenAddress, prepared: &Prepared) -> (Vec<Arc<Acceptor>>, Option<Heir>) {
        let acceptors = |key: &Key| {
            let address = self.addresses.get(key)?;
            let mut beside = address.acceptors().clone();
            beside.retain(|acceptor| acceptor.listens_on.overlaps(listen));
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
    ) -> Result<Routing, PrepareError> {
        let Some(first) = members.first() else { return Ok(Routing::new(members, None)) };
        let is_fresh =
            members.iter().any(|member| change.fresh.iter().any(|fresh| Arc::ptr_eq(fresh, member)));
        let tls = match (&first.plan.http.tls, now.filter(|_| !is_fresh)) {
            (None, _) => None,
            (Some(_), Some(now)) if now.routing().tls.is_some() => now.routing().tls.clone(),
            (Some(plan), _) => Some(tls_acceptor(plan, first.protocol.alpn).map_err(|cause| {
                let component = first.plan.name.clone();
                PrepareError::Tls { component, cause }
            })?),
        };
        Ok(Routing::new(members, tls))
    }

    fn settle(&mut self, made: Vec<(Arc<Generation>, Inputs)>, mut prepared: Prepared) {
        for (generation, inputs) in made {
            let id = generation.id;
            let swapped = prepared.swaps.iter().filter(|(_, routing)| routing.has(id));
            let created = prepared.created.iter().filter(|(_, address)| address.routing().has(id));
            let addresses = swapped.map(|(address, _)| address).chain(created.map(|(_, address)| address));
            let addresses = addresses.cloned().collect();
            self.places.insert(id, Place { generation, addresses, inputs: Some(inputs) });
            prepared.fresh.push(id);
        }
        self.prepared = Some(prepared);
    }
}

/// Returns the addresses of these generations, each once, with those that share it.
fn wanted(fresh: &[Arc<Generation>]) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for generation in fresh {
        for key in keys(&generation.plan) {
            match all.iter_mut().find(|wanted| wanted.key == key) {
                Some(wanted) => wanted.come.push(generation.clone()),
                None => all.push(Wanted { key, come: vec![generation.clone()] }),
            }
        }
    }
    all
}
