//! The rules of a good stop: an observation of one run goes in, findings with advice to the author come out.

use std::time::Duration;

use super::drill_report::share;
use super::{
    Finding, GraceUse, LogRecord, NOISE, Observation, ProcessExit, REPORT_BUG, ReportedComponent,
    RequestCounts, Scenario, Severity, Target, millis,
};
use curfew_host::plan::Plan;

pub(crate) const NO_ANSWER: &str = "no-answer";
pub(crate) const SERVER_ERRORS: &str = "server-errors";
pub(crate) const SLOW_START: &str = "slow-start";
const LONG_START: Duration = Duration::from_secs(10);
/// Longest time of the cut-off and the exit after a second INT, which ends everything at once.
const AT_ONCE: Duration = Duration::from_millis(2_100);
/// Percents of the grace above which a stop is slow, and above which it is close to the cut-off.
const SLOW: u64 = 50;
const CLOSE: u64 = 80;
/// A stop that takes less than this is not slow, however short the grace is.
const SHORT_MS: u64 = 250;

/// The end of the detail of a hook that called exit.
const EXITED: &str = "called exit instead of returning";

pub(crate) fn evaluate(run: &Observation, plan: &Plan) -> Vec<Finding> {
    if run.exit == ProcessExit::Early(0) {
        let text = "the app ended by itself before it was asked to";
        let advice = "Only an app that runs can be stopped. There is nothing to drill.";
        return vec![Finding::note("ended-by-itself", text).advise(advice)];
    }
    let mut found = run.findings.clone();
    found.extend(late_exit(run, plan));
    found.extend(run.leftovers.iter().map(|leftover| {
        let text = format!("when the process was gone, {leftover} was still there");
        Finding::failure("left-behind", text).advise(REPORT_BUG)
    }));
    found.extend(lost_requests(run));
    found.extend(server_errors(run));
    found.extend(slow_start(run));
    bad_generations(run, &mut found);
    components(run, &mut found);
    found.extend(bad_exit(run, &found));
    found
}

fn late_exit(run: &Observation, plan: &Plan) -> Option<Finding> {
    let bound = run.scenario.exit_bound(&plan.app).saturating_add(NOISE);
    let (bound_ms, took_ms) = (bound.as_millis(), run.stop_time.unwrap_or_default().as_millis());
    let (code, text) = match run.stop_time {
        _ if run.exit == ProcessExit::Never => {
            let text =
                format!("the process had not left {bound_ms} ms after it was asked to, and was killed");
            ("not-left", text)
        }
        Some(time) if run.is_forced && time > AT_ONCE.saturating_add(NOISE) => {
            ("not-at-once", format!("after a second INT it took {took_ms} ms to leave"))
        }
        Some(time) if time > bound => {
            ("left-late", format!("the process left after {took_ms} ms; it had {bound_ms} ms"))
        }
        _ => return None,
    };
    Some(Finding::failure(code, text).advise(REPORT_BUG))
}

fn lost_requests(run: &Observation) -> Vec<Finding> {
    if run.is_forced || run.findings.iter().any(|finding| finding.code == NO_ANSWER) {
        // A forced stop loses requests on purpose, and a target that never answered has nothing to lose.
        return Vec::new();
    }
    let lossy = run.loads.iter().filter(|(_, counts)| counts.lost() > 0);
    let finding = |(target, counts): &(Target, RequestCounts)| {
        let texts: Vec<String> =
            counts.lost.iter().map(|(outcome, count)| outcome.loss_text(*count)).collect();
        let advice = match run.scenario {
            _ if has_failed_instance(run, target) => {
                "First find out why an instance failed: its requests were lost with it. `instance failed` in the log of \
                 `curfew run` has the reason."
            }
            Scenario::Reload => {
                "The old generation must finish its requests: answer within the grace, and end endless answers when the \
                 stop is requested."
            }
            _ => {
                "Answer within the grace, and end endless answers when the stop is requested (`stop-requested`, or \
                 `subscribe-stop` in WASI 0.2). If the component breaks answers off by itself, correct that."
            }
        };
        Finding::failure("lost", format!("{}: {}", target.name, texts.join(", "))).advise(advice)
    };
    lossy.map(finding).collect()
}

/// Errors that a component answers with by itself, with or without a stop. They are failures unless they are allowed.
fn server_errors(run: &Observation) -> Vec<Finding> {
    let faulty = run.loads.iter().filter(|(_, counts)| counts.errors > 0 && !run.is_forced);
    let finding = |(target, counts): &(Target, RequestCounts)| {
        let RequestCounts { answered, errors, .. } = counts;
        let text = format!(
            "{}: {errors} of {answered} answers ({}) had a status of 5xx, which is not due to the stop",
            target.name,
            share(*errors, *answered)
        );
        let advice = "The log of `curfew run` has a line for each error that curfew itself answers; others are the \
                      component's own. If another path answers well, name it with --load URL. --allow-errors accepts them.";
        Finding::failure(SERVER_ERRORS, text).advise(advice)
    };
    faulty.map(finding).collect()
}

/// Returns whether an instance behind a target failed; behind a URL is any component.
fn has_failed_instance(run: &Observation, target: &Target) -> bool {
    let names = || run.components.iter().map(|component| &component.name);
    let is_target = |name: &String| target.component.as_ref() == Some(name);
    let is_known = names().any(is_target);
    names().any(|name| (is_target(name) || !is_known) && failed_instances(run, name) > 0)
}

fn slow_start(run: &Observation) -> Option<Finding> {
    let startup = run.startup.filter(|startup| *startup > LONG_START)?;
    let took = startup.as_millis();
    let text = format!("it took {took} ms from the start of the process until everything had started");
    let advice = "Compiling takes time only at the first start, if the compile cache can be written \
                  (CURFEW_CACHE_DIR). Otherwise shorten the work of the components before their `run` is entered, or \
                  before they call `ready`.";
    Some(Finding::warning(SLOW_START, text).advise(advice))
}

/// The exit code is a finding of its own only if no other failure explains it.
fn bad_exit(run: &Observation, found: &[Finding]) -> Option<Finding> {
    let is_explained = found.iter().any(|finding| finding.severity == Severity::Failure);
    let expected = i32::from(run.scenario == Scenario::Peer);
    match run.exit {
        ProcessExit::Signal(signal) => {
            Some(Finding::failure("killed", format!("the process died of signal {signal}")))
        }
        ProcessExit::Code(code) if code == expected => None,
        ProcessExit::Code(0) => {
            let text = "a component failed, and curfew left with 0";
            Some(Finding::failure("peer-unnoticed", text).advise(REPORT_BUG))
        }
        // The grace can be over at the moment of the second INT.
        ProcessExit::Code(130 | 124) if run.is_forced => None,
        _ if is_explained => None,
        ProcessExit::Code(code) => {
            Some(Finding::failure("exit-code", format!("the app left with {code} instead of {expected}")))
        }
        ProcessExit::Early(code) => {
            let text = format!("the app left with {code} before it was asked to");
            Some(Finding::failure("ended-by-itself", text))
        }
        ProcessExit::Never => None,
    }
}

fn components(run: &Observation, found: &mut Vec<Finding>) {
    let grace = GraceUse::of_all(&run.records);
    for component in run.components.iter().filter(|component| run.peer.as_ref() != Some(&component.name)) {
        let used = grace.iter().find(|used| used.component == component.name);
        let slow = used.filter(|_| !run.is_forced && component.outcome != "cut-off");
        let about = [
            bad_outcome(component, run, used),
            bad_hook_count(component, run),
            slow.and_then(|used| slow_stop(component, run, used)),
            failing_instances(component, run),
            turned_away(component),
            no_hook(component, run),
        ];
        found.extend(about.into_iter().flatten().map(|finding| finding.of(&component.name)));
    }
}

fn no_hook(component: &ReportedComponent, run: &Observation) -> Option<Finding> {
    let text = "it has no hook: it learns of a stop only if it asks for it itself";
    let advice = "Export `shutdown` if there is something to finish, flush or close.";
    let is_told = component.hook == "none" && run.scenario == Scenario::Term;
    is_told.then(|| Finding::note("no-hook", text).advise(advice))
}

fn failed_instances(run: &Observation, component: &str) -> usize {
    let before_stop = run.records.iter().filter(|record| run.stop_at.is_none_or(|at| record.at < at));
    before_stop.filter(|record| record.is("instance failed", component)).count()
}

/// An instance that failed before the stop is a note, since answers with usual errors are no loss.
fn failing_instances(component: &ReportedComponent, run: &Observation) -> Option<Finding> {
    let text = match failed_instances(run, &component.name) {
        0 => return None,
        1 => "an instance of it failed while it served".to_owned(),
        many => format!("its instances failed {many} times while it served"),
    };
    let advice = "Each failed instance loses its requests. `instance failed` in the log of `curfew run` has the reason.";
    Some(Finding::note("instance-failed", text).advise(advice))
}

/// A connection that the stop has turned away is a note: requests that were lost are findings of their own.
fn turned_away(component: &ReportedComponent) -> Option<Finding> {
    let text = match component.http?.turned_away {
        0 => return None,
        1 => "the stop closed a connection on which a request was due".to_owned(),
        many => format!("the stop closed {many} connections on which a request was due"),
    };
    let advice = "Their clients had just connected, or had sent a part of a request. With a `drain-delay` a load balancer \
                  sends its clients elsewhere in time.";
    Some(Finding::note("turned-away", text).advise(advice))
}

fn is_bad(outcome: &str) -> bool {
    !matches!(outcome, "stopped" | "finished" | "not-started")
}

/// Adds the bad ends of generations that were replaced before the stop, except for faults that the last one has, too.
fn bad_generations(run: &Observation, found: &mut Vec<Finding>) {
    if run.scenario != Scenario::Reload {
        return;
    }
    for record in run.records.iter().filter(|record| record.message == "component ended") {
        let (Some(name), Some(outcome)) = (&record.component, record.outcome.as_deref()) else { continue };
        let is_later = |other: &LogRecord| other.is("component ended", name) && other.at > record.at;
        let is_reported = run.components.iter().any(|last| last.name == *name && last.outcome == outcome);
        if is_bad(outcome) && !is_reported && run.records.iter().any(is_later) {
            let text = format!("a generation that was replaced ended as {outcome}");
            let advice = "A restart stops a generation as TERM does, and the last generation stopped well. The output of \
                          the component may have the reason.";
            found.push(Finding::failure("replaced-badly", text).of(name).advise(advice));
        }
    }
}

fn bad_outcome(component: &ReportedComponent, run: &Observation, used: Option<&GraceUse>) -> Option<Finding> {
    let grace = used.map_or_else(String::new, |used| format!(" of {}", seconds(used.grace_ms)));
    let detail = component.detail.as_deref().map(|detail| detail.trim_start_matches("hook: "));
    let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
    let (code, text, advice) = match component.outcome.as_str() {
        "cut-off" if run.is_forced => return None,
        "cut-off" => return Some(cut_off(component, run, &grace)),
        "leaked" => (
            "leaked",
            format!("it was blocked in a call of the system at the end of its grace{grace}"),
            "Opening a FIFO, a device or a file on a dead network file system can block for ever. Avoid it, or do it in a \
             component of its own.",
        ),
        // The hook's state decides, not the text of its error: a guest may write anything there.
        "hook-failed" if component.hook == "trapped" && detail.ends_with(EXITED) => (
            "hook-exit",
            format!("its hook failed{detail}"),
            "Return from the hook. Curfew ends the app when all components have ended.",
        ),
        "hook-failed" if component.hook == "trapped" => (
            "hook-trapped",
            format!("its hook threw or trapped{}", detail.replacen(": trapped", "", 1)),
            "The end of its output has the traceback. To report an error, a hook returns it.",
        ),
        "hook-failed" => (
            "hook-error",
            format!("its hook failed{detail}"),
            "The hook itself returned this error. Correct its cause, or return no error for it.",
        ),
        "failed" => (
            "failed",
            format!("it failed{detail}"),
            "The drill only stops it. Its output and its backtrace have the reason.",
        ),
        "gave-up" => {
            let text = format!("it failed more often than its `restart` allows{detail}");
            return Some(Finding::failure("gave-up", text));
        }
        _ => return None,
    };
    Some(Finding::failure(code, text).advise(advice))
}

fn cut_off(component: &ReportedComponent, run: &Observation, grace: &str) -> Finding {
    if component.http.is_some() && component.in_flight_ended > 0 && component.hook != "cut-off" {
        let (many, were) = match component.in_flight_ended {
            1 => ("1 request".to_owned(), "was"),
            many => (format!("{many} requests"), "were"),
        };
        let text =
            format!("{many} {were} still under way at the end of its grace{grace}, and {were} cut off");
        let advice = "Raise `grace` above the time that a request can take, or end answers sooner when the stop is \
                      requested.";
        return Finding::failure("requests-cut", text).advise(with_grace_key(run, advice));
    }
    let (code, reason, advice) = match component.hook.as_str() {
        "none" => (
            "cut-off",
            "it went on to the end of its grace",
            "It has no hook. Wait for the stop (`stop-requested`, or `subscribe-stop` in WASI 0.2) and return from `run`, \
             or export `shutdown`.",
        ),
        "not-called" => (
            "hook-not-entered",
            "its hook was never entered, and it went on to the end of its grace",
            "`curfew check` says whether it is sync or async. A sync component cannot be entered while it works: watch \
             for the stop (`subscribe-stop`) and return. An async component is entered when it awaits: await more often, \
             instead of computing or blocking.",
        ),
        "ok" => (
            "run-goes-on",
            "its hook returned, but its work went on to the end of its grace",
            "Let the hook tell `run` to return, and end endless answers when the stop is requested.",
        ),
        _ => (
            "hook-cut-off",
            "its hook was still at work at the end of its grace",
            "Raise `grace`, or do less in the hook. `remaining` of `curfew:lifecycle/host` returns the time left.",
        ),
    };
    Finding::failure(code, format!("{reason}{grace}, and was cut off")).advise(with_grace_key(run, advice))
}

/// Names the key of the grace that applies after a failure.
fn with_grace_key(run: &Observation, advice: &str) -> String {
    match run.scenario {
        Scenario::Peer => advice.replace("`grace`", "`fail-grace`"),
        _ => advice.to_owned(),
    }
}

/// I1: the hook is called once for each instance that was started, unless that failed or was cut off first.
fn bad_hook_count(component: &ReportedComponent, run: &Observation) -> Option<Finding> {
    if component.hook == "none" {
        return None;
    }
    let name = &component.name;
    let count = |message: &str| run.count(message, name);
    let instances = count(if component.http.is_some() { "instance started" } else { "component started" });
    let called = count("hook started");
    let text = format!("its hook was called {called} times for {instances} instances");
    if called > instances {
        return Some(Finding::failure("hook-twice", text).advise(REPORT_BUG));
    }
    let failed = count("instance failed") + count("failed") + count("component restarts") + count("cut off");
    let mut ended = run.records.iter().filter(|record| record.is("component ended", name));
    let is_excused = run.is_forced
        || ended.any(|record| record.outcome.as_deref().is_some_and(is_bad))
        || component.outcome != "stopped"
        || run.scenario == Scenario::Start;
    let advice =
        "An instance that ends by itself before the stop (`exit`, the end of `run`) is not entered again.";
    let is_missing = called + failed < instances && !is_excused;
    is_missing.then(|| Finding::failure("hook-missing", text).advise(advice))
}

fn slow_stop(component: &ReportedComponent, run: &Observation, used: &GraceUse) -> Option<Finding> {
    if used.used_ms < SHORT_MS || used.percent <= SLOW {
        return None;
    }
    let hook = component.hook_ms.unwrap_or_default();
    let (time, grace) = (seconds(used.used_ms), seconds(used.grace_ms));
    let (code, text, advice) = match hook_wait(component, run) {
        _ if hook * 100 / used.used_ms.max(1) > 50 => (
            "slow-hook",
            format!("its hook took {} of {grace}", seconds(hook)),
            "Raise `grace`, or do less in the hook.",
        ),
        Some(wait) if wait * 2 > used.used_ms => (
            "hook-queued",
            format!("its hook was entered only after {} of {grace}", seconds(wait)),
            "A component can be entered only while it awaits. Watch for the stop, and do not compute or block for so long.",
        ),
        _ => (
            "slow-stop",
            format!("it took {time} of {grace} to stop"),
            "Raise `grace`, or end work sooner. A busy machine takes longer than this one.",
        ),
    };
    let advice = match used.percent > CLOSE {
        true => format!("{advice} It used {} % of its grace.", used.percent),
        false => advice.to_owned(),
    };
    Some(Finding::warning(code, text).advise(advice))
}

/// Returns the milliseconds from the notice until the hook was entered.
fn hook_wait(component: &ReportedComponent, run: &Observation) -> Option<u64> {
    let last = |message: &str| run.records.iter().rfind(|record| record.is(message, &component.name));
    Some(millis(last("hook started")?.at.saturating_duration_since(last("asked to stop")?.at)))
}

/// Formats milliseconds for people: `9.1 s`, or `120 ms`.
fn seconds(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        _ => match (ms + 50) / 100 {
            tenths if tenths % 10 == 0 => format!("{} s", tenths / 10),
            tenths => format!("{}.{} s", tenths / 10, tenths % 10),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn component(outcome: &str, hook: &str, detail: &str) -> ReportedComponent {
        let text = |text: &str| text.to_owned();
        let (name, detail) = (text("web"), Some(text(detail)));
        ReportedComponent {
            name,
            outcome: text(outcome),
            hook: text(hook),
            detail,
            ..ReportedComponent::default()
        }
    }

    fn run(scenario: Scenario, log: &[&str]) -> Observation {
        let at = Instant::now();
        let records = log.iter().filter_map(|line| LogRecord::read(line, at)).collect();
        Observation { scenario, exit: ProcessExit::Code(0), records, ..Observation::default() }
    }

    #[test]
    fn the_text_of_a_hook_does_not_decide_the_finding() {
        let found = |hook, detail| {
            bad_outcome(&component("hook-failed", hook, detail), &run(Scenario::Term, &[]), None)
                .unwrap()
                .code
        };
        assert_eq!(found("error", "hook: it called exit instead of returning"), "hook-error");
        assert_eq!(found("error", "hook: the exit was shut"), "hook-error");
        assert_eq!(found("trapped", "hook: trapped: no exit here"), "hook-trapped");
        assert_eq!(found("trapped", "hook: called exit instead of returning"), "hook-exit");
    }

    #[test]
    fn connections_that_were_turned_away_are_noted() {
        let found = |report: &str| {
            let component: ReportedComponent = serde_json::from_str(report).unwrap();
            turned_away(&component).map(|finding| finding.text)
        };
        assert_eq!(found(r#"{"http": null}"#), None);
        assert_eq!(found(r#"{"http": {"requests": 7, "turned_away": 0}}"#), None);
        let text = found(r#"{"http": {"turned_away": 3}}"#).unwrap();
        assert!(text.contains("closed 3 connections"), "{text}");
    }

    #[test]
    fn times_are_rounded() {
        let texts = [999, 1000, 4949, 4950, 4998].map(seconds);
        assert_eq!(texts, ["999 ms", "1 s", "4.9 s", "5 s", "5 s"]);
    }

    #[test]
    fn a_trap_is_named_once() {
        let trapped =
            component("hook-failed", "trapped", "hook: trapped: wasm `unreachable` instruction executed");
        let found = bad_outcome(&trapped, &run(Scenario::Term, &[]), None).unwrap();
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
            let mut run = run(Scenario::Reload, &[&ended("hook-failed")]);
            run.records.extend(LogRecord::read(&ended(last), Instant::now() + Duration::from_secs(1)));
            run.components = vec![component(last, "error", "hook: no")];
            let mut found = Vec::new();
            bad_generations(&run, &mut found);
            found.len()
        };
        assert_eq!((replaced_badly("hook-failed"), replaced_badly("stopped")), (0, 1));
    }
}
