//! Guesses at what a refused value was meant to be: typing errors, and the habits of docker compose, Kubernetes, Spin and wasmtime.
//!
//! Invariant: a guess at a single value is one that the key takes.

use toml::de::DeValue;

use super::{Names, Shape, nearest, scalar};
use crate::text::units::{format_size, suggest_unit};

/// Below this a bare size is a number of MiB, from here on one of bytes.
const BYTES_FROM: u64 = 1 << 16;

/// Returns the hint for a value of `key` that was refused.
pub(super) fn meant(key: &str, shape: &Shape, found: &DeValue<'_>) -> Option<String> {
    if let (Shape::Map(Names::Components, _), DeValue::Array(_)) = (shape, found) {
        return Some("each component is a table with its name: [component.web]".to_owned());
    }
    if let (Shape::List(Shape::Table(_)), DeValue::Table(_)) = (shape, found) {
        return Some("put it in a list: [{ … }]".to_owned());
    }
    better(key, shape, found).map(|better| format!("did you mean {better}?"))
}

/// Returns the value that was meant, as TOML.
fn better(key: &str, shape: &Shape, found: &DeValue<'_>) -> Option<String> {
    match shape {
        Shape::Table(_) => table(key, found),
        Shape::Map(Names::Variables | Names::Any, _) => variables(found),
        Shape::List(item) => list(key, item, found),
        Shape::Flag => flag(found),
        Shape::Number { min } => {
            let number = found.as_str()?.trim().parse::<u64>().ok().filter(|number| number >= min)?;
            Some(number.to_string())
        }
        Shape::Choice(choices) => {
            let word = simple(found)?;
            let also =
                choices.iter().find(|choice| choice.also.iter().any(|also| also.eq_ignore_ascii_case(&word)));
            let near = || nearest(&word, choices.iter().map(|choice| choice.word));
            also.map(|choice| choice.word).or_else(near).map(scalar::quoted)
        }
        _ => {
            let text = text(shape, &simple(found)?)?;
            fits(shape, &DeValue::String(text.as_str().into())).then(|| scalar::quoted(&text))
        }
    }
}

/// Returns the string that was meant by a value of another form.
fn text(shape: &Shape, found: &str) -> Option<String> {
    let port = || found.parse::<u16>().ok().filter(|port| *port > 0);
    match shape {
        Shape::Duration { .. } => suggest_unit(found, true),
        Shape::Size { .. } => suggest_unit(found, false).or_else(|| size(found)),
        Shape::Address | Shape::ListenAddress | Shape::Peer => port().map(|port| format!("127.0.0.1:{port}")),
        Shape::Text | Shape::Label => Some(found.to_owned()),
        _ => None,
    }
}

fn size(found: &str) -> Option<String> {
    let number: u64 = found.parse().ok()?;
    Some(if number < BYTES_FROM { format!("{number}MiB") } else { format_size(number) })
}

fn flag(found: &DeValue<'_>) -> Option<String> {
    let flag = match simple(found)?.to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => true,
        "false" | "no" | "off" | "0" => false,
        _ => return None,
    };
    Some(flag.to_string())
}

fn list(key: &str, item: &Shape, found: &DeValue<'_>) -> Option<String> {
    match (item, found) {
        (_, DeValue::Array(_)) => None,
        (Shape::Origin, DeValue::Boolean(true)) => Some("[\"http://*:*\", \"https://*:*\"]".to_owned()),
        (Shape::Component, DeValue::Table(names)) => Some(format!(
            "[{}]",
            names.keys().map(|name| scalar::quoted(name.get_ref())).collect::<Vec<_>>().join(", ")
        )),
        (Shape::Text, DeValue::String(words)) => {
            Some(format!("[{}]", words.split_whitespace().map(scalar::quoted).collect::<Vec<_>>().join(", ")))
        }
        (_, DeValue::String(text)) if fits(item, found) => Some(format!("[{}]", scalar::quoted(text))),
        _ => better(key, item, found).map(|item| format!("[{item}]")),
    }
}

/// Returns the table that was meant by a single value.
fn table(key: &str, found: &DeValue<'_>) -> Option<String> {
    let word = simple(found);
    let word = word.as_deref();
    match key {
        "dirs" => directory(found.as_str()?),
        "health" => match word? {
            "true" => Some("{ path = \"/healthz\" }".to_owned()),
            path => path.starts_with('/').then(|| format!("{{ path = {} }}", scalar::quoted(path))),
        },
        "restart" => match word? {
            "no" | "never" | "none" | "false" => Some("on-failure = \"ignore\"".to_owned()),
            number if number.parse::<u32>().is_ok() => Some(format!("{{ max = {number} }}")),
            _ => Some("on-failure = \"restart\"".to_owned()),
        },
        "instances" => word?.parse::<u32>().ok().map(|max| format!("{{ max = {max} }}")),
        "network" => match word {
            Some("true" | "host" | "bridge") => Some("{ connect = [\"*\"], names = true }".to_owned()),
            Some(peer) if fits(&Shape::Peer, found) => {
                Some(format!("{{ connect = [{}] }}", scalar::quoted(peer)))
            }
            None if found.is_array() => Some("{ connect = […] }".to_owned()),
            _ => None,
        },
        "tls" => Some("{ cert = \"cert.pem\", key = \"key.pem\" }".to_owned()),
        _ => None,
    }
}

/// Reads a volume of docker compose, or a `--dir` of wasmtime. Both mean a directory that can be written.
fn directory(text: &str) -> Option<String> {
    let text = text.replace("::", ":");
    let mut parts = text.split(':');
    let host = parts.next().filter(|host| !host.is_empty())?;
    let same = || format!("/{}", host.trim_start_matches(['.', '/']));
    let guest = parts.next().filter(|guest| !guest.is_empty()).map_or_else(same, str::to_owned);
    let is_read_only = parts.flat_map(|options| options.split(',')).any(|option| option == "ro");
    let access = if is_read_only { "" } else { ", access = \"read-write\"" };
    Some(format!("{{ host = {}, guest = {}{access} }}", scalar::quoted(host), scalar::quoted(&guest)))
}

/// Reads `NAME=VALUE`, alone or in a list.
fn variables(found: &DeValue<'_>) -> Option<String> {
    let items = match found {
        DeValue::Array(items) => {
            items.iter().map(|item| item.get_ref().as_str()).collect::<Option<Vec<_>>>()?
        }
        other => vec![other.as_str()?],
    };
    let pair = |text: &str| {
        let (name, value) = text.split_once(['=', ':'])?;
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let is_bare = !name.is_empty() && name.chars().all(bare);
        is_bare.then(|| format!("{name} = {}", scalar::quoted(value.trim_start())))
    };
    let pairs: Vec<String> = items.into_iter().map(pair).collect::<Option<_>>()?;
    (!pairs.is_empty()).then(|| format!("{{ {} }}", pairs.join(", ")))
}

/// Returns a value that is neither a list nor a table as it is written, a string without its quotes.
fn simple(found: &DeValue<'_>) -> Option<String> {
    Some(match found {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
    })
}

fn fits(shape: &Shape, value: &DeValue<'_>) -> bool {
    scalar::read(shape, value).is_ok()
}
