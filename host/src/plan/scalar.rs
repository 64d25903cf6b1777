//! One single value of a manifest: reading it, and the words of a message about it. The user's text is quoted with escapes and
//! cut short, so no message can grow or play with a terminal.

use toml::de::DeValue;

use super::{
    AddressError, Shape, Value, is_app_name, is_component_name, parse_listen, parse_listen_address,
    parse_origin, parse_peer, parse_request_path, parse_route,
};
use crate::text::sanitize::is_harmful;
use crate::text::units::{parse_duration, parse_size};

/// Longest text of the user's that a message repeats.
const QUOTED: usize = 60;

/// The reason why a value is not taken; `None` where its type alone tells.
pub(super) type Refusal = Option<AddressError>;

/// Reads a value that is neither a list nor a table.
pub(super) fn read(shape: &Shape, found: &DeValue<'_>) -> Result<Value, Refusal> {
    let text = || found.as_str().ok_or(None);
    let own = |is_valid: &dyn Fn(&str) -> bool| match text()? {
        text if is_valid(text) => Ok(Value::Text(text.to_owned())),
        _ => Err(None),
    };
    match shape {
        Shape::Flag => found.as_bool().map(Value::Flag).ok_or(None),
        Shape::Number { min } => {
            let digits = found.as_integer().ok_or(None)?;
            let number = i64::from_str_radix(digits.as_str(), digits.radix()).unwrap_or(-1);
            let number = u64::try_from(number).ok().filter(|number| number >= min);
            number.map(Value::Number).ok_or(None)
        }
        Shape::Duration { zero } => match parse_duration(text()?) {
            Ok(duration) if duration.is_zero() && !zero => Err(Some(AddressError::new("it must be above 0"))),
            Ok(duration) => Ok(Value::Duration(duration)),
            Err(error) => Err(Some(AddressError::new(error))),
        },
        Shape::Size { min, max } => match parse_size(text()?) {
            Ok(0) => Err(Some(AddressError::new("it must be above 0"))),
            Ok(size) if (*min..=*max).contains(&size) => Ok(Value::Number(size)),
            Ok(_) => Err(None),
            Err(error) => Err(Some(AddressError::new(error))),
        },
        Shape::Address => Ok(Value::Address(parse_listen(text()?)?)),
        Shape::ListenAddress => Ok(Value::ListenAddress(parse_listen_address(text()?)?)),
        Shape::RequestPath => Ok(Value::Text(parse_request_path(text()?)?)),
        Shape::Route => Ok(Value::Route(parse_route(text()?)?)),
        Shape::Peer => Ok(Value::Peer(parse_peer(text()?)?)),
        Shape::Origin => Ok(Value::Origin(parse_origin(text()?)?)),
        Shape::Path | Shape::GuestPath if text()?.is_empty() => Err(Some(AddressError::new("it is empty"))),
        Shape::Text | Shape::Path | Shape::GuestPath if text()?.contains('\0') => {
            Err(Some(AddressError::new("there is a NUL in it")))
        }
        Shape::Text | Shape::Path | Shape::GuestPath => own(&|_| true),
        Shape::Label => own(&is_app_name),
        Shape::Component => own(&is_component_name),
        Shape::Choice(choices) => own(&|word| choices.iter().any(|choice| choice.word == word)),
        Shape::List(_) | Shape::Pair(_) | Shape::Table(_) | Shape::Map(..) => Err(None),
    }
}

pub(super) fn found(shape: &Shape, value: &DeValue<'_>) -> String {
    match (value, shape) {
        (DeValue::String(text), _) => quoted(text),
        (DeValue::Integer(number), Shape::Number { .. }) => short(&number.to_string()),
        (DeValue::Integer(_), _) => "an integer".to_owned(),
        (DeValue::Float(_), _) => "a float".to_owned(),
        (DeValue::Boolean(flag), _) => format!("`{flag}`"),
        (DeValue::Datetime(_), _) => "a date or time".to_owned(),
        (DeValue::Array(items), Shape::Pair(_)) => format!("a list of {}", items.len()),
        (DeValue::Array(_), _) => "a list".to_owned(),
        (DeValue::Table(_), _) => "a table".to_owned(),
    }
}

/// Returns an example of a key that is missing.
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

/// Returns a text of the user's in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", short(text))
}

/// Returns a key of the user's in backticks.
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

/// Returns a path for a message: whole, without control characters.
pub(super) fn path(path: &std::path::Path) -> String {
    path.display().to_string().chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}
