//! Errors of a plan, with the place in the manifest.
//!
//! Invariant: the text of an error is complete: the place, what was found, what is accepted. Exit codes are
//! not chosen here; [`PlanErrorKind`] is what they are chosen from.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Longest piece of a line that is shown; a longer line is cut around the mark.
const SHOWN: usize = 100;

/// The reason why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The manifest says something that cannot be.
    #[error(transparent)]
    Invalid(Box<Diagnostic>),
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
    #[error("{message}{}", hint_line(*hint))]
    Usage {
        /// The fault.
        message: &'static str,
        /// The remedy.
        hint: Option<&'static str>,
    },
}

fn hint_line(hint: Option<&str>) -> String {
    hint.map(|text| format!("\nhint: {text}")).unwrap_or_default()
}

/// The class of an error; the exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanErrorKind {
    /// The manifest is invalid.
    Invalid,
    /// A file could not be read.
    Unreadable,
    /// The command line is wrong.
    Usage,
}

impl PlanError {
    /// Returns the class of the error.
    #[must_use]
    pub const fn kind(&self) -> PlanErrorKind {
        match self {
            Self::Invalid(_) => PlanErrorKind::Invalid,
            Self::Unreadable { .. } => PlanErrorKind::Unreadable,
            Self::Usage { .. } => PlanErrorKind::Usage,
        }
    }
}

/// Bytes of the manifest's text.
pub(super) type Span = Range<usize>;

/// One thing that is wrong in a manifest, before it has a line and a column.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Problem {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Returns the error that a user sees.
    pub(super) fn in_text(self, file: &Path, text: &str) -> PlanError {
        let Self { span, message, hint } = self;
        PlanError::Invalid(Box::new(Diagnostic::new(file, text, span, message, hint)))
    }
}

/// The problem that stands first in the text; of two at one place the one found first.
pub(super) fn first(problems: Vec<Problem>) -> Option<Problem> {
    problems.into_iter().min_by_key(|problem| problem.span.start)
}

/// One thing that is wrong in a manifest, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The manifest, as it was named.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The value found, and the values accepted.
    pub message: String,
    /// The value that was probably meant.
    pub hint: Option<String>,
    excerpt: Option<Excerpt>,
}

/// The line of the error as it is shown, and where its mark stands, in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    text: String,
    indent: usize,
    width: usize,
}

impl Diagnostic {
    /// A diagnostic for the bytes `span` of `text`. A span past the end means the end.
    #[must_use]
    pub fn new(file: &Path, text: &str, span: Span, message: String, hint: Option<String>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let (before, after) = text.split_at(start);
        let line = before.matches('\n').count() + 1;
        let head = before.rsplit('\n').next().unwrap_or_default();
        let tail = after.split('\n').next().unwrap_or_default();
        let column = head.chars().count() + 1;
        let marked = text.get(start..text.floor_char_boundary(span.end)).unwrap_or_default();
        let marked = marked.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let excerpt = Excerpt::new(head, tail.trim_end_matches('\r'), marked.chars().count());
        Self { file: file.to_owned(), line, column, message, hint, excerpt }
    }
}

impl Excerpt {
    fn new(head: &str, tail: &str, width: usize) -> Option<Self> {
        if head.trim().is_empty() && tail.trim().is_empty() {
            return None;
        }
        let before = head.chars().count();
        let skip = if before + width <= SHOWN { 0 } else { before.saturating_sub(SHOWN / 3) };
        // Control characters would move the mark, or play with the terminal.
        let shown = |c: char| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        };
        let mut text: String = head.chars().chain(tail.chars()).skip(skip).take(SHOWN).map(shown).collect();
        let indent = before - skip;
        text.truncate(text.trim_end().len());
        Some(Self { text, indent, width: width.clamp(1, SHOWN.saturating_sub(indent).max(1)) })
    }
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)?;
        if let Some(Excerpt { text, indent, width }) = &self.excerpt {
            write!(f, "\n{:>5} | {text}\n{:>5} | {:indent$}{:^<width$}", self.line, "", "", "")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> String {
        Diagnostic::new(Path::new("a.toml"), text, span, "bad".into(), None).to_string()
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
