//! The drill as text: a row for each scenario, the findings with their advice, and the last lines of failed scenarios.

use std::time::Instant;

use super::drill_report::RequestSummary;
use super::{DrillReport, Finding, LogRecord, ScenarioResult, Severity, Verdict};
use curfew_host::text::sanitize;
use curfew_host::text::table::aligned;

const HEAD: [&str; 6] = ["try", "verdict", "exit", "time to exit", "grace used", "requests"];
/// The output of so many failed scenarios is shown; `--json` has all of it.
const OUTPUTS: usize = 2;
/// The number of lines of guests that are shown of an output.
const GUEST_LINES: usize = 10;
const FAILURE_LINES: usize = 10;

pub(crate) fn report_text(drill: &DrillReport) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(drill.results.iter().map(row));
    let mut text = aligned(&rows, 0, [false; HEAD.len()]);
    text.push_str(&findings_text(&drill.results));
    for result in drill.results.iter().filter(|result| !result.output.is_empty()).take(OUTPUTS) {
        text.push_str(&format!("\nthe last lines of {:?}:\n", result.title()));
        notable_lines(&result.output).for_each(|line| {
            text.push_str(&format!("  {}\n", log_line(line).replace('\n', "\n    ")));
        });
    }
    text.push_str(&format!("\n{}\n", verdict(drill)));
    text
}

fn verdict(drill: &DrillReport) -> String {
    let count = |verdict| drill.results.iter().filter(|result| result.verdict == verdict).count();
    let tried = match count(Verdict::Failed) {
        0 => format!("{} tries ok", count(Verdict::Ok)),
        failed => format!("{failed} of {} tries FAILED", drill.results.len()),
    };
    let skipped = match count(Verdict::Skipped) {
        0 => String::new(),
        many => format!(", {many} not tried"),
    };
    format!("{}: {tried}{skipped}, in {:.1} s", drill.app, drill.took_ms as f64 / 1000.0)
}

fn row(result: &ScenarioResult) -> [String; 6] {
    let none = || "-".to_owned();
    if let Some(because) = &result.skipped_because {
        return [result.title(), "not tried".to_owned(), none(), none(), none(), because.clone()];
    }
    let most = result.grace.iter().max_by_key(|grace| grace.percent);
    [
        result.title(),
        if result.verdict == Verdict::Failed { "FAIL".to_owned() } else { "ok".to_owned() },
        result.exit_code.map_or_else(none, |code| code.to_string()),
        result.exit_ms.map_or_else(none, |ms| format!("{ms} ms")),
        most.map_or_else(none, |most| format!("{} % ({})", most.percent, most.component)),
        result.requests.map_or_else(none, RequestSummary::text),
    ]
}

struct RowGroup<'a> {
    finding: &'a Finding,
    texts: Vec<&'a str>,
    titles: Vec<String>,
    /// Scenarios whose text differs in more than numbers.
    elsewhere: Vec<String>,
}

impl<'a> RowGroup<'a> {
    fn add(&mut self, finding: &'a Finding, title: String) {
        self.texts.push(&finding.text);
        if merged(&self.texts).is_some() {
            self.titles.push(title);
        } else {
            self.texts.pop();
            self.elsewhere.push(title);
        }
    }

    fn text(&self) -> String {
        let finding = self.finding;
        let word = match finding.severity {
            Severity::Failure => "FAIL",
            Severity::Warning => "slow",
            Severity::Note => "note",
        };
        let component = finding.component.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let found = merged(&self.texts).unwrap_or_else(|| finding.text.clone());
        let mut text = format!("\n{word}  {component}{}\n", sanitize::one_line(&found));
        if finding.severity != Severity::Note {
            text.push_str(&format!("      in: {}\n", self.titles.join("; ")));
            if !self.elsewhere.is_empty() {
                text.push_str(&format!(
                    "      the same, with other figures, in: {}\n",
                    self.elsewhere.join("; ")
                ));
            }
        }
        if let Some(advice) = &finding.advice {
            text.push_str(&format!("      to do: {advice}\n"));
        }
        text
    }
}

/// Returns the findings, worst first; each fault once, with the scenarios that have it.
fn findings_text(results: &[ScenarioResult]) -> String {
    let mut groups: Vec<RowGroup> = Vec::new();
    for result in results {
        for finding in &result.findings {
            match groups.iter_mut().find(|group| group.finding.is_same(finding)) {
                Some(group) => group.add(finding, result.title()),
                None => groups.push(RowGroup {
                    finding,
                    texts: vec![&finding.text],
                    titles: vec![result.title()],
                    elsewhere: Vec::new(),
                }),
            }
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.finding.severity));
    groups.iter().map(RowGroup::text).collect()
}

/// Splits a text into numbers and the text between them.
fn pieces(text: &str) -> Vec<&str> {
    let is_number = |one: char| one.is_ascii_digit() || one == '.';
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let kind = is_number(first);
        let end = rest.find(|one| is_number(one) != kind).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Returns a text that holds for all of the texts, with their greatest numbers; `None` if more than numbers differ.
fn merged(texts: &[&str]) -> Option<String> {
    let all: Vec<Vec<&str>> = texts.iter().map(|text| pieces(text)).collect();
    let (first, others) = all.split_first()?;
    if others.iter().any(|other| other.len() != first.len()) {
        return None;
    }
    let mut text = String::new();
    for (number, piece) in first.iter().enumerate() {
        let same: Vec<&str> = all.iter().filter_map(|pieces| pieces.get(number).copied()).collect();
        if same.iter().all(|other| other == piece) {
            text.push_str(piece);
            continue;
        }
        let numbers = same.into_iter().map(|piece| Some((piece.parse::<f64>().ok()?, piece)));
        let numbers: Option<Vec<(f64, &str)>> = numbers.collect();
        let (_, greatest) = numbers?.into_iter().max_by(|one, two| one.0.total_cmp(&two.0))?;
        text.push_str(&format!("up to {greatest}"));
    }
    Some(text)
}

/// Returns the lines that may explain a failure: records of the log that not every stop has, and the last lines of guests.
fn notable_lines(output: &[String]) -> impl Iterator<Item = &String> {
    let level = |line: &String| LogRecord::read(line, Instant::now()).map(|record| record.level);
    let lines: Vec<_> = output.iter().map(|line| (line, level(line))).collect();
    let mut guests = lines.iter().filter(|(_, level)| level.is_none()).count();
    lines.into_iter().filter_map(move |(line, level)| {
        let is_notable = match level {
            Some(level) => level != "INFO",
            None => {
                guests -= 1;
                guests < GUEST_LINES
            }
        };
        is_notable.then_some(line)
    })
}

/// Returns the lines that explain why an app left: those from its error message on, or the last ones.
pub(crate) fn failure_lines(lines: &[String]) -> String {
    let message = lines.iter().position(|line| line.starts_with("error: "));
    let first = message.unwrap_or(lines.len().saturating_sub(FAILURE_LINES));
    lines.iter().skip(first).take(FAILURE_LINES).map(|line| log_line(line)).collect::<Vec<_>>().join("\n")
}

/// Formats a line for people: a record of the log without its braces.
pub(crate) fn log_line(line: &str) -> String {
    let record: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(line).ok();
    let Some(record) = record.filter(|record| record.contains_key("level") && record.contains_key("message"))
    else {
        return sanitize::one_line(line);
    };
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let head = ["level", "message"].iter().filter_map(|key| record.get(*key)).map(text);
    let rest = record.iter().filter(|(key, _)| !matches!(key.as_str(), "timestamp" | "level" | "message"));
    let rest = rest.map(|(key, value)| format!("{key}={}", text(value)));
    sanitize::lines(head.chain(rest).collect::<Vec<_>>().join(" ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Scenario;
    use super::*;

    #[test]
    fn the_same_finding_is_told_once_and_the_worst_comes_first() {
        let mut results =
            vec![ScenarioResult::new(Scenario::Term, false), ScenarioResult::new(Scenario::Quit, true)];
        results[0].findings.push(Finding::note("no-hook", "it has none").of("web"));
        for result in &mut results {
            result.fail(Finding::failure("cut-off", "it was cut off\u{1b}[2J").of("web").advise("be quick"));
        }
        let expected = "\nFAIL  web: it was cut off [2J\n      in: TERM, idle; QUIT, under load\n      to do: be quick\n\
                        \nnote  web: it has none\n";
        assert_eq!(findings_text(&results), expected);
    }

    #[test]
    fn a_merged_finding_holds_for_all_its_scenarios() {
        let mut results = [Scenario::Term, Scenario::Quit, Scenario::Start]
            .map(|scenario| ScenarioResult::new(scenario, true));
        for (result, text) in results.iter_mut().zip(["3 were cut", "7 were cut", "1 was cut"]) {
            result.fail(Finding::failure("cut", text).of("web"));
        }
        let expected = "\nFAIL  web: up to 7 were cut\n      in: TERM, under load; QUIT, under load\n      the same, with other \
                        figures, in: TERM during the start, under load\n";
        assert_eq!(findings_text(&results), expected);
    }

    #[test]
    fn lines_of_guests_do_not_hide_the_log() {
        let record = |level: &str| format!(r#"{{"timestamp":"x","level":"{level}","message":"cut off"}}"#);
        let mut output = vec![record("WARN"), record("INFO")];
        output.extend((0..50).map(|number| number.to_string()));
        let expected: Vec<String> =
            [record("WARN")].into_iter().chain((40..50).map(|n| n.to_string())).collect();
        assert_eq!(notable_lines(&output).cloned().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_reason_of_a_failed_start_has_few_lines() {
        let mut lines: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        assert_eq!(failure_lines(&lines), "40\n41\n42\n43\n44\n45\n46\n47\n48\n49");
        lines.insert(20, "error: no such file".to_owned());
        assert!(failure_lines(&lines).starts_with("error: no such file\n20\n"));
        assert_eq!(failure_lines(&lines).lines().count(), FAILURE_LINES);
    }

    #[test]
    fn records_are_shown_without_their_braces() {
        let line = r#"{"timestamp":"x","level":"WARN","message":"cut off","component":"web","n":1}"#;
        assert_eq!(log_line(line), "WARN cut off component=web n=1");
        assert_eq!(log_line("web | {}\u{1b}"), "web | {} ");
    }

    #[test]
    fn the_greatest_number_holds_for_all() {
        let text = |many: &str, grace: &str| format!("{many} requests were cut off after {grace} s of web2.");
        let (one, two, three) = (text("3", "5"), text("7", "4.9"), text("5", "5"));
        assert_eq!(merged(&[&one, &two, &three]), Some(text("up to 7", "up to 5")));
        assert_eq!(merged(&[&one, &one]), Some(one));
        assert_eq!(merged(&["1 request was cut", "2 requests were cut"]), None);
        assert_eq!(merged(&["900 ms", "1.2 s"]), None);
        assert_eq!(merged(&["it took 1", "it took"]), None);
    }
}
