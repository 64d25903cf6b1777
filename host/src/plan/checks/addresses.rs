//! Checks of the addresses that the host listens on, for itself and for all components.
//!
//! Invariant: after it, each address can be bound once, as far as the manifest alone can tell, and each request on it is
//! for one component at most. The user gets the first conflict, at the value that comes later; the message names the
//! earlier one with its line.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::address::{ListenAddress, MAX_SOCKET_PATH};
use super::super::error::{Problem, Span};
use super::super::route::Route;
use super::super::scalar;
use super::super::section::{Entry, Item, Section};
use super::{line_of, resolved};

/// Checks the addresses of `[app]` and of all components.
pub(super) fn check(
    app: &Section,
    components: &Section,
    text: &str,
    base: &Path,
    problems: &mut Vec<Problem>,
) {
    for component in components.entries.iter().filter_map(|entry| entry.item.table()) {
        problems.extend(addresses_of(component, base).filter_map(|(item, address)| too_long(item, &address)));
    }
    problems.extend(conflict(components, text, base));
    check_admin(app, components, text, base, problems);
    check_control(app, components, text, base, problems);
}

fn check_admin(app: &Section, components: &Section, text: &str, base: &Path, problems: &mut Vec<Problem>) {
    if let Some((item, address)) = app.item("admin").and_then(|item| Some((item, item.address()?))) {
        let admin = ListenAddress::Ip(address).canonical();
        if let Some((name, other, at)) = holder(components, &admin, base) {
            let line = line_of(text, &at.span);
            let message =
                format!("`admin` {admin} and {other} of `{name}` (line {line}) cannot both be bound");
            let hint = "give `admin` a port of its own".to_owned();
            problems.push(Problem::new(item.span.clone(), message).hint(hint));
        }
    }
}

fn check_control(app: &Section, components: &Section, text: &str, base: &Path, problems: &mut Vec<Problem>) {
    if let Some((item, path)) = app.item("control").and_then(|item| Some((item, item.text()?))) {
        let control = ListenAddress::Unix(path.into()).resolved(base);
        problems.extend(no_path(item, path));
        problems.extend(too_long(item, &control));
        if let Some((name, _, at)) = holder(components, &control, base) {
            let line = line_of(text, &at.span);
            let message = format!("`control` is an address of `{name}`, too (line {line})");
            let hint = "give each a path of its own".to_owned();
            problems.push(Problem::new(item.span.clone(), message).hint(hint));
        }
    }
}

/// A text that is no path of a socket.
fn no_path(item: &Item, path: &str) -> Option<Problem> {
    let problem = |message: &str| Problem::new(item.span.clone(), message);
    if let Some(path) = path.strip_prefix("unix:") {
        let hint = format!("did you mean {}?", scalar::quoted(path));
        return Some(problem("`control` is the path of a Unix socket, without `unix:`").hint(hint));
    }
    path.ends_with('/').then(|| problem("`control` is the path of a Unix socket: its name is missing"))
}

/// A path that is too long for a socket.
fn too_long(item: &Item, address: &ListenAddress) -> Option<Problem> {
    let ListenAddress::Unix(path) = address else { return None };
    let length = path.as_os_str().len();
    let message = format!(
        "the path of a socket has at most {MAX_SOCKET_PATH} bytes, this one has {length}: {}",
        scalar::path(path)
    );
    address.is_too_long().then(|| Problem::new(item.span.clone(), message))
}

/// The first component with an address that cannot be bound next to `address`.
fn holder<'a>(
    components: &'a Section,
    address: &ListenAddress,
    base: &'a Path,
) -> Option<(&'a str, ListenAddress, &'a Item)> {
    components.entries.iter().find_map(|entry| {
        let mut held = addresses_of(entry.item.table()?, base);
        let (item, other) = held.find(|(_, other)| other.overlaps(address))?;
        Some((entry.key.as_str(), other, item))
    })
}

/// The addresses of a component, with their places.
fn addresses_of<'a>(
    component: &'a Section,
    base: &'a Path,
) -> impl Iterator<Item = (&'a Item, ListenAddress)> {
    component
        .list("listen")
        .iter()
        .filter_map(move |item| Some((item, item.listen_address()?.resolved(base))))
}

/// The route of a component without routes.
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
