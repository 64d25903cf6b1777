//! What a switch changes on the addresses: who is on which of them then, and which sockets go on listening.
//!
//! Invariant: pure but for the closing of doors; who stays keeps its place, who replaces somebody takes over that one's.

use std::sync::Arc;

use crate::plan::{ComponentPlan, ListenAddress};
use crate::server::http::component::Component;
use crate::server::http::door::Door;
use crate::server::http::group::Group;

/// What an address is known by, across generations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// One that everybody who names it means.
    Shared(ListenAddress),
    /// One whose port the system chose: it belongs to the name of its component.
    Own {
        /// The component's name.
        component: String,
        /// As the plan has it.
        address: ListenAddress,
        /// Which one of several that are written in the same way.
        nth: usize,
    },
}

/// Returns the addresses of a component.
pub fn keys(plan: &ComponentPlan) -> Vec<(Key, ListenAddress)> {
    let mut keys: Vec<(Key, ListenAddress)> = Vec::new();
    for address in &plan.http.listen {
        let key = if address.is_any_port() {
            let nth = keys.iter().filter(|(_, other)| other == address).count();
            Key::Own { component: plan.name.clone(), address: address.clone(), nth }
        } else {
            Key::Shared(address.clone())
        };
        keys.push((key, address.clone()));
    }
    keys
}

/// Who comes and who goes at a switch.
#[derive(Debug)]
pub struct Change<'a> {
    /// All that are new.
    pub fresh: &'a [Arc<Component>],
    /// Those that go away, or are replaced.
    pub stale: &'a [crate::teardown::ComponentId],
}

impl Change<'_> {
    fn goes(&self, member: &Component) -> bool {
        self.stale.contains(&member.id) || self.fresh.iter().any(|fresh| fresh.plan.name == member.plan.name)
    }

    /// Returns whether somebody on an address goes.
    pub fn touches(&self, members: &[Arc<Component>]) -> bool {
        members.iter().any(|member| self.goes(member))
    }

    /// Returns who is on an address after it, given who is now, and who comes.
    pub fn after(&self, members: &[Arc<Component>], come: &[Arc<Component>]) -> Vec<Arc<Component>> {
        let successor =
            |member: &Arc<Component>| come.iter().find(|fresh| fresh.plan.name == member.plan.name);
        let stays = |member: &Arc<Component>| match successor(member) {
            Some(fresh) => Some(fresh.clone()),
            None => (!self.goes(member)).then(|| member.clone()),
        };
        let mut after: Vec<_> = members.iter().filter_map(stays).collect();
        let new =
            come.iter().filter(|fresh| members.iter().all(|member| member.plan.name != fresh.plan.name));
        after.extend(new.cloned());
        after
    }
}

/// Returns whether everything that a socket on `part` hears belongs to an address, too.
pub fn covers(address: &ListenAddress, part: &ListenAddress) -> bool {
    match (address, part) {
        (ListenAddress::Ip(address), ListenAddress::Ip(part)) => {
            address == part
                || (address.ip().is_unspecified()
                    && ListenAddress::Ip(*address).overlaps(&ListenAddress::Ip(*part)))
        }
        (address, part) => address == part,
    }
}

/// Closes the doors of a group that are no part of its address.
pub fn close_others((key, group): (&Key, &Arc<Group>)) {
    let Key::Shared(address) = key else { return };
    let others = |door: &&Arc<Door>| !covers(address, &door.address);
    group.doors().iter().filter(others).for_each(|door| door.close());
}
