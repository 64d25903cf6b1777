//! The keys of a manifest as a JSON Schema, for editors.
//!
//! Invariant: made of `keys` and nothing else, and never narrower than the reader: a manifest that is taken is valid.
//! Rules that depend on two keys, or on the disk, are not in it. It is draft 7, which all editors know, and says nothing
//! that later drafts mean otherwise.

use serde_json::{Map, Value, json};

use super::keys::ROOT;
use super::names::MAX_NAME;
use super::schema::{Choice, Fallback, ManifestKey, Names, Shape};

/// Returns the JSON Schema of a manifest.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = table(ROOT);
    schema.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("title".into(), "curfew.toml".into());
    schema.insert("description".into(), "The manifest of an app that curfew runs.".into());
    Value::Object(schema)
}

fn table(keys: &[ManifestKey]) -> Map<String, Value> {
    let required: Vec<&str> = keys.iter().filter(|key| key.is_required()).map(|key| key.name).collect();
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

fn property(key: &ManifestKey) -> Map<String, Value> {
    let mut schema = value(&key.shape);
    schema.insert("description".into(), description(key).into());
    if let Fallback::Value(default) = (key.fallback)() {
        schema.insert("default".into(), default);
    }
    schema
}

/// The text that an editor shows, with the facts that an editor knows but does not show.
fn description(key: &ManifestKey) -> String {
    let mut text = key.doc();
    if let Shape::Size { max, .. } = key.shape
        && max < u64::MAX
    {
        text = format!("{text} Takes {}.", key.shape.words());
    }
    if let Some(words) = (key.fallback)().words() {
        text = format!("{text} Default: {words}.");
    }
    if let Shape::Choice(choices) = key.shape {
        let lines: Vec<String> =
            choices.iter().map(|choice| format!("- `{}`: {}", choice.word, choice.doc())).collect();
        text = format!("{text}\n\n{}", lines.join("\n"));
    }
    text
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
    if let Some(pattern) = pattern(shape) {
        schema.insert("pattern".into(), pattern.into());
    }
    schema
}

/// Draft 7 has no place for the meaning of each word; editors have one each.
fn choice(choices: &[Choice]) -> Value {
    let words: Vec<&str> = choices.iter().map(|choice| choice.word).collect();
    let docs: Vec<&str> = choices.iter().map(Choice::doc).collect();
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
            "propertyNames": { "pattern": pattern(&Shape::Component) },
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

/// 0 to 255, as the address of IPv4 has it.
const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
/// 0 to 65535.
const PORT: &str = "0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})";
/// Wider than what is one: their grammar has hundreds of forms.
const V6: &str = r"\[[0-9A-Fa-f:.]+(%[0-9]+)?\]";
const LABEL: &str = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
const SEGMENT: &str = "/([A-Za-z0-9._~!$&'()+,;=:@-]|%[0-9A-Fa-f]{2})+";
const ABOVE_0: &str = r"(0*[1-9][0-9]*(\.[0-9]{1,9})?|0+\.0*[1-9][0-9]*)";
const FROM_0: &str = r"[0-9]+(\.[0-9]{1,9})?";
const TIMES: &str = "(ms|s|m|h)";
const SIZES: &str = "(B|KiB|MiB|GiB)";

/// The pattern of a shape that has one: of text that is not free. It matches whatever `scalar` takes, and may match
/// more. It has no look-around, no class with a name, and no escape that some editor's engine does not take.
fn pattern(shape: &Shape) -> Option<String> {
    let v4 = format!(r"{OCTET}(\.{OCTET}){{3}}");
    let name = format!(r"{LABEL}(\.{LABEL})*\.?");
    let host = format!(r"({v4}|{V6}|(\*\.)?{name})");
    let pattern = match shape {
        Shape::Label => r"[^\x00-\x1F\x7F-\x9F]+".to_owned(),
        Shape::Component => format!("[a-z0-9][a-z0-9_-]{{0,{}}}", MAX_NAME - 1),
        Shape::RequestPath => r#"/[!"$-~]*"#.to_owned(),
        Shape::Duration { zero: true } => format!("{FROM_0}{TIMES}"),
        Shape::Duration { zero: false } => format!("{ABOVE_0}{TIMES}"),
        Shape::Size { .. } => format!("{ABOVE_0}{SIZES}"),
        Shape::Address => format!("({v4}|{V6}):{PORT}"),
        Shape::ListenAddress => {
            let unix = r"unix:/?[^/\x00]([^\x00]*[^/\x00])?";
            format!("(({v4}|{V6}):{PORT}|{unix}|fd:[ -9;-~]{{1,255}})")
        }
        Shape::Route => format!("({host}({SEGMENT})*/?|({SEGMENT})+/?|/)"),
        Shape::Peer => format!(r"(\*|(\*|{v4}|{V6}|{name}):(\*|{PORT}))"),
        Shape::Origin => format!(r"https?://(\*|{host})(:(\*|{PORT}))?/?"),
        Shape::Text
        | Shape::Path
        | Shape::GuestPath
        | Shape::Flag
        | Shape::Number { .. }
        | Shape::Choice(_)
        | Shape::List(_)
        | Shape::Pair(_)
        | Shape::Table(_)
        | Shape::Map(..) => return None,
    };
    Some(format!("^{pattern}$"))
}

#[cfg(test)]
pub(super) mod tests;
