//! The host's own lines on stderr: its log, errors that end it, panics (bugs of the host), and the progress on a terminal.
//!
//! Invariant: one line is one push to the host's source: none is torn, and none waits. Text and JSON carry the same fields. In a
//! JSON log every line is an object with a `timestamp`, a `level` and a `message`. The panic hook locks nothing that its own thread
//! may hold.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{fmt, io, thread};

use serde_json::{Value, json};
use tracing::dispatcher::{self, SetGlobalDefaultError as LogInstalled};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use super::fd::Channel;
use super::writer::Output;
use crate::threads;

/// The targets of our crates begin with this.
const TARGET: &str = "curfew";

/// The form of a log line (`--log-format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `2026-11-21T05:15:56.123Z INFO  draining cause="SIGTERM"`
    #[default]
    Text,
    /// One object a line: `timestamp`, `level`, `message`, and other fields next to them. A line of a component has `component` and
    /// `stream`.
    Json,
}

/// Sends the host's events to stderr; at level `TRACE` those of other libraries too.
///
/// # Errors
/// When there is a log already.
pub fn init_logging(output: &Output, level: LevelFilter) -> Result<(), LogInstalled> {
    let format = output.log_format();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = output.is_terminal(Channel::Stderr) && !plain;
    dispatcher::set_global_default(dispatch(output, format, level, ansi))
}

fn dispatch(output: &Output, format: LogFormat, level: LevelFilter, ansi: bool) -> Dispatch {
    let mut targets = Targets::new().with_target(TARGET, level);
    if level == LevelFilter::TRACE {
        targets = targets.with_default(level);
    }
    let output = output.clone();
    let lines = move || HostLines(output.clone());
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

impl Output {
    /// Writes a line of the host on stderr that no level of the log silences.
    pub fn say(&self, text: &str) {
        self.push_line(text, || record(Level::INFO, text, json!({})));
    }

    /// Writes an error for which the process leaves with this code.
    pub fn say_error(&self, error: &str, exit_code: u8) {
        let fields = || json!({ "error": error, "exit_code": exit_code });
        self.push_line(&format!("error: {error}"), || record(Level::ERROR, "fatal error", fields()));
    }

    fn push_line(&self, text: &str, record: impl FnOnce() -> String) {
        let line = match self.log_format() {
            LogFormat::Text => format!("{text}\n"),
            LogFormat::Json => record() + "\n",
        };
        self.host(Channel::Stderr).push([self.line_start(), line.as_bytes()].concat());
    }
}

/// Returns a record of a JSON log with these fields.
pub(super) fn record(level: Level, message: &str, fields: Value) -> String {
    let mut record = json!({ "timestamp": timestamp(), "level": level.as_str(), "message": message });
    if let (Value::Object(all), Value::Object(fields)) = (&mut record, fields) {
        all.extend(fields);
    }
    record.to_string()
}

/// Returns the time in the one form that all lines have.
pub(crate) fn timestamp() -> String {
    let mut text = String::new();
    let _never_fails = SystemTime.format_time(&mut Writer::new(&mut text));
    // The library writes microseconds: `…56.123456Z`.
    text.truncate(text.len().saturating_sub("456Z".len()));
    text + "Z"
}

struct Millis;

impl FormatTime for Millis {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&timestamp())
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

struct HostLines(Output);

impl io::Write for HostLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = [self.0.line_start(), bytes].concat();
        // A line without room is counted by the source; to the log it was written.
        self.0.host(Channel::Stderr).push(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const PANIC: &str = "panic: this is a bug in curfew";

/// Installs the panic hook for the whole process; `RUST_BACKTRACE` is honoured.
pub fn install_panic_hook(output: &Output) {
    let output = output.clone();
    panic::set_hook(Box::new(move |info| {
        if threads::is_caught(info.payload_as_str()) {
            return;
        }
        let line = [output.line_start(), &panic_line(info, output.log_format())].concat();
        let is_writer = thread::current().name() == Some(Channel::Stderr.thread_name());
        output.host(Channel::Stderr).push_in_panic(line, is_writer);
    }));
}

/// By hand, not by tracing: the panic may come from inside an event.
fn panic_line(info: &PanicHookInfo<'_>, format: LogFormat) -> Vec<u8> {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    let reason = info.payload_as_str().unwrap_or("no message");
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    let line = match format {
        LogFormat::Text => {
            let trace = trace.map(|trace| format!("\n{}", trace.trim_end())).unwrap_or_default();
            format!("{} ERROR {PANIC} thread={thread:?} at={at:?} reason={reason:?}{trace}", timestamp())
        }
        LogFormat::Json => {
            let mut fields = json!({ "thread": thread, "at": at, "reason": reason });
            if let (Some(trace), Some(fields)) = (trace, fields.as_object_mut()) {
                fields.insert("backtrace".to_owned(), trace.into());
            }
            record(Level::ERROR, PANIC, fields)
        }
    };
    (line + "\n").into_bytes()
}

/// The progress line `compiling 3/5 web`. Each log line wipes it, the next step draws it again, its drop clears it.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Set on a terminal only.
    output: Option<Output>,
    total: u64,
    done: AtomicU64,
}

impl Progress {
    pub(crate) fn new(output: &Output, total: u64, is_terminal: bool) -> Progress {
        let is_drawn = is_terminal && output.log_format() == LogFormat::Text;
        let output = is_drawn.then(|| output.clone());
        output.iter().for_each(|output| output.show_progress(true));
        Progress { output, total, done: AtomicU64::new(0) }
    }

    pub(crate) fn step(&self, name: &str) {
        let done = self.done.fetch_add(1, Relaxed) + 1;
        self.draw(&format!("compiling {done}/{} {name}", self.total));
    }

    fn draw(&self, text: &str) {
        if let Some(output) = &self.output {
            // No wrapping, and the cursor stays in front, where a log line wipes the text.
            let line = format!("\x1b[?7l\r\x1b[2K{text}\x1b[K\x1b[?7h\r");
            output.host(Channel::Stderr).push(line.into_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.draw("");
        self.output.iter().for_each(|output| output.show_progress(false));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::super::tests::{over_pipes, pipes, silent, stderr_of};
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

    #[test]
    fn what_is_no_event_is_a_record_too() {
        for (format, said) in [
            (LogFormat::Text, "serving\nerror: bad\nhint: good\n"),
            (LogFormat::Json, "INFO serving null null\nERROR fatal error \"bad\\nhint: good\" 78\n"),
        ] {
            let (output, pipes) = over_pipes();
            output.set_log_format(format);
            output.say("serving");
            output.say_error("bad\nhint: good", 78);
            let text = stderr_of(output, pipes);
            let shown = |line: &str| match serde_json::from_str::<Value>(line) {
                Ok(record) if record["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')) => {
                    let [level, message] =
                        ["level", "message"].map(|key| record[key].as_str().unwrap().to_owned());
                    format!("{level} {message} {} {}\n", record["error"], record["exit_code"])
                }
                _ => format!("{line}\n"),
            };
            assert_eq!(text.lines().map(shown).collect::<String>(), said);
        }
    }

    /// The hook is the process's: tests that install it take turns.
    static HOOK: Mutex<()> = Mutex::new(());

    fn with_hook(output: &Output, format: LogFormat, act: impl FnOnce()) {
        let _turn = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
        let before = panic::take_hook();
        output.set_log_format(format);
        install_panic_hook(output);
        act();
        panic::set_hook(before);
    }

    fn panics(name: &str) {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(|| panic!("told \"so\""));
        assert!(thread.unwrap().join().is_err());
    }

    #[test]
    fn a_panic_is_one_line_through_the_writer() {
        let (output, pipes) = over_pipes();
        with_hook(&output, LogFormat::Text, || panics("some-task"));
        let text = stderr_of(output, pipes);
        let line = text.lines().find(|l| l.contains("some-task")).unwrap();
        assert!(line.contains(" ERROR panic: ") && line.contains("reason=\"told \\\"so\\\"\""), "{line}");
        assert!(line.contains("log.rs:"), "{line}");
    }

    #[test]
    fn a_panic_is_an_object_in_a_json_log() {
        let (output, pipes) = over_pipes();
        with_hook(&output, LogFormat::Json, || panics("json-task"));
        let text = stderr_of(output, pipes);
        let line = text.lines().find(|l| l.contains("json-task")).unwrap();
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&value["level"], &value["reason"]), (&"ERROR".into(), &"told \"so\"".into()));
    }

    #[test]
    fn a_panic_while_nobody_reads_blocks_nothing() {
        let (output, pipes) = over_pipes();
        let host = output.host(Channel::Stderr);
        // Again and again, for the pipe itself swallows some until it is full.
        loop {
            while host.push(vec![b'x'; 4096]) || host.push(vec![b'x']) {}
            let lost = host.dropped();
            with_hook(&output, LogFormat::Text, || panics("unheard"));
            if host.dropped() > lost {
                break;
            }
        }
        drop(pipes);
    }

    #[test]
    fn the_stderr_writers_own_panic_is_heard() {
        let (ours, pipes) = pipes();
        let output = Output::spawn(ours.0, ours.1, silent(), Some("stderr-writer")).unwrap();
        with_hook(&output, LogFormat::Text, || {
            assert!(output.host(Channel::Stderr).push(b"a line\n".to_vec()));
            assert!(output.flush(std::time::Duration::from_secs(10)));
        });
        let text = stderr_of(output, pipes);
        assert!(text.contains("the fail point `curfew-stderr`") && text.ends_with("a line\n"), "{text}");
    }

    #[test]
    fn nothing_without_a_terminal() {
        let (output, pipes) = over_pipes();
        let progress = Progress::new(&output, 2, false);
        progress.step("web");
        drop(progress);
        assert_eq!(stderr_of(output, pipes), "");
    }

    #[test]
    fn each_step_is_drawn_and_the_end_clears() {
        let (output, pipes) = over_pipes();
        let progress = Progress::new(&output, 2, true);
        progress.step("web");
        progress.step("queue");
        assert_eq!(output.line_start(), b"\r\x1b[2K");
        drop(progress);
        assert_eq!(output.line_start(), b"");
        let text = stderr_of(output, pipes);
        assert!(text.contains("compiling 1/2 web\x1b[K"), "{text:?}");
        assert!(text.contains("compiling 2/2 queue\x1b[K"), "{text:?}");
        assert!(text.ends_with("\r\x1b[2K\x1b[K\x1b[?7h\r"), "{text:?}");
    }
}
