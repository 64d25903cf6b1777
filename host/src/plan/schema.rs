//! The vocabulary of a manifest: keys, the shapes of their values, and the words for both. The keys themselves are in `keys`.

use serde_json::Value;

use super::{NAME_RULE, alternatives};
use crate::text::units::format_size;

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct ManifestKey {
    /// As a manifest writes it.
    pub name: &'static str,
    /// The values it takes.
    pub shape: Shape,
    /// Returns its default.
    pub fallback: fn() -> Fallback,
    /// Which kinds of component take it.
    pub group: KeyGroup,
    /// Its names in other tools, for hints.
    pub(super) also: &'static [&'static str],
    pub(super) doc: &'static str,
}

impl ManifestKey {
    /// Returns what the key is for, and which kinds take it where not all do.
    pub fn doc(&self) -> String {
        match self.group.kinds() {
            Some(kinds) => format!("{} Only for {kinds}.", self.doc.trim_start()),
            None => self.doc.trim_start().to_owned(),
        }
    }

    /// Returns whether other tools call it so, in whatever case.
    pub(super) fn is_also(&self, name: &str) -> bool {
        let plain = |name: &str| name.replace(['-', '_', '.'], "").to_lowercase();
        self.also.iter().any(|also| plain(also) == plain(name))
    }

    pub(super) fn is_required(&self) -> bool {
        (self.fallback)() == Fallback::Required
    }
}

/// The meaning of a key that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The key has to be there.
    Required,
    /// Nothing: empty, off, not granted.
    Nothing,
    /// This value, as JSON has it.
    Value(Value),
    /// A value that depends on others, in words.
    Depends(&'static str),
}

impl Fallback {
    /// Returns what holds, in words; nothing for [`Self::Required`] and [`Self::Nothing`].
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Required | Self::Nothing => None,
            Self::Depends(words) => Some((*words).to_owned()),
            // TOML writes a list as JSON does; a space after the comma is its custom.
            Self::Value(value) => Some(format!("`{}`", value.to_string().replace("\",\"", "\", \""))),
        }
    }
}

/// Keys that a kind of component takes together, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyGroup {
    /// Every kind takes them.
    General,
    /// Kinds that the host listens for.
    Listen,
    /// Kinds that get HTTP requests.
    Requests,
    /// Kinds that the host can find dead.
    Health,
    /// Kinds of which two generations run side by side only when the manifest says so.
    Overlap,
}

impl KeyGroup {
    const fn kinds(self) -> Option<&'static str> {
        match self {
            Self::General => None,
            Self::Listen => Some("the kinds `http` and `tcp`"),
            Self::Requests => Some("the kind `http`"),
            Self::Health => Some("the kinds `http` and `service`"),
            Self::Overlap => Some("the kind `service`"),
        }
    }
}

/// The values that a key takes.
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
        /// True if 0 is allowed.
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
    /// Some requests of an address.
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
    Table(&'static [ManifestKey]),
    /// A table whose keys are the user's.
    Map(Names, &'static Shape),
}

/// The keys that a [`Shape::Map`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Names of components.
    Components,
    /// Names of environment variables.
    Variables,
    /// Any.
    Any,
}

/// One word of a [`Shape::Choice`].
#[derive(Debug)]
pub struct Choice {
    /// As a manifest writes it.
    pub word: &'static str,
    /// Words of other tools for it, for hints.
    pub(super) also: &'static [&'static str],
    pub(super) doc: &'static str,
}

impl Choice {
    /// Returns what the word means.
    pub fn doc(&self) -> &'static str {
        self.doc.trim_start()
    }
}

impl Shape {
    /// Returns what it takes, in words that follow "takes".
    pub fn words(&self) -> String {
        let fixed = match self {
            Self::Choice(choices) => return alternatives(choices.iter().map(|choice| choice.word), '"'),
            Self::Number { min } => return format!("a whole number from {min} on"),
            Self::Size { min, max } if *max < u64::MAX => {
                return format!("a size from {} to {}", format_size(*min), format_size(*max));
            }
            Self::Pair(item) => return format!("a list of two, each {}", item.words()),
            Self::List(item) => return format!("a list, each item of it {}", item.words()),
            Self::Component => NAME_RULE,
            Self::Text => "a string",
            Self::Label => "a name of 1 to 64 characters on one line",
            Self::Path => "a path such as \"web.wasm\"",
            Self::GuestPath => "a path such as \"/data\"",
            Self::RequestPath => "a path such as \"/healthz\"",
            Self::Flag => "true or false",
            Self::Duration { .. } => "a duration such as \"10s\"",
            Self::Size { .. } => "a size such as \"64MiB\"",
            Self::Address => "an address such as \"127.0.0.1:8080\"",
            Self::ListenAddress => "an address such as \"127.0.0.1:8080\", \"unix:web.sock\" or \"fd:web\"",
            Self::Route => "a route such as \"api.example.com/v1\", \"*.example.com\" or \"/static\"",
            Self::Peer => "a peer such as \"127.0.0.1:6379\", \"redis:6379\" or \"*:443\"",
            Self::Origin => "a server such as \"https://api.example.com\"",
            Self::Table(keys) if keys.len() <= 3 => {
                let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
                return format!("a table with `{}`", names.join("`, `"));
            }
            Self::Map(Names::Components, _) => "tables such as [component.web]",
            Self::Table(_) | Self::Map(..) => "a table",
        };
        fixed.to_owned()
    }

    /// Returns whether a key whose type has the shape `wide` can have this one.
    pub(super) const fn narrows(&self, wide: &Self) -> bool {
        match (self, wide) {
            (Self::List(item), Self::List(wide)) => item.narrows(wide),
            (Self::Label | Self::Component | Self::GuestPath | Self::RequestPath, Self::Text)
            | (Self::Size { .. } | Self::Number { .. }, Self::Number { .. })
            | (Self::Duration { .. }, Self::Duration { .. }) => true,
            _ => false,
        }
    }
}
