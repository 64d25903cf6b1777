//! Errors of loading: a finding about a file, and an advice for its author. Invariant: text of a file is shown as one line of
//! bounded length that can do nothing to a terminal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::text::sanitize::one_line;

/// The longest name that is shown whole, in characters; types of functions count as names.
const NAME_CHARS: usize = 120;
const TEXT_CHARS: usize = 1000;

/// An error of loading.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// The file is not a component that can be run.
    #[error("{}: {}\nhint: {}", path.display(), shown(&refusal.found), shown(&refusal.hint))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The finding and the advice.
        refusal: Refusal,
    },
    /// The machine cannot give what a component needs.
    #[error("{}: this machine cannot load it: {}\nhint: {hint}", path.display(), shown(cause))]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// The answer of the system.
        cause: String,
        /// The remedy.
        hint: &'static str,
    },
    /// A name it may connect to has no address.
    #[error("[component.{component}] network.connect: cannot look up `{name}`: {cause}")]
    Name {
        /// The component.
        component: String,
        /// The name.
        name: String,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
}

/// The refusal of a file or a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The finding, as a sentence about "it".
    pub found: String,
    /// The advice, in the terms of the tools that built the file.
    pub hint: String,
}

impl Refusal {
    /// Returns a refusal.
    pub fn new(found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { found: found.into(), hint: hint.into() }
    }

    pub(super) fn of(self, path: &Path) -> LoadError {
        LoadError::Invalid { path: path.to_owned(), refusal: self }
    }
}

/// Returns a text about a file as it can be shown. Names between backquotes are cut more.
pub(super) fn shown(text: &str) -> String {
    let line = one_line(text);
    let most = |at: usize| if at % 2 == 1 { NAME_CHARS } else { TEXT_CHARS };
    let parts: Vec<_> = line.split('`').enumerate().map(|(at, part)| cut(part, most(at))).collect();
    cut(&parts.join("`"), TEXT_CHARS)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => text.get(..at).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_what_is_said_of_them_stays() {
        assert_eq!(shown("it imports `a` of `b`: no"), "it imports `a` of `b`: no");
        let long = "ä".repeat(5000);
        let name = "ä".repeat(NAME_CHARS);
        assert_eq!(
            shown(&format!("it imports `{long}` of `b`: no")),
            format!("it imports `{name}…` of `b`: no")
        );
        assert_eq!(shown(&"`a".repeat(5000)).chars().count(), TEXT_CHARS + 1);
    }

    #[test]
    fn every_text_of_a_refused_file_is_harmless() {
        let nasty = "a\u{1b}[2J\nb\u{202e}";
        let error = Refusal::new(nasty, nasty).of(Path::new("app.wasm")).to_string();
        assert_eq!(error, "app.wasm: a [2J b \nhint: a [2J b ");
    }
}
