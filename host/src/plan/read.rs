//! From parsed TOML to typed values, along the schema: unknown keys, wrong types, values that do not parse. Reading goes on after
//! a problem.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    APP, COMPONENT, Entry, Item, ManifestKey, NAME_RULE, Names, Problem, ROOT, Section, Shape, Span, Value,
    component_name_from, is_component_name, meant, nearest, scalar,
};

#[derive(Clone, Debug, Default)]
struct Place {
    /// The `[header]` that it stands under, without brackets.
    header: String,
    /// The keys below the header.
    inside: String,
    is_item: bool,
}

impl Place {
    fn child(&self, key: &str) -> Self {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let plain = !key.is_empty() && key.chars().all(bare);
        let key = if plain { key.to_owned() } else { scalar::quoted(key) };
        let mut child = Self { is_item: false, ..self.clone() };
        let is_in_header = matches!(self.header.as_str(), "" | "component");
        let path = if is_in_header { &mut child.header } else { &mut child.inside };
        *path = if path.is_empty() { key } else { format!("{path}.{key}") };
        child
    }

    /// Returns the key as a message names it: without the header it stands under.
    fn subject(&self) -> String {
        let path = if self.inside.is_empty() { &self.header } else { &self.inside };
        if self.is_item { format!("each item of `{path}`") } else { format!("`{path}`") }
    }

    /// Returns the last key of its path.
    fn key(&self) -> &str {
        let path = if self.inside.is_empty() { &self.header } else { &self.inside };
        path.rsplit('.').next().unwrap_or_default()
    }

    fn table(&self) -> String {
        match (self.header.as_str(), self.inside.as_str()) {
            ("", _) => "the manifest".to_owned(),
            (header, "") => format!("[{header}]"),
            (header, inside) => format!("`{inside}` of [{header}]"),
        }
    }

    /// Returns whether it is the table `[kind]`, or a `[kind.NAME]`.
    fn is_a(&self, kind: &str) -> bool {
        self.inside.is_empty() && self.header.split('.').next() == Some(kind)
    }
}

/// Returns the values, the problems with them, and the keys that are missing.
pub(super) fn read(root: &Spanned<DeTable<'_>>) -> (Section, Vec<Problem>, Vec<Problem>) {
    let mut reader = Reader::default();
    let section = reader.table(root.get_ref(), &(0..0), ROOT, &Place::default());
    (section, reader.problems, reader.missing)
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    missing: Vec<Problem>,
}

impl Reader {
    fn table(
        &mut self,
        table: &DeTable<'_>,
        span: &Span,
        keys: &'static [ManifestKey],
        place: &Place,
    ) -> Section {
        let find = |name: &str| keys.iter().find(|key| key.name == name);
        let section = self.section(table, place, |name, span| match find(name) {
            Some(key) => (Some(&key.shape), None),
            None => (None, Some(unknown(name, span, keys, place))),
        });
        // `manifest` tells of a missing top-level key. An unknown key may well be the missing one, mistyped.
        let told = !place.header.is_empty() && table.keys().all(|name| find(name.get_ref()).is_some());
        let required = keys.iter().filter(|key| told && key.is_required());
        for key in required.filter(|key| !table.contains_key(key.name)) {
            let missing = Problem::new(span, format!("{} has no `{}`", place.table(), key.name));
            self.missing.push(Problem { hint: scalar::example(key.name, &key.shape), ..missing });
        }
        section
    }

    fn found(&self) -> usize {
        self.problems.len() + self.missing.len()
    }

    /// Reads the values of a table. `judge` returns the shape of a key's value, and the problem with the key.
    fn section(
        &mut self,
        table: &DeTable<'_>,
        place: &Place,
        judge: impl Fn(&str, &Span) -> (Option<&'static Shape>, Option<Problem>),
    ) -> Section {
        let mut section = Section::default();
        for (name, value) in table.iter() {
            let (key, key_span) = (name.get_ref().to_string(), name.span());
            let (shape, problem) = judge(&key, &key_span);
            let before = self.found();
            self.problems.extend(problem);
            let item = shape.and_then(|shape| self.value(value, shape, &place.child(&key)));
            if self.found() > before {
                section.refused.push(key.clone());
            }
            section.entries.extend(item.map(|item| Entry { key, key_span, item }));
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
                let judge = |name: &str, span: &Span| (Some(*shape), wrong_name(name, span, *names));
                Ok(Value::Table(self.section(table, place, judge)))
            }
            (Shape::Pair(_), DeValue::Array(items)) if items.len() != 2 => Err(None),
            (Shape::List(shape) | Shape::Pair(shape), DeValue::Array(items)) => {
                // A refused item is noted; the others still count for the checks.
                let place = Place { is_item: true, ..place.clone() };
                Ok(Value::List(items.iter().filter_map(|item| self.value(item, shape, &place)).collect()))
            }
            (shape, found) => scalar::read(shape, found),
        };
        match read {
            Ok(value) => Some(Item { span, value }),
            Err(refusal) => {
                let (reason, hint) = refusal.map_or((None, None), |error| (Some(error.reason), error.hint));
                let (takes, found) = (shape.words(), scalar::found(shape, value.get_ref()));
                let mut message = format!("{} takes {takes}, found {found}", place.subject());
                message.extend(reason.map(|reason| format!(": {reason}")));
                let hint = hint.or_else(|| meant::meant(place.key(), shape, value.get_ref()));
                self.problems.push(Problem { hint, ..Problem::new(&span, message) });
                None
            }
        }
    }
}

fn unknown(text: &str, span: &Span, keys: &'static [ManifestKey], place: &Place) -> Problem {
    let message = format!("unknown key {} in {}", scalar::ticked(text), place.table());
    let others = [("app", APP, "[app]"), ("component", COMPONENT, "a [component.NAME] table")];
    let elsewhere = |is_it: &dyn Fn(&ManifestKey) -> bool| {
        let mut others = others.iter().filter(|(kind, ..)| !place.is_a(kind));
        others.find_map(|(_, keys, home)| Some((keys.iter().find(|key| is_it(key))?.name, *home)))
    };
    let is_also = |key: &ManifestKey| key.is_also(text);
    let also = keys.iter().find(|key| is_also(key)).map(|key| key.name);
    let hint = if let Some(meant) = also.or_else(|| nearest(text, keys.iter().map(|key| key.name))) {
        format!("did you mean `{meant}`?")
    } else if let Some((key, home)) = elsewhere(&|key| key.name == text).or_else(|| elsewhere(&is_also)) {
        format!("`{key}` belongs in {home}")
    } else {
        let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
        format!("known here: {}", names.join(", "))
    };
    Problem::new(span, message).hint(hint)
}

fn wrong_name(text: &str, span: &Span, names: Names) -> Option<Problem> {
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
