//! The panic hook: a bug of the host is one line through the writer, and never through std's stderr.
//!
//! Invariant: the hook waits for nothing and locks nothing that its own thread may hold; where the writer can not be
//! used (it is the one that panics), the line goes out by a write that does not block.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::thread;

use super::fd::Channel;
use super::log::{LogFormat, timestamp};
use super::writer::Output;

const MESSAGE: &str = "panic: this is a bug in curfew";

/// Installs the hook for the whole process; `RUST_BACKTRACE` is honoured.
pub fn install_panic_hook(output: &Output, format: LogFormat) {
    let output = output.clone();
    panic::set_hook(Box::new(move |info| write_out(&output, &describe(info, format))));
}

fn describe(info: &PanicHookInfo<'_>, format: LogFormat) -> Vec<u8> {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    let reason = info.payload_as_str().unwrap_or("no message");
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    render(format, thread, &at, reason, trace.as_deref())
}

/// By hand, not by tracing: the panic may come from inside an event.
fn render(format: LogFormat, thread: &str, at: &str, reason: &str, trace: Option<&str>) -> Vec<u8> {
    let time = timestamp();
    let mut line = match format {
        LogFormat::Text => {
            let trace = trace.map(|trace| format!("\n{}", trace.trim_end())).unwrap_or_default();
            format!("{time} ERROR {MESSAGE} thread={thread:?} at={at:?} reason={reason:?}{trace}")
        }
        LogFormat::Json => {
            let mut object = serde_json::json!({
                "timestamp": time, "level": "ERROR", "message": MESSAGE,
                "thread": thread, "at": at, "reason": reason,
            });
            if let (Some(trace), Some(fields)) = (trace, object.as_object_mut()) {
                fields.insert("backtrace".to_owned(), trace.into());
            }
            object.to_string()
        }
    };
    line.push('\n');
    line.into_bytes()
}

fn write_out(output: &Output, line: &[u8]) {
    let is_writer = thread::current().name() == Some(Channel::Stderr.thread_name());
    output.host(Channel::Stderr).push_in_panic([output.line_start(), line].concat(), is_writer);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{over_pipes, pipes, silent, stderr_of};
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// The hook is the process's: tests that install it take turns.
    static HOOK: Mutex<()> = Mutex::new(());

    fn with_hook(output: &Output, format: LogFormat, act: impl FnOnce()) {
        let _turn = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
        let before = panic::take_hook();
        install_panic_hook(output, format);
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
        assert!(line.contains("panic.rs:"), "{line}");
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
}
