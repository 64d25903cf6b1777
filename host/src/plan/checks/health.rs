//! What `health` and `overlap` mean for a component that the host listens for, and for one it does not.
//!
//! Invariant: who is listened for is asked over a path, who is not has no key that is about being asked. The kind
//! itself is known only after loading.

use super::super::problem::{Problem, Section};

const SERVICE: &str = "a service calls `alive` of `curfew:lifecycle/host`; kind `http` has `listen`";

/// Checks `health` and `overlap` of one component.
pub(super) fn check(component: &Section, problems: &mut Vec<Problem>) {
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
