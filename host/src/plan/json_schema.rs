//! The keys of a manifest as a JSON Schema, for editors: of draft 7, which all know. A manifest that the reader takes is valid.

#![expect(clippy::indexing_slicing, reason = "an assignment to a key of a JSON object adds the key")]

use serde_json::{Map, Value, json};

use super::{Choice, Fallback, MAX_NAME, ManifestKey, Names, ROOT, Shape};

/// Returns the JSON Schema of a manifest.
pub fn json_schema() -> Value {
    let mut schema = table(ROOT);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "curfew.toml".into();
    schema["description"] = "The manifest of an app that curfew runs.".into();
    schema
}

fn table(keys: &[ManifestKey]) -> Value {
    let required: Vec<&str> = keys.iter().filter(|key| key.is_required()).map(|key| key.name).collect();
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

fn property(key: &ManifestKey) -> Value {
    let mut schema = value(&key.shape);
    schema["description"] = description(key).into();
    if let Fallback::Value(default) = (key.fallback)() {
        schema["default"] = default;
    }
    schema
}

/// Returns the text that an editor shows, with the facts that an editor knows but does not show.
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
        text.push('\n');
        text.extend(choices.iter().map(|choice| format!("\n- `{}`: {}", choice.word, choice.doc())));
    }
    text
}

fn value(shape: &Shape) -> Value {
    let mut schema = match shape {
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Number { min } => json!({ "type": "integer", "minimum": min }),
        Shape::Choice(choices) => choice(choices),
        Shape::List(item) => json!({ "type": "array", "items": value(item) }),
        Shape::Pair(item) => json!({ "type": "array", "items": value(item), "minItems": 2, "maxItems": 2 }),
        Shape::Table(keys) => table(keys),
        Shape::Map(names, item) => map(*names, item),
        Shape::Label => json!({ "type": "string", "maxLength": MAX_NAME }),
        Shape::Path | Shape::GuestPath => json!({ "type": "string", "minLength": 1 }),
        _ => json!({ "type": "string" }),
    };
    if let Some(pattern) = pattern(shape) {
        schema["pattern"] = pattern.into();
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
    let mut schema = json!({ "type": "object", "additionalProperties": value(item) });
    match names {
        Names::Components => {
            schema["propertyNames"] = json!({ "pattern": pattern(&Shape::Component) });
            schema["minProperties"] = 1.into();
        }
        Names::Variables => schema["propertyNames"] = json!({ "pattern": r"^[^=\x00]+$" }),
        Names::Any => {}
    }
    schema
}

const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
const PORT: &str = "0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})";
/// Matches more than IPv6 addresses, whose grammar has hundreds of forms.
const V6: &str = r"\[[0-9A-Fa-f:.]+(%[0-9]+)?\]";
const LABEL: &str = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
const SEGMENT: &str = "/([A-Za-z0-9._~!$&'()+,;=:@-]|%[0-9A-Fa-f]{2})+";
const ABOVE_0: &str = r"(0*[1-9][0-9]*(\.[0-9]{1,9})?|0+\.0*[1-9][0-9]*)";
const FROM_0: &str = r"[0-9]+(\.[0-9]{1,9})?";
const TIMES: &str = "(ms|s|m|h)";
const SIZES: &str = "(B|KiB|MiB|GiB)";

/// Returns the pattern of text that is not free. It matches all that `scalar` takes, and may match more. It has no look-around, no
/// class with a name, and no escape that some editor's engine does not take.
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
        Shape::Route => {
            let host =
                format!(r"({v4}|{V6}|\*\.{name}|[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]|{LABEL}\.({name})?)");
            format!("({host}({SEGMENT})*/?|({SEGMENT})+/?|/)")
        }
        Shape::Peer => format!(r"(\*|(\*|{v4}|{V6}|{name}):(\*|{PORT}))"),
        Shape::Origin => format!(r"https?://(\*|{host})(:(\*|{PORT}))?/?"),
        _ => return None,
    };
    Some(format!("^{pattern}$"))
}

#[cfg(test)]
pub(super) mod tests;
