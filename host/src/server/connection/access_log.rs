//! The access log: one line for each request that has ended, on standard output.
//!
//! Invariant: writing never waits; a reader that does not read costs lines, which are counted with the output's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, Version};
use serde_json::json;

use crate::output::Source;
use crate::plan::AccessLogFormat;

/// A request as the access log has it. Kept only with an access log.
#[derive(Debug)]
pub(crate) struct LoggedRequest {
    /// Its method.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    /// Its version.
    pub(crate) version: Version,
    /// Its id.
    pub(crate) id: HeaderValue,
    /// Its user agent.
    pub(crate) agent: Option<HeaderValue>,
}

/// The end of a request, as the access log has it.
#[derive(Debug)]
pub(crate) struct RequestRecord<'a> {
    /// The component that was to serve it; none had its route otherwise.
    pub(crate) component: Option<&'a str>,
    /// The client's address.
    pub(crate) client: &'a str,
    /// The request.
    pub(crate) seen: &'a LoggedRequest,
    /// The answer's status; 0 when there was none.
    pub(crate) status: u16,
    /// Bytes of the answer's body.
    pub(crate) bytes: u64,
    /// From the arrival of the head to the end of the answer.
    pub(crate) took: std::time::Duration,
    /// `complete`, `cut-short` (by the host or its guest), or `client-left`.
    pub(crate) end: &'static str,
}

/// A connection that has ended, as the access log has it.
#[derive(Debug)]
pub(crate) struct ConnectionRecord<'a> {
    /// The component.
    pub(crate) component: &'a str,
    /// The client's address.
    pub(crate) client: &'a str,
    /// Bytes from the client.
    pub(crate) received: u64,
    /// Bytes to the client.
    pub(crate) sent: u64,
    /// From its acceptance to its end.
    pub(crate) took: Duration,
    /// `complete`, `cut-short` or `client-left`.
    pub(crate) end: &'static str,
}

/// Where ended requests are written, and how.
#[derive(Debug)]
pub(crate) struct AccessLog {
    source: Source,
    json: bool,
}

impl AccessLog {
    /// Returns the log in this format, if there is to be one.
    pub(crate) fn new(format: AccessLogFormat, source: Source) -> Option<Self> {
        match format {
            AccessLogFormat::Off => None,
            AccessLogFormat::Text => Some(Self { source, json: false }),
            AccessLogFormat::Json => Some(Self { source, json: true }),
        }
    }

    /// Writes one line.
    pub(crate) fn write(&self, request: &RequestRecord<'_>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line =
            if self.json { as_json(request, now.as_secs_f64()) } else { as_text(request, now.as_secs()) };
        self.source.push(line.into_bytes());
    }
}

impl AccessLog {
    /// Writes one line for a connection of kind `tcp`.
    pub(crate) fn write_connection(&self, closed: &ConnectionRecord<'_>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ConnectionRecord { component, client, received, sent, took, end } = closed;
        let line = if self.json {
            let value = json!({
                "time": (now.as_secs_f64() * 1000.0).round() / 1000.0,
                "component": component,
                "client": client,
                "protocol": "tcp",
                "received": received,
                "bytes": sent,
                "ms": (took.as_secs_f64() * 1_000_000.0).round() / 1000.0,
                "end": end,
            });
            format!("{value}\n")
        } else {
            // As of a request, as far as there is anything to say.
            let (date, ms) = (date(now.as_secs()), took.as_secs_f64() * 1000.0);
            format!("{client} - - [{date}] \"TCP\" 0 {sent} \"-\" \"-\" {component} {ms:.3} {end} -\n")
        };
        self.source.push(line.into_bytes());
    }
}

fn as_json(request: &RequestRecord<'_>, time: f64) -> String {
    let RequestRecord { component, client, seen, status, bytes, took, end } = request;
    let agent = seen.agent.as_ref().map(|agent| plain(agent.as_bytes()));
    let value = json!({
        "time": (time * 1000.0).round() / 1000.0,
        "component": component,
        "client": client,
        "method": seen.method.as_str(),
        "target": plain(seen.target.as_bytes()),
        "version": format!("{:?}", seen.version),
        "status": status,
        "bytes": bytes,
        "ms": (took.as_secs_f64() * 1_000_000.0).round() / 1000.0,
        "end": end,
        "id": plain(seen.id.as_bytes()),
        "agent": agent,
    });
    format!("{value}\n")
}

/// The combined log format of the common servers, and behind it component, milliseconds, how the answer ended, and id.
fn as_text(request: &RequestRecord<'_>, seconds: u64) -> String {
    let RequestRecord { component, client, seen, status, bytes, took, end } = request;
    let agent = seen.agent.as_ref().map_or(b"-".as_slice(), |agent| agent.as_bytes());
    let component = component.unwrap_or("-");
    let ms = took.as_secs_f64() * 1000.0;
    format!(
        "{client} - - [{}] \"{} {} {:?}\" {status} {bytes} \"-\" \"{}\" {component} {ms:.3} {end} {}\n",
        date(seconds),
        seen.method,
        quoted(seen.target.as_bytes()),
        seen.version,
        quoted(agent),
        quoted(seen.id.as_bytes()),
    )
}

/// Nothing in a field can do anything to a terminal.
fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
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
        assert_eq!(plain("\u{9b}31m\u{7f}".as_bytes()), "?31m?");
    }
}
