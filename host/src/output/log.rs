//! The host's own log: tracing events made into lines on stderr.
//!
//! Invariant: one event is one push to the host's source, so that no event is torn and none waits; text and JSON carry
//! the same fields.

use std::fmt;
use std::io;

use tracing::dispatcher::{self, SetGlobalDefaultError};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use super::fd::Channel;
use super::writer::Output;

/// Our crates' targets all begin with this; the events of other libraries are noise to an operator.
const TARGET: &str = "curfew";

/// The form of a log line (`--log-format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `2026-11-21T05:15:56.123Z INFO  draining cause="SIGTERM"`
    #[default]
    Text,
    /// One object a line: `timestamp`, `level`, `message`, and the event's fields next to them.
    Json,
}

/// A log is installed already, by this or by another library.
pub type LogInstalled = SetGlobalDefaultError;

/// Sends every event of this process whose target begins with `curfew` to stderr. At level `TRACE` other libraries'
/// events come too. Colours only on a terminal, and not when `NO_COLOR` is set.
///
/// # Errors
/// When there is a log already.
pub fn init_logging(output: &Output, format: LogFormat, level: LevelFilter) -> Result<(), LogInstalled> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = output.is_terminal(Channel::Stderr) && !plain;
    dispatcher::set_global_default(dispatch(output, format, level, ansi))
}

fn dispatch(output: &Output, format: LogFormat, level: LevelFilter, ansi: bool) -> Dispatch {
    let mut targets = Targets::new().with_target(TARGET, level);
    if level == LevelFilter::TRACE {
        targets = targets.with_default(level);
    }
    let lines = HostLines { output: output.clone() };
    // Errors inside the formatter would go to std's stderr.
    let layer = tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(lines);
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        LogFormat::Text => Dispatch::new(registry.with(layer.with_ansi(ansi).event_format(TextLine))),
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_target(false).with_timer(Millis);
            Dispatch::new(registry.with(layer.with_current_span(false).with_span_list(false)))
        }
    }
}

pub(super) fn timestamp() -> String {
    let mut text = String::new();
    // Only the text buffer could fail, and it does not.
    let _ = Millis.format_time(&mut Writer::new(&mut text));
    text
}

struct Millis;

impl FormatTime for Millis {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let mut text = String::new();
        SystemTime.format_time(&mut Writer::new(&mut text))?;
        // The library writes microseconds: `…56.123456Z`.
        match text.strip_suffix('Z').and_then(|t| t.get(..t.len().checked_sub(3)?)) {
            Some(millis) => write!(writer, "{millis}Z"),
            None => writer.write_str(&text),
        }
    }
}

struct TextLine;

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        if writer.has_ansi_escapes() {
            write!(writer, "\x1b[2m{}\x1b[0m \x1b[{}m{level:<5}\x1b[0m ", timestamp(), colour(level))?;
        } else {
            write!(writer, "{} {level:<5} ", timestamp())?;
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

#[derive(Clone)]
struct HostLines {
    output: Output,
}

impl<'a> MakeWriter<'a> for HostLines {
    type Writer = HostLines;

    fn make_writer(&'a self) -> HostLines {
        self.clone()
    }
}

impl io::Write for HostLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = [self.output.line_start(), bytes].concat();
        // A line without room is counted by the source; to the log it was written.
        self.output.host(Channel::Stderr).push(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{over_pipes, stderr_of};
    use super::*;

    fn logged(format: LogFormat, level: LevelFilter, ansi: bool, log: impl FnOnce()) -> String {
        let (output, pipes) = over_pipes();
        dispatcher::with_default(&dispatch(&output, format, level, ansi), log);
        stderr_of(output, pipes)
    }

    fn two_events() {
        tracing::info!(target: "curfew_host::x", cause = "SIGTERM", left = 3, "draining");
        tracing::error!(target: "wasmtime", "noise");
    }

    #[test]
    fn text_is_time_level_message_fields() {
        let line = logged(LogFormat::Text, LevelFilter::INFO, false, two_events);
        let (time, rest) = line.split_at("2026-11-21T05:15:56.123Z".len());
        assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('.'), "{line}");
        assert_eq!(rest, " INFO  draining cause=\"SIGTERM\" left=3\n");
        assert!(logged(LogFormat::Text, LevelFilter::INFO, true, two_events).contains("\x1b[32mINFO "));
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let line = logged(LogFormat::Json, LevelFilter::INFO, false, two_events);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["timestamp"].as_str().unwrap().len(), "2026-11-21T05:15:56.123Z".len());
        assert_eq!((&value["level"], &value["message"]), (&"INFO".into(), &"draining".into()));
        assert_eq!((&value["cause"], &value["left"]), (&"SIGTERM".into(), &3.into()));
        assert_eq!(value.as_object().unwrap().len(), 5);
    }

    #[test]
    fn the_level_holds_and_only_trace_lets_others_in() {
        assert_eq!(logged(LogFormat::Text, LevelFilter::WARN, false, two_events), "");
        assert_eq!(logged(LogFormat::Text, LevelFilter::TRACE, false, two_events).lines().count(), 2);
    }
}
