//! What the host itself listens on, against what it listens on for components.
//!
//! Invariant: after it, `admin` and `control` can be bound next to the addresses of all components, as far as the
//! manifest alone can tell.

use std::path::Path;

use super::super::http::{ListenAddress, MAX_SOCKET_PATH};
use super::super::problem::{Item, Problem, Section};
use super::super::scalar;
use super::http::addresses_of;
use super::line_of;

/// Checks `[app]` against the components.
pub(super) fn check(
    app: &Section,
    components: &Section,
    text: &str,
    base: &Path,
    problems: &mut Vec<Problem>,
) {
    if let Some((item, address)) = app.item("admin").and_then(|item| Some((item, item.address()?))) {
        let admin = ListenAddress::Ip(address).canonical();
        if let Some((name, other, at)) = holder(components, &admin, base) {
            let line = line_of(text, &at.span);
            let message =
                format!("`admin` {admin} and {other} of `{name}` (line {line}) cannot both be bound");
            let hint = "give `admin` a port of its own".to_owned();
            problems.push(Problem::new(item.span.clone(), message).hint(hint));
        }
    }
    if let Some((item, path)) = app.item("control").and_then(|item| Some((item, item.text()?))) {
        let control = ListenAddress::Unix(path.into()).resolved(base);
        problems.extend(no_path(item, path));
        problems.extend(too_long(item, &control));
        if let Some((name, _, at)) = holder(components, &control, base) {
            let line = line_of(text, &at.span);
            let message = format!("`control` is an address of `{name}`, too (line {line})");
            let hint = "give each a path of its own".to_owned();
            problems.push(Problem::new(item.span.clone(), message).hint(hint));
        }
    }
}

/// What is wrong with a text that is no path of a socket.
fn no_path(item: &Item, path: &str) -> Option<Problem> {
    let problem = |message: &str| Problem::new(item.span.clone(), message);
    if let Some(path) = path.strip_prefix("unix:") {
        let hint = format!("did you mean {}?", scalar::quoted(path));
        return Some(problem("`control` is the path of a Unix socket, without `unix:`").hint(hint));
    }
    path.ends_with('/').then(|| problem("`control` is the path of a Unix socket: its name is missing"))
}

/// What is wrong with a path that is too long for a socket.
pub(super) fn too_long(item: &Item, address: &ListenAddress) -> Option<Problem> {
    let ListenAddress::Unix(path) = address else { return None };
    let length = path.as_os_str().len();
    let message = format!(
        "the path of a socket has at most {MAX_SOCKET_PATH} bytes, this one has {length}: {}",
        scalar::path(path)
    );
    address.is_too_long().then(|| Problem::new(item.span.clone(), message))
}

/// The first component that is listened for at what cannot be bound next to `address`.
fn holder<'a>(
    components: &'a Section,
    address: &ListenAddress,
    base: &'a Path,
) -> Option<(&'a str, ListenAddress, &'a Item)> {
    components.entries.iter().find_map(|entry| {
        let mut held = addresses_of(entry.item.table()?, base);
        let (item, other) = held.find(|(_, other)| other.overlaps(address))?;
        Some((entry.key.as_str(), other, item))
    })
}
