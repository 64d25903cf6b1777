//! Checks of several keys together, and of the files that they name.
//!
//! Invariant: looks at files, opens none; each problem stands at the value that would have to change. `scalar` judges
//! single values; the addresses of all components are compared in `addresses`.

mod addresses;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::budget::{RestartPlan, time_to_go};
use super::declare::{KeyType, Table};
use super::error::{Problem, Span};
use super::keys::{AppPlan, HttpPlan, OnEnd};
use super::names::{alternatives, nearest};
use super::order::waves;
use super::scalar;
use super::section::{Entry, Item, Section, Value};
use crate::text::units::format_duration;

/// Returns the problems of `root` beyond those of single values; `base` is the manifest's folder.
pub(super) fn check(root: &Section, text: &str, base: &Path) -> Vec<Problem> {
    let none = Section::default();
    let components = root.table("component").unwrap_or(&none);
    let app = root.table("app").unwrap_or(&none);
    let mut problems = Vec::new();
    one_reader(components, text, &mut problems);
    for entry in &components.entries {
        if let Some(component) = entry.item.table() {
            problems
                .extend(component.item("source").and_then(|item| check_on_disk("source", item, base, false)));
            check_dirs(component, base, &mut problems);
            check_restart(app, component, &mut problems);
            check_health(component, &mut problems);
            check_listen_is_there(component, &mut problems);
            check_routes(component, &mut problems);
            for (name, key) in [("tls.cert", "cert"), ("tls.key", "key")] {
                let item = component.table("tls").and_then(|tls| tls.item(key));
                problems.extend(item.and_then(|item| check_on_disk(name, item, base, false)));
            }
        }
    }
    addresses::check(app, components, text, base, &mut problems);
    check_order(components, &mut problems);
    problems
}

fn one_reader(components: &Section, text: &str, problems: &mut Vec<Problem>) {
    let reads = |entry: &&Entry| entry.item.table().is_some_and(|component| component.flag("stdin"));
    let readers = components.entries.iter().filter(reads).filter_map(|entry| {
        let key = entry.item.table()?.entry("stdin")?;
        Some((entry.key.as_str(), key.item.span.clone()))
    });
    let mut all: Vec<_> = readers.collect();
    all.sort_by_key(|(_, span)| span.start);
    let Some(((first, place), others)) = all.split_first() else {
        return;
    };
    let line = line_of(text, place);
    for (_, span) in others {
        let message = format!("only one component can read the standard input: `{first}` does (line {line})");
        problems.push(Problem::new(span.clone(), message));
    }
}

/// The line that a place is on, for a message at another place.
fn line_of(text: &str, place: &Span) -> usize {
    text.get(..place.start).unwrap_or_default().matches('\n').count() + 1
}

/// `path` as it will be opened, for a message: absolute where that can be told.
fn resolved(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Looks for the file, or the directory, that the value of `key` names.
fn check_on_disk(key: &str, item: &Item, base: &Path, is_directory: bool) -> Option<Problem> {
    let path = base.join(item.text()?);
    let (wanted, other) = if is_directory { ("directory", "file") } else { ("file", "directory") };
    let what = match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() == is_directory => return None,
        Ok(_) => format!("names a {other}, not a {wanted}"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("names a {wanted} that does not exist")
        }
        Err(error) => format!("names a {wanted} that cannot be reached ({error})"),
    };
    let message = format!("`{key}` {what}: {}", scalar::path(&resolved(&path)));
    Some(Problem::new(item.span.clone(), message))
}

fn check_dirs(component: &Section, base: &Path, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for dir in component.list("dirs").iter().filter_map(Item::table) {
        problems.extend(dir.item("host").and_then(|item| check_on_disk("dirs.host", item, base, true)));
        if let Some((item, guest)) = dir.item("guest").and_then(|item| Some((item, item.text()?)))
            && !seen.insert(guest.trim_end_matches('/'))
        {
            let message = format!("two directories have the same `guest` path {}", scalar::quoted(guest));
            problems.push(Problem::new(item.span.clone(), message));
        }
    }
}

fn check_listen_is_there(component: &Section, problems: &mut Vec<Problem>) {
    if component.has("listen") {
        return;
    }
    // A problem of the value itself comes first.
    let sound = HttpPlan::KEYS.iter().filter(|key| !component.is_refused(key.name));
    for entry in sound.filter_map(|key| component.entry(key.name)) {
        let message = format!("`{}` needs `listen`, which is missing", entry.key);
        let hint = "add `listen = [\"127.0.0.1:8080\"]`".to_owned();
        problems.push(Problem::new(entry.key_span.clone(), message).hint(hint));
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

/// Checks `restart` of one component.
fn check_restart(app: &Section, component: &Section, problems: &mut Vec<Problem>) {
    let (Some(entry), Some(restart)) = (component.entry("restart"), component.table("restart")) else {
        return;
    };
    if let Some(problem) = pauses(restart) {
        problems.push(problem);
        return;
    }
    if component.is_refused("restart") {
        return;
    }
    if !is_asked_for(component) {
        let message = "`restart` has no effect: neither `on-exit` nor `on-failure` is \"restart\"";
        let hint = "add `on-failure = \"restart\"` or `on-exit = \"restart\"`".to_owned();
        problems.push(Problem::new(entry.key_span.clone(), message).hint(hint));
    } else {
        problems.extend(never_spent(app, component));
    }
}

fn pauses(restart: &Section) -> Option<Problem> {
    let backoff = restart.item("backoff")?;
    let Value::List(pauses) = &backoff.value else { return None };
    let [Item { value: Value::Duration(first), .. }, Item { value: Value::Duration(longest), .. }] =
        pauses.as_slice()
    else {
        return None;
    };
    let message = "`restart.backoff` is the first pause and the longest; the first is the longer one here";
    (first > longest).then(|| Problem::new(backoff.span.clone(), message))
}

/// Whether a failure or an end means a restart; also where that is not known, as the word is refused.
fn is_asked_for(component: &Section) -> bool {
    let says = |key| component.is_refused(key) || component.text(key) == Some(OnEnd::Restart.word());
    let is_default = component.has("listen") && !component.has("on-failure");
    says("on-exit") || says("on-failure") || is_default
}

/// A period that is over before the budget can be spent: the component could fail for ever (R10).
fn never_spent(app: &Section, component: &Section) -> Option<Problem> {
    let restart = component.item("restart")?;
    let item = restart.table()?.item("within")?;
    let plan = RestartPlan::read(restart, Path::new(""))?;
    if app.is_refused("fail-grace") || component.is_refused("grace") {
        return None;
    }
    let fail_grace = app.duration("fail-grace").unwrap_or_else(|| AppPlan::default().fail_grace);
    let going = time_to_go(fail_grace, component.duration("grace"));
    let needed = plan.time_to_spend(going);
    if needed < plan.within {
        return None;
    }
    let (max, within, needed) = (plan.max, format_duration(plan.within), format_duration(needed));
    let (each, pauses) = (format_duration(going), format_duration(plan.least_pauses()));
    let key = if going < fail_grace { "grace" } else { "fail-grace" };
    let message = format!(
        "this budget might never be spent: {max} restarts can take {needed} ({max} × {key} of {each}, and pauses of \
         {pauses} at least), and `restart.within` is {within}"
    );
    let hint = format!("make `within` longer than {needed}, or `max`, `backoff` or `{key}` smaller");
    Some(Problem::new(item.span.clone(), message).hint(hint))
}

const SERVICE: &str = "a service calls `alive` of `curfew:lifecycle/host`; kind `http` has `listen`";

/// Checks `health` and `overlap` of one component: the host requests a path of one with `listen`; a service calls `alive`.
/// The kind itself is known only after loading.
fn check_health(component: &Section, problems: &mut Vec<Problem>) {
    let is_served = component.has("listen");
    if let (true, true, Some(entry)) = (is_served, component.flag("overlap"), component.entry("overlap")) {
        let message = "`overlap` is for services: what has `listen` always overlaps on a reload";
        problems.push(Problem::new(entry.key_span.clone(), message).hint("leave it out".to_owned()));
    }
    let (Some(entry), Some(health)) = (component.entry("health"), component.table("health")) else {
        return;
    };
    if component.is_refused("health") {
        return;
    }
    if is_served && !health.has("path") {
        let message = "`health` has no `path`, which it needs with `listen`";
        let hint = "add `path = \"/healthz\"`: an answer below 500 is good".to_owned();
        problems.push(Problem::new(entry.key_span.clone(), message).hint(hint));
    }
    let asked = ["path", "timeout"].into_iter().filter_map(|key| health.entry(key));
    for entry in asked.filter(|_| !is_served) {
        let message = format!("`health.{}` needs `listen`, which is missing", entry.key);
        problems.push(Problem::new(entry.key_span.clone(), message).hint(SERVICE.to_owned()));
    }
}

/// Longest cycle that a message shows in full.
const CYCLE_SHOWN: usize = 12;

/// A component and the one it is to come after.
struct Edge<'a> {
    to: &'a str,
    item: &'a Item,
}

fn check_order(components: &Section, problems: &mut Vec<Problem>) {
    let names: BTreeSet<&str> = components.entries.iter().map(|entry| entry.key.as_str()).collect();
    let mut edges: BTreeMap<&str, Vec<Edge<'_>>> = BTreeMap::new();
    for entry in &components.entries {
        let after = entry.item.table().map(|component| component.list("after")).unwrap_or_default();
        for (item, to) in after.iter().filter_map(|item| Some((item, item.text()?))) {
            if names.contains(to) {
                edges.entry(entry.key.as_str()).or_default().push(Edge { to, item });
                continue;
            }
            let message = format!("`after` names a component that does not exist: {}", scalar::quoted(to));
            let hint = match nearest(to, names.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("the components are {}", alternatives(names.iter().copied().take(20), '"')),
            };
            problems.push(Problem::new(item.span.clone(), message).hint(hint));
        }
    }
    let order: Vec<&str> = components.entries.iter().map(|entry| entry.key.as_str()).collect();
    problems.extend(find_cycle(&order, &edges));
}

/// Looks for the first cycle. Loops instead of recursion: a manifest can be as deep as it likes.
fn find_cycle(order: &[&str], edges: &BTreeMap<&str, Vec<Edge<'_>>>) -> Option<Problem> {
    let targets = |name: &str| edges.get(name).into_iter().flatten().map(|edge| edge.to).collect();
    let (_, left) = waves(&order.iter().map(|name| (*name, targets(name))).collect());
    // Each that is left waits for another that is left; one that is met twice on the way is in a cycle.
    let step = |name: &str| edges.get(name)?.iter().find(|edge| left.contains(edge.to));
    let mut at = *order.iter().find(|name| left.contains(*name))?;
    let mut met = BTreeSet::new();
    while met.insert(at) {
        at = step(at)?.to;
    }
    let mut path = vec![at];
    let mut next = step(at)?;
    while next.to != at {
        path.push(next.to);
        next = step(next.to)?;
    }
    // Told from the one that stands first in the manifest.
    let members: BTreeSet<&str> = path.iter().copied().collect();
    let first = *order.iter().find(|name| members.contains(*name))?;
    let start = path.iter().position(|name| *name == first)?;
    path.rotate_left(start);
    let item = step(first)?.item;
    if path.len() > CYCLE_SHOWN {
        path.truncate(CYCLE_SHOWN);
        path.push("…");
    }
    path.push(first);
    let message = format!("`after` goes round in a circle: {}", path.join(" → "));
    Some(Problem::new(item.span.clone(), message).hint("\"a → b\" is: a starts after b".to_owned()))
}
