//! From a manifest's text to a [`Plan`]: syntax, then values, then their sense together; and the words for a text that is no TOML.
//!
//! Invariant: the user gets one error, the first in the text. Without one, the plan is complete and consistent.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::{DeTable, Error};

use super::{Components, Manifest, Plan, PlanError, Problem, Span, Table, absolute, folder_name};
use super::{checks, read, scalar};
use crate::text::units::suggest_unit;

/// The manifest that holds when the command line names none.
pub const DEFAULT_MANIFEST: &str = "curfew.toml";

const QUOTES: [char; 2] = ['"', '\''];

/// The largest manifest that is read: a device or an endless pipe is none.
const MAX_MANIFEST: u64 = 1 << 20;

impl Plan {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`PlanError::Unreadable`] when the file cannot be read, [`PlanError::Invalid`] for what is in it.
    pub fn from_manifest(path: &Path) -> Result<Self, PlanError> {
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
            return Err(Problem::new(&(0..0), message).in_text(path, ""));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::from_str(&text, path),
            Err(error) => Err(not_text(path, &error)),
        }
    }

    /// Reads and checks a text that was read from `path`. Relative paths start at the folder of `path`.
    ///
    /// # Errors
    /// [`PlanError::Invalid`] with the first thing that is wrong.
    pub fn from_str(text: &str, path: &Path) -> Result<Self, PlanError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (tree, errors) = DeTable::parse_recoverable(text);
        let start = |error: &&Error| error.span().map_or(usize::MAX, |span| span.start);
        if let Some(error) = errors.iter().min_by_key(start) {
            return Err(reword(text, error).in_text(path, text));
        }
        let base = path.parent().unwrap_or(Path::new(""));
        let (root, mut problems) = read::read(&tree);
        problems.extend(checks::check(&root, text, base));
        // Of two at one place the one found first.
        if let Some(problem) = problems.into_iter().min_by_key(|problem| problem.span.start) {
            return Err(problem.in_text(path, text));
        }
        let Manifest { mut app, components: Components(components) } = Manifest::from_section(&root, base);
        if components.is_empty() {
            let at = root.entry("component").map_or(0..0, |entry| entry.key_span.clone());
            let hint = "add one: [component.web] with `source = \"web.wasm\"`";
            return Err(Problem::new(&at, "the app has no component").hint(hint).in_text(path, text));
        }
        if app.name.is_empty() {
            app.name = folder_name(path).unwrap_or_else(|| "app".to_owned());
        }
        app.control = app.control.map(absolute);
        let mut plan = Self { app, components, manifest: Some(path.to_owned()), passthrough: false };
        plan.keep_budgets_possible();
        Ok(plan)
    }
}

fn not_text(path: &Path, error: &std::string::FromUtf8Error) -> PlanError {
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
