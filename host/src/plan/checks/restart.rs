//! What `restart` means together with the keys that ask for it, and with the graces.
//!
//! Invariant: a budget that is accepted counts for something, and can be spent.

use super::super::budget::time_to_go;
use super::super::manifest::restart_plan;
use super::super::problem::{Item, Problem, Section, Value};
use super::super::schema::RESTART;
use super::super::types::DEFAULT_FAIL_GRACE;
use crate::text::units::format_duration;

/// Checks `restart` of one component.
pub(super) fn check(app: &Section, component: &Section, problems: &mut Vec<Problem>) {
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
        problems.extend(never_spent(app, component, restart));
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

/// Whether a failure or an end means a restart; or it is not known, as the word is refused.
fn is_asked_for(component: &Section) -> bool {
    let says = |key| component.is_refused(key) || component.text(key) == Some(RESTART);
    let is_default = component.has("listen") && !component.has("on-failure");
    says("on-exit") || says("on-failure") || is_default
}

/// A period that is over before the budget can be spent: the component could fail for ever (R10).
fn never_spent(app: &Section, component: &Section, restart: &Section) -> Option<Problem> {
    let item = restart.item("within")?;
    if app.is_refused("fail-grace") || component.is_refused("grace") {
        return None;
    }
    let fail_grace = app.duration("fail-grace").unwrap_or(DEFAULT_FAIL_GRACE);
    let going = time_to_go(fail_grace, component.duration("grace"));
    let plan = restart_plan(Some(restart), going);
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
