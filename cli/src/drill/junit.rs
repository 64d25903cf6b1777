//! The drill as a JUnit file, which every CI reads: a test suite with a test case for each scenario.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{DrillReport, Finding, ScenarioResult, Severity, log_line};
use curfew_host::text::sanitize;

/// Returns the content of the file. Text of guests is sanitised: quick-junit strips escape sequences across lines.
pub(crate) fn junit_xml(drill: &DrillReport) -> Result<String, SerializeError> {
    let time = Duration::from_millis(drill.took_ms);
    let mut suite = TestSuite::new(drill.app.as_str());
    suite.set_time(time);
    if let Some(error) = &drill.error {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        let error = sanitize::lines(error);
        status.set_message(error.lines().next().unwrap_or_default()).set_description(error.as_str());
        suite.add_test_case(test_case("start", time, status));
    }
    suite.add_test_cases(drill.results.iter().map(scenario));
    let mut report = Report::new("curfew drill");
    report.set_time(time).add_test_suite(suite);
    report.to_string()
}

fn test_case(name: &str, time: Duration, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname("curfew drill").set_time(time);
    case
}

fn scenario(result: &ScenarioResult) -> TestCase {
    let (name, time) = (result.title(), Duration::from_millis(result.took_ms));
    if let Some(reason) = &result.skipped_because {
        let mut status = TestCaseStatus::skipped();
        status.set_message(reason.as_str());
        return test_case(&name, time, status);
    }
    let (failures, others): (Vec<&Finding>, Vec<&Finding>) =
        result.findings.iter().partition(|finding| finding.severity == Severity::Failure);
    let lines = |findings: Vec<&Finding>| findings.into_iter().map(line).collect::<Vec<_>>();
    let (failures, others) = (lines(failures), lines(others));
    let mut status = TestCaseStatus::success();
    if let Some(first) = failures.first() {
        let output: Vec<String> = result.output.iter().map(|line| log_line(line)).collect();
        let description = format!("{}\n\n{}", failures.join("\n"), output.join("\n"));
        status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(first.as_str()).set_description(description.trim_end());
    }
    let mut case = test_case(&name, time, status);
    if !others.is_empty() {
        case.set_system_out(others.join("\n"));
    }
    case
}

fn line(finding: &Finding) -> String {
    let component = finding.component.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let advice = finding.advice.as_ref().map(|advice| format!(" (to do: {advice})")).unwrap_or_default();
    sanitize::lines(&format!("{component}{}{advice}", finding.text))
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Scenario;
    use super::*;

    #[test]
    fn a_suite_counts_its_cases_and_escapes_what_guests_say() {
        let mut bad = ScenarioResult::new(Scenario::Term, true);
        bad.fail(Finding::failure("hook-error", "it said <\"no\"> & 'never'\u{1b}").of("web"));
        bad.output.push("]]> \0".to_owned());
        let results = vec![
            bad,
            ScenarioResult::new(Scenario::Quit, false).skipped("a < b"),
            ScenarioResult::new(Scenario::Peer, false),
        ];
        let drill =
            DrillReport { app: "a&b".into(), version: "1", ok: false, took_ms: 1234, error: None, results };
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="curfew drill" tests="3" skipped="1" failures="1" errors="0" time="1.234">
    <testsuite name="a&amp;b" tests="3" skipped="1" errors="0" failures="1" time="1.234">
        <testcase name="TERM, under load" classname="curfew drill" time="0.000">
            <failure message="web: it said &lt;&quot;no&quot;&gt; &amp; &apos;never&apos; ">web: it said &lt;&quot;no&quot;&gt; &amp; &apos;never&apos; 

]]&gt;</failure>
        </testcase>
        <testcase name="QUIT, idle" classname="curfew drill" time="0.000">
            <skipped message="a &lt; b"/>
        </testcase>
        <testcase name="a peer fails, idle" classname="curfew drill" time="0.000"/>
    </testsuite>
</testsuites>
"#;
        assert_eq!(junit_xml(&drill).unwrap(), expected);
    }
}
