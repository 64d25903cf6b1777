//! The values of a manifest, each with its place in the text and the type that its key's shape asks for; and the types of plans
//! that they are read into.

use std::collections::BTreeMap;
use std::convert::identity;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use super::{KeyGroup, ListenAddress, Names, Origin, Peer, Route, Shape, Span};
use crate::text::units::{format_duration, format_size};

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

    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some() || self.is_refused(key)
    }

    /// Returns whether something is wrong in the value of the key.
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

    pub(super) fn tables(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.entries.iter().filter_map(|entry| Some((entry.key.as_str(), entry.item.table()?)))
    }
}

/// A type that the value of a key becomes.
pub(super) trait KeyType: Sized {
    /// The shape of a key of this type, unless its declaration has a narrower one.
    const SHAPE: Shape;

    /// Reads a value of this shape. Relative paths start at `base`.
    fn read(item: &Item, base: &Path) -> Option<Self>;

    /// Returns the value as JSON has it; `None` is the same as leaving the key out.
    fn written(&self, _shape: &Shape) -> Option<Json> {
        None
    }

    /// Returns the first key inside the value that says something and is in none of these groups.
    fn key_beyond(&self, _groups: &[KeyGroup]) -> Option<String> {
        None
    }
}

/// Types that are read from one variant of a value. `written` is the JSON of a default, where there is one.
macro_rules! read_from {
    ($( $ty:ty, $shape:expr, $variant:pat, $base:pat => $value:expr $(, written $json:expr)?; )*) => { $(
        impl KeyType for $ty {
            const SHAPE: Shape = $shape;

            fn read(item: &Item, $base: &Path) -> Option<Self> {
                if let $variant = &item.value { Some($value) } else { None }
            }

            $(fn written(&self, _: &Shape) -> Option<Json> {
                Some(Json::from($json(*self)))
            })?
        }
    )* };
}

read_from! {
    String, Shape::Text, Value::Text(text), _ => text.clone();
    PathBuf, Shape::Path, Value::Text(path), base => base.join(path);
    bool, Shape::Flag, Value::Flag(flag), _ => *flag, written identity;
    Duration, Shape::Duration { zero: true }, Value::Duration(time), _ => *time, written format_duration;
    SocketAddr, Shape::Address, Value::Address(address), _ => *address;
    ListenAddress, Shape::ListenAddress, Value::ListenAddress(address), base => address.resolved(base);
    Route, Shape::Route, Value::Route(route), _ => route.clone();
    Peer, Shape::Peer, Value::Peer(peer), _ => peer.clone();
    Origin, Shape::Origin, Value::Origin(origin), _ => origin.clone();
}

macro_rules! read_number {
    ($($ty:ty),*) => { $(
        impl KeyType for $ty {
            const SHAPE: Shape = Shape::Number { min: 0 };

            fn read(item: &Item, _: &Path) -> Option<Self> {
                let Value::Number(number) = item.value else { return None };
                Some(Self::try_from(number).unwrap_or(Self::MAX))
            }

            fn written(&self, shape: &Shape) -> Option<Json> {
                let number = u64::try_from(*self).ok()?;
                Some(if let Shape::Size { .. } = shape { format_size(number).into() } else { number.into() })
            }
        }
    )* };
}

read_number!(u32, u64, usize);

impl<T: KeyType> KeyType for Option<T> {
    const SHAPE: Shape = T::SHAPE;

    fn read(item: &Item, base: &Path) -> Option<Self> {
        T::read(item, base).map(Some)
    }

    fn written(&self, shape: &Shape) -> Option<Json> {
        self.as_ref()?.written(shape)
    }

    fn key_beyond(&self, groups: &[KeyGroup]) -> Option<String> {
        self.as_ref()?.key_beyond(groups)
    }
}

impl<T: KeyType> KeyType for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);

    fn read(item: &Item, base: &Path) -> Option<Self> {
        item.list()?.iter().map(|item| T::read(item, base)).collect()
    }
}

impl KeyType for [Duration; 2] {
    const SHAPE: Shape = Shape::Pair(&Duration::SHAPE);

    fn read(item: &Item, base: &Path) -> Option<Self> {
        Vec::<Duration>::read(item, base)?.try_into().ok()
    }

    fn written(&self, _: &Shape) -> Option<Json> {
        Some(self.map(format_duration).to_vec().into())
    }
}

impl KeyType for BTreeMap<String, String> {
    const SHAPE: Shape = Shape::Map(Names::Any, &Shape::Text);

    fn read(item: &Item, _: &Path) -> Option<Self> {
        let entries = item.table()?.entries.iter();
        entries.map(|entry| Some((entry.key.clone(), entry.item.text()?.to_owned()))).collect()
    }
}

/// Sorted by name.
impl KeyType for Vec<(String, String)> {
    const SHAPE: Shape = Shape::Map(Names::Variables, &Shape::Text);

    fn read(item: &Item, base: &Path) -> Option<Self> {
        Some(BTreeMap::read(item, base)?.into_iter().collect())
    }
}
