//! The notation of `keys`: of one line for each key `table!` makes the field of a plan, its reader, its default and its entry in
//! the schema. `words!` does the same for a set of words. A key whose shape does not suit its field's type does not compile.

use std::path::Path;

use super::{Fallback, KeyGroup, KeyType, ManifestKey, Section, Shape};

/// A plan that a table of the manifest becomes.
pub(super) trait Table: Default {
    const KEYS: &'static [ManifestKey];

    /// Reads the table. A key that is missing has its default.
    fn from_section(section: &Section, base: &Path) -> Self;
}

/// Declares a table of the manifest. Each line is one of:
///
/// - `"key" => field: Type;` without the key the field has its type's default;
/// - `"key" => field: Type, or(value);` it has this value, which can name fields declared above;
/// - `"key" => field: Type, or(value, "words");` the same, and the words describe it in the documentation;
/// - `"key" required => field: Type;` the key has to be there;
/// - `flat => field: Type;` the keys of another table stand in this one;
/// - `plain => field: Type;` no key: other code sets the field.
///
/// `= SHAPE` behind the type narrows what the key takes. `also("name")` has its names in other tools, for hints. `for Group` at the
/// end says which kinds take it. The comment is the key's.
macro_rules! table {
    (
        $(#[$attr:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $($key:literal)? $($sort:ident)? => $field:ident: $ty:ty
                $(= $shape:expr)? $(, or($default:expr $(, $words:literal)?))?
                $(, also($($also:literal),*))? $(, for $group:ident)?;
            )*
        }
    ) => {
        $(#[$attr])*
        $vis struct $name {
            $( $(#[doc = $doc])* pub $field: $ty, )*
        }

        impl Table for $name {
            const KEYS: &'static [ManifestKey] = {
                const PARTS: &[&[ManifestKey]] = &[$(
                    table!(@keys [$($key)? $($sort)?], $ty, [$($shape)?], [$($group)?], concat!($($doc),*),
                        [$($($also),*)?], [$($default $(, $words)?)?])
                ),*];
                const ALL: [ManifestKey; count(PARTS)] = joined(PARTS);
                &ALL
            };

            fn from_section(section: &Section, base: &Path) -> Self {
                $( let $field: $ty = table!(@read [$($key)? $($sort)?], $ty, section, base, [$($default)?]); )*
                Self { $($field),* }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::from_section(&Section::default(), Path::new(""))
            }
        }

        impl KeyType for $name {
            const SHAPE: Shape = Shape::Table(Self::KEYS);

            fn read(item: &Item, base: &Path) -> Option<Self> {
                Some(Self::from_section(item.table()?, base))
            }

            fn key_beyond(&self, groups: &[KeyGroup]) -> Option<String> {
                let default = Self::default();
                $( table!(@beyond [$($key)? $($sort)?], self.$field, default.$field, groups, [$($group)?]); )*
                None
            }
        }
    };

    (@keys [plain], $($_:tt)*) => { &[] };
    (@keys [flat], $ty:ty, $($_:tt)*) => { <$ty as Table>::KEYS };
    (@keys [$key:literal $($required:ident)?], $ty:ty, [$($shape:expr)?], [$($group:ident)?], $doc:expr, [$($also:literal),*], [$($default:tt)*]) => {{
        const SHAPE: Shape = table!(@or <$ty as KeyType>::SHAPE, [$($shape)?]);
        $( const { assert!($shape.narrows(&<$ty as KeyType>::SHAPE), "the shape of a key suits its type") } )?
        const ONE: &[ManifestKey] = &[ManifestKey {
            name: $key,
            shape: SHAPE,
            fallback: table!(@fallback [$($required)?] $ty, SHAPE, [$($default)*]),
            group: table!(@or KeyGroup::General, [$(KeyGroup::$group)?]),
            also: &[$($also),*],
            doc: $doc,
        }];
        ONE
    }};
    (@or $usual:expr, []) => { $usual };
    (@or $usual:expr, [$given:expr]) => { $given };
    (@fallback [required] $($_:tt)*) => { || Fallback::Required };
    (@fallback [] $ty:ty, $shape:expr, [$default:expr, $words:literal]) => { || Fallback::Depends($words) };
    (@fallback [] $ty:ty, $shape:expr, [$default:expr]) => { || fallback::<$ty>(&$default, &$shape) };
    (@fallback [] $ty:ty, $shape:expr, []) => { || fallback::<$ty>(&Default::default(), &$shape) };

    (@read [plain], $($_:tt)*) => { Default::default() };
    (@read [flat], $ty:ty, $section:expr, $base:expr, $_:tt) => { <$ty as Table>::from_section($section, $base) };
    (@read [$key:literal $($required:ident)?], $ty:ty, $section:expr, $base:expr, [$($default:expr)?]) => {
        match $section.get($key, $base) {
            Some((_, value)) => value,
            None => table!(@or Default::default(), [$($default)?]),
        }
    };

    (@beyond [plain], $($_:tt)*) => {};
    (@beyond [flat], $value:expr, $default:expr, $groups:expr, $_:tt) => {
        if let Some(key) = KeyType::key_beyond(&$value, $groups) {
            return Some(key);
        }
    };
    (@beyond [$key:literal $($required:ident)?], $value:expr, $default:expr, $groups:expr, [$($group:ident)?]) => {
        if $value != $default {
            $( if !$groups.contains(&KeyGroup::$group) { return Some($key.to_owned()); } )?
            if let Some(inner) = KeyType::key_beyond(&$value, $groups) {
                return Some(format!("{}.{inner}", $key));
            }
        }
    };
}

/// Declares an enum of which each variant is a word of the manifest. Behind `|` stand words of other tools for it, for hints.
macro_rules! words {
    (
        $(#[$attr:meta])*
        pub enum $name:ident {
            $( $(#[doc = $doc:literal])* $variant:ident = $word:literal $(| $also:literal)*, )*
        }
    ) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $( $(#[doc = $doc])* $variant, )*
        }

        impl $name {
            /// Returns the word that a manifest has for it.
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl KeyType for $name {
            const SHAPE: Shape =
                Shape::Choice(&[$( Choice { word: $word, also: &[$($also),*], doc: concat!($($doc),*) } ),*]);

            fn read(item: &Item, _: &Path) -> Option<Self> {
                match item.text()? {
                    $( $word => Some(Self::$variant), )*
                    _ => None,
                }
            }

            fn written(&self, _: &Shape) -> Option<serde_json::Value> {
                Some(self.word().into())
            }
        }
    };
}

pub(super) use {table, words};

pub(super) const fn count(parts: &[&[ManifestKey]]) -> usize {
    match parts {
        [] => 0,
        [first, rest @ ..] => first.len() + count(rest),
    }
}

#[expect(clippy::indexing_slicing, reason = "it runs while the host is compiled; an iterator does not")]
pub(super) const fn joined<const N: usize>(parts: &[&[ManifestKey]]) -> [ManifestKey; N] {
    const FILLER: ManifestKey = ManifestKey {
        name: "",
        shape: Shape::Flag,
        fallback: || Fallback::Nothing,
        group: KeyGroup::General,
        also: &[],
        doc: "",
    };
    let (mut all, mut part, mut at, mut place) = ([FILLER; N], 0, 0, 0);
    while part < parts.len() {
        if at < parts[part].len() {
            all[place] = parts[part][at];
            (at, place) = (at + 1, place + 1);
        } else {
            (part, at) = (part + 1, 0);
        }
    }
    all
}

pub(super) fn fallback<T: KeyType>(default: &T, shape: &Shape) -> Fallback {
    default.written(shape).map_or(Fallback::Nothing, Fallback::Value)
}
