//! Checks of the addresses that the host listens on, for itself and for all components: each can be bound once, and each request
//! on it is for one component at most.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ptr;

use super::super::{Item, ListenAddress, MAX_SOCKET_PATH, Problem, Route, Section, Span, absolute, scalar};
use super::Checks;

/// A component at one of its addresses.
#[derive(Clone, Copy)]
struct Holder<'a> {
    name: &'a str,
    component: &'a Section,
    listen: &'a Item,
}

/// The components on one address.
struct Held<'a> {
    first: Holder<'a>,
    last: Holder<'a>,
    routes: BTreeMap<Route, (Holder<'a>, &'a Span)>,
}

/// The first address for each port, family, and flag "all interfaces".
type Bound<'a> = BTreeMap<(u16, bool, bool), (ListenAddress, Holder<'a>)>;

impl<'a> Checks<'a> {
    pub(super) fn addresses(&mut self) {
        for (_, component) in self.components.tables() {
            for (item, address) in component.list("listen", self.base) {
                self.problems.extend(too_long(item, &address));
            }
        }
        self.problems.extend(self.conflicts());
        self.admin();
        self.control();
    }

    fn admin(&mut self) {
        let Some((item, address)) = self.app.get::<SocketAddr>("admin", self.base) else { return };
        let admin = ListenAddress::Ip(address).canonical();
        if let Some((at, other)) = self.holder(&admin) {
            let (name, line) = (at.name, self.line_of(&at.listen.span));
            let message =
                format!("`admin` {admin} and {other} of `{name}` (line {line}) cannot both be bound");
            self.note(&item.span, message, "give `admin` a port of its own");
        }
    }

    fn control(&mut self) {
        let Some((item, path)) = self.app.get::<String>("control", self.base) else { return };
        if let Some(path) = path.strip_prefix("unix:") {
            let hint = format!("did you mean {}?", scalar::quoted(path));
            self.note(&item.span, "`control` is the path of a Unix socket, without `unix:`", hint);
        } else if path.ends_with('/') {
            let message = "`control` is the path of a Unix socket: its name is missing";
            self.problems.push(Problem::new(&item.span, message));
        }
        let control = ListenAddress::Unix(path.into()).resolved(self.base);
        self.problems.extend(too_long(item, &control));
        if let Some((at, _)) = self.holder(&control) {
            let (name, line) = (at.name, self.line_of(&at.listen.span));
            let message = format!("`control` is an address of `{name}`, too (line {line})");
            self.note(&item.span, message, "give each a path of its own");
        }
    }

    fn holders(&self) -> impl Iterator<Item = (Holder<'a>, ListenAddress)> + use<'a> {
        let base = self.base;
        self.components.tables().flat_map(move |(name, component)| {
            let addresses = component.list("listen", base);
            addresses.map(move |(listen, address)| (Holder { name, component, listen }, address))
        })
    }

    /// Returns the first component with an address that cannot be bound next to `address`.
    fn holder(&self, address: &ListenAddress) -> Option<(Holder<'a>, ListenAddress)> {
        self.holders().find(|(_, other)| other.overlaps(address))
    }

    /// Returns the routes of a component with their places; one without any has all requests.
    fn routes_of(&self, holder: Holder<'a>) -> impl Iterator<Item = (Route, &'a Span)> + use<'a> {
        let mut routes = holder.component.list("routes", self.base).peekable();
        let none = routes.peek().is_none() && !holder.component.is_refused("routes");
        routes
            .map(|(item, route)| (route, &item.span))
            .chain(none.then_some((Route::ALL, &holder.listen.span)))
    }

    fn conflicts(&self) -> Vec<Problem> {
        let mut all: BTreeMap<ListenAddress, Held<'a>> = BTreeMap::new();
        let (mut bound, mut problems) = (Bound::new(), Vec::new());
        // Each port 0 is a port of its own.
        for (holder, address) in self.holders().filter(|(_, address)| !address.is_any_port()) {
            let held = all.get(&address);
            let problem =
                self.overlap(&mut bound, &address, holder).or_else(|| self.taken(held?, &address, holder));
            if problem.is_some() {
                problems.extend(problem);
                continue;
            }
            let new = || Held { first: holder, last: holder, routes: BTreeMap::new() };
            let held = all.entry(address).or_insert_with(new);
            held.last = holder;
            held.routes.extend(self.routes_of(holder).map(|(route, span)| (route, (holder, span))));
        }
        problems
    }

    /// Finds an earlier address that is part of this one, or of which this one is part.
    fn overlap(&self, bound: &mut Bound<'a>, address: &ListenAddress, holder: Holder<'a>) -> Option<Problem> {
        let ListenAddress::Ip(ip) = address else { return None };
        let (port, is_v4, is_every) = (ip.port(), ip.is_ipv4(), ip.ip().is_unspecified());
        bound.entry((port, is_v4, is_every)).or_insert_with(|| (address.clone(), holder));
        let (other, at) = bound.get(&(port, is_v4, !is_every))?;
        let (name, line) = (at.name, self.line_of(&at.listen.span));
        let all = if is_v4 { "0.0.0.0 is every IPv4 address" } else { "[::] is every IPv6 address" };
        let message = format!("{address} and {other} of `{name}` (line {line}) cannot both be bound: {all}");
        let hint = match ptr::eq(at.component, holder.component) {
            true => "leave out one of them",
            false => "components that have the same address share it",
        };
        Some(Problem::new(&holder.listen.span, message).hint(hint))
    }

    /// Finds what `holder` has in common with earlier components of its address, and what differs.
    fn taken(&self, held: &Held<'a>, address: &ListenAddress, holder: Holder<'a>) -> Option<Problem> {
        let shown = match address {
            ListenAddress::Unix(path) => format!("unix:{}", scalar::path(path)),
            ListenAddress::Ip(_) | ListenAddress::Activated(_) => address.to_string(),
        };
        if ptr::eq(held.last.component, holder.component) {
            return Some(Problem::new(&holder.listen.span, format!("`listen` has {shown} twice")));
        }
        if let Some(place) = self.other_tls(held.first, holder) {
            let (name, line) = (held.first.name, self.line_of(&held.first.listen.span));
            let message = format!(
                "components that share an address have the same `tls`; `{name}` listens on {shown}, too (line {line})"
            );
            let hint = "give both the same `tls`, or each an address of its own";
            return Some(Problem::new(&place.span, message).hint(hint));
        }
        let taken = |(route, span)| Some((held.routes.get(&route)?, route, span));
        let ((other, place), route, span) = self.routes_of(holder).find_map(taken)?;
        let (name, line) = (other.name, self.line_of(place));
        let (message, hint) = if *span == holder.listen.span {
            (
                format!("without `routes` it gets what is left on {shown}, as `{name}` does (line {line})"),
                "give one of them `routes`, or an address of its own",
            )
        } else {
            let route = scalar::quoted(&route.to_string());
            (
                format!("the route {route} of {shown} is taken by `{name}` (line {line})"),
                "give each a route, or an address, of its own",
            )
        };
        Some(Problem::new(span, message).hint(hint))
    }

    /// Returns the place of `tls` in `holder` where `first` has another one.
    fn other_tls(&self, first: Holder<'a>, holder: Holder<'a>) -> Option<&'a Item> {
        let files = |component: &Section| {
            let tls = component.table("tls")?;
            let file = |key| tls.get(key, self.base).map(|(_, path)| absolute(path));
            Some((file("cert"), file("key")))
        };
        let unknown = first.component.is_refused("tls") || holder.component.is_refused("tls");
        (!unknown && files(first.component) != files(holder.component))
            .then(|| holder.component.item("tls").unwrap_or(holder.listen))
    }
}

fn too_long(item: &Item, address: &ListenAddress) -> Option<Problem> {
    let ListenAddress::Unix(path) = address else { return None };
    let (length, shown) = (path.as_os_str().len(), scalar::path(path));
    let message =
        format!("the path of a socket has at most {MAX_SOCKET_PATH} bytes, this one has {length}: {shown}");
    address.is_too_long().then(|| Problem::new(&item.span, message))
}
