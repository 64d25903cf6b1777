//! What has to be had before a switch: sockets for addresses that are new, certificates, fresh components.
//!
//! Invariant: whatever is missing is told here, and until the switch nobody notices anything of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::exchange::{Change, Key, keys};
use super::{FreshComponent, Front, FrontError, Place, Thread};
use crate::plan::ListenAddress;
use crate::server::http::component::{Component, Ears};
use crate::server::http::door::{Door, Opening};
use crate::server::http::group::{Group, Stage};
use crate::server::http::lanes::Lanes;
use crate::server::http::listener::Listener;
use crate::server::http::routing::Routing;
use crate::server::http::tls::acceptor;
use crate::teardown::GenerationId;

/// How long an address that was just given up may take to close.
const CLOSES_WITHIN: Duration = Duration::from_millis(250);

/// What waits for its switch.
#[derive(Default)]
pub struct Prepared {
    pub fresh: Vec<GenerationId>,
    /// New sockets, each with those that it overlaps.
    pub openings: Vec<(Opening, Vec<Arc<Door>>)>,
    /// New addresses.
    pub created: Vec<(Key, Arc<Group>)>,
    /// Who serves on those that are there.
    pub swaps: Vec<(Arc<Group>, Routing)>,
    /// Those that are known by another name then.
    pub moves: Vec<(Key, Key)>,
    /// Those that nobody serves on then.
    pub closings: Vec<Key>,
}

/// An address that goes on as another one.
type Heir = (Key, Arc<Group>);

/// An address with those who come there.
struct Wanted {
    key: Key,
    address: ListenAddress,
    come: Vec<Arc<Component>>,
}

impl Front {
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
    pub fn prepare(&mut self, fresh: Vec<FreshComponent>, stale: &[GenerationId]) -> Result<(), FrontError> {
        self.roll_back();
        if self.thread.is_none() && !fresh.is_empty() {
            let thread = Thread::start(self.runtime.clone(), self.died.clone());
            self.thread = Some(thread.map_err(FrontError::Thread)?);
        }
        let made: Vec<_> = fresh.into_iter().map(|fresh| self.make(fresh)).collect();
        let components: Vec<_> = made.iter().map(|(component, _)| component.clone()).collect();
        let prepared = self.arrange(&Change { fresh: &components, stale });
        match prepared {
            Ok(prepared) => {
                self.settle(made, prepared);
                Ok(())
            }
            Err(error) => {
                self.release();
                components.iter().for_each(|component| {
                    component.lanes.leave(component.id);
                });
                Err(error)
            }
        }
    }

    fn make(&mut self, fresh: FreshComponent) -> (Arc<Component>, Ears) {
        let FreshComponent { id, plan, loaded } = fresh;
        let name = plan.name.clone();
        let known = self.lanes.get(&name).and_then(|lanes| lanes.upgrade());
        let mut lanes = known.unwrap_or_else(|| Lanes::new(name.clone()));
        let made = Component::new(id, plan, loaded, &mut lanes);
        self.lanes.insert(name, Arc::downgrade(&lanes));
        made
    }

    /// Finds out what is to be done on each address.
    fn arrange(&mut self, change: &Change<'_>) -> Result<Prepared, FrontError> {
        let wanted = wanted(change.fresh);
        let is_wanted = |key: &Key| wanted.iter().any(|wanted| wanted.key == *key);
        let concerned = |key: &Key, group: &Group| is_wanted(key) || change.touches(&group.routing().members);
        self.addresses
            .iter()
            .filter(|(key, group)| concerned(key, group))
            .for_each(|(_, group)| group.claim());
        self.let_close(&wanted);
        let mut prepared = Prepared::default();
        for (key, group) in self.addresses.iter().filter(|(key, _)| !is_wanted(key)) {
            let now = group.routing();
            if !change.touches(&now.members) {
                continue;
            }
            match change.after(&now.members, &[]) {
                after if after.is_empty() => prepared.closings.push(key.clone()),
                after => prepared.swaps.push((group.clone(), self.route(after, change, Some(group))?)),
            }
        }
        for wanted in wanted {
            match self.addresses.get(&wanted.key).cloned() {
                Some(group) => {
                    let after = change.after(&group.routing().members, &wanted.come);
                    let routing = self.route(after, change, Some(&group))?;
                    prepared.swaps.push((group, routing));
                }
                None => self.open(wanted, change, &mut prepared)?,
            }
        }
        Ok(prepared)
    }

    /// Drops addresses that were closed. Those that close right now, and are wanted again, get a moment for it.
    fn let_close(&mut self, wanted: &[Wanted]) {
        let closed = |group: &Arc<Group>| group.stage() >= Stage::Drain;
        let overlaps = |door: &Arc<Door>| wanted.iter().any(|wanted| door.address.overlaps(&wanted.address));
        let waits = |group: &&Arc<Group>| closed(group) && group.doors().iter().any(overlaps);
        self.addresses.values().filter(waits).for_each(|group| group.wait_closed(CLOSES_WITHIN));
        self.addresses.retain(|_, group| !closed(group));
    }

    /// Gets an address that is not there yet. One that overlaps it and has nobody left goes on as this one: its
    /// connections stay.
    fn open(&self, wanted: Wanted, change: &Change<'_>, prepared: &mut Prepared) -> Result<(), FrontError> {
        let Wanted { key, address, come } = wanted;
        let (beside, heir) = self.left_beside(&address, prepared);
        let is_open = heir.is_some() && beside.iter().any(|door| door.address == address);
        let listeners = match &address {
            ListenAddress::Activated(name) => Listener::activated(name),
            _ if is_open => Ok(Vec::new()),
            _ if beside.is_empty() => Listener::bind(&address).map(|listener| vec![listener]),
            _ => Listener::bind_beside(&address, &beside).map(|listener| vec![listener]),
        };
        let listeners = listeners.map_err(|cause| FrontError::Bind {
            component: come.first().map(|first| first.plan.name.clone()).unwrap_or_default(),
            address,
            cause,
        })?;
        let group = match heir {
            Some((from, group)) => {
                let routing = self.route(come, change, Some(&group))?;
                prepared.closings.retain(|closing| *closing != from);
                prepared.moves.push((from, key));
                prepared.swaps.push((group.clone(), routing));
                group
            }
            None => {
                let group = Group::new(self.route(come, change, None)?, self.access.clone());
                prepared.created.push((key, group.clone()));
                group
            }
        };
        let openings = listeners.into_iter().map(|listener| (Opening::new(&group, listener), beside.clone()));
        prepared.openings.extend(openings);
        Ok(())
    }

    /// Returns the doors that overlap an address and will close, and an address of theirs that nobody is left on.
    fn left_beside(&self, address: &ListenAddress, prepared: &Prepared) -> (Vec<Arc<Door>>, Option<Heir>) {
        let doors = |key: &Key| {
            let group = self.addresses.get(key)?;
            let doors = group.doors().clone();
            let beside: Vec<_> = doors.into_iter().filter(|door| door.address.overlaps(address)).collect();
            (!beside.is_empty()).then(|| (group.clone(), beside))
        };
        let heir = prepared.closings.iter().find_map(|key| Some((key.clone(), doors(key)?.0)));
        let all = prepared.closings.iter().chain(prepared.moves.iter().map(|(from, _)| from));
        (all.filter_map(|key| Some(doors(key)?.1)).flatten().collect(), heir)
    }

    /// Returns the routing between these on an address. Certificates are read again for fresh components.
    fn route(
        &self,
        members: Vec<Arc<Component>>,
        change: &Change<'_>,
        now: Option<&Arc<Group>>,
    ) -> Result<Routing, FrontError> {
        let Some(first) = members.first() else { return Ok(Routing::new(members, None)) };
        let is_fresh =
            members.iter().any(|member| change.fresh.iter().any(|fresh| Arc::ptr_eq(fresh, member)));
        let tls = match (&first.plan.http.tls, now.filter(|_| !is_fresh)) {
            (None, _) => None,
            (Some(_), Some(now)) if now.routing().tls.is_some() => now.routing().tls.clone(),
            (Some(plan), _) => Some(acceptor(plan, first.loaded.kind).map_err(|cause| {
                let component = first.plan.name.clone();
                FrontError::Tls { component, cause }
            })?),
        };
        Ok(Routing::new(members, tls))
    }

    /// Keeps what was prepared until its switch.
    fn settle(&mut self, made: Vec<(Arc<Component>, Ears)>, mut prepared: Prepared) {
        for (component, ears) in made {
            let is_on = |routing: &Routing| routing.has(component.id);
            let created =
                prepared.created.iter().map(|(_, group)| group).filter(|group| is_on(&group.routing()));
            let swapped = prepared.swaps.iter().filter(|(_, routing)| is_on(routing)).map(|(group, _)| group);
            let groups = swapped.chain(created).cloned().collect();
            let id = component.id;
            self.places.insert(id, Place { component, groups, ears: Mutex::new(Some(ears)) });
            prepared.fresh.push(id);
        }
        self.prepared = Some(prepared);
    }
}

/// Returns the addresses of these components, each once, with those who share it.
fn wanted(fresh: &[Arc<Component>]) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for component in fresh {
        for (key, address) in keys(&component.plan) {
            match all.iter_mut().find(|wanted| wanted.key == key) {
                Some(wanted) => wanted.come.push(component.clone()),
                None => all.push(Wanted { key, address, come: vec![component.clone()] }),
            }
        }
    }
    all
}
