//! What to think of one run: the rules of a good stop, each with the words for the one who broke it.
//!
//! Invariant: pure: what was seen goes in, findings come out.

use std::time::Duration;

use super::finding::Finding;
use super::observation::{Exit, Observation};
use super::outcomes;
use super::scenario::{NOISE, Scenario};
use curfew_host::plan::Plan;

/// The code of the finding that nobody answers the load.
pub const NO_ANSWER: &str = "no-answer";
/// The code of the finding that the start takes long.
pub const SLOW_START: &str = "slow-start";
/// Slower starts are told.
const LONG: Duration = Duration::from_secs(10);
/// A second INT has to end everything at once; what the cut itself and the exit may take.
const AT_ONCE: Duration = Duration::from_millis(2_100);

/// Returns what is to be said about one run.
pub fn findings(seen: &Observation, plan: &Plan) -> Vec<Finding> {
    if seen.exit == Exit::Early(0) {
        // Whatever was still to be done to it could not be.
        let text = "the app ended by itself before it was asked to";
        let advice = "only what runs can be stopped: there is nothing to drill";
        return vec![Finding::note("ended-by-itself", text).advise(advice)];
    }
    let mut found = seen.found.clone();
    found.extend(in_time(seen, plan));
    found.extend(left(seen));
    found.extend(lost(seen));
    found.extend(slow_start(seen));
    outcomes::findings(seen, &mut found);
    found.extend(code(seen, &found));
    found
}

fn in_time(seen: &Observation, plan: &Plan) -> Option<Finding> {
    let bound = seen.what.bound(&plan.app).saturating_add(NOISE);
    let report = "that is curfew's fault, not the app's: please report it";
    match (seen.exit, seen.took) {
        (Exit::Never, _) => {
            let text = format!(
                "the process had not left {} ms after it was asked to, and was killed",
                bound.as_millis()
            );
            Some(Finding::failure("not-left", text).advise(report))
        }
        (_, Some(took)) if seen.forced && took > AT_ONCE.saturating_add(NOISE) => {
            let text = format!("after a second INT it took {} ms to leave", took.as_millis());
            Some(Finding::failure("not-at-once", text).advise(report))
        }
        (_, Some(took)) if took > bound => {
            let text =
                format!("the process left after {} ms; it had {} ms", took.as_millis(), bound.as_millis());
            Some(Finding::failure("left-late", text).advise(report))
        }
        _ => None,
    }
}

fn left(seen: &Observation) -> impl Iterator<Item = Finding> {
    let advice = "that is curfew's fault, not the app's: please report it";
    seen.left.iter().map(move |what| {
        Finding::failure("left-behind", format!("when the process was gone, {what} was still there"))
            .advise(advice)
    })
}

fn lost(seen: &Observation) -> Vec<Finding> {
    if seen.forced || seen.found.iter().any(|finding| finding.code == NO_ANSWER) {
        // Whoever forces an app to end wants that; and where nobody answers nothing can be lost.
        return Vec::new();
    }
    let all = seen.loads.iter().filter(|(_, counts)| counts.lost() > 0);
    all.map(|(aim, counts)| {
        let texts: Vec<String> = counts.lost.iter().map(|(loss, count)| loss.text(*count)).collect();
        let advice = match seen.what {
            _ if has_failed(seen, aim) => {
                "an instance failed, and took the requests along that it had: mend that first; `instance failed` in the log \
                 of `curfew run` says why"
            }
            Scenario::Reload => {
                "the old generation has to finish what it has: answer within the grace, and end endless answers when the \
                 stop is requested"
            }
            _ => {
                "answer within the grace, and end endless answers when the stop is requested (`stop-requested`, or \
                 `subscribe-stop` in WASI 0.2); an answer that breaks off by itself needs mending in the component"
            }
        };
        Finding::failure("lost", format!("{aim}: {}", texts.join(", "))).advise(advice)
    })
    .collect()
}

/// Whether an instance failed of those that can be behind an aim: it begins with the name of its component, or is a URL.
fn has_failed(seen: &Observation, aim: &str) -> bool {
    let names = || seen.report.iter().flat_map(|report| &report.components).map(|component| &component.name);
    let is_it = |name: &String| aim.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(" at "));
    let is_named = names().any(is_it);
    names().any(|name| (is_it(name) || !is_named) && outcomes::failures(seen, name) > 0)
}

fn slow_start(seen: &Observation) -> Option<Finding> {
    let ready = seen.ready.filter(|ready| *ready > LONG)?;
    let text = format!(
        "it took {} ms from the start of the process until everything had started",
        ready.as_millis()
    );
    let advice = "compiling counts only the first time, if the compile cache can be written (CURFEW_CACHE_DIR); after that \
                  it is what components do before their `run` is entered, or before they say `ready`";
    Some(Finding::warning(SLOW_START, text).advise(advice))
}

/// The code itself says something only where no component has been found to be why.
fn code(seen: &Observation, found: &[Finding]) -> Option<Finding> {
    let told = found.iter().any(|finding| finding.weight == super::finding::Weight::Failure);
    match (seen.exit, seen.what) {
        (Exit::Early(code), _) if !told => Some(Finding::failure(
            "ended-by-itself",
            format!("the app left with {code} before it was asked to"),
        )),
        (Exit::Code(1), Scenario::Peer) => None,
        (Exit::Code(0), Scenario::Peer) => Some(
            Finding::failure("peer-unnoticed", "a component failed, and curfew left with 0")
                .advise("please report it"),
        ),
        (Exit::Code(0), _) => None,
        // Its grace can be over in the moment of the second INT.
        (Exit::Code(130 | 124), Scenario::Int) if seen.forced => None,
        (Exit::Code(code), _) if !told => Some(Finding::failure(
            "exit-code",
            format!("the app left with {code} instead of {}", i32::from(seen.what == Scenario::Peer)),
        )),
        (Exit::Signal(signal), _) => {
            Some(Finding::failure("killed", format!("the process died of signal {signal}")))
        }
        _ => None,
    }
}
