//! Why a file is refused: what was found in it, and what its author can do. Which file it is is told by who asks.

use std::path::Path;

use super::LoadError;

/// What was found instead, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was found, as a sentence about "it".
    pub found: String,
    /// What to do, in the words of who built it.
    pub hint: String,
}

impl Refusal {
    /// Returns a refusal.
    pub fn new(found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { found: found.into(), hint: hint.into() }
    }

    /// Returns it as what it means for this file.
    pub fn of(self, path: &Path) -> LoadError {
        LoadError::Invalid { path: path.to_owned(), found: self.found, hint: self.hint }
    }
}
