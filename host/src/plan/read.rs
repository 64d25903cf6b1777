//! From parsed TOML to typed values, along the schema: unknown keys, wrong types, values that do not parse.
//!
//! Invariant: each problem is noted with its place and reading goes on, so that the user gets the first in the text.
//! Problems of two keys together, or of the disk, are found in `checks`; `scalar` reads one single value.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Problem, Span};
use super::keys::{APP, COMPONENT, ROOT};
use super::names::{NAME_RULE, component_name_from, is_component_name, nearest};
use super::scalar::{self, Refusal};
use super::schema::{ManifestKey, Names, Shape};
use super::section::{Entry, Item, Section, Value};

/// A place in the tree: the keys from the top, and whether it is an item of the list there.
#[derive(Clone, Debug, Default)]
pub(super) struct Place(Vec<String>, bool);

impl Place {
    fn child(&self, key: &str) -> Self {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let plain = !key.is_empty() && key.chars().all(bare);
        let mut path = self.0.clone();
        path.push(if plain { key.to_owned() } else { scalar::quoted(key) });
        Self(path, false)
    }

    fn item(&self) -> Self {
        Self(self.0.clone(), true)
    }

    /// How many of the parts make up the `[header]`.
    fn header_len(&self) -> usize {
        let wanted = if self.0.first().is_some_and(|part| part == "component") { 2 } else { 1 };
        wanted.min(self.0.len())
    }

    fn header(&self) -> String {
        format!("[{}]", self.0.iter().take(self.header_len()).cloned().collect::<Vec<_>>().join("."))
    }

    fn inside(&self) -> String {
        self.0.iter().skip(self.header_len()).cloned().collect::<Vec<_>>().join(".")
    }

    /// The key as a message names it: without the header it stands under.
    fn subject(&self) -> String {
        let path = match self.inside() {
            inside if inside.is_empty() => self.0.join("."),
            inside => inside,
        };
        if self.1 { format!("each item of `{path}`") } else { format!("`{path}`") }
    }

    /// The table as a message names it.
    fn table(&self) -> String {
        match (self.0.is_empty(), self.inside()) {
            (true, _) => "the manifest".to_owned(),
            (false, inside) if inside.is_empty() => self.header(),
            (false, inside) => format!("`{inside}` of {}", self.header()),
        }
    }

    /// `app` or `component`, when it is such a table itself.
    fn kind(&self) -> Option<&str> {
        self.inside().is_empty().then(|| self.0.first()).flatten().map(String::as_str)
    }
}

/// Reads the whole tree.
pub(super) fn read(root: &Spanned<DeTable<'_>>) -> (Section, Vec<Problem>) {
    let mut reader = Reader { problems: Vec::new() };
    let section = reader.table(root.get_ref(), &(0..0), ROOT, &Place::default());
    (section, reader.problems)
}

struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn table(
        &mut self,
        table: &DeTable<'_>,
        span: &Span,
        keys: &'static [ManifestKey],
        place: &Place,
    ) -> Section {
        let mut section = Section::default();
        for (name, value) in table.iter() {
            let text = name.get_ref().as_ref();
            match keys.iter().find(|key| key.name == text) {
                Some(key) => {
                    let problems = self.problems.len();
                    if let Some(item) = self.value(value, &key.shape, &place.child(text)) {
                        section.entries.push(Entry { key: text.to_owned(), key_span: name.span(), item });
                    }
                    if self.problems.len() > problems {
                        section.refused.push(text.to_owned());
                    }
                }
                None => self.problems.push(unknown(text, name.span(), keys, place)),
            }
        }
        // The top level's is left to the end. An unknown key may well be the missing one, mistyped.
        let known = |name: &str| keys.iter().any(|key| key.name == name);
        let told = !place.0.is_empty() && table.keys().all(|name| known(name.get_ref()));
        let required = keys.iter().filter(|key| told && key.is_required());
        for key in required.filter(|key| !table.contains_key(key.name)) {
            let message = format!("{} has no `{}`", place.table(), key.name);
            self.problems
                .push(Problem::new(span.clone(), message).hint(scalar::example(key.name, &key.shape)));
        }
        section.entries.sort_by_key(|entry| entry.key_span.start);
        section
    }

    fn map(&mut self, table: &DeTable<'_>, names: Names, shape: &'static Shape, place: &Place) -> Section {
        let mut section = Section::default();
        for (name, value) in table.iter() {
            let text = name.get_ref().as_ref();
            if let Some(problem) = wrong_name(text, name.span(), names) {
                self.problems.push(problem);
            }
            if let Some(item) = self.value(value, shape, &place.child(text)) {
                section.entries.push(Entry { key: text.to_owned(), key_span: name.span(), item });
            }
        }
        section.entries.sort_by_key(|entry| entry.key_span.start);
        section
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, shape: &'static Shape, place: &Place) -> Option<Item> {
        let span = value.span();
        let read = match (shape, value.get_ref()) {
            (Shape::Table(keys), DeValue::Table(table)) => {
                Ok(Value::Table(self.table(table, &span, keys, place)))
            }
            (Shape::Map(names, shape), DeValue::Table(table)) => {
                Ok(Value::Table(self.map(table, *names, shape, place)))
            }
            (Shape::Pair(_), DeValue::Array(items)) if items.len() != 2 => Err(Refusal::default()),
            (Shape::List(shape) | Shape::Pair(shape), DeValue::Array(items)) => {
                // A refused item is noted; the others still count for the checks.
                Ok(Value::List(
                    items.iter().filter_map(|item| self.value(item, shape, &place.item())).collect(),
                ))
            }
            (shape, found) => scalar::read(shape, found),
        };
        match read {
            Ok(value) => Some(Item { span, value }),
            Err(refusal) => {
                let takes = shape.words();
                let found = scalar::found(shape, value.get_ref());
                let hint = refusal.hint.or_else(|| scalar::meant(shape, value.get_ref()));
                let mut message = format!("{} takes {takes}, found {found}", place.subject());
                if let Some(reason) = refusal.reason {
                    message = format!("{message}: {reason}");
                }
                self.problems.push(Problem::new(span, message).hint(hint));
                None
            }
        }
    }
}

fn unknown(text: &str, span: Span, keys: &'static [ManifestKey], place: &Place) -> Problem {
    let message = format!("unknown key {} in {}", scalar::ticked(text), place.table());
    let elsewhere = [("app", APP, "[app]"), ("component", COMPONENT, "a [component.NAME] table")]
        .into_iter()
        .find(|(kind, keys, _)| place.kind() != Some(kind) && keys.iter().any(|key| key.name == text));
    let hint = if let Some(near) = nearest(text, keys.iter().map(|key| key.name)) {
        format!("did you mean `{near}`?")
    } else if let Some((_, _, home)) = elsewhere {
        format!("`{text}` belongs in {home}")
    } else {
        let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
        format!("known here: {}", names.join(", "))
    };
    Problem::new(span, message).hint(hint)
}

fn wrong_name(text: &str, span: Span, names: Names) -> Option<Problem> {
    match names {
        Names::Components if !is_component_name(text) => {
            let message = format!("a component has {NAME_RULE}; found {}", scalar::ticked(text));
            Some(Problem::new(span, message).hint(format!("did you mean `{}`?", component_name_from(text))))
        }
        Names::Variables if text.is_empty() || text.contains(['=', '\0']) => {
            let message = "the name of a variable is not empty, and has neither `=` nor NUL in it";
            Some(Problem::new(span, format!("{message}; found {}", scalar::ticked(text))))
        }
        Names::Components | Names::Variables | Names::Any => None,
    }
}
