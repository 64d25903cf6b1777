//! The access log: one line on standard output for each request, or connection of kind `tcp`, that has ended.
//!
//! Invariant: writing never waits; a reader that does not read costs lines, which are counted with the output's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, Version};
use serde_json::{Value, json};

use crate::output::{Source, timestamp};
use crate::plan::AccessLogFormat;
use crate::text::sanitize;

/// The end of an answer, or of a connection of kind `tcp`. What happens behind its last byte does not change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All of it was sent.
    Complete,
    /// The host broke it off: the guest failed, was cut off, or was never there.
    CutShort,
    /// The client left before.
    ClientLeft,
    /// The host broke it off: the client was too slow.
    TimedOut,
}

impl Ending {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::CutShort => "cut-short",
            Self::ClientLeft => "client-left",
            Self::TimedOut => "timed-out",
        }
    }
}

/// A request as the access log has it. Kept only with an access log.
#[derive(Debug)]
pub(crate) struct LoggedRequest {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) version: Version,
    pub(crate) id: HeaderValue,
    pub(crate) agent: Option<HeaderValue>,
}

/// The request or connection that has ended.
#[derive(Debug)]
pub(crate) enum Logged<'a> {
    Request(&'a LoggedRequest),
    /// Bytes that are no request. Their answer has this id.
    Unreadable(&'a HeaderValue),
    /// A connection of kind `tcp`, and the bytes from its client.
    Connection(u64),
}

/// One line of the access log.
#[derive(Debug)]
pub(crate) struct AccessRecord<'a> {
    /// The component that was to serve it; `None` if none had its route.
    pub(crate) component: Option<&'a str>,
    pub(crate) client: &'a str,
    pub(crate) what: Logged<'a>,
    /// The answer's status; 0 when there was none.
    pub(crate) status: u16,
    /// Bytes to the client: of a request those of the answer's body.
    pub(crate) sent: u64,
    /// From the arrival of the head, or the acceptance, to the end.
    pub(crate) took: Duration,
    pub(crate) end: Ending,
}

/// Log of ended requests and connections, in one format.
#[derive(Debug)]
pub(crate) struct AccessLog {
    source: Source,
    json: bool,
}

impl AccessLog {
    pub(crate) fn new(format: AccessLogFormat, source: Source) -> Option<Self> {
        let json = format == AccessLogFormat::Json;
        (format != AccessLogFormat::Off).then_some(Self { source, json })
    }

    pub(crate) fn write(&self, record: &AccessRecord<'_>) {
        let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut line = match self.json {
            true => as_json(record, timestamp()).to_string(),
            false => as_text(record, seconds()),
        };
        line.push('\n');
        self.source.push(line.into_bytes());
    }
}

fn as_json(record: &AccessRecord<'_>, timestamp: String) -> Value {
    let AccessRecord { component, client, what, status, sent, took, end } = record;
    let mut value = json!({
        "timestamp": timestamp,
        "component": component,
        "client": client,
        "bytes": sent,
        "ms": (took.as_secs_f64() * 1_000_000.0).round() / 1000.0,
        "end": end.word(),
    });
    let more = match what {
        Logged::Request(LoggedRequest { method, target, version, id, agent }) => json!({
            "method": method.as_str(),
            "target": plain(target.as_bytes()),
            "version": format!("{version:?}"),
            "status": status,
            "id": plain(id.as_bytes()),
            "agent": agent.as_ref().map(|agent| plain(agent.as_bytes())),
        }),
        Logged::Unreadable(id) => json!({
            "method": null,
            "target": null,
            "version": null,
            "status": status,
            "id": plain(id.as_bytes()),
            "agent": null,
        }),
        Logged::Connection(received) => json!({ "protocol": "tcp", "received": received }),
    };
    if let (Value::Object(all), Value::Object(more)) = (&mut value, more) {
        all.extend(more);
    }
    value
}

/// The combined log format of the common servers, and behind it component, milliseconds, end, and id.
fn as_text(record: &AccessRecord<'_>, seconds: u64) -> String {
    let AccessRecord { component, client, what, status, sent, took, end } = record;
    let (line, agent, id) = match what {
        Logged::Request(LoggedRequest { method, target, version, id, agent }) => (
            format!("{method} {} {version:?}", quoted(target.as_bytes())),
            quoted(agent.as_ref().map_or(b"-", HeaderValue::as_bytes)),
            quoted(id.as_bytes()),
        ),
        Logged::Unreadable(id) => ("-".to_owned(), "-".to_owned(), quoted(id.as_bytes())),
        Logged::Connection(_) => ("TCP".to_owned(), "-".to_owned(), "-".to_owned()),
    };
    let (date, component, end) = (date(seconds), component.unwrap_or("-"), end.word());
    let ms = took.as_secs_f64() * 1000.0;
    format!(
        "{client} - - [{date}] \"{line}\" {status} {sent} \"-\" \"{agent}\" {component} {ms:.3} {end} {id}"
    )
}

/// Nothing in a field can do anything to a terminal.
fn plain(bytes: &[u8]) -> String {
    sanitize::masked(&String::from_utf8_lossy(bytes))
}

/// Nothing in a quoted field can end it, or the line.
fn quoted(bytes: &[u8]) -> String {
    plain(bytes).replace(['"', '\\'], "?")
}

/// Returns a time in UTC as `21/Nov/2026:08:14:26 +0000`.
fn date(seconds: u64) -> String {
    // `Sat, 21 Nov 2026 08:14:26 GMT`, which has the same parts in another order.
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    match text.split(' ').collect::<Vec<_>>().as_slice() {
        [_weekday, day, month, year, time, _zone] => format!("{day}/{month}/{year}:{time} +0000"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_what_other_servers_write() {
        assert_eq!(date(0), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(date(951_782_400), "29/Feb/2000:00:00:00 +0000");
        assert_eq!(date(1_795_248_866), "21/Nov/2026:08:14:26 +0000");
    }

    #[test]
    fn a_field_cannot_break_out_of_its_quotes() {
        assert_eq!(quoted(b"a\"b\\c\nd\x1b"), "a?b?c?d?");
        assert_eq!(plain("\u{9b}31m\u{7f}\u{202e}".as_bytes()), "?31m??");
    }
}
