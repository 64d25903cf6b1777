//! Everything of kind `http` in an app: its addresses, bound before anything starts, and one thread that accepts
//! connections, conducts the components and watches for guests that compute for long. It runs no guest code.
//!
//! Invariant: an address that cannot be had is told before any component has started.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::access::AccessLog;
use super::component::{Component, Ears};
use super::conductor::{Conductor, MakeStdio};
use super::group::{Group, Stage};
use super::lane::LaneParts;
use super::listener::Listener;
use super::stats::Stats;
use super::ticker::Ticker;
use super::tls::{TlsError, acceptor};
use crate::fail_point;
use crate::plan::{ComponentPlan, ListenAddress};
use crate::runtime::{Kind, Link, Loaded, Runtime};

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

/// One component that is to serve.
struct Place {
    component: Arc<Component>,
    groups: Vec<Arc<Group>>,
    ears: Mutex<Option<Ears>>,
}

/// The front of an app, as the supervisor holds it.
pub struct Front {
    places: BTreeMap<usize, Place>,
    orders: UnboundedSender<Order>,
    runtime: Runtime,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("components", &self.places.len()).finish_non_exhaustive()
    }
}

struct Order {
    conductor: Box<dyn FnOnce(Arc<Ticker>) -> Conductor + Send>,
    parts: LaneParts,
    ears: Ears,
}

impl std::fmt::Debug for FrontParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrontParts").field("components", &self.components.len()).finish_non_exhaustive()
    }
}

/// What a front is made from.
pub struct FrontParts<'a> {
    /// The engine and what belongs to it.
    pub runtime: &'a Runtime,
    /// All components of the app, in the order of the plan.
    pub components: &'a [(Arc<ComponentPlan>, Arc<Loaded>)],
    /// Where ended requests are written, if anywhere.
    pub access: Option<AccessLog>,
    /// Hears that the front's thread died, which is a bug of the host.
    pub died: Box<dyn FnOnce() + Send>,
}

impl Front {
    /// Binds all addresses and starts the thread. `None` when no component is of kind `http`.
    ///
    /// # Errors
    /// When an address cannot be had. All that were bound are closed again.
    pub fn bind(parts: FrontParts<'_>) -> Result<Option<Self>, FrontError> {
        let FrontParts { runtime, components, access, died } = parts;
        let access = access.map(Arc::new);
        let mut made: BTreeMap<usize, (Arc<Component>, Ears)> = BTreeMap::new();
        for (at, (plan, loaded)) in components.iter().enumerate() {
            if loaded.kind == Kind::Http {
                made.insert(at, Component::new(plan.clone(), loaded.clone()));
            }
        }
        if made.is_empty() {
            return Ok(None);
        }
        let members = made.values().map(|(component, _)| component.clone()).collect();
        let listeners = listen(members, access.as_ref())?;
        let groups: Vec<_> = listeners.iter().map(|(_, group)| group.clone()).collect();
        let (orders, received) = tokio::sync::mpsc::unbounded_channel();
        let watched = runtime.clone();
        std::thread::Builder::new()
            .name("curfew-http".to_owned())
            .spawn(move || {
                let mut death = Death(Some(died));
                run(&watched, listeners, received);
                death.0 = None;
            })
            .map_err(FrontError::Thread)?;
        let place = |(at, (component, ears)): (usize, (Arc<Component>, Ears))| {
            let is_member = |group: &&Arc<Group>| group.members.iter().any(|it| Arc::ptr_eq(it, &component));
            let groups = groups.iter().filter(is_member).cloned().collect();
            (at, Place { component, groups, ears: Mutex::new(Some(ears)) })
        };
        let places = made.into_iter().map(place).collect();
        Ok(Some(Self { places, orders, runtime: runtime.clone() }))
    }

    /// Starts a component, by its place in the plan. False: it is not of kind `http`.
    pub fn start(&self, at: usize, link: Arc<Link>, make_stdio: MakeStdio, grace: Duration) -> bool {
        let Some(place) = self.places.get(&at) else { return false };
        let Some(ears) = place.ears.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        let parts = LaneParts {
            runtime: self.runtime.clone(),
            loaded: place.component.loaded.clone(),
            plan: place.component.plan.clone(),
            pool: place.component.pool.clone(),
            grace,
        };
        let (component, groups) = (place.component.clone(), place.groups.clone());
        let conductor = Box::new(move |ticker| Conductor::new(component, groups, link, make_stdio, ticker));
        // If the thread is gone, its death has been told.
        let _gone = self.orders.send(Order { conductor, parts, ears });
        true
    }

    /// Returns the counts of a component, by its place in the plan.
    pub fn stats(&self, at: usize) -> Option<Arc<Stats>> {
        self.places.get(&at).map(|place| place.component.stats.clone())
    }

    /// Returns the addresses of a component, as users write them.
    pub fn urls(&self, at: usize) -> Vec<String> {
        let groups = self.places.get(&at).map(|place| place.groups.as_slice()).unwrap_or_default();
        groups.iter().map(|group| group.url.clone()).collect()
    }
}

/// Tells of the thread's death.
struct Death(Option<Box<dyn FnOnce() + Send>>);

impl Drop for Death {
    fn drop(&mut self) {
        if let Some(died) = self.0.take() {
            died();
        }
    }
}

/// Binds each address once, for all who share it.
fn listen(
    members: Vec<Arc<Component>>,
    access: Option<&Arc<AccessLog>>,
) -> Result<Vec<(Listener, Arc<Group>)>, FrontError> {
    let mut shared: Vec<(ListenAddress, Vec<Arc<Component>>)> = Vec::new();
    for member in &members {
        for address in &member.plan.http.listen {
            let is_own = matches!(address, ListenAddress::Ip(address) if address.port() == 0);
            match shared.iter_mut().find(|(known, _)| known == address && !is_own) {
                Some((_, sharers)) => sharers.push(member.clone()),
                None => shared.push((address.clone(), vec![member.clone()])),
            }
        }
    }
    let bind = |(address, sharers): (ListenAddress, Vec<Arc<Component>>)| {
        let first = sharers.first().map(|first| first.plan.clone());
        let component = first.as_ref().map(|plan| plan.name.clone()).unwrap_or_default();
        let tls = first.and_then(|plan| plan.http.tls.clone()).as_ref().map(acceptor).transpose();
        let tls = tls.map_err(|cause| FrontError::Tls { component: component.clone(), cause })?;
        let listener = Listener::bind(&address).map_err(|cause| FrontError::Bind {
            component,
            address: address.clone(),
            cause,
        })?;
        let url = match (&listener.address, tls.is_some()) {
            (ListenAddress::Ip(address), true) => format!("https://{address}"),
            (ListenAddress::Ip(address), false) => format!("http://{address}"),
            (other @ (ListenAddress::Unix(_) | ListenAddress::Activated(_)), _) => other.to_string(),
        };
        let group = Group::new(url, tls, sharers, access.cloned());
        Ok((listener, group))
    };
    shared.into_iter().map(bind).collect()
}

fn run(runtime: &Runtime, listeners: Vec<(Listener, Arc<Group>)>, mut orders: UnboundedReceiver<Order>) {
    let executor = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(executor) => executor,
        Err(error) => {
            tracing::error!(%error, "nothing can be served");
            return;
        }
    };
    let ticker = Arc::new(Ticker::default());
    executor.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        let (watched, watch) = (runtime.clone(), ticker.clone());
        tasks.spawn(async move { watch.watch(&watched).await });
        for (listener, group) in listeners {
            tasks.spawn(accept(listener, group));
        }
        fail_point::reach("front");
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order { conductor, parts, ears }) => {
                        tasks.spawn(conductor(ticker.clone()).conduct(parts, ears));
                    }
                    None => return,
                },
                Some(done) = tasks.join_next() => {
                    if let Err(error) = done && let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
    });
}

async fn accept(listener: Listener, group: Arc<Group>) {
    let mut stage = group.watch();
    let opened = tokio::select! {
        () = group.opened() => true,
        _ = stage.wait_for(|stage| *stage >= Stage::Drain) => false,
    };
    if opened {
        tracing::info!(component = group.names(), address = group.url, "listening");
    }
    listener.accept(group.clone()).await;
    if opened {
        tracing::info!(component = group.names(), address = group.url, "listener closed");
    }
}
