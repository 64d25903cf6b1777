//! The values of a manifest, each with its place in the text: what `read` makes, and `checks` and `keys` take.
//!
//! Invariant: every value carries the bytes it came from, and has the type that its key's shape asks for.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::address::{ListenAddress, Peer};
use super::declare::KeyType;
use super::error::Span;
use super::origin::Origin;
use super::route::Route;

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
    /// Keys with something wrong in their value. The rest of the value may be in `entries`.
    pub(super) refused: Vec<String>,
}

/// A key with its value. A key whose value was refused is not there.
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

    pub(super) fn list(&self) -> Option<&[Item]> {
        if let Value::List(items) = &self.value { Some(items) } else { None }
    }

    pub(super) fn table(&self) -> Option<&Section> {
        if let Value::Table(section) = &self.value { Some(section) } else { None }
    }
}

impl Section {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Returns whether the key was written, with whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some() || self.is_refused(key)
    }

    /// Returns whether something is wrong in the value of the key, so that its meaning is not known.
    pub(super) fn is_refused(&self, key: &str) -> bool {
        self.refused.iter().any(|refused| refused == key)
    }

    pub(super) fn item(&self, key: &str) -> Option<&Item> {
        self.entry(key).map(|entry| &entry.item)
    }

    /// Returns the value of a key, and its place. Relative paths start at `base`.
    pub(super) fn get<T: KeyType>(&self, key: &str, base: &Path) -> Option<(&Item, T)> {
        self.item(key).and_then(|item| Some((item, T::read(item, base)?)))
    }

    /// Returns the items of the list under `key` as [`Self::get`] does.
    pub(super) fn list<T: KeyType>(&self, key: &str, base: &Path) -> impl Iterator<Item = (&Item, T)> {
        let items = self.item(key).and_then(Item::list).unwrap_or_default();
        items.iter().filter_map(move |item| Some((item, T::read(item, base)?)))
    }

    pub(super) fn table(&self, key: &str) -> Option<&Section> {
        self.item(key).and_then(Item::table)
    }

    /// Returns the tables in it with their keys.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.entries.iter().filter_map(|entry| Some((entry.key.as_str(), entry.item.table()?)))
    }
}
