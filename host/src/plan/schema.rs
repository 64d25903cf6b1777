//! What a manifest's schema is made of: keys, and the shapes of their values.
//!
//! Invariant: what is not in the schema does not exist in a manifest. The keys themselves are in `keys`, how
//! values are read is in `read`, what they mean together is in `checks`.

use std::time::Duration;

use super::scalar;
use crate::text::units::{format_duration, format_size};

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// What holds without it.
    pub fallback: Fallback,
    /// What it is for, in one sentence or two.
    pub doc: &'static str,
}

/// What holds when a key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The key has to be there.
    Required,
    /// Nothing: empty, off, not granted.
    Nothing,
    /// This duration.
    Duration(Duration),
    /// These two durations.
    Durations(Duration, Duration),
    /// So many bytes.
    Size(u64),
    /// This number.
    Number(u64),
    /// This flag.
    Flag(bool),
    /// This word.
    Word(&'static str),
    /// Something that depends, in words.
    Depends(&'static str),
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Any string without NUL.
    Text,
    /// A name for people to read.
    Label,
    /// The name of a component of the same app.
    Component,
    /// A path; a relative one starts at the manifest's folder.
    Path,
    /// The path of a directory in the guest.
    GuestPath,
    /// The path of a request, perhaps with a query.
    RequestPath,
    /// `true` or `false`.
    Flag,
    /// A duration; `zero` tells whether it may be 0.
    Duration {
        /// Whether 0 is taken.
        zero: bool,
    },
    /// A size within these bounds, in bytes.
    Size {
        /// The least, at least 1.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A whole number that is at least so large.
    Number {
        /// The least.
        min: u64,
    },
    /// One of these words.
    Choice(&'static [Choice]),
    /// An IP address and a port to listen on.
    Address,
    /// The same, a Unix socket, or a socket that is handed over at the start.
    ListenAddress,
    /// Which requests of an address are meant.
    Route,
    /// A peer to connect to.
    Peer,
    /// An HTTP server.
    Origin,
    /// Any number of these.
    List(&'static Shape),
    /// Exactly two of these, the first not above the second.
    Pair(&'static Shape),
    /// A table with these keys.
    Table(&'static [Key]),
    /// A table whose keys are the user's.
    Map(Names, &'static Shape),
}

/// Which keys a [`Shape::Map`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Names of components.
    Components,
    /// Names of environment variables.
    Variables,
    /// Any.
    Any,
}

impl Shape {
    /// What it takes, in words that follow "takes".
    #[must_use]
    pub fn words(&self) -> String {
        scalar::takes(self)
    }
}

impl Fallback {
    /// What holds, in words; nothing for what has to be there, and for what is empty, off or not granted.
    #[must_use]
    pub fn words(self) -> Option<String> {
        let value = match self {
            Self::Required | Self::Nothing => return None,
            Self::Depends(words) => return Some(words.to_owned()),
            Self::Duration(time) => format!("{:?}", format_duration(time)),
            Self::Durations(first, second) => format!("{:?}", [first, second].map(format_duration)),
            Self::Size(bytes) => format!("{:?}", format_size(bytes)),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Word(word) => format!("{word:?}"),
        };
        Some(format!("`{value}`"))
    }
}

/// One word of a [`Shape::Choice`].
#[derive(Debug)]
pub struct Choice {
    /// As it is written.
    pub word: &'static str,
    /// What it means.
    pub doc: &'static str,
}

pub(super) const STANDARD: &str = "standard";
pub(super) const NGINX: &str = "nginx";
pub(super) const STOP_APP: &str = "stop-app";
pub(super) const IGNORE: &str = "ignore";
pub(super) const RESTART: &str = "restart";
pub(super) const AT_START: &str = "at-start";
pub(super) const AFTER_DRAIN: &str = "after-drain";
pub(super) const READ_ONLY: &str = "read-only";
pub(super) const READ_WRITE: &str = "read-write";
pub(super) const OFF: &str = "off";
pub(super) const TEXT: &str = "text";
pub(super) const JSON: &str = "json";
pub(super) const REPLACE: &str = "replace";
pub(super) const APPEND: &str = "append";
pub(super) const STARTED: &str = "started";
pub(super) const SAID: &str = "said";

#[cfg(test)]
mod tests {
    use super::super::keys::ROOT;
    use super::*;

    fn each(keys: &'static [Key], seen: &mut dyn FnMut(&'static Key)) {
        for key in keys {
            seen(key);
            let mut shape = &key.shape;
            while let Shape::List(inner) | Shape::Pair(inner) | Shape::Map(_, inner) = shape {
                shape = inner;
            }
            if let Shape::Table(inner) = shape {
                each(inner, seen);
            }
        }
    }

    #[test]
    fn every_key_is_documented_and_named_in_one_style() {
        let mut count = 0;
        each(ROOT, &mut |key| {
            count += 1;
            assert!(key.doc.ends_with(['.', '…']), "{}", key.name);
            assert!(key.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", key.name);
        });
        assert_eq!(count, 61);
    }

    #[test]
    fn a_word_that_holds_by_default_is_one_that_is_accepted() {
        each(ROOT, &mut |key| {
            if let (Shape::Choice(choices), Fallback::Word(word)) = (&key.shape, key.fallback) {
                assert!(choices.iter().any(|choice| choice.word == word), "{}", key.name);
            }
        });
    }
}
