//! What several keys mean together, and what the disk says to them.
//!
//! Invariant: looks at files, opens none; each problem stands at the value that would have to change. Single
//! values are judged in `scalar`; the keys of kind `http`, of restarts, of health and of the app in `checks/`.

mod app;
mod health;
mod http;
mod restart;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::names::{alternatives, nearest};
use super::problem::{Entry, Item, Problem, Section, Span};
use super::scalar;

/// All that is wrong in `root` beyond single values; `base` is the manifest's folder.
pub(super) fn check(root: &Section, text: &str, base: &Path) -> Vec<Problem> {
    let none = Section::default();
    let components = root.table("component").unwrap_or(&none);
    let app = root.table("app").unwrap_or(&none);
    let mut problems = Vec::new();
    one_reader(components, text, &mut problems);
    for entry in &components.entries {
        if let Some(component) = entry.item.table() {
            problems.extend(component.item("source").and_then(|item| check_file("source", item, base)));
            check_dirs(component, base, &mut problems);
            restart::check(app, component, &mut problems);
            health::check(component, &mut problems);
        }
    }
    http::check(components, text, base, &mut problems);
    app::check(app, components, text, base, &mut problems);
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

/// What is wrong with the file that the value of `key` names.
fn check_file(key: &str, item: &Item, base: &Path) -> Option<Problem> {
    let path = base.join(item.text()?);
    let what = match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => "names a directory, not a file".to_owned(),
        Ok(_) => return None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "names a file that does not exist".to_owned()
        }
        Err(error) => format!("names a file that cannot be reached ({error})"),
    };
    let message = format!("`{key}` {what}: {}", scalar::path(&resolved(&path)));
    Some(Problem::new(item.span.clone(), message))
}

fn check_dirs(component: &Section, base: &Path, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for dir in component.list("dirs").iter().filter_map(Item::table) {
        if let Some((item, text)) = dir.item("host").and_then(|item| Some((item, item.text()?))) {
            let path = base.join(text);
            let what = match std::fs::metadata(&path) {
                Ok(found) if found.is_dir() => None,
                Ok(_) => Some("names a file, not a directory".to_owned()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Some("names a directory that does not exist".to_owned())
                }
                Err(error) => Some(format!("names a directory that cannot be reached ({error})")),
            };
            if let Some(what) = what {
                let message = format!("`dirs.host` {what}: {}", scalar::path(&resolved(&path)));
                problems.push(Problem::new(item.span.clone(), message));
            }
        }
        if let Some((item, guest)) = dir.item("guest").and_then(|item| Some((item, item.text()?)))
            && !seen.insert(guest.trim_end_matches('/'))
        {
            let message = format!("two directories have the same `guest` path {}", scalar::quoted(guest));
            problems.push(Problem::new(item.span.clone(), message));
        }
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

/// The first cycle, if there is one. Loops instead of recursion: a manifest can be as deep as it likes.
fn find_cycle(order: &[&str], edges: &BTreeMap<&str, Vec<Edge<'_>>>) -> Option<Problem> {
    let left = in_or_before_cycles(order, edges);
    // Each that is left waits for another that is left; who is met twice on the way is in a cycle.
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

/// All that cannot be brought into an order: those in a cycle, and those that come after them.
fn in_or_before_cycles<'a>(order: &[&'a str], edges: &BTreeMap<&'a str, Vec<Edge<'a>>>) -> BTreeSet<&'a str> {
    let mut waits: BTreeMap<&str, usize> = order.iter().map(|name| (*name, 0)).collect();
    let mut needed_by: BTreeMap<&str, Vec<&'a str>> = BTreeMap::new();
    for (from, targets) in edges {
        for edge in targets {
            *waits.entry(from).or_default() += 1;
            needed_by.entry(edge.to).or_default().push(from);
        }
    }
    let mut free: Vec<&str> = waits.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    let mut left: BTreeSet<&'a str> = order.iter().copied().collect();
    while let Some(name) = free.pop() {
        left.remove(name);
        for from in needed_by.get(name).into_iter().flatten() {
            let count = waits.entry(from).or_default();
            *count -= 1;
            if *count == 0 {
                free.push(from);
            }
        }
    }
    left
}
