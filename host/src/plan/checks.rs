//! Checks of several keys together, and of the files that they name; it opens none. A problem stands at the value that would
//! have to change.

mod addresses;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::{
    AppPlan, HttpPlan, Item, KeyGroup, LimitsPlan, ManifestKey, OnEnd, Problem, RestartPlan, Route, Section,
    Span, Table, absolute, alternatives, nearest, scalar, time_to_go, waves,
};
use crate::text::units::format_duration;

/// Most components of a cycle that are named.
const CYCLE_SHOWN: usize = 12;
/// Most cycles that are told: each takes a search of its own.
const CYCLES_TOLD: usize = 10;

struct Checks<'a> {
    app: &'a Section,
    components: &'a Section,
    /// The ends of the lines.
    lines: Vec<usize>,
    base: &'a Path,
    problems: Vec<Problem>,
}

/// Returns the problems of `root` beyond those of single values; `base` is the manifest's folder.
pub(super) fn check(root: &Section, text: &str, base: &Path) -> Vec<Problem> {
    let none = Section::default();
    let table = |key| root.table(key).unwrap_or(&none);
    let (app, components) = (table("app"), table("component"));
    let lines = text.match_indices('\n').map(|(at, _)| at).collect();
    let mut checks = Checks { app, components, lines, base, problems: Vec::new() };
    checks.one_reader();
    for (_, component) in components.tables() {
        checks.on_disk("source", component.item("source"), false);
        checks.dirs(component);
        checks.restart(component);
        checks.health(component);
        checks.listen_is_there(component);
        checks.routes(component);
        if let Some(tls) = component.table("tls") {
            checks.on_disk("tls.cert", tls.item("cert"), false);
            checks.on_disk("tls.key", tls.item("key"), false);
        }
    }
    checks.addresses();
    checks.order();
    checks.problems
}

impl<'a> Checks<'a> {
    fn note(&mut self, span: &Span, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(span, message).hint(hint));
    }

    /// Returns the line that a place is on, for a message at another place.
    fn line_of(&self, place: &Span) -> usize {
        self.lines.partition_point(|end| *end < place.start) + 1
    }

    fn one_reader(&mut self) {
        let place = |(name, component): (&'a str, &'a Section)| match component.get("stdin", self.base) {
            Some((item, true)) => Some((name, &item.span)),
            Some((_, false)) | None => None,
        };
        let mut readers: Vec<_> = self.components.tables().filter_map(place).collect();
        readers.sort_by_key(|(_, span)| span.start);
        let Some(((first, place), others)) = readers.split_first() else { return };
        let line = self.line_of(place);
        for (_, span) in others {
            let message =
                format!("only one component can read the standard input: `{first}` does (line {line})");
            self.problems.push(Problem::new(span, message));
        }
    }

    /// Looks for the file, or the directory, that the value of `key` names.
    fn on_disk(&mut self, key: &str, item: Option<&Item>, is_directory: bool) {
        let Some((item, text)) = item.and_then(|item| Some((item, item.text()?))) else { return };
        let path = self.base.join(text);
        let (wanted, other) = if is_directory { ("directory", "file") } else { ("file", "directory") };
        let what = match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() == is_directory => return,
            Ok(_) => format!("names a {other}, not a {wanted}"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                format!("names a {wanted} that does not exist")
            }
            Err(error) => format!("names a {wanted} that cannot be reached ({error})"),
        };
        let message = format!("`{key}` {what}: {}", scalar::path(&absolute(path)));
        self.problems.push(Problem::new(&item.span, message));
    }

    fn dirs(&mut self, component: &Section) {
        let mut seen = BTreeSet::new();
        let dirs = component.item("dirs").and_then(Item::list).unwrap_or_default();
        for dir in dirs.iter().filter_map(Item::table) {
            self.on_disk("dirs.host", dir.item("host"), true);
            if let Some((item, guest)) = dir.get::<String>("guest", self.base)
                && !seen.insert(guest.trim_end_matches('/').to_owned())
            {
                let message =
                    format!("two directories have the same `guest` path {}", scalar::quoted(&guest));
                self.problems.push(Problem::new(&item.span, message));
            }
        }
    }

    fn listen_is_there(&mut self, component: &Section) {
        if component.has("listen") {
            return;
        }
        // A problem of the value itself comes first.
        self.needs_listen(component, HttpPlan::KEYS, "");
        if let Some(limits) = component.item("limits").and_then(Item::table) {
            self.needs_listen(limits, LimitsPlan::KEYS, "limits.");
        }
    }

    fn needs_listen(&mut self, section: &Section, keys: &[ManifestKey], path: &str) {
        let listeners = keys.iter().filter(|key| key.group != KeyGroup::General);
        for entry in
            listeners.filter(|key| !section.is_refused(key.name)).filter_map(|key| section.entry(key.name))
        {
            let message = format!("`{path}{}` needs `listen`, which is missing", entry.key);
            self.note(&entry.key_span, message, "add `listen = [\"127.0.0.1:8080\"]`");
        }
    }

    fn routes(&mut self, component: &Section) {
        let mut seen = BTreeSet::new();
        for (item, route) in component.list::<Route>("routes", self.base) {
            let message = format!("`routes` has {} twice", scalar::quoted(&route.to_string()));
            if !seen.insert(route) {
                self.problems.push(Problem::new(&item.span, message));
            }
        }
    }

    fn restart(&mut self, component: &Section) {
        let Some(entry) = component.entry("restart") else { return };
        let Some(restart) = entry.item.table() else { return };
        if let Some((item, [first, longest])) = restart.get::<[Duration; 2]>("backoff", self.base)
            && first > longest
        {
            let message =
                "`restart.backoff` is the first pause and the longest; the first is the longer one here";
            self.problems.push(Problem::new(&item.span, message));
        } else if component.is_refused("restart") {
            // Its meaning is not known.
        } else if is_restart_asked_for(component) {
            self.problems.extend(self.never_spent(component));
        } else {
            let message = "`restart` has no effect: neither `on-exit` nor `on-failure` is \"restart\"";
            self.note(&entry.key_span, message, "add `on-failure = \"restart\"` or `on-exit = \"restart\"`");
        }
    }

    /// Finds a period that is over before the budget can be spent: the component could fail for ever (R10).
    fn never_spent(&self, component: &Section) -> Option<Problem> {
        let (_, plan) = component.get::<RestartPlan>("restart", self.base)?;
        let item = component.table("restart")?.item("within")?;
        if self.app.is_refused("fail-grace") || component.is_refused("grace") {
            return None;
        }
        let duration = |section: &Section, key| section.get(key, self.base).map(|(_, duration)| duration);
        let fail_grace = duration(self.app, "fail-grace").unwrap_or_else(|| AppPlan::default().fail_grace);
        let going = time_to_go(fail_grace, duration(component, "grace"));
        let needed = plan.time_to_spend(going);
        if needed < plan.within {
            return None;
        }
        let (max, within, needed) =
            (plan.max.unwrap_or_default(), format_duration(plan.within), format_duration(needed));
        let (each, pauses) = (format_duration(going), format_duration(plan.least_pauses()));
        let key = if going < fail_grace { "grace" } else { "fail-grace" };
        let message = format!(
            "this budget might never be spent: {max} restarts can take {needed} ({max} × {key} of {each}, and pauses of \
             {pauses} at least), and `restart.within` is {within}"
        );
        let hint = format!("make `within` longer than {needed}, or `max`, `backoff` or `{key}` smaller");
        Some(Problem::new(&item.span, message).hint(hint))
    }

    /// Checks `health` and `overlap` by `listen`: the kind itself is known only after loading.
    fn health(&mut self, component: &Section) {
        let is_served = component.has("listen");
        if let (true, Some(entry), Some((_, true))) =
            (is_served, component.entry("overlap"), component.get("overlap", self.base))
        {
            let message = "`overlap` is for services: what has `listen` always overlaps on a reload";
            self.note(&entry.key_span, message, "leave it out");
        }
        let (Some(entry), Some(health)) = (component.entry("health"), component.table("health")) else {
            return;
        };
        if component.is_refused("health") {
            return;
        }
        if is_served && !health.has("path") {
            let message = "`health` has no `path`, which it needs with `listen`";
            self.note(&entry.key_span, message, "add `path = \"/healthz\"`: an answer below 500 is good");
        }
        let asked = ["path", "timeout"].into_iter().filter_map(|key| health.entry(key));
        for entry in asked.filter(|_| !is_served) {
            let message = format!("`health.{}` needs `listen`, which is missing", entry.key);
            let hint = "a service calls `alive` of `curfew:lifecycle/host`; kind `http` has `listen`";
            self.note(&entry.key_span, message, hint);
        }
    }

    fn order(&mut self) {
        let order: Vec<&str> = self.components.entries.iter().map(|entry| entry.key.as_str()).collect();
        let names: BTreeSet<&str> = order.iter().copied().collect();
        let mut edges = Edges::new();
        for (name, component) in self.components.tables() {
            let after = component.item("after").and_then(Item::list).unwrap_or_default();
            for (to, item) in after.iter().filter_map(|item| Some((item.text()?, item))) {
                if names.contains(to) {
                    edges.entry(name).or_default().push((to, item));
                    continue;
                }
                let message =
                    format!("`after` names a component that does not exist: {}", scalar::quoted(to));
                let hint = match nearest(to, names.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => {
                        format!("the components are {}", alternatives(names.iter().copied().take(20), '"'))
                    }
                };
                self.note(&item.span, message, hint);
            }
        }
        for _ in 0..CYCLES_TOLD {
            let Some((problem, members)) = find_cycle(&order, &edges) else { break };
            self.problems.push(problem);
            edges.retain(|name, _| !members.contains(name));
        }
    }
}

/// Returns whether a failure or an end means a restart; also where that is not known, as the word is refused.
fn is_restart_asked_for(component: &Section) -> bool {
    let text = |key| component.item(key).and_then(Item::text);
    let says = |key| component.is_refused(key) || text(key) == Some(OnEnd::Restart.word());
    let is_default = component.has("listen") && !component.has("on-failure");
    says("on-exit") || says("on-failure") || is_default
}

/// For each component those that it is to come after, with the places that say so.
type Edges<'a> = BTreeMap<&'a str, Vec<(&'a str, &'a Item)>>;

/// Looks for the first cycle, and returns its members, too. Loops instead of recursion: a manifest can be as deep as it likes.
fn find_cycle<'a>(order: &[&'a str], edges: &Edges<'a>) -> Option<(Problem, BTreeSet<&'a str>)> {
    let targets = |name: &str| edges.get(name).into_iter().flatten().map(|(to, _)| *to).collect();
    let (_, left) = waves(&order.iter().map(|name| (*name, targets(name))).collect());
    // Each that is left waits for another that is left; one that is met twice on the way is in a cycle.
    let step = |name: &str| edges.get(name)?.iter().find(|(to, _)| left.contains(to));
    let mut at = *order.iter().find(|name| left.contains(*name))?;
    let (mut path, mut met) = (Vec::new(), BTreeSet::new());
    while met.insert(at) {
        path.push(at);
        at = step(at)?.0;
    }
    path.drain(..path.iter().position(|name| *name == at)?);
    // The message begins with the component that stands first in the manifest.
    let members: BTreeSet<&'a str> = path.iter().copied().collect();
    let first = *order.iter().find(|name| members.contains(*name))?;
    let start = path.iter().position(|name| *name == first)?;
    path.rotate_left(start);
    if path.len() > CYCLE_SHOWN {
        path.truncate(CYCLE_SHOWN);
        path.push("…");
    }
    path.push(first);
    let message = format!("`after` goes round in a circle: {}", path.join(" → "));
    let problem = Problem::new(&step(first)?.1.span, message).hint("\"a → b\" is: a starts after b");
    Some((problem, members))
}
