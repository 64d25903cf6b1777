//! The pages that are made of what the host declares: every key of a manifest, every exit code.
//!
//! `CURFEW_WRITE_DOCS=1` writes them; otherwise they must be the same.

use std::fmt::Write as _;

use curfew_host::plan::keys::{APP, COMPONENT};
use curfew_host::plan::schema::{Fallback, ManifestKey, Shape};
use curfew_host::teardown::ExitCode;
use serde_json::Value;

use super::root;

fn compare(page: &str, text: &str) {
    let path = root(page);
    if std::env::var("CURFEW_WRITE_DOCS").as_deref() == Ok("1") {
        std::fs::write(path, text).unwrap();
        return;
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == text, "{page} is not what the host declares; CURFEW_WRITE_DOCS=1 writes it:\n{text}");
}

const MANIFEST: &str = "\
# The manifest

Every key of `curfew.toml`. This page is written by a test from the declaration that curfew itself reads manifests with
(`make docs`); `curfew schema` prints the same for editors.

- Durations are a number and `ms`, `s`, `m` or `h`: `\"250ms\"`, `\"1.5s\"`. Sizes are a number and `B`, `KiB`, `MiB` or `GiB`.
- Relative paths start at the manifest's folder.
- Unknown keys are refused. Nothing is granted that is not written: no network, no files, no environment, no standard input.
- `-` as a default: empty, off, or not granted.
";

#[test]
fn the_page_of_keys_is_what_the_host_reads() {
    let mut page = MANIFEST.to_string();
    section(&mut page, "[app]", "What holds for the app as a whole.", APP);
    section(
        &mut page,
        "[component.NAME]",
        "One table for each component. A name has a-z, 0-9, `-` and `_`.",
        COMPONENT,
    );
    compare("docs/guide/manifest.md", &page);
}

/// The keys of a table, then those of the tables in it.
fn section(page: &mut String, heading: &str, doc: &str, keys: &[ManifestKey]) {
    write!(page, "\n## {heading}\n\n{doc}\n\n").unwrap();
    rows(page, keys);
    for key in keys {
        let mut shape = &key.shape;
        while let Shape::List(inner) = shape {
            shape = inner;
        }
        if let Shape::Table(inner) = shape {
            write!(page, "\n### {}\n\n{}\n\n", key.name, key.doc()).unwrap();
            rows(page, inner);
        }
    }
}

fn rows(page: &mut String, keys: &[ManifestKey]) {
    page.push_str("| key | takes | default | what it is |\n| --- | --- | --- | --- |\n");
    for key in keys {
        let default = match (key.fallback)() {
            Fallback::Required => "must be given".to_string(),
            other => other.words().unwrap_or_else(|| "-".to_string()),
        };
        let mut doc = key.doc();
        if let Shape::Choice(choices) = key.shape {
            for choice in choices {
                write!(doc, "<br>`\"{}\"`: {}", choice.word, choice.doc()).unwrap();
            }
        }
        let row = [format!("`{}`", key.name), takes(key), default, doc].map(|cell| cell.replace('|', "\\|"));
        writeln!(page, "| {} |", row.join(" | ")).unwrap();
    }
}

/// Shorter than a message's words: the page has said what durations are, and a table inside a table has a heading of
/// its own.
fn takes(key: &ManifestKey) -> String {
    let link = format!("[below](#{})", key.name);
    match &key.shape {
        Shape::Table(_) => format!("a table: {link}"),
        Shape::List(Shape::Table(_)) => format!("a list of tables: {link}"),
        Shape::Map(..) => "a table of strings".to_string(),
        Shape::List(item) => format!("a list; each item {}", one(item)),
        Shape::Pair(item) => format!("a list of two, each {}", one(item)),
        shape => one(shape),
    }
}

fn one(shape: &Shape) -> String {
    match shape {
        Shape::Duration { zero: true } => "a duration".to_string(),
        Shape::Duration { zero: false } => "a duration above 0".to_string(),
        Shape::Path => "a path".to_string(),
        Shape::Component => "the name of a component".to_string(),
        shape => shape.words(),
    }
}

const CODES: &str = "\
# Exit codes and outcomes

What the process says when it leaves. This page is written by a test (`make docs`).

## Exit codes

";

const PRECEDENCE: &str = "
The first of 70, 128+n, 75, 1, 124, 3, 0 that applies is the one; 2, 69 and 78 come before the app runs. A component whose
failure is to be ignored still makes it 1, and so does one that waits for its restart. A single bare file passes its own exit
status on.

`curfew check` and `inspect` leave with 0, 2, 69 or 78. `status`, `stop`, `reload` and `restart` leave with 0 when it is done, 1
when it was refused or failed, 2, and 69 when nobody listens on the control socket. The [manual page](tools.md#manual-pages) of
each command has its own.
";

const OUTCOMES: &str = "
## Outcomes

How each component ended: in the table at the end, and in the report ([report.schema.json](../report.schema.json)).

| outcome | meaning | exit code |
| --- | --- | --- |
| `finished` | its `run` returned before anyone asked, and its hook was content; or it called `exit(0)` | 0 |
| `stopped` | it was asked to stop, and did | 0 |
| `hook-failed` | its hook returned an error, trapped or exited | 3 |
| `failed` | it trapped, returned an error, exited with an error, or could not be started | 1 |
| `cut-off` | it overran its grace | 124 |
| `leaked` | it overran its grace inside a blocking call of the system that cannot be ended | 124 |
| `gave-up` | it failed more often than its `restart` allows | 75 |
| `not-started` | the app stopped before its `run` was entered | 0 |
";

#[test]
fn the_page_of_exit_codes_is_what_the_host_says() {
    let mut page = CODES.to_string() + "| code | meaning |\n| --- | --- |\n";
    for (code, meaning) in ExitCode::MEANINGS {
        writeln!(page, "| {code} | {meaning} |").unwrap();
    }
    page.push_str(PRECEDENCE);
    page.push_str(OUTCOMES);
    compare("docs/guide/exit-codes.md", &page);

    let schema: Value = serde_json::from_str(include_str!("../../docs/report.schema.json")).unwrap();
    let outcomes =
        schema["properties"]["components"]["items"]["properties"]["outcome"]["enum"].as_array().unwrap();
    let told: Vec<&str> =
        OUTCOMES.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(told, outcomes.iter().map(|outcome| outcome.as_str().unwrap()).collect::<Vec<_>>());
}

#[test]
fn an_outcome_makes_the_exit_code_that_the_page_says() {
    use curfew_host::teardown::{Outcome, exit_code};
    let all = [
        Outcome::Finished,
        Outcome::Stopped,
        Outcome::HookFailed,
        Outcome::Failed,
        Outcome::CutOff,
        Outcome::Leaked,
        Outcome::GaveUp,
        Outcome::NotStarted,
    ];
    let rows: Vec<&str> = OUTCOMES.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), all.len());
    for outcome in all {
        let code = exit_code(false, None, &[outcome]).0;
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{}` |", outcome.word()))).unwrap();
        assert!(row.ends_with(&format!("| {code} |")), "{row}");
    }
}
