//! What each kind of text looks like, as a regular expression for editors.
//!
//! Invariant: whatever `scalar` takes, the pattern of its shape matches; it may match more. No look-around, no class
//! with a name, no escape that one engine takes and another does not: editors have many.

use super::names::MAX_NAME;
use super::schema::Shape;

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

/// The pattern of a shape that has one: of text that is not free.
pub(super) fn of(shape: &Shape) -> Option<String> {
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
