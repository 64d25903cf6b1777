//! The rules of a good stop: an observation of one run goes in, findings with advice to the author come out.
//!
//! Invariant: pure.

use std::time::Duration;

use super::app_report::ReportedComponent;
use super::drill_report::GraceUse;
use super::finding::{Finding, REPORT_BUG, Severity};
use super::log_record::{LogRecord, count};
use super::observation::{Observation, ProcessExit};
use super::scenario::{NOISE, Scenario};
use curfew_host::plan::Plan;

/// The code of the finding that a target does not answer.
pub(super) const NO_ANSWER: &str = "no-answer";
/// The code of the finding that the start takes long.
pub(super) const SLOW_START: &str = "slow-start";
/// A start is slow if it takes longer than this.
const LONG_START: Duration = Duration::from_secs(10);
/// A second INT ends everything at once. This is how long the cut-off and the exit may take.
const AT_ONCE: Duration = Duration::from_millis(2_100);
/// Percents of the grace above which a stop is slow, and above which it is close to the cut-off.
const SLOW: u64 = 50;
const CLOSE: u64 = 80;
/// A stop that takes less than this is not slow, however short the grace is.
const SHORT_MS: u64 = 250;

/// The end of the detail of a hook that called exit.
const EXITED: &str = "called exit instead of returning";

/// Returns the findings of one run.
pub(super) fn evaluate(run: &Observation, plan: &Plan) -> Vec<Finding> {
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
    found.extend(slow_start(run));
    bad_generations(run, &mut found);
    components(run, &mut found);
    found.extend(bad_exit(run, &found));
    found
}

fn late_exit(run: &Observation, plan: &Plan) -> Option<Finding> {
    let bound = run.scenario.exit_bound(&plan.app).saturating_add(NOISE);
    let (code, text) = match (run.exit, run.stop_time) {
        (ProcessExit::Never, _) => (
            "not-left",
            format!(
                "the process had not left {} ms after it was asked to, and was killed",
                bound.as_millis()
            ),
        ),
        (_, Some(time)) if run.is_forced && time > AT_ONCE.saturating_add(NOISE) => {
            ("not-at-once", format!("after a second INT it took {} ms to leave", time.as_millis()))
        }
        (_, Some(time)) if time > bound => (
            "left-late",
            format!("the process left after {} ms; it had {} ms", time.as_millis(), bound.as_millis()),
        ),
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
    lossy
        .map(|(target, counts)| {
            let texts: Vec<String> = counts.lost.iter().map(|(outcome, count)| outcome.loss_text(*count)).collect();
            let advice = match run.scenario {
                _ if has_failed_instance(run, target) => {
                    "First find out why an instance failed: its requests were lost with it. `instance failed` in the log \
                     of `curfew run` has the reason."
                }
                Scenario::Reload => {
                    "The old generation must finish its requests: answer within the grace, and end endless answers when \
                     the stop is requested."
                }
                _ => {
                    "Answer within the grace, and end endless answers when the stop is requested (`stop-requested`, or \
                     `subscribe-stop` in WASI 0.2). If the component breaks answers off by itself, correct that."
                }
            };
            Finding::failure("lost", format!("{target}: {}", texts.join(", "))).advise(advice)
        })
        .collect()
}

/// Returns whether an instance behind a target failed. The target begins with the name of its component, or is a URL.
fn has_failed_instance(run: &Observation, target: &str) -> bool {
    let names = || run.report.iter().flat_map(|report| &report.components).map(|component| &component.name);
    let is_target =
        |name: &String| target.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(" at "));
    let is_named = names().any(is_target);
    names().any(|name| (is_target(name) || !is_named) && failed_instances(run, name) > 0)
}

fn slow_start(run: &Observation) -> Option<Finding> {
    let startup = run.startup.filter(|startup| *startup > LONG_START)?;
    let text = format!(
        "it took {} ms from the start of the process until everything had started",
        startup.as_millis()
    );
    let advice = "Compiling takes time only at the first start, if the compile cache can be written \
                  (CURFEW_CACHE_DIR). Otherwise shorten the work of the components before their `run` is entered, or \
                  before they call `ready`.";
    Some(Finding::warning(SLOW_START, text).advise(advice))
}

/// The exit code is a finding of its own only if no other failure explains it.
fn bad_exit(run: &Observation, found: &[Finding]) -> Option<Finding> {
    let is_explained = found.iter().any(|finding| finding.severity == Severity::Failure);
    match (run.exit, run.scenario) {
        (ProcessExit::Early(code), _) if !is_explained => Some(Finding::failure(
            "ended-by-itself",
            format!("the app left with {code} before it was asked to"),
        )),
        (ProcessExit::Code(1), Scenario::Peer) => None,
        (ProcessExit::Code(0), Scenario::Peer) => {
            let text = "a component failed, and curfew left with 0";
            Some(Finding::failure("peer-unnoticed", text).advise(REPORT_BUG))
        }
        (ProcessExit::Code(0), _) => None,
        // The grace can be over at the moment of the second INT.
        (ProcessExit::Code(130 | 124), Scenario::Int) if run.is_forced => None,
        (ProcessExit::Code(code), _) if !is_explained => Some(Finding::failure(
            "exit-code",
            format!("the app left with {code} instead of {}", i32::from(run.scenario == Scenario::Peer)),
        )),
        (ProcessExit::Signal(signal), _) => {
            Some(Finding::failure("killed", format!("the process died of signal {signal}")))
        }
        _ => None,
    }
}

/// Adds the findings about each component.
fn components(run: &Observation, found: &mut Vec<Finding>) {
    let grace = GraceUse::of_all(&run.records);
    let components = run.report.as_ref().map(|report| report.components.as_slice()).unwrap_or_default();
    for component in components.iter().filter(|component| run.peer.as_ref() != Some(&component.name)) {
        let used = grace.iter().find(|used| used.component == component.name);
        let mut about: Vec<Finding> = Vec::new();
        about.extend(bad_outcome(component, run, used));
        about.extend(bad_hook_count(component, run));
        if let Some(used) = used.filter(|_| !run.is_forced && component.outcome != "cut-off") {
            about.extend(slow_stop(component, run, used));
        }
        about.extend(failing_instances(component, run));
        if component.hook == "none" && run.scenario == Scenario::Term {
            let text = "it has no hook: it learns of a stop only if it asks for it itself";
            let advice = "Export `shutdown` if there is something to finish, flush or close.";
            about.push(Finding::note("no-hook", text).advise(advice));
        }
        found.extend(about.into_iter().map(|finding| finding.of(&component.name)));
    }
}

/// Returns how many instances of a component failed before the stop.
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

fn is_bad(outcome: &str) -> bool {
    !matches!(outcome, "stopped" | "finished" | "not-started")
}

/// Adds the bad ends of generations that were replaced before the stop, which are not in the report. A fault that the last
/// generation has, too, is found there.
fn bad_generations(run: &Observation, found: &mut Vec<Finding>) {
    if run.scenario != Scenario::Reload {
        return;
    }
    let reported = || run.report.iter().flat_map(|report| &report.components);
    for record in run.records.iter().filter(|record| record.fields.message == "component ended") {
        let (Some(name), Some(outcome)) = (&record.fields.component, record.fields.outcome.as_deref()) else {
            continue;
        };
        let last: Option<&LogRecord> = run.records.iter().rfind(|other| other.is("component ended", name));
        let is_last = last.is_some_and(|last| last.at == record.at);
        let is_reported = reported().any(|last| last.name == *name && last.outcome == outcome);
        if is_bad(outcome) && !is_last && !is_reported {
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
        let text = match component.in_flight_ended {
            1 => format!("1 request was still under way at the end of its grace{grace}, and was cut off"),
            many => {
                format!(
                    "{many} requests were still under way at the end of its grace{grace}, and were cut off"
                )
            }
        };
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
    let records = |message: &str| count(&run.records, message, name);
    let instances =
        if component.http.is_some() { records("instance started") } else { records("component started") };
    let called = records("hook started");
    let text = format!("its hook was called {called} times for {instances} instances");
    if called > instances {
        return Some(Finding::failure("hook-twice", text).advise(REPORT_BUG));
    }
    let failed =
        records("instance failed") + records("failed") + records("component restarts") + records("cut off");
    let ended = run.records.iter().filter(|record| record.is("component ended", name));
    let is_bad = ended.filter_map(|record| record.fields.outcome.as_deref()).any(is_bad);
    let is_excused =
        run.is_forced || is_bad || component.outcome != "stopped" || run.scenario == Scenario::Start;
    (called + failed < instances && !is_excused).then(|| {
        Finding::failure("hook-missing", text).advise(
            "An instance that ends by itself before the stop (`exit`, the end of `run`) is not entered again.",
        )
    })
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

/// Returns how many milliseconds passed from the notice until the hook was entered.
fn hook_wait(component: &ReportedComponent, run: &Observation) -> Option<u64> {
    let last = |message: &str| run.records.iter().rfind(|record| record.is(message, &component.name));
    let wait = last("hook started")?.at.saturating_duration_since(last("asked to stop")?.at);
    u64::try_from(wait.as_millis()).ok()
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

    use super::super::app_report::AppReport;
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
        Observation {
            scenario,
            peer: None,
            moment: None,
            startup: None,
            stop_at: None,
            exit: ProcessExit::Code(0),
            stop_time: None,
            is_forced: false,
            records,
            report: None,
            loads: Vec::new(),
            targets: Vec::new(),
            has_no_http: false,
            findings: Vec::new(),
            leftovers: Vec::new(),
            last_lines: Vec::new(),
        }
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
            let report =
                AppReport { components: vec![component(last, "error", "hook: no")], ..AppReport::default() };
            run.report = Some(report);
            let mut found = Vec::new();
            bad_generations(&run, &mut found);
            found.len()
        };
        assert_eq!((replaced_badly("hook-failed"), replaced_badly("stopped")), (0, 1));
    }
}
