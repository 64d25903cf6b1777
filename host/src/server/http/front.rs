//! Everything of kind `http` in an app: its addresses, and which generation of which component is on them.
//!
//! Invariant: an address that cannot be had is told before any component has started, or been asked to stop; until a
//! switch nothing changes for anybody, and from then on everything has changed. Here are the orders; what is accepted
//! and conducted is on the thread in `front/thread`.

mod exchange;
mod prepare;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use exchange::Key;
use prepare::Prepared;
use thread::{Order, Thread};

use super::access::AccessLog;
use super::component::{Component, Ears};
use super::conductor::{ConductorParts, MakeStdio};
use super::group::{Group, Stage};
use super::lane::InstanceParts;
use super::lanes::Lanes;
use super::stats::Stats;
use super::tls::TlsError;
use crate::plan::{ComponentPlan, ListenAddress};
use crate::runtime::{Link, Loaded, Runtime};
use crate::teardown::GenerationId;

/// Why the addresses of an app cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
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
pub struct FreshComponent {
    /// Its own id, never used before.
    pub id: GenerationId,
    /// What it is granted.
    pub plan: Arc<ComponentPlan>,
    /// What was loaded.
    pub loaded: Arc<Loaded>,
}

/// One generation.
struct Place {
    component: Arc<Component>,
    groups: Vec<Arc<Group>>,
    ears: Mutex<Option<Ears>>,
}

/// The front of an app, as the supervisor holds it. Dropping it ends its thread, and whatever is served.
pub struct Front {
    runtime: Runtime,
    access: Option<Arc<AccessLog>>,
    died: Arc<dyn Fn() + Send + Sync>,
    thread: Option<Thread>,
    places: BTreeMap<GenerationId, Place>,
    addresses: BTreeMap<Key, Arc<Group>>,
    /// The threads of each component, by its name, as long as it has any.
    lanes: BTreeMap<String, Weak<Lanes>>,
    prepared: Option<Prepared>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("components", &self.places.keys()).finish_non_exhaustive()
    }
}

impl Front {
    /// Returns a front that serves nothing. Its thread starts with the first listener; `died` hears of its death, which
    /// is a bug of the host.
    pub fn new(runtime: Runtime, access: Option<AccessLog>, died: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            runtime,
            access: access.map(Arc::new),
            died: died.into(),
            thread: None,
            places: BTreeMap::new(),
            addresses: BTreeMap::new(),
            lanes: BTreeMap::new(),
            prepared: None,
        }
    }

    /// Starts a component that was prepared: its first instance. It tells `Entered` through its link when that takes
    /// requests, and `Ended` when nothing of it is left. `grace` is what an instance has that ends alone. A second call
    /// changes nothing.
    pub fn start(&self, id: GenerationId, link: Arc<Link>, make_stdio: MakeStdio, grace: Duration) {
        let Some(place) = self.places.get(&id) else { return };
        let ears = place.ears.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(ears), Some(thread)) = (ears, self.thread.as_ref()) else { return };
        let component = place.component.clone();
        component.standing.set_started();
        let parts = Arc::new(InstanceParts {
            runtime: self.runtime.clone(),
            loaded: component.loaded.clone(),
            plan: component.plan.clone(),
            pool: component.pool.clone(),
            grace,
        });
        let (groups, ticker) = (place.groups.clone(), thread.ticker.clone());
        let parts = ConductorParts { component, groups, link, make_stdio, ticker, parts };
        thread.order(Order::Conduct(Box::new((parts, ears))));
    }

    /// All that was prepared takes over, in one step for each address: no client is refused or reset. Addresses without
    /// a component close, as in a drain. Connections stay; their next requests go to whoever serves then.
    ///
    /// At the app's start it is called right after [`Front::prepare`]: an address accepts then as soon as all its
    /// components have started. On a later switch all fresh ones have started already.
    pub fn switch(&mut self) {
        let Some(Prepared { fresh: _, openings, created, swaps, moves, closings }) = self.prepared.take()
        else {
            return;
        };
        for (from, to) in &moves {
            if let Some(group) = self.addresses.remove(from) {
                self.addresses.insert(to.clone(), group);
            }
        }
        for (mut opening, beside) in openings {
            if let Err(error) = opening.listener.listen_beside(&beside) {
                tracing::error!(address = %opening.door.address, %error, "nobody can connect here");
            }
            opening.group.doors().push(opening.door.clone());
            if let Some(thread) = &self.thread {
                thread.order(Order::Open(Box::new(opening)));
            }
        }
        for (group, routing) in swaps {
            group.swap(routing);
        }
        for (key, group) in created {
            group.look();
            self.addresses.insert(key, group);
        }
        for group in moves.iter().filter_map(|(_, to)| Some((to, self.addresses.get(to)?))) {
            exchange::close_others(group);
        }
        self.release();
        for key in closings {
            if let Some(group) = self.addresses.remove(&key) {
                group.raise(Stage::Drain);
            }
        }
    }

    /// Takes back what was prepared: new listeners are closed, nothing else is changed. Fresh components that were
    /// started are ended by the supervisor through their links. A stop of the app that comes before the switch calls this
    /// first: addresses that wait for a switch do not drain.
    pub fn roll_back(&mut self) {
        let Some(Prepared { fresh, openings, created, .. }) = self.prepared.take() else { return };
        created.iter().for_each(|(_, group)| group.raise(Stage::Drain));
        drop(openings);
        self.release();
        for id in fresh {
            if self.places.get(&id).is_some_and(|place| !place.component.standing.is_started()) {
                self.forget(id);
            }
        }
    }

    /// Lets all addresses go the way their components have it.
    fn release(&self) {
        self.addresses.values().for_each(|group| group.release());
    }

    /// Removes what would outlast the process: its thread may not get to it any more.
    pub fn leave(&self) {
        for group in self.addresses.values() {
            group.doors().iter().for_each(|door| door.remove_file());
        }
    }

    /// Forgets a component that has ended.
    pub fn forget(&mut self, id: GenerationId) {
        if let Some(place) = self.places.remove(&id) {
            place.component.lanes.leave(id);
        }
        self.lanes.retain(|_, lanes| lanes.strong_count() > 0);
        self.addresses.retain(|_, group| group.stage() < Stage::Drain || !group.doors().is_empty());
    }

    /// Returns the counts of a component.
    pub fn stats(&self, id: GenerationId) -> Option<Arc<Stats>> {
        self.places.get(&id).map(|place| place.component.stats.clone())
    }

    /// Returns the addresses on which a component is, as users write them; none when others have taken over.
    pub fn urls(&self, id: GenerationId) -> Vec<String> {
        let groups = self.places.get(&id).map(|place| place.groups.as_slice()).unwrap_or_default();
        groups.iter().filter(|group| group.routing().has(id)).flat_map(|group| group.urls()).collect()
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
