//! What the keys of kind `http` mean together, in one component and across those that share an address.
//!
//! Invariant: after it, each address is bound once, and each request on it is for one component at most. The
//! first conflict is told, at the value that comes later; the one before it is named with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::http::ListenAddress;
use super::super::problem::{Entry, Item, Problem, Section, Span};
use super::super::route::Route;
use super::super::scalar;
use super::app::too_long;
use super::{check_file, line_of, resolved};

/// The keys that only mean something for a component that is listened for.
const NEED_LISTEN: [&str; 6] = ["routes", "tls", "instances", "request-timeout", "limits", "forwarded"];

/// Checks all components.
pub(super) fn check(components: &Section, text: &str, base: &Path, problems: &mut Vec<Problem>) {
    for component in components.entries.iter().filter_map(|entry| entry.item.table()) {
        check_listen_is_there(component, problems);
        check_sockets(component, base, problems);
        check_routes(component, problems);
        for (name, key) in [("tls.cert", "cert"), ("tls.key", "key")] {
            let item = component.table("tls").and_then(|tls| tls.item(key));
            problems.extend(item.and_then(|item| check_file(name, item, base)));
        }
    }
    problems.extend(conflict(components, text, base));
}

fn check_listen_is_there(component: &Section, problems: &mut Vec<Problem>) {
    if component.has("listen") {
        return;
    }
    // What is wrong in itself is told first.
    let sound = NEED_LISTEN.iter().filter(|key| !component.is_refused(key));
    for entry in sound.filter_map(|key| component.entry(key)) {
        let message = format!("`{}` needs `listen`, which is missing", entry.key);
        let hint = "add `listen = [\"127.0.0.1:8080\"]`".to_owned();
        problems.push(Problem::new(entry.key_span.clone(), message).hint(hint));
    }
}

fn check_sockets(component: &Section, base: &Path, problems: &mut Vec<Problem>) {
    for (item, address) in addresses_of(component, base) {
        problems.extend(too_long(item, &address));
    }
}

fn check_routes(component: &Section, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for (item, route) in component.list("routes").iter().filter_map(|item| Some((item, item.route()?))) {
        if !seen.insert(route) {
            let message = format!("`routes` has {} twice", scalar::quoted(&route.to_string()));
            problems.push(Problem::new(item.span.clone(), message));
        }
    }
}

/// What a component is listened for at, with the places.
pub(super) fn addresses_of<'a>(
    component: &'a Section,
    base: &'a Path,
) -> impl Iterator<Item = (&'a Item, ListenAddress)> {
    component
        .list("listen")
        .iter()
        .filter_map(move |item| Some((item, item.listen_address()?.resolved(base))))
}

/// What a component without routes has.
static ALL: Route = Route::ALL;

/// A component at one of its addresses.
#[derive(Clone, Copy)]
struct Holder<'a> {
    name: &'a str,
    component: &'a Section,
    /// The address as the component has it.
    listen: &'a Item,
}

impl<'a> Holder<'a> {
    fn is_same_component(self, other: Self) -> bool {
        std::ptr::eq(self.component, other.component)
    }

    /// Its routes with their places; a component without any has all requests. Of one whose routes cannot be
    /// read it is not known.
    fn routes(self) -> impl Iterator<Item = (&'a Route, &'a Span)> {
        let routes = self.component.list("routes");
        let none = routes.is_empty() && !self.component.is_refused("routes");
        let all = none.then_some((&ALL, &self.listen.span));
        routes.iter().filter_map(|item| Some((item.route()?, &item.span))).chain(all)
    }
}

/// An address that is held.
struct Held<'a> {
    first: Holder<'a>,
    last: Holder<'a>,
    routes: BTreeMap<&'a Route, (Holder<'a>, &'a Span)>,
}

/// The addresses so far. A port 0 is not among them: each is a port of its own.
struct Addresses<'a> {
    text: &'a str,
    base: &'a Path,
    held: BTreeMap<ListenAddress, Held<'a>>,
    /// By port and family: the address of all interfaces.
    every: BTreeMap<(u16, bool), (ListenAddress, Holder<'a>)>,
    /// The same: the first of a single one.
    single: BTreeMap<(u16, bool), (ListenAddress, Holder<'a>)>,
}

fn conflict(components: &Section, text: &str, base: &Path) -> Option<Problem> {
    let (held, every, single) = Default::default();
    let mut addresses = Addresses { text, base, held, every, single };
    components.entries.iter().find_map(|Entry { key, item, .. }| {
        let component = item.table()?;
        addresses_of(component, base)
            .find_map(|(listen, address)| addresses.add(address, Holder { name: key, component, listen }))
    })
}

impl<'a> Addresses<'a> {
    fn add(&mut self, address: ListenAddress, holder: Holder<'a>) -> Option<Problem> {
        if address.is_any_port() {
            return None;
        }
        let problem = self.overlap(&address, holder).or_else(|| match self.held.get(&address) {
            None => None,
            Some(held) if held.last.is_same_component(holder) => {
                let message = format!("`listen` has {} twice", shown(&address));
                Some(Problem::new(holder.listen.span.clone(), message))
            }
            Some(held) => {
                let taken = |(route, span)| Some((route, span, held.routes.get(route)?));
                self.other_tls(&address, held.first, holder).or_else(|| {
                    let (route, span, (other, place)) = holder.routes().find_map(taken)?;
                    Some(self.taken(&address, (route, span), (*other, place), holder))
                })
            }
        });
        let new = || Held { first: holder, last: holder, routes: BTreeMap::new() };
        let held = self.held.entry(address).or_insert_with(new);
        held.last = holder;
        held.routes.extend(holder.routes().map(|(route, span)| (route, (holder, span))));
        problem
    }

    /// Two addresses of which one is part of the other.
    fn overlap(&mut self, address: &ListenAddress, holder: Holder<'a>) -> Option<Problem> {
        let ListenAddress::Ip(ip) = address else { return None };
        let key = (ip.port(), ip.is_ipv4());
        let (own, others) = match ip.ip().is_unspecified() {
            true => (&mut self.every, &self.single),
            false => (&mut self.single, &self.every),
        };
        own.entry(key).or_insert_with(|| (address.clone(), holder));
        let (other, at) = others.get(&key)?;
        let (name, line) = (at.name, line_of(self.text, &at.listen.span));
        let all = if ip.is_ipv4() { "0.0.0.0 is every IPv4 address" } else { "[::] is every IPv6 address" };
        let message = format!("{address} and {other} of `{name}` (line {line}) cannot both be bound: {all}");
        let hint = match at.is_same_component(holder) {
            true => "leave out one of them",
            false => "components that have the same address share it",
        };
        Some(Problem::new(holder.listen.span.clone(), message).hint(hint.to_owned()))
    }

    fn other_tls(&self, address: &ListenAddress, first: Holder<'_>, holder: Holder<'_>) -> Option<Problem> {
        let files = |component: &Section| {
            let tls = component.table("tls")?;
            let file = |key| tls.text(key).map(|file| resolved(&self.base.join(file)));
            Some((file("cert"), file("key")))
        };
        let unknown = first.component.is_refused("tls") || holder.component.is_refused("tls");
        if unknown || files(first.component) == files(holder.component) {
            return None;
        }
        let place = holder.component.item("tls").unwrap_or(holder.listen);
        let message = format!(
            "components that share an address have the same `tls`; `{}` listens on {}, too (line {})",
            first.name,
            shown(address),
            line_of(self.text, &first.listen.span)
        );
        let hint = "give both the same `tls`, or each an address of its own".to_owned();
        Some(Problem::new(place.span.clone(), message).hint(hint))
    }

    /// A route that another component of the address has.
    fn taken(
        &self,
        address: &ListenAddress,
        (route, span): (&Route, &Span),
        (other, place): (Holder<'_>, &Span),
        holder: Holder<'_>,
    ) -> Problem {
        let (address, name, line) = (shown(address), other.name, line_of(self.text, place));
        let (message, hint) = if holder.component.list("routes").is_empty() {
            (
                format!("without `routes` it gets what is left on {address}, as `{name}` does (line {line})"),
                "give one of them `routes`, or an address of its own",
            )
        } else {
            let route = scalar::quoted(&route.to_string());
            (
                format!("the route {route} of {address} is taken by `{name}` (line {line})"),
                "give each a route, or an address, of its own",
            )
        };
        Problem::new(span.clone(), message).hint(hint.to_owned())
    }
}

/// An address in a message: without control characters.
fn shown(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Ip(address) => address.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", scalar::path(path)),
        ListenAddress::Activated(_) => address.to_string(),
    }
}
