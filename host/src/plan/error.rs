//! Errors of a plan. The text of an error is complete: the place in the manifest, the value found, the values accepted.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::text::sanitize::is_harmful;

/// Longest piece of a line that is shown; a longer line is cut around the mark.
const SHOWN: usize = 100;

/// The reason why there is no plan. `cli/src/error.rs` has the exit code of each variant.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The manifest is wrong: everything that is, in the order of its text.
    #[error("{}", in_lines(.0))]
    Invalid(Vec<Diagnostic>),
    /// A file could not be read.
    #[error("cannot read {}: {cause}{}", path.display(), hint_line(*hint))]
    Unreadable {
        /// The file, as it was named.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
        /// The remedy, where one is known.
        hint: Option<&'static str>,
    },
    /// The command line makes no sense.
    #[error("{message}{}", hint_line(hint.as_deref()))]
    Usage {
        /// The fault.
        message: String,
        /// The remedy.
        hint: Option<String>,
    },
}

fn hint_line(hint: Option<&str>) -> String {
    hint.map(|text| format!("\nhint: {text}")).unwrap_or_default()
}

/// Returns several errors as one text.
pub(crate) fn in_lines<T: fmt::Display>(errors: &[T]) -> String {
    errors.iter().map(T::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong in a manifest, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}{}{}", place.excerpt, hint_line(hint.as_deref()))]
pub struct Diagnostic {
    /// The place of the value that would have to change.
    pub place: ManifestPlace,
    /// The value found, and the values accepted.
    pub message: String,
    /// The value that was probably meant.
    pub hint: Option<String>,
}

/// A place in a manifest. Displayed as the start of a message has it: `curfew.toml:3:9`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestPlace {
    /// The manifest, as it was named.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line with a mark, for the end of a message; empty for a blank line.
    pub(crate) excerpt: String,
}

impl fmt::Display for ManifestPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl ManifestPlace {
    fn new(span: &Span, file: &Path, text: &str) -> Self {
        let (before, after) = text.split_at(text.floor_char_boundary(span.start));
        let head = before.rsplit('\n').next().unwrap_or_default();
        let marked = text.get(before.len()..text.floor_char_boundary(span.end)).unwrap_or_default();
        let [tail, marked] =
            [after, marked].map(|text| text.split('\n').next().unwrap_or_default().trim_end_matches('\r'));
        let line = before.matches('\n').count() + 1;
        let excerpt = excerpt(line, head, tail, marked.chars().count());
        Self { file: file.to_owned(), line, column: head.chars().count() + 1, excerpt }
    }
}

/// The places of the components' keys in the text of a manifest, for errors that only their files show.
#[derive(Clone, Debug, Default)]
pub struct KeyPlaces {
    pub(super) file: PathBuf,
    pub(super) text: String,
    /// By `NAME.KEY`; keys of inner tables are `NAME.KEY.KEY`.
    pub(super) spans: BTreeMap<String, Span>,
}

impl KeyPlaces {
    /// Returns the place of a component's key, of the table around it, or of its `source`; `None` without a manifest.
    pub fn find(&self, component: &str, key: &str) -> Option<ManifestPlace> {
        let outer = std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        let keys = outer.chain(["source"]);
        let span = keys.map(|key| format!("{component}.{key}")).find_map(|key| self.spans.get(&key))?;
        Some(ManifestPlace::new(span, &self.file, &self.text))
    }
}

/// Bytes of the manifest's text. A span past the end means the end.
pub(super) type Span = Range<usize>;

/// A [`Diagnostic`] before it has a line and a column.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Problem {
    pub(super) fn new(span: &Span, message: impl Into<String>) -> Self {
        Self { span: span.clone(), message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Returns what a user sees.
    pub(super) fn in_text(self, file: &Path, text: &str) -> Diagnostic {
        Diagnostic {
            place: ManifestPlace::new(&self.span, file, text),
            message: self.message,
            hint: self.hint,
        }
    }
}

/// Returns the line `head` and `tail` with a mark under the first `width` characters of `tail`; nothing for a blank line.
fn excerpt(line: usize, head: &str, tail: &str, width: usize) -> String {
    if head.trim().is_empty() && tail.trim().is_empty() {
        return String::new();
    }
    let before = head.chars().count();
    let skip = if before + width <= SHOWN { 0 } else { before.saturating_sub(SHOWN / 3) };
    // Control characters would move the mark, or play with the terminal.
    let shown = |c: char| match c {
        '\t' => ' ',
        c if is_harmful(c) => '\u{fffd}',
        c => c,
    };
    let text: String = head.chars().chain(tail.chars()).skip(skip).take(SHOWN).map(shown).collect();
    let indent = before - skip;
    let width = width.clamp(1, SHOWN.saturating_sub(indent).max(1));
    format!("\n{line:>5} | {}\n{:>5} | {:indent$}{:^<width$}", text.trim_end(), "", "", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> String {
        Problem::new(&span, "bad").in_text(Path::new("a.toml"), text).to_string()
    }

    #[test]
    fn the_mark_stands_under_the_words() {
        assert_eq!(shown("a\n\tgrün = 1\r\n", 9..10), "a.toml:2:7: bad\n    2 |  grün = 1\n      |       ^");
        assert_eq!(shown("ab = 1", 0..2), "a.toml:1:1: bad\n    1 | ab = 1\n      | ^^");
    }

    #[test]
    fn ends_and_holes_are_places_too() {
        assert_eq!(shown("", 0..0), "a.toml:1:1: bad");
        assert_eq!(shown("a =", 3..3), "a.toml:1:4: bad\n    1 | a =\n      |    ^");
        assert_eq!(shown("a =\n", 99..100), "a.toml:2:1: bad");
        assert_eq!(
            shown("a = \"\"\"x\ny\"\"\"", 4..13),
            "a.toml:1:5: bad\n    1 | a = \"\"\"x\n      |     ^^^^"
        );
    }

    #[test]
    fn long_lines_and_escapes_are_tamed() {
        let text = format!("a = \"{}\u{1b}[2J{}\"", "x".repeat(500), "y".repeat(500));
        let out = shown(&text, 505..506);
        assert!(out.contains('\u{fffd}') && !out.contains('\u{1b}'), "{out}");
        assert!(out.lines().all(|line| line.chars().count() < 120), "{out}");
    }
}
