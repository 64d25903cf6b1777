//! Names and paths: the rules for valid names, a name made of a file's name, and the known word nearest to a wrong one.
//!
//! Invariant: a name that passed is safe in a log line, a metric and a file name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Longest name of a component, and of an app.
pub const MAX_NAME: usize = 64;

pub(super) const NAME_RULE: &str =
    "a name: a-z, 0-9, `-` and `_`, starting with a letter or digit, at most 64 long";

/// Returns whether `name` is a valid name of a component: `[a-z0-9][a-z0-9-_]*`, at most [`MAX_NAME`] long.
pub fn is_component_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain)
        && name.len() <= MAX_NAME
        && name.chars().all(|c| plain(c) || matches!(c, '-' | '_'))
}

/// Returns whether `name` is a valid name of an app: short, and without control characters.
pub fn is_app_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control)
}

/// Returns the valid name of a component nearest to `text`; `component` if nothing of it can stay.
pub fn component_name_from(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let clean: String =
        text.chars().map(plain).skip_while(|c| matches!(c, '-' | '_')).take(MAX_NAME).collect();
    match clean.trim_end_matches('-') {
        "" => "component".to_owned(),
        name => name.to_owned(),
    }
}

/// Returns the first of `name`, `name-2`, `name-3`, … that `taken` does not have.
pub(super) fn unique(name: &str, taken: &BTreeSet<String>) -> String {
    let numbered = |n: u64| {
        let suffix = format!("-{n}");
        // Valid names are ASCII, so bytes are characters.
        let room = MAX_NAME.saturating_sub(suffix.len()).min(name.len());
        format!("{}{suffix}", name.get(..room).unwrap_or(name))
    };
    let free = |candidate: &String| !taken.contains(candidate);
    std::iter::once(name.to_owned()).chain((2..).map(numbered)).find(free).unwrap_or_default()
}

/// Returns the name of the folder that `file` is in, if it is fit for an app.
pub(super) fn folder_name(file: &Path) -> Option<String> {
    let mut folder = std::path::absolute(file).ok()?.parent()?.to_owned();
    if folder.file_name().is_none() {
        folder = std::fs::canonicalize(folder).ok()?;
    }
    folder.file_name()?.to_str().filter(|name| is_app_name(name)).map(str::to_owned)
}

/// Returns `path` as it will be opened: absolute where that can be told.
pub(super) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Returns the one of `known` that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_NAME {
        return None;
    }
    let word = word.to_lowercase().replace('_', "-");
    let distance = |other: &str| strsim::damerau_levenshtein(&word, &other.to_lowercase().replace('_', "-"));
    // A third of it may be wrong: `grcae` is near `grace`, `env` is not near `dirs`.
    known
        .map(|other| (distance(other), other))
        .filter(|(d, other)| *d <= (other.chars().count().min(word.chars().count()) / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, other)| other)
}

/// Returns `a, b or c`, each in quotes.
pub(super) fn alternatives<'a>(words: impl Iterator<Item = &'a str>, quote: char) -> String {
    let words: Vec<String> = words.map(|word| format!("{quote}{word}{quote}")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "0", "web-1", "a_b", &"x".repeat(64)] {
            assert!(is_component_name(good), "{good}");
        }
        for bad in ["", "-a", "_a", "Web", "a.b", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(!is_component_name(bad), "{bad}");
        }
    }

    #[test]
    fn any_text_makes_a_valid_name() {
        for (text, name) in [("Web", "web"), ("my.app v2", "my-app-v2"), ("--x", "x"), ("日本", "component")]
        {
            assert_eq!(component_name_from(text), name);
        }
        for text in ["", "-", "_", "é", &"Ab.".repeat(50)] {
            assert!(is_component_name(&component_name_from(text)), "{text}");
        }
    }

    #[test]
    fn duplicates_get_numbers_within_the_limit() {
        let long = "x".repeat(64);
        let taken = BTreeSet::from(["a".to_owned(), "a-2".to_owned(), long.clone()]);
        assert_eq!(unique("b", &taken), "b");
        assert_eq!(unique("a", &taken), "a-3");
        assert_eq!(unique(&long, &taken), format!("{}-2", "x".repeat(62)));
    }

    #[test]
    fn near_words_are_found_and_far_ones_not() {
        let known = ["grace", "fail-grace", "name", "on-exit"];
        for (word, near) in [
            ("grcae", Some("grace")),
            ("fail_grace", Some("fail-grace")),
            ("NAME", Some("name")),
            ("port", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), near, "{word}");
        }
    }
}
