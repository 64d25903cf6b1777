//! Text that is no TOML: what the parser says, in our words and form.
//!
//! Invariant: the error told is the first in the text. What valid TOML means is not known here.

use toml::de::{DeTable, Error};

use super::problem::{Problem, Span};
use super::scalar;
use crate::text::units::suggest_unit;

/// The first of the parser's `errors` on `text`.
pub(super) fn first(text: &str, errors: &[Error]) -> Option<Problem> {
    let start = |error: &&Error| error.span().map_or(usize::MAX, |span| span.start);
    errors.iter().min_by_key(start).map(|error| reword(text, error))
}

fn reword(text: &str, error: &Error) -> Problem {
    let span = error.span().unwrap_or(text.len()..text.len());
    let found = text.get(span.clone()).unwrap_or_default();
    let message = error.message();
    if message == "duplicate key" {
        return duplicate(text, span);
    }
    if message.starts_with("cannot extend value of type") {
        let message = format!("`{}` has a value already, it cannot be a table as well", unquoted(found));
        return Problem::new(span, message);
    }
    if message.starts_with("string values must be quoted") {
        if found.is_empty() {
            return Problem::new(span, "a value is missing after `=`");
        }
        return bare(text, span);
    }
    let said = message.replace("invalid basic string, expected `\"`", "the closing `\"` is missing");
    let said = said.strip_suffix(", expected nothing").unwrap_or(&said);
    let lower = found.to_ascii_lowercase();
    let hint = matches!(lower.as_str(), "true" | "false").then(|| format!("did you mean {lower}?"));
    Problem::new(span, format!("this is not TOML: {said}")).hint(hint)
}

/// A value without quotes. The parser marks its first word only, or its first number.
fn bare(text: &str, span: Span) -> Problem {
    let rest = text.get(span.start..).unwrap_or_default();
    let end = rest.find(['\n', '\r', ',', '[', ']', '{', '}', '#', '=', '"', '\'']).unwrap_or(rest.len());
    let value = rest.get(..end).unwrap_or_default().trim_end();
    let message = format!("a string stands in quotes; found {}", scalar::ticked(value));
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_./:*".contains(c);
    let meant = match suggest_unit(value, true) {
        Some(duration) => Some(duration),
        None => (!value.is_empty() && value.chars().all(plain)).then(|| value.to_owned()),
    };
    let hint = meant.map(|meant| format!("did you mean {}?", scalar::quoted(&meant)));
    Problem::new(span.start..span.start + value.len().max(1), message).hint(hint)
}

fn duplicate(text: &str, span: Span) -> Problem {
    let key = unquoted(text.get(span.clone()).unwrap_or_default());
    let line_start = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text.get(line_start..span.start).unwrap_or_default();
    let before = line.replace([' ', '\t', '"', '\''], "");
    if before != "[component." {
        return Problem::new(span, format!("{} is given twice in one table", scalar::ticked(key)));
    }
    let message = match first_component(text.get(..line_start).unwrap_or_default(), key) {
        Some(line) => {
            format!("there are two components {}; the first is on line {line}", scalar::ticked(key))
        }
        None => format!("there are two components {}", scalar::ticked(key)),
    };
    Problem::new(span, message).hint("the names of components are unique".to_owned())
}

/// The line on which the component `name` is declared in `text`.
fn first_component(text: &str, name: &str) -> Option<usize> {
    let (root, _) = DeTable::parse_recoverable(text);
    let (key, _) = root.get_ref().get("component")?.get_ref().as_table()?.get_key_value(name)?;
    let before = text.get(..key.span().start)?;
    Some(before.matches('\n').count() + 1)
}

fn unquoted(key: &str) -> &str {
    key.trim_matches(['"', '\''])
}
