//! One single value of a manifest: reading it, and the words for what is taken and what was found.
//!
//! Invariant: what a user wrote is quoted with escapes and cut short, so no message can grow or play with a
//! terminal. Tables and lists are walked in `read`.

use toml::de::DeValue;

use super::address::{AddressError, parse_listen, parse_listen_address, parse_peer, parse_request_path};
use super::names::{NAME_RULE, alternatives, is_app_name, is_component_name, nearest};
use super::origin::parse_origin;
use super::problem::Value;
use super::route::parse_route;
use super::schema::{Names, Shape};
use crate::text::units::{format_size, parse_duration, parse_size, suggest_unit};

/// Longest text of the user's that a message repeats.
const QUOTED: usize = 60;

/// Why a value is not taken, when its type alone does not tell.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub(super) reason: Option<String>,
    pub(super) hint: Option<String>,
}

impl Refusal {
    pub(super) fn because(reason: impl ToString) -> Self {
        Self { reason: Some(reason.to_string()), hint: None }
    }
}

impl From<AddressError> for Refusal {
    fn from(error: AddressError) -> Self {
        Self { reason: Some(error.reason.to_owned()), hint: error.hint }
    }
}

/// Reads a value that is neither a list nor a table.
pub(super) fn read(shape: &Shape, found: &DeValue<'_>) -> Result<Value, Refusal> {
    match shape {
        Shape::Flag => found.as_bool().map(Value::Flag).ok_or_else(Refusal::default),
        Shape::Number { min } => {
            let digits = found.as_integer().ok_or_else(Refusal::default)?;
            let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
            let number = number.and_then(|number| u64::try_from(number).ok()).filter(|number| number >= min);
            number.map(Value::Number).ok_or_else(Refusal::default)
        }
        Shape::List(_) | Shape::Pair(_) | Shape::Table(_) | Shape::Map(..) => Err(Refusal::default()),
        Shape::Text
        | Shape::Label
        | Shape::Component
        | Shape::Path
        | Shape::GuestPath
        | Shape::RequestPath
        | Shape::Duration { .. }
        | Shape::Size { .. }
        | Shape::Choice(_)
        | Shape::Address
        | Shape::ListenAddress
        | Shape::Route
        | Shape::Peer
        | Shape::Origin => read_text(shape, found.as_str().ok_or_else(Refusal::default)?),
    }
}

fn read_text(shape: &Shape, text: &str) -> Result<Value, Refusal> {
    let own = |valid: bool| {
        if valid { Ok(Value::Text(text.to_owned())) } else { Err(Refusal::default()) }
    };
    match shape {
        Shape::Duration { zero } => match parse_duration(text) {
            Ok(duration) if duration.is_zero() && !zero => Err(Refusal::because("it must be above 0")),
            Ok(duration) => Ok(Value::Duration(duration)),
            Err(error) => Err(Refusal::because(error)),
        },
        Shape::Size { min, max } => match parse_size(text) {
            Ok(0) => Err(Refusal::because("it must be above 0")),
            Ok(size) if (*min..=*max).contains(&size) => Ok(Value::Number(size)),
            Ok(_) => Err(Refusal::default()),
            Err(error) => Err(Refusal::because(error)),
        },
        Shape::Address => Ok(Value::Address(parse_listen(text)?)),
        Shape::ListenAddress => Ok(Value::ListenAddress(parse_listen_address(text)?)),
        Shape::RequestPath => Ok(Value::Text(parse_request_path(text)?)),
        Shape::Route => Ok(Value::Route(parse_route(text)?)),
        Shape::Peer => Ok(Value::Peer(parse_peer(text)?)),
        Shape::Origin => Ok(Value::Origin(parse_origin(text)?)),
        Shape::Text if text.contains('\0') => Err(Refusal::because("there is a NUL in it")),
        Shape::Path | Shape::GuestPath if text.is_empty() => Err(Refusal::because("it is empty")),
        Shape::Path | Shape::GuestPath if text.contains('\0') => {
            Err(Refusal::because("there is a NUL in it"))
        }
        Shape::Text | Shape::Path | Shape::GuestPath => own(true),
        Shape::Label => own(is_app_name(text)),
        Shape::Component => own(is_component_name(text)),
        Shape::Choice(choices) => own(choices.iter().any(|choice| choice.word == text)),
        Shape::Flag
        | Shape::Number { .. }
        | Shape::List(_)
        | Shape::Pair(_)
        | Shape::Table(_)
        | Shape::Map(..) => own(false),
    }
}

/// What is taken, in words that follow "takes".
pub(super) fn takes(shape: &Shape) -> String {
    let fixed = match shape {
        Shape::Choice(choices) => return alternatives(choices.iter().map(|choice| choice.word), '"'),
        Shape::Number { min } => return format!("a whole number from {min} on"),
        Shape::Size { min, max } if *max < u64::MAX => {
            return format!("a size from {} to {}", format_size(*min), format_size(*max));
        }
        Shape::Pair(item) => return format!("a list of two, each {}", takes(item)),
        Shape::List(item) => return format!("a list, each item of it {}", takes(item)),
        Shape::Component => NAME_RULE,
        Shape::Text => "a string",
        Shape::Label => "a name of 1 to 64 characters on one line",
        Shape::Path => "a path such as \"web.wasm\"",
        Shape::GuestPath => "a path such as \"/data\"",
        Shape::RequestPath => "a path such as \"/healthz\"",
        Shape::Flag => "true or false",
        Shape::Duration { .. } => "a duration such as \"10s\"",
        Shape::Size { .. } => "a size such as \"64MiB\"",
        Shape::Address => "an address such as \"127.0.0.1:8080\"",
        Shape::ListenAddress => "an address such as \"127.0.0.1:8080\", \"unix:web.sock\" or \"fd:web\"",
        Shape::Route => "a route such as \"api.example.com/v1\", \"*.example.com\" or \"/static\"",
        Shape::Peer => "a peer such as \"127.0.0.1:6379\", \"redis:6379\" or \"*:443\"",
        Shape::Origin => "a server such as \"https://api.example.com\"",
        Shape::Table(keys) if keys.len() <= 3 => {
            let names: Vec<String> = keys.iter().map(|key| format!("`{}`", key.name)).collect();
            return format!("a table with {}", names.join(", "));
        }
        Shape::Map(Names::Components, _) => "tables such as [component.web]",
        Shape::Table(_) | Shape::Map(..) => "a table",
    };
    fixed.to_owned()
}

/// What was found, in words.
pub(super) fn found(shape: &Shape, value: &DeValue<'_>) -> String {
    let kind = match value {
        DeValue::String(text) => return quoted(text),
        DeValue::Integer(number) if matches!(shape, Shape::Number { .. }) => {
            return short(&number.to_string());
        }
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(true) => "`true`",
        DeValue::Boolean(false) => "`false`",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(items) if matches!(shape, Shape::Pair(_)) => {
            return format!("a list of {}", items.len());
        }
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    kind.to_owned()
}

/// What was probably meant by a value that was refused.
pub(super) fn meant(shape: &Shape, found: &DeValue<'_>) -> Option<String> {
    let better = match (shape, found) {
        (Shape::Duration { .. }, DeValue::String(text)) => quoted(&suggest_unit(text, true)?),
        (Shape::Duration { .. }, DeValue::Integer(number)) => quoted(&suggest_unit(number.as_str(), true)?),
        (Shape::Size { .. }, DeValue::String(text)) => quoted(&suggest_unit(text, false)?),
        (Shape::Choice(choices), DeValue::String(text)) => {
            quoted(nearest(text, choices.iter().map(|choice| choice.word))?)
        }
        (Shape::List(Shape::Table(_)), DeValue::Table(_)) => {
            return Some("put it in a list: [{ … }]".to_owned());
        }
        (Shape::List(_), DeValue::String(text)) => format!("[{}]", quoted(text)),
        (Shape::Flag, DeValue::String(text)) if matches!(text.as_ref(), "true" | "false") => text.to_string(),
        (Shape::Text, DeValue::Integer(number)) => quoted(&number.to_string()),
        (Shape::Text, DeValue::Boolean(flag)) => quoted(&flag.to_string()),
        _ => return None,
    };
    Some(format!("did you mean {better}?"))
}

/// How a key that is missing could be given.
pub(super) fn example(key: &str, shape: &Shape) -> Option<String> {
    let value = match (key, shape) {
        ("host", _) => "\"data\"",
        ("cert", _) => "\"cert.pem\"",
        ("key", _) => "\"key.pem\"",
        (_, Shape::Path) => "\"web.wasm\"",
        (_, Shape::GuestPath) => "\"/data\"",
        _ => return None,
    };
    Some(format!("add `{key} = {value}`"))
}

/// A text of the user's in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", short(text))
}

/// A key of the user's in backticks.
pub(super) fn ticked(key: &str) -> String {
    if key.is_empty() { "`\"\"`".to_owned() } else { format!("`{}`", short(key).escape_debug()) }
}

fn short(text: &str) -> String {
    let mut start: String = text.chars().take(QUOTED).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

/// A path in a message: without control characters, whole.
pub(super) fn path(path: &std::path::Path) -> String {
    path.display().to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
