//! The drill as a JUnit file, which every CI reads: a test suite with a test case for each try.

use std::fmt::Write as _;

use super::document::{Drill, Tried, Verdict};
use super::finding::{Finding, Weight};
use super::table::shown;

/// Returns the file's content.
pub fn xml(drill: &Drill) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failed = drill.tries.iter().filter(|tried| tried.verdict == Verdict::Failed).count();
    let skipped = drill.tries.iter().filter(|tried| tried.verdict == Verdict::Skipped).count();
    let (tests, errors) =
        (drill.tries.len() + usize::from(drill.error.is_some()), usize::from(drill.error.is_some()));
    let _fits = writeln!(
        text,
        "<testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"{errors}\" skipped=\"{skipped}\" \
         time=\"{}\">",
        attribute(&drill.app),
        seconds(drill.took_ms),
    );
    if let Some(error) = &drill.error {
        let _fits = writeln!(
            text,
            "  <testcase classname=\"curfew drill\" name=\"start\" time=\"{}\">\n    <error message=\"{}\">{}</error>\n  \
             </testcase>",
            seconds(drill.took_ms),
            attribute(error.lines().next().unwrap_or_default()),
            escaped(error),
        );
    }
    drill.tries.iter().for_each(|tried| case(&mut text, tried));
    text.push_str("</testsuite>\n");
    text
}

fn case(text: &mut String, tried: &Tried) {
    let (name, time) = (attribute(&tried.title()), seconds(tried.took_ms));
    let _fits = write!(text, "  <testcase classname=\"curfew drill\" name=\"{name}\" time=\"{time}\"");
    if let Some(because) = &tried.skipped_because {
        let _fits = writeln!(text, ">\n    <skipped message=\"{}\"/>\n  </testcase>", attribute(because));
        return;
    }
    let failures: Vec<String> =
        tried.findings.iter().filter(|finding| finding.weight == Weight::Failure).map(line).collect();
    let others: Vec<String> =
        tried.findings.iter().filter(|finding| finding.weight != Weight::Failure).map(line).collect();
    if failures.is_empty() && others.is_empty() {
        text.push_str("/>\n");
        return;
    }
    text.push_str(">\n");
    if let Some(first) = failures.first() {
        let said: Vec<String> = tried.output.iter().map(|line| shown(line)).collect();
        let whole = format!("{}\n\n{}", failures.join("\n"), said.join("\n"));
        let _fits = writeln!(
            text,
            "    <failure message=\"{}\">{}</failure>",
            escaped(first),
            escaped(whole.trim_end())
        );
    }
    if !others.is_empty() {
        let _fits = writeln!(text, "    <system-out>{}</system-out>", escaped(&others.join("\n")));
    }
    text.push_str("  </testcase>\n");
}

fn line(finding: &Finding) -> String {
    let who = finding.component.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let advice = finding.advice.as_ref().map(|advice| format!(" (to do: {advice})")).unwrap_or_default();
    format!("{who}{}{advice}", finding.text)
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Text as XML has it; what XML cannot have becomes a replacement character.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            '\n' | '\t' => safe.push(c),
            c if c < ' ' || matches!(c, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}') => {
                safe.push('\u{fffd}')
            }
            c => safe.push(c),
        }
    }
    safe
}

/// The same in an attribute, where line ends need escapes to stay what they are.
fn attribute(text: &str) -> String {
    escaped(text).replace('\n', "&#10;").replace('\t', "&#9;")
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Scenario;
    use super::*;

    #[test]
    fn a_suite_counts_its_cases_and_escapes_what_guests_say() {
        let mut bad = Tried::empty(Scenario::Term, true);
        bad.fail(Finding::failure("hook-error", "it said <\"no\"> & 'never'\u{1b}").of("web"));
        bad.output.push("]]> \0".to_owned());
        let tries =
            vec![bad, Tried::skipped(Scenario::Quit, false, "a < b"), Tried::empty(Scenario::Peer, false)];
        let drill = Drill { app: "a&b".into(), version: "1", ok: false, took_ms: 1234, error: None, tries };
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <testsuite name=\"a&amp;b\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"1.234\">\n  \
            <testcase classname=\"curfew drill\" name=\"TERM, under load\" time=\"0.000\">\n    \
            <failure message=\"web: it said &lt;&quot;no&quot;&gt; &amp; &apos;never&apos;\u{fffd}\">\
            web: it said &lt;&quot;no&quot;&gt; &amp; &apos;never&apos;\u{fffd}\n\n]]&gt;</failure>\n  </testcase>\n  \
            <testcase classname=\"curfew drill\" name=\"QUIT, idle\" time=\"0.000\">\n    \
            <skipped message=\"a &lt; b\"/>\n  </testcase>\n  \
            <testcase classname=\"curfew drill\" name=\"a peer fails, idle\" time=\"0.000\"/>\n</testsuite>\n";
        assert_eq!(xml(&drill), expected);
    }
}
