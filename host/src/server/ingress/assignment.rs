//! The change of a switch: which generations are on which address then, and which sockets go on listening.
//!
//! Invariant: a generation that stays keeps its place, and one that replaces another takes that one's.

use std::sync::Arc;

use crate::plan::{ComponentPlan, ListenAddress};
use crate::server::address::acceptor::Acceptor;
use crate::server::address::address::Address;
use crate::server::generation::generation::Generation;

/// The name of an address across generations. All components that name the same address share it, but one whose port the
/// system chose belongs to its component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The component's name, if the address is its own.
    component: Option<String>,
    pub(crate) listen: ListenAddress,
    /// The place among a component's own addresses that are written in the same way.
    nth: usize,
}

pub(crate) fn keys(plan: &ComponentPlan) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for listen in &plan.http.listen {
        let is_own = listen.is_any_port();
        let nth = keys.iter().filter(|other| is_own && other.listen == *listen).count();
        keys.push(Key { component: is_own.then(|| plan.name.clone()), listen: listen.clone(), nth });
    }
    keys
}

/// The generations that come and go at a switch.
#[derive(Debug)]
pub(crate) struct Rollover<'a> {
    pub(crate) fresh: &'a [Arc<Generation>],
    /// Generations that go away or are replaced.
    pub(crate) stale: &'a [crate::teardown::GenerationId],
}

impl Rollover<'_> {
    fn goes(&self, member: &Generation) -> bool {
        self.stale.contains(&member.id) || self.fresh.iter().any(|fresh| fresh.plan.name == member.plan.name)
    }

    /// Returns true if one of these generations on an address goes.
    pub(crate) fn touches(&self, members: &[Arc<Generation>]) -> bool {
        members.iter().any(|member| self.goes(member))
    }

    /// Returns the generations on an address after it, given those on it now, and those that come.
    pub(crate) fn after(
        &self,
        members: &[Arc<Generation>],
        come: &[Arc<Generation>],
    ) -> Vec<Arc<Generation>> {
        exchange(members, come, |member| self.goes(member), |member| member.plan.name.clone())
    }
}

/// Takes those away that go; one that comes takes the place of the one of its name, or the next one at the end.
fn exchange<T: Clone>(
    now: &[T],
    come: &[T],
    goes: impl Fn(&T) -> bool,
    name: impl Fn(&T) -> String,
) -> Vec<T> {
    let of_name = |all: &[T], wanted: &T| all.iter().find(|other| name(other) == name(wanted)).cloned();
    let stays = |member: &T| of_name(come, member).or_else(|| (!goes(member)).then(|| member.clone()));
    let mut after: Vec<_> = now.iter().filter_map(stays).collect();
    after.extend(come.iter().filter(|fresh| of_name(now, fresh).is_none()).cloned());
    after
}

/// Returns true if all that a socket on `part` hears belongs to an address, too.
fn covers(address: &ListenAddress, part: &ListenAddress) -> bool {
    let is_every = matches!(address, ListenAddress::Ip(address) if address.ip().is_unspecified());
    address == part || is_every && address.overlaps(part)
}

/// Closes the acceptors of an address that are no part of its address.
pub(crate) fn close_others(key: &Key, shared: &Address) {
    let is_other = |acceptor: &&Arc<Acceptor>| !covers(&key.listen, &acceptor.listens_on);
    if key.component.is_none() {
        shared.acceptors().iter().filter(is_other).for_each(|acceptor| acceptor.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::address::parse_listen_address;

    #[test]
    fn who_comes_takes_the_place_of_the_one_of_its_name() {
        let after = |now: &[&'static str], come: &[&'static str], stale: &[&str]| {
            let goes = |member: &&str| stale.contains(member);
            exchange(now, come, goes, |member| member.trim_end_matches('+').to_owned())
        };
        assert_eq!(after(&["a", "b", "c"], &["b+"], &["b"]), ["a", "b+", "c"]);
        assert_eq!(after(&["a", "b"], &["a+"], &[]), ["a+", "b"], "also if it was not said to go");
        assert_eq!(after(&["a", "b"], &["c", "b+"], &["a", "b"]), ["b+", "c"]);
        assert_eq!(after(&["a"], &[], &["a"]), [""; 0]);
        assert_eq!(after(&[], &["a"], &[]), ["a"]);
        assert_eq!(after(&["a", "b"], &[], &["x"]), ["a", "b"]);
    }

    #[test]
    fn each_port_of_the_systems_choice_has_a_key_of_its_own() {
        let mut plan = crate::plan::Plan::from_files(&[artifacts::HELLO_HTTP.into()], &Default::default())
            .unwrap()
            .components
            .remove(0);
        let listen = ["127.0.0.1:0", "127.0.0.1:80", "127.0.0.1:0"];
        plan.http.listen = listen.map(|text| parse_listen_address(text).unwrap()).into();
        let before = keys(&plan);
        let shared = Key { component: None, listen: plan.http.listen[1].clone(), nth: 0 };
        assert!(before[0] != before[2] && before[1] == shared);
        plan.http.listen.swap(0, 1);
        let after = keys(&plan);
        assert_eq!(after, [before[1].clone(), before[0].clone(), before[2].clone()]);
        plan.name = "other".to_owned();
        assert_ne!(keys(&plan)[1], before[0], "it belongs to its component");
    }

    #[test]
    fn every_address_covers_its_parts() {
        let covers = |address, part| {
            covers(&parse_listen_address(address).unwrap(), &parse_listen_address(part).unwrap())
        };
        assert!(
            covers("0.0.0.0:80", "127.0.0.1:80")
                && covers("[::]:80", "[::1]:80")
                && covers("1.1.1.1:80", "1.1.1.1:80")
        );
        assert!(!covers("127.0.0.1:80", "0.0.0.0:80") && !covers("0.0.0.0:80", "127.0.0.1:81"));
        assert!(
            !covers("[::]:80", "127.0.0.1:80")
                && covers("unix:/a", "unix:/a")
                && !covers("unix:/a", "unix:/b")
        );
    }
}
