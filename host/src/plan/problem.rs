//! What the parts of a manifest's reading tell each other: typed values with their places, and what is wrong.
//!
//! Invariant: every value and every problem carries the bytes it came from. Lines and columns are made of them
//! in `error`, once.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::http::ListenAddress;
use super::origin::Origin;
use super::route::Route;
use super::types::Peer;

/// Bytes of the manifest's text.
pub(super) type Span = Range<usize>;

/// Something wrong, before it has a line and a column.
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
}

/// The problem that stands first in the text; of two at one place the one found first.
pub(super) fn first(problems: Vec<Problem>) -> Option<Problem> {
    problems.into_iter().min_by_key(|problem| problem.span.start)
}

/// A value that has the type its key takes.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Duration(Duration),
    /// A number, or a size in bytes.
    Number(u64),
    Address(SocketAddr),
    ListenAddress(ListenAddress),
    Route(Route),
    Peer(Peer),
    Origin(Origin),
    List(Vec<Item>),
    Table(Section),
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// A table; its entries are in the order of the text.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    pub(super) entries: Vec<Entry>,
    /// Keys with something wrong in their value; what else is in it may be there.
    pub(super) refused: Vec<String>,
}

/// A key with its value. One whose value was refused is not there.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) item: Item,
}

impl Item {
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        if let Value::Duration(duration) = self.value { Some(duration) } else { None }
    }

    pub(super) fn table(&self) -> Option<&Section> {
        if let Value::Table(section) = &self.value { Some(section) } else { None }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        if let Value::Address(address) = self.value { Some(address) } else { None }
    }

    pub(super) fn listen_address(&self) -> Option<&ListenAddress> {
        if let Value::ListenAddress(address) = &self.value { Some(address) } else { None }
    }

    pub(super) fn route(&self) -> Option<&Route> {
        if let Value::Route(route) = &self.value { Some(route) } else { None }
    }

    pub(super) fn peer(&self) -> Option<&Peer> {
        if let Value::Peer(peer) = &self.value { Some(peer) } else { None }
    }

    pub(super) fn origin(&self) -> Option<&Origin> {
        if let Value::Origin(origin) = &self.value { Some(origin) } else { None }
    }
}

impl Section {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether the key was written, with whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some() || self.is_refused(key)
    }

    /// Whether something is wrong in the value of the key, so that what it means is not known.
    pub(super) fn is_refused(&self, key: &str) -> bool {
        self.refused.iter().any(|refused| refused == key)
    }

    pub(super) fn item(&self, key: &str) -> Option<&Item> {
        self.entry(key).map(|entry| &entry.item)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.item(key).and_then(Item::text)
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.item(key), Some(Item { value: Value::Flag(true), .. }))
    }

    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        self.item(key)?.duration()
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        if let Value::Number(number) = self.item(key)?.value { Some(number) } else { None }
    }

    /// The same for what the host counts.
    pub(super) fn count(&self, key: &str) -> Option<usize> {
        self.number(key).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    pub(super) fn list(&self, key: &str) -> &[Item] {
        if let Some(Item { value: Value::List(items), .. }) = self.item(key) { items } else { &[] }
    }

    /// The entries of the table under `key`; none without it.
    pub(super) fn table(&self, key: &str) -> Option<&Section> {
        self.item(key).and_then(Item::table)
    }
}
