//! The drill as text: a row for each try, what was found with what to do about it, and what failed tries said.

use std::time::Instant;

use super::document::{Drill, Tried, Verdict};
use super::figures;
use super::finding::{Finding, Weight};
use super::record::Record;
use curfew_host::text::sanitize;

const HEAD: [&str; 6] = ["try", "verdict", "exit", "time to exit", "grace used", "requests"];
/// Of so many failed tries the output is shown; `--json` has all of it.
const SHOWN: usize = 2;
/// Of so many lines of guests, too: the log is not to drown in them.
const GUEST_LINES: usize = 10;
/// Lines that are quoted of an app that does not start.
const MOST_LINES: usize = 10;

/// Returns the whole text.
pub fn text(drill: &Drill) -> String {
    let mut text = rows(&drill.tries);
    text.push_str(&grouped(&drill.tries));
    for tried in drill.tries.iter().filter(|tried| !tried.output.is_empty()).take(SHOWN) {
        text.push_str(&format!("\nthe last lines of {:?}:\n", tried.title()));
        told(&tried.output).for_each(|line| {
            text.push_str(&format!("  {}\n", shown(line).replace('\n', "\n    ")));
        });
    }
    text.push_str(&format!("\n{}\n", verdict(drill)));
    text
}

fn verdict(drill: &Drill) -> String {
    let count = |verdict| drill.tries.iter().filter(|tried| tried.verdict == verdict).count();
    let seconds = drill.took_ms as f64 / 1000.0;
    let skipped = match count(Verdict::Skipped) {
        0 => String::new(),
        many => format!(", {many} not tried"),
    };
    match count(Verdict::Failed) {
        0 => format!("{}: {} tries ok{skipped}, in {seconds:.1} s", drill.app, count(Verdict::Ok)),
        failed => {
            format!(
                "{}: {failed} of {} tries FAILED{skipped}, in {seconds:.1} s",
                drill.app,
                drill.tries.len()
            )
        }
    }
}

fn rows(tries: &[Tried]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(tries.iter().map(row));
    let widths: [usize; 6] = std::array::from_fn(|column| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(tried: &Tried) -> [String; 6] {
    let none = || "-".to_owned();
    if let Some(because) = &tried.skipped_because {
        return [tried.title(), "not tried".to_owned(), none(), none(), none(), because.clone()];
    }
    let most = tried.grace.iter().max_by_key(|grace| grace.percent);
    [
        tried.title(),
        if tried.verdict == Verdict::Failed { "FAIL".to_owned() } else { "ok".to_owned() },
        tried.exit_code.map_or_else(none, |code| code.to_string()),
        tried.exit_ms.map_or_else(none, |ms| format!("{ms} ms")),
        most.map_or_else(none, |most| format!("{} % ({})", most.percent, most.component)),
        tried
            .requests
            .map_or_else(none, |requests| format!("{} answered, {} lost", requests.answered, requests.lost)),
    ]
}

/// A finding, and the tries that it was found in.
struct Group<'a> {
    finding: &'a Finding,
    texts: Vec<&'a str>,
    titles: Vec<String>,
    /// Where it was found in other words.
    elsewhere: Vec<String>,
}

impl<'a> Group<'a> {
    fn add(&mut self, finding: &'a Finding, title: String) {
        self.texts.push(&finding.text);
        if figures::merged(&self.texts).is_some() {
            self.titles.push(title);
        } else {
            self.texts.pop();
            self.elsewhere.push(title);
        }
    }

    fn text(&self) -> String {
        let finding = self.finding;
        let word = match finding.weight {
            Weight::Failure => "FAIL",
            Weight::Warning => "slow",
            Weight::Note => "note",
        };
        let who = finding.component.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let found = figures::merged(&self.texts).unwrap_or_else(|| finding.text.clone());
        let mut text = format!("\n{word}  {who}{}\n", sanitize::one_line(&found));
        if finding.weight != Weight::Note {
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

/// What was found, worst first; the same thing once, with the tries that it was found in.
fn grouped(tries: &[Tried]) -> String {
    let mut groups: Vec<Group> = Vec::new();
    for tried in tries {
        for finding in &tried.findings {
            match groups.iter_mut().find(|group| group.finding.is_same(finding)) {
                Some(group) => group.add(finding, tried.title()),
                None => groups.push(Group {
                    finding,
                    texts: vec![&finding.text],
                    titles: vec![tried.title()],
                    elsewhere: Vec::new(),
                }),
            }
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.finding.weight));
    groups.iter().map(Group::text).collect()
}

/// The lines that may say why: records of the log that are not in every stop, and the last ones of the guests.
fn told(output: &[String]) -> impl Iterator<Item = &String> {
    let level = |line: &String| Record::read(line, Instant::now()).map(|record| record.said.level);
    let lines: Vec<_> = output.iter().map(|line| (line, level(line))).collect();
    let mut guests = lines.iter().filter(|(_, level)| level.is_none()).count();
    lines.into_iter().filter_map(move |(line, level)| {
        let is_told = match level {
            Some(level) => level != "INFO",
            None => {
                guests -= 1;
                guests < GUEST_LINES
            }
        };
        is_told.then_some(line)
    })
}

/// Why an app left, of its last lines: from its own message on, or the end of them.
pub fn why(lines: &[String]) -> String {
    let message = lines.iter().position(|line| line.starts_with("error: "));
    let first = message.unwrap_or(lines.len().saturating_sub(MOST_LINES));
    lines.iter().skip(first).take(MOST_LINES).map(|line| shown(line)).collect::<Vec<_>>().join("\n")
}

/// A line as people read it: a record of the log without its braces.
pub fn shown(line: &str) -> String {
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
        let mut tries = vec![Tried::empty(Scenario::Term, false), Tried::empty(Scenario::Quit, true)];
        tries[0].findings.push(Finding::note("no-hook", "it has none").of("web"));
        for tried in &mut tries {
            tried.fail(Finding::failure("cut-off", "it was cut off\u{1b}[2J").of("web").advise("be quick"));
        }
        let expected = "\nFAIL  web: it was cut off [2J\n      in: TERM, idle; QUIT, under load\n      to do: be quick\n\
                        \nnote  web: it has none\n";
        assert_eq!(grouped(&tries), expected);
    }

    #[test]
    fn what_is_told_once_fits_all_its_tries() {
        let mut tries =
            [Scenario::Term, Scenario::Quit, Scenario::Start].map(|what| Tried::empty(what, true));
        for (tried, text) in tries.iter_mut().zip(["3 were cut", "7 were cut", "1 was cut"]) {
            tried.fail(Finding::failure("cut", text).of("web"));
        }
        let expected = "\nFAIL  web: up to 7 were cut\n      in: TERM, under load; QUIT, under load\n      the same, with other \
                        figures, in: TERM during the start, under load\n";
        assert_eq!(grouped(&tries), expected);
    }

    #[test]
    fn the_log_does_not_drown_in_what_guests_say() {
        let record = |level: &str| format!(r#"{{"timestamp":"x","level":"{level}","message":"cut off"}}"#);
        let mut output = vec![record("WARN"), record("INFO")];
        output.extend((0..50).map(|number| number.to_string()));
        let expected: Vec<String> =
            [record("WARN")].into_iter().chain((40..50).map(|n| n.to_string())).collect();
        assert_eq!(told(&output).cloned().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn why_an_app_left_is_told_in_few_lines() {
        let mut lines: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        assert_eq!(why(&lines), "40\n41\n42\n43\n44\n45\n46\n47\n48\n49");
        lines.insert(20, "error: no such file".to_owned());
        assert!(why(&lines).starts_with("error: no such file\n20\n"));
        assert_eq!(why(&lines).lines().count(), MOST_LINES);
    }

    #[test]
    fn records_are_shown_without_their_braces() {
        let line = r#"{"timestamp":"x","level":"WARN","message":"cut off","component":"web","n":1}"#;
        assert_eq!(shown(line), "WARN cut off component=web n=1");
        assert_eq!(shown("web | {}\u{1b}"), "web | {} ");
    }
}
