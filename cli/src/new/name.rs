//! The name of a project: one that every language and tool takes as it is, or with `_` for `-`.

use std::fmt;

/// Longest name.
const MOST: usize = 40;

/// Names that a package in Rust cannot have, or that hide a crate which it needs.
const TAKEN: [&str; 14] = [
    "alloc",
    "app",
    "async",
    "await",
    "component",
    "core",
    "crate",
    "fn",
    "mod",
    "self",
    "std",
    "super",
    "test",
    "wit-bindgen",
];

/// A valid name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectName(String);

/// Why a name is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has other characters, or is too long.
    #[error(
        "a name has a-z, 0-9 and single `-` between them, starts with a letter, and is at most {MOST} long"
    )]
    Form,
    /// It means something else already.
    #[error("this word has a meaning of its own in some language: take another")]
    Taken,
}

impl ProjectName {
    /// Returns the name as it is: words with `-` between them.
    pub fn kebab(&self) -> &str {
        &self.0
    }

    /// Returns it for languages that take no `-` in a name.
    pub fn snake(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ProjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |word: &str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || text.len() > MOST || !text.split('-').all(word) {
            return Err(NameError::Form);
        }
        if TAKEN.contains(&text) {
            return Err(NameError::Taken);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curfew_host::plan::names::is_component_name;

    #[test]
    fn names_are_what_every_language_takes() {
        for good in ["a", "hello", "my-app-2", "a1-b2"] {
            let name: ProjectName = good.parse().unwrap();
            assert!(is_component_name(name.kebab()));
        }
        assert_eq!("my-app".parse::<ProjectName>().unwrap().snake(), "my_app");
        let long = "a".repeat(MOST + 1);
        for bad in ["", "-a", "a-", "a--b", "A", "1a", "a_b", "ä", "a/b", "..", "a b", &long] {
            assert_eq!(bad.parse::<ProjectName>(), Err(NameError::Form), "{bad}");
        }
        assert_eq!("std".parse::<ProjectName>(), Err(NameError::Taken));
    }
}
