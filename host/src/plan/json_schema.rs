//! The keys of a manifest as a JSON Schema, for editors: what can be written where, and what it is for.
//!
//! Invariant: made of `keys` and nothing else, and never narrower than what is read: a manifest that is taken is
//! valid. What depends on two keys, or on the disk, is not in it. It is draft 7, which all editors know, and says
//! nothing that later drafts mean otherwise.

use serde_json::{Map, Value, json};

use super::keys::ROOT;
use super::names::MAX_NAME;
use super::pattern;
use super::schema::{Choice, Fallback, Key, Names, Shape};
use crate::text::units::{format_duration, format_size};

/// Returns the JSON Schema of a manifest.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = table(ROOT);
    schema.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("title".into(), "curfew.toml".into());
    schema.insert("description".into(), "The manifest of an app that curfew runs.".into());
    Value::Object(schema)
}

fn table(keys: &[Key]) -> Map<String, Value> {
    let required: Vec<&str> =
        keys.iter().filter(|key| key.fallback == Fallback::Required).map(|key| key.name).collect();
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), Value::Object(property(key)))).collect();
    let mut schema = object(json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    }));
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
    schema
}

fn property(key: &Key) -> Map<String, Value> {
    let mut schema = value(&key.shape);
    schema.insert("description".into(), description(key).into());
    if let Some(default) = default(key.fallback) {
        schema.insert("default".into(), default);
    }
    schema
}

/// What an editor shows: also what an editor knows, but does not show.
fn description(key: &Key) -> String {
    let mut text = key.doc.to_owned();
    if let Shape::Size { max, .. } = key.shape
        && max < u64::MAX
    {
        text = format!("{text} Takes {}.", key.shape.words());
    }
    if let Some(words) = key.fallback.words() {
        text = format!("{text} Default: {words}.");
    }
    if let Shape::Choice(choices) = key.shape {
        let lines: Vec<String> =
            choices.iter().map(|Choice { word, doc }| format!("- `{word}`: {doc}")).collect();
        text = format!("{text}\n\n{}", lines.join("\n"));
    }
    text
}

fn default(fallback: Fallback) -> Option<Value> {
    match fallback {
        Fallback::Required | Fallback::Nothing | Fallback::Depends(_) => None,
        Fallback::Duration(time) => Some(format_duration(time).into()),
        Fallback::Durations(first, second) => Some(json!([format_duration(first), format_duration(second)])),
        Fallback::Size(bytes) => Some(format_size(bytes).into()),
        Fallback::Number(number) => Some(number.into()),
        Fallback::Flag(flag) => Some(flag.into()),
        Fallback::Word(word) => Some(word.into()),
    }
}

fn value(shape: &Shape) -> Map<String, Value> {
    let mut schema = object(match shape {
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Number { min } => json!({ "type": "integer", "minimum": min }),
        Shape::Choice(choices) => choice(choices),
        Shape::List(item) => json!({ "type": "array", "items": value(item) }),
        Shape::Pair(item) => json!({ "type": "array", "items": value(item), "minItems": 2, "maxItems": 2 }),
        Shape::Table(keys) => Value::Object(table(keys)),
        Shape::Map(names, item) => map(*names, item),
        Shape::Label => json!({ "type": "string", "maxLength": MAX_NAME }),
        Shape::Path | Shape::GuestPath => json!({ "type": "string", "minLength": 1 }),
        Shape::Text
        | Shape::Component
        | Shape::RequestPath
        | Shape::Duration { .. }
        | Shape::Size { .. }
        | Shape::Address
        | Shape::ListenAddress
        | Shape::Route
        | Shape::Peer
        | Shape::Origin => json!({ "type": "string" }),
    });
    if let Some(pattern) = pattern::of(shape) {
        schema.insert("pattern".into(), pattern.into());
    }
    schema
}

/// Draft 7 has no place for what each word means: editors have one each.
fn choice(choices: &[Choice]) -> Value {
    let words: Vec<&str> = choices.iter().map(|choice| choice.word).collect();
    let docs: Vec<&str> = choices.iter().map(|choice| choice.doc).collect();
    json!({
        "type": "string",
        "enum": words,
        "enumDescriptions": docs,
        "x-taplo": { "docs": { "enumValues": docs } },
    })
}

fn map(names: Names, item: &Shape) -> Value {
    let item = value(item);
    match names {
        Names::Components => json!({
            "type": "object",
            "propertyNames": { "pattern": pattern::of(&Shape::Component) },
            "additionalProperties": item,
            "minProperties": 1,
        }),
        Names::Variables => json!({
            "type": "object",
            "propertyNames": { "pattern": r"^[^=\x00]+$" },
            "additionalProperties": item,
        }),
        Names::Any => json!({ "type": "object", "additionalProperties": item }),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
pub(super) mod tests;
