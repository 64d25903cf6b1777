//! What to think of how each component ended: its outcome, its hook, and how much of its grace it used.
//!
//! Invariant: pure, like `judge`, which it is a part of.

use std::time::Duration;

use super::finding::Finding;
use super::observation::Observation;
use super::record::{Record, count};
use super::report::Component;
use super::scenario::Scenario;

/// Shares of the grace, in percent, above which a stop is slow, and above which it is close.
const SLOW: u64 = 50;
const CLOSE: u64 = 80;
/// What is shorter than this is not slow, however short the grace is.
const SHORT: Duration = Duration::from_millis(250);

/// What a hook that called exit has for a detail.
const EXITED: &str = "called exit instead of returning";

/// How much of its grace a component used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its name.
    pub component: String,
    /// From the notice to its end.
    pub took: Duration,
    /// What it had.
    pub grace: Duration,
}

impl Used {
    /// Returns the share that was used.
    pub fn percent(&self) -> u64 {
        let grace = self.grace.as_millis().max(1);
        u64::try_from(self.took.as_millis() * 100 / grace).unwrap_or(u64::MAX)
    }
}

/// Returns how much of its grace each component used in the last stop of it that was seen.
pub fn used(records: &[Record]) -> Vec<Used> {
    let mut all: Vec<Used> = Vec::new();
    for (at, asked) in records.iter().enumerate().filter(|(_, record)| record.said.message == "asked to stop")
    {
        let Some(component) = asked.said.component.clone() else { continue };
        let later = records.get(at..).unwrap_or_default();
        let ended = later.iter().find(|record| record.is("component ended", &component));
        let (Some(ended), Some(grace)) = (ended, asked.said.grace_ms) else { continue };
        all.retain(|used| used.component != component);
        let took = ended.at.saturating_duration_since(asked.at);
        all.push(Used { component, took, grace: Duration::from_millis(grace) });
    }
    all
}

/// Adds what is to be said about each component.
pub fn findings(seen: &Observation, found: &mut Vec<Finding>) {
    replaced(seen, found);
    let used = used(&seen.records);
    let components = seen.report.as_ref().map(|report| report.components.as_slice()).unwrap_or_default();
    for component in components.iter().filter(|component| seen.peer.as_ref() != Some(&component.name)) {
        let used = used.iter().find(|used| used.component == component.name);
        found.extend(outcome(component, seen, used).map(|finding| finding.of(&component.name)));
        found.extend(hooks(component, seen).map(|finding| finding.of(&component.name)));
        if let Some(used) = used.filter(|_| !seen.forced && component.outcome != "cut-off") {
            found.extend(slow(component, seen, used).map(|finding| finding.of(&component.name)));
        }
        found.extend(failing(component, seen).map(|finding| finding.of(&component.name)));
        if component.hook == "none" && seen.what == Scenario::Term {
            let text = "it has no hook: it is not told that it must stop, unless it asks for it itself";
            let advice = "export `shutdown` if there is something to finish, flush or close";
            found.push(Finding::note("no-hook", text).of(&component.name).advise(advice));
        }
    }
}

/// Returns how often a component's instances failed before the stop.
pub fn failures(seen: &Observation, component: &str) -> usize {
    let before = |record: &&Record| seen.asked.is_none_or(|asked| record.at < asked);
    let failed = seen.records.iter().filter(before);
    failed.filter(|record| record.is("instance failed", component)).count()
}

/// Its answers count whatever their status is, so an error that it always had is no loss; but it is an error.
fn failing(component: &Component, seen: &Observation) -> Option<Finding> {
    let text = match failures(seen, &component.name) {
        0 => return None,
        1 => "an instance of it failed while it served".to_owned(),
        many => format!("its instances failed {many} times while it served"),
    };
    let advice =
        "each took the requests along that it had: `instance failed` in the log of `curfew run` says why";
    Some(Finding::note("instance-failed", text).advise(advice))
}

fn is_bad(outcome: &str) -> bool {
    !matches!(outcome, "stopped" | "finished" | "not-started")
}

/// Whether no generation of the same component ended later: that one is in the report.
fn is_last(record: &Record, seen: &Observation) -> bool {
    let name = record.said.component.as_deref().unwrap_or_default();
    seen.records
        .iter()
        .rfind(|other| other.is("component ended", name))
        .is_some_and(|last| last.at == record.at)
}

/// Whether the last generation, which is in the report, ended as badly: then the same fault is told of that one.
fn is_found(name: &str, outcome: &str, seen: &Observation) -> bool {
    let mut last = seen.report.iter().flat_map(|report| &report.components);
    last.any(|last| last.name == name && last.outcome == outcome)
}

/// Generations that ended before the stop are not in the report.
fn replaced(seen: &Observation, found: &mut Vec<Finding>) {
    if seen.what != Scenario::Reload {
        return;
    }
    for record in seen.records.iter().filter(|record| record.said.message == "component ended") {
        let (Some(name), Some(outcome)) = (&record.said.component, record.said.outcome.as_deref()) else {
            continue;
        };
        if is_bad(outcome) && !is_last(record, seen) && !is_found(name, outcome, seen) {
            let text = format!("a generation that was replaced ended as {outcome}");
            let advice =
                "a restart stops it as TERM does, and its last generation stopped well: look at its output";
            found.push(Finding::failure("replaced-badly", text).of(name).advise(advice));
        }
    }
}

fn outcome(component: &Component, seen: &Observation, used: Option<&Used>) -> Option<Finding> {
    let grace = used.map_or_else(String::new, |used| format!(" of {}", seconds(used.grace)));
    let detail = component.detail.as_deref().map(|detail| detail.trim_start_matches("hook: "));
    let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
    match component.outcome.as_str() {
        "cut-off" if seen.forced => None,
        "cut-off" => Some(cut_off(component, seen, &grace)),
        "leaked" => Some(
            Finding::failure("leaked", format!("it was blocked in a call of the system at the end of its grace{grace}"))
                .advise("opening a FIFO, a file on a dead network file system or a device can block for ever: avoid it, \
                         or give it to a component of its own"),
        ),
        // What a guest says of itself does not decide.
        "hook-failed" if component.hook == "trapped" && detail.ends_with(EXITED) => Some(
            Finding::failure("hook-exit", format!("its hook failed{detail}"))
                .advise("return from the hook: curfew ends the app when all of it has ended"),
        ),
        "hook-failed" if component.hook == "trapped" => Some(
            Finding::failure("hook-trapped", format!("its hook threw or trapped{}", detail.replacen(": trapped", "", 1)))
                .advise("its traceback is at the end of its output; a hook reports trouble by returning an error"),
        ),
        "hook-failed" => Some(
            Finding::failure("hook-error", format!("its hook failed{detail}"))
                .advise("that is what the hook itself says: mend what it tells of, or do not let it count as an error"),
        ),
        "failed" => Some(
            Finding::failure("failed", format!("it failed{detail}"))
                .advise("the drill does nothing to it but stop it: look at its output and its backtrace"),
        ),
        "gave-up" => Some(
            Finding::failure("gave-up", format!("it failed more often than its `restart` allows{detail}")),
        ),
        _ => None,
    }
}

fn cut_off(component: &Component, seen: &Observation, grace: &str) -> Finding {
    if component.http.is_some() && component.in_flight_ended > 0 && component.hook != "cut-off" {
        return requests_cut(component.in_flight_ended, seen, grace);
    }
    let (code, why, advice) = match component.hook.as_str() {
        "none" => (
            "cut-off",
            "it went on to the end of its grace",
            "it has no hook: wait for the stop (`stop-requested`, or `subscribe-stop` in WASI 0.2) and return from `run`, \
             or export `shutdown`",
        ),
        "not-called" => (
            "hook-not-entered",
            "its hook was never entered, and it went on to the end of its grace",
            "`curfew check` says whether it is sync or async. A sync one is not entered while it works: watch the stop \
             (`subscribe-stop`) there and return. An async one is entered when it awaits: await more often, instead of \
             computing or blocking",
        ),
        "ok" => (
            "run-goes-on",
            "its hook returned, but its work went on to the end of its grace",
            "let the hook tell `run` to return, and end endless answers when the stop is requested",
        ),
        _ => (
            "hook-cut-off",
            "its hook was still at work at the end of its grace",
            "raise `grace`, or do less in the hook; `remaining` of `curfew:lifecycle/host` says how much time is left",
        ),
    };
    Finding::failure(code, format!("{why}{grace}, and was cut off")).advise(raise(seen, advice))
}

fn requests_cut(many: u64, seen: &Observation, grace: &str) -> Finding {
    let text = match many {
        1 => format!("1 request was still under way at the end of its grace{grace}, and was cut off"),
        _ => format!("{many} requests were still under way at the end of its grace{grace}, and were cut off"),
    };
    let advice =
        "raise `grace` above what a request can take, or end answers sooner when the stop is requested";
    Finding::failure("requests-cut", text).advise(raise(seen, advice))
}

/// Names the key that holds after a failure.
fn raise(seen: &Observation, advice: &str) -> String {
    match seen.what {
        Scenario::Peer => advice.replace("`grace`", "`fail-grace`"),
        _ => advice.to_owned(),
    }
}

/// I1: once for each instance that was started, unless it failed or was cut off first.
fn hooks(component: &Component, seen: &Observation) -> Option<Finding> {
    if component.hook == "none" {
        return None;
    }
    let name = &component.name;
    let of = |message: &str| count(&seen.records, message, name);
    let instances = if component.http.is_some() { of("instance started") } else { of("component started") };
    let called = of("hook started");
    if called > instances {
        let text = format!("its hook was called {called} times for {instances} instances");
        return Some(Finding::failure("hook-twice", text).advise("please report it"));
    }
    let failed = of("instance failed") + of("failed") + of("component restarts") + of("cut off");
    let ended = seen.records.iter().filter(|record| record.is("component ended", name));
    let bad = ended.filter_map(|record| record.said.outcome.as_deref()).any(is_bad);
    let excused = seen.forced || bad || component.outcome != "stopped" || seen.what == Scenario::Start;
    (called + failed < instances && !excused).then(|| {
        let text = format!("its hook was called {called} times for {instances} instances");
        Finding::failure("hook-missing", text).advise(
            "an instance that ends by itself (`exit`, the end of `run`) before the stop is not entered again",
        )
    })
}

fn slow(component: &Component, seen: &Observation, used: &Used) -> Option<Finding> {
    if used.took < SHORT || used.percent() <= SLOW {
        return None;
    }
    let hook = component.hook_ms.map(Duration::from_millis).unwrap_or_default();
    let part = hook.as_millis() * 100 / used.took.as_millis().max(1);
    let queued = queued(component, seen);
    let (code, text, advice) = match queued {
        _ if part > 50 => (
            "slow-hook",
            format!("its hook took {} of {}", seconds(hook), seconds(used.grace)),
            "raise `grace`, or do less in the hook",
        ),
        Some(queued) if queued * 2 > used.took => (
            "hook-queued",
            format!("its hook was entered only after {} of {}", seconds(queued), seconds(used.grace)),
            "a guest can be entered only while it awaits: watch for the stop, and do not compute or block for so long",
        ),
        _ => (
            "slow-stop",
            format!("it took {} of {} to stop", seconds(used.took), seconds(used.grace)),
            "raise `grace`, or let go of work sooner: busy machines take longer than this one",
        ),
    };
    let advice = match used.percent() > CLOSE {
        true => format!("{advice}; it was close: {} % were used", used.percent()),
        false => advice.to_owned(),
    };
    Some(Finding::warning(code, text).advise(advice))
}

/// How long the hook waited to be let in.
fn queued(component: &Component, seen: &Observation) -> Option<Duration> {
    let last = |message: &str| seen.records.iter().rfind(|record| record.is(message, &component.name));
    Some(last("hook started")?.at.saturating_duration_since(last("asked to stop")?.at))
}

/// A time for people: `9.1 s`, or `120 ms`.
pub fn seconds(time: Duration) -> String {
    match time.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        ms => match (ms + 50) / 100 {
            tenths if tenths % 10 == 0 => format!("{} s", tenths / 10),
            tenths => format!("{}.{} s", tenths / 10, tenths % 10),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::observation::Exit;
    use super::super::report::Report;
    use super::*;

    fn component(outcome: &str, hook: &str, detail: &str) -> Component {
        let text = |text: &str| text.to_owned();
        let (name, detail) = (text("web"), Some(text(detail)));
        Component { name, outcome: text(outcome), hook: text(hook), detail, ..Component::default() }
    }

    fn seen(what: Scenario, said: &[&str]) -> Observation {
        let at = Instant::now();
        let record = |line: &&str| Record::read(line, at);
        let records = said.iter().filter_map(record).collect();
        Observation {
            what,
            peer: None,
            moment: None,
            ready: None,
            asked: None,
            exit: Exit::Code(0),
            took: None,
            forced: false,
            records,
            report: None,
            loads: Vec::new(),
            aims: Vec::new(),
            found: Vec::new(),
            left: Vec::new(),
            cannot_be_asked: false,
            tail: Vec::new(),
        }
    }

    #[test]
    fn what_a_hook_says_does_not_decide_what_is_found() {
        let found = |hook, detail| {
            outcome(&component("hook-failed", hook, detail), &seen(Scenario::Term, &[]), None).unwrap().code
        };
        assert_eq!(found("error", "hook: it called exit instead of returning"), "hook-error");
        assert_eq!(found("error", "hook: the exit was shut"), "hook-error");
        assert_eq!(found("trapped", "hook: trapped: no exit here"), "hook-trapped");
        assert_eq!(found("trapped", "hook: called exit instead of returning"), "hook-exit");
    }

    #[test]
    fn times_are_rounded() {
        let told = [999, 1000, 4949, 4950, 4998].map(|ms| seconds(Duration::from_millis(ms)));
        assert_eq!(told, ["999 ms", "1 s", "4.9 s", "5 s", "5 s"]);
    }

    #[test]
    fn a_trap_is_named_once() {
        let trapped =
            component("hook-failed", "trapped", "hook: trapped: wasm `unreachable` instruction executed");
        let found = outcome(&trapped, &seen(Scenario::Term, &[]), None).unwrap();
        assert_eq!(found.text, "its hook threw or trapped: wasm `unreachable` instruction executed");
    }

    #[test]
    fn a_fault_of_each_generation_is_told_once() {
        let ended = |outcome: &str| {
            format!(
                r#"{{"timestamp":"t","level":"INFO","message":"component ended","component":"web","outcome":"{outcome}"}}"#
            )
        };
        let replaced_badly = |last: &str| {
            let mut seen = seen(Scenario::Reload, &[&ended("hook-failed")]);
            seen.records.extend(Record::read(&ended(last), Instant::now() + Duration::from_secs(1)));
            let report =
                Report { components: vec![component(last, "error", "hook: no")], ..Report::default() };
            seen.report = Some(report);
            let mut found = Vec::new();
            replaced(&seen, &mut found);
            found.len()
        };
        assert_eq!((replaced_badly("hook-failed"), replaced_badly("stopped")), (0, 1));
    }
}
