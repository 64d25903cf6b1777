//! From a manifest's text to a [`Plan`]: syntax, then values, then their sense together; and the words for a text that is no TOML.
//!
//! Invariant: the user gets all errors, in the order of the text, and none that only follows from another. Without one, the plan
//! is complete and consistent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, Error};

use super::{
    Components, Diagnostic, Item, KeyPlaces, Manifest, Plan, PlanError, Problem, Section, Span, Table,
};
use super::{absolute, checks, folder_name, read, scalar};
use crate::text::units::suggest_unit;

/// The manifest that holds when the command line names none.
pub const DEFAULT_MANIFEST: &str = "curfew.toml";

const QUOTES: [char; 2] = ['"', '\''];

/// The largest manifest that is read: a device or an endless pipe is none.
const MAX_MANIFEST: u64 = 1 << 20;

/// Most errors that are told one by one.
const MOST_TOLD: usize = 100;

/// Starts of the parser's messages for errors that concern one value or one key. It goes on behind them as if it were right.
const CONTAINED: [&str; 3] = ["string values must be quoted", "duplicate key", "cannot extend value of type"];

/// A manifest as far as it can be understood.
#[derive(Debug)]
pub struct ManifestReading {
    /// The plan. Where the manifest is wrong, a value has its default, and a component without its file is missing.
    pub plan: Plan,
    /// Everything that is wrong, in the order of the text.
    pub errors: Vec<Diagnostic>,
    /// The components in the plan of which a key is wrong: what the host thinks of their files as a whole is not known.
    pub doubtful: BTreeSet<String>,
}

impl ManifestReading {
    fn into_plan(self) -> Result<Plan, PlanError> {
        if self.errors.is_empty() { Ok(self.plan) } else { Err(PlanError::Invalid(self.errors)) }
    }
}

impl Plan {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`PlanError::Unreadable`] when the file cannot be read, [`PlanError::Invalid`] for what is in it.
    pub fn from_manifest(path: &Path) -> Result<Self, PlanError> {
        Self::read_manifest(path)?.into_plan()
    }

    /// Reads and checks a manifest, and goes on where it is wrong.
    ///
    /// # Errors
    /// [`PlanError::Unreadable`] when the file cannot be read, [`PlanError::Invalid`] if it is no text.
    pub fn read_manifest(path: &Path) -> Result<ManifestReading, PlanError> {
        let unreadable = |cause: std::io::Error| {
            let no_default =
                path == Path::new(DEFAULT_MANIFEST) && cause.kind() == std::io::ErrorKind::NotFound;
            let hint = no_default.then_some("give a manifest or .wasm files: curfew run a.wasm");
            PlanError::Unreadable { path: path.to_owned(), cause, hint }
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_MANIFEST {
            let message = format!("a manifest has at most {MAX_MANIFEST} bytes, this file is larger");
            return Err(PlanError::Invalid(vec![Problem::new(&(0..0), message).in_text(path, "")]));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::read_text(&text, path)),
            Err(error) => Err(PlanError::Invalid(vec![not_text(path, &error)])),
        }
    }

    /// Reads and checks a text that was read from `path`. Relative paths start at the folder of `path`.
    ///
    /// # Errors
    /// [`PlanError::Invalid`] with everything that is wrong.
    pub fn from_str(text: &str, path: &Path) -> Result<Self, PlanError> {
        Self::read_text(text, path).into_plan()
    }

    fn read_text(text: &str, path: &Path) -> ManifestReading {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let base = path.parent().unwrap_or(Path::new(""));
        let (tree, errors) = DeTable::parse_recoverable(text);
        let (syntax, end) = syntax(text, &errors);
        let (root, mut values, missing) = read::read(&tree);
        // What is missing, and what does not go together, cannot be told of a part of the text.
        if end.is_none() {
            values.extend(missing);
            values.extend(checks::check(&root, text, base));
        }
        let mut problems = join(text, syntax, values, end);
        if problems.is_empty() && root.table("component").is_none_or(|all| all.tables().next().is_none()) {
            let at = root.entry("component").map_or(0..0, |entry| entry.key_span.clone());
            let hint = "add one: [component.web] with `source = \"web.wasm\"`";
            problems.push(Problem::new(&at, "the app has no component").hint(hint));
        }
        let wrong: BTreeSet<usize> = problems.iter().map(|problem| problem.span.start).collect();
        let errors = told(problems, path, text);
        let Manifest { mut app, components: Components(mut components) } =
            Manifest::from_section(&root, base);
        if app.name.is_empty() {
            app.name = folder_name(path).unwrap_or_else(|| "app".to_owned());
        }
        app.control = app.control.map(absolute);
        let section = |name: &str| root.table("component")?.table(name);
        let source = |name: &str| section(name)?.item("source").map(|item| item.span.start);
        let is_read = |at: usize| end.is_none_or(|end| at < end) && !wrong.contains(&at);
        components.retain(|component| source(&component.name).is_some_and(is_read));
        let is_sound = |section: &Section| end.is_none() && section.refused.is_empty();
        let is_doubtful = |name: &&String| !section(name).is_some_and(is_sound);
        let doubtful = components.iter().map(|one| &one.name).filter(is_doubtful).cloned().collect();
        let places =
            Arc::new(KeyPlaces { file: path.to_owned(), text: text.to_owned(), spans: spans(&root) });
        let mut plan = Self { app, components, manifest: Some(path.to_owned()), places, passthrough: false };
        plan.keep_budgets_possible();
        ManifestReading { plan, errors, doubtful }
    }
}

/// Words the parser's errors, up to the first that it cannot get over: those behind it may only follow from it. Returns the start
/// of that one, too.
fn syntax(text: &str, errors: &[Error]) -> (Vec<Problem>, Option<usize>) {
    let start = |error: &Error| error.span().map_or(text.len(), |span| span.start);
    let is_contained = |error: &&Error| CONTAINED.iter().any(|start| error.message().starts_with(start));
    let end = errors.iter().filter(|error| !is_contained(error)).map(start).min();
    let told = errors.iter().filter(|error| end.is_none_or(|end| start(error) <= end));
    (told.map(|error| reword(text, error)).collect(), end)
}

/// Joins the problems in the order of the text: of two at one place the one found first, none behind `end`, and none with a value
/// on a line on which the syntax is wrong.
fn join(text: &str, syntax: Vec<Problem>, values: Vec<Problem>, end: Option<usize>) -> Vec<Problem> {
    let line = |at: usize| text.get(..at.min(text.len())).and_then(|before| before.rfind('\n'));
    let wrong: BTreeSet<_> = syntax.iter().map(|problem| line(problem.span.start)).collect();
    let is_sound = |problem: &Problem| {
        let at = problem.span.start;
        end.is_none_or(|end| at < end) && (wrong.is_empty() || !wrong.contains(&line(at)))
    };
    let mut problems = syntax;
    problems.extend(values.into_iter().filter(is_sound));
    problems.sort_by_key(|problem| problem.span.start);
    problems.dedup_by_key(|problem| problem.span.start);
    problems
}

fn told(mut problems: Vec<Problem>, path: &Path, text: &str) -> Vec<Diagnostic> {
    let more = problems.len().saturating_sub(MOST_TOLD);
    if more > 0 {
        problems.truncate(MOST_TOLD);
        let span = problems.last().map_or(0..0, |last| last.span.clone());
        problems.push(Problem::new(&span, format!("{more} more errors follow: mend these first")));
    }
    problems.into_iter().map(|problem| problem.in_text(path, text)).collect()
}

/// Returns the places of the components' keys, as [`KeyPlaces`] has them.
fn spans(root: &Section) -> BTreeMap<String, Span> {
    fn add(spans: &mut BTreeMap<String, Span>, path: &str, item: &Item) {
        for entry in item.table().iter().flat_map(|section| &section.entries) {
            let path = format!("{path}.{}", entry.key);
            add(spans, &path, &entry.item);
            spans.insert(path, entry.item.span.clone());
        }
    }
    let mut spans = BTreeMap::new();
    let components = root.table("component").map(|section| section.entries.as_slice());
    components.unwrap_or_default().iter().for_each(|entry| add(&mut spans, &entry.key, &entry.item));
    spans
}

fn not_text(path: &Path, error: &std::string::FromUtf8Error) -> Diagnostic {
    let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let text = String::from_utf8_lossy(valid);
    if valid.starts_with(b"\0asm") || error.as_bytes().starts_with(b"\x7fELF") {
        return Problem::new(&(0..0), "this is a binary, not a manifest").in_text(path, "");
    }
    Problem::new(&(text.len()..text.len()), "this is not text: a manifest is UTF-8").in_text(path, &text)
}

/// Returns the parser's error on `text` in words that say what to do.
fn reword(text: &str, error: &Error) -> Problem {
    let span = error.span().unwrap_or(text.len()..text.len());
    let found = text.get(span.clone()).unwrap_or_default();
    let message = error.message();
    if message == "duplicate key" {
        return duplicate(text, &span);
    }
    if message.starts_with("cannot extend value of type") {
        let message =
            format!("`{}` has a value already, it cannot be a table as well", found.trim_matches(QUOTES));
        return Problem::new(&span, message);
    }
    if message.starts_with("string values must be quoted") {
        if found.is_empty() {
            return Problem::new(&span, "a value is missing after `=`");
        }
        return bare(text, &span);
    }
    let said = message.replace("invalid basic string, expected `\"`", "the closing `\"` is missing");
    let said = said.strip_suffix(", expected nothing").unwrap_or(&said);
    let lower = found.to_ascii_lowercase();
    let hint = matches!(lower.as_str(), "true" | "false").then(|| format!("did you mean {lower}?"));
    Problem { hint, ..Problem::new(&span, format!("this is not TOML: {said}")) }
}

/// Words a value without quotes. The parser marks its first word only, or its first number.
fn bare(text: &str, span: &Span) -> Problem {
    let rest = text.get(span.start..).unwrap_or_default();
    let end = rest.find(['\n', '\r', ',', '[', ']', '{', '}', '#', '=', '"', '\'']).unwrap_or(rest.len());
    let value = rest.get(..end).unwrap_or_default().trim_end();
    let message = format!("a string stands in quotes; found {}", scalar::ticked(value));
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_./:*".contains(c);
    let as_it_is = || (!value.is_empty() && value.chars().all(plain)).then(|| value.to_owned());
    let meant = suggest_unit(value, true).or_else(as_it_is);
    let hint = meant.map(|meant| format!("did you mean {}?", scalar::quoted(&meant)));
    Problem { hint, ..Problem::new(&(span.start..span.start + value.len().max(1)), message) }
}

fn duplicate(text: &str, span: &Span) -> Problem {
    let key = text.get(span.clone()).unwrap_or_default().trim_matches(QUOTES);
    let line_start = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text.get(line_start..span.start).unwrap_or_default();
    let before = line.replace([' ', '\t', '"', '\''], "");
    if before != "[component." {
        return Problem::new(span, format!("{} is given twice in one table", scalar::ticked(key)));
    }
    let first = first_component(text.get(..line_start).unwrap_or_default(), key);
    let place = first.map(|line| format!("; the first is on line {line}")).unwrap_or_default();
    let message = format!("there are two components {}{place}", scalar::ticked(key));
    Problem::new(span, message).hint("the names of components are unique")
}

/// Returns the line on which the component `name` is declared in `text`.
fn first_component(text: &str, name: &str) -> Option<usize> {
    let (root, _) = DeTable::parse_recoverable(text);
    let (key, _) = root.get_ref().get("component")?.get_ref().as_table()?.get_key_value(name)?;
    let before = text.get(..key.span().start)?;
    Some(before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests;
