//! From a wasmtime error to what went wrong in the guest, in words.

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::runtime::Failure;
use crate::text::sanitize;

/// How guest code ended other than by returning.
pub(crate) enum GuestEnd {
    /// It exited, and said that all is well.
    ExitOk,
    /// It trapped, or exited with an error.
    Failed(Failure),
}

/// Returns what a wasmtime error means.
pub(crate) fn guest_end(error: &wasmtime::Error) -> GuestEnd {
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        return match u8::try_from(*code) {
            Ok(0) => GuestEnd::ExitOk,
            code => GuestEnd::Failed(Failure {
                summary: format!("exited with status {}", code.map_or(1, i32::from)),
                backtrace: None,
                exit_code: code.ok(),
            }),
        };
    }
    GuestEnd::Failed(Failure { summary: summary(error), backtrace: backtrace(error), exit_code: None })
}

/// Returns whether the backtrace begins in this interface's function. Toolchains name the outermost function after
/// the export, as in `[async-lift]wasi:cli/run@0.3.0#run`.
pub(crate) fn is_in(error: &wasmtime::Error, interface: &str) -> bool {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let outermost = backtrace.and_then(|backtrace| backtrace.frames().last()?.func_name());
    outermost.is_some_and(|name| name.contains(interface))
}

/// Returns what a wasmtime error means that came before `run` was entered: a trap while it was instantiated, or
/// something that the host could not give it.
pub(crate) fn could_not_start(error: &wasmtime::Error) -> Failure {
    let is_guest =
        error.downcast_ref::<WasmBacktrace>().is_some() || error.downcast_ref::<I32Exit>().is_some();
    let failure = match guest_end(error) {
        GuestEnd::Failed(failure) if is_guest => failure,
        GuestEnd::Failed(_) | GuestEnd::ExitOk => {
            Failure { summary: format!("{error:#}"), backtrace: None, exit_code: None }
        }
    };
    Failure { summary: format!("could not be started: {}", failure.summary), ..failure }
}

/// Returns one line: the trap where there is one, else the chain of errors without the backtrace.
fn summary(error: &wasmtime::Error) -> String {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        let trap = trap.to_string();
        return format!("trapped: {}", trap.strip_prefix("wasm trap: ").unwrap_or(&trap));
    }
    let chain: Vec<_> = error
        .chain()
        .map(ToString::to_string)
        .filter(|line| !line.starts_with("error while executing at wasm backtrace"))
        .collect();
    sanitize::one_line(&format!("trapped: {}", chain.join(": ")))
}

fn backtrace(error: &wasmtime::Error) -> Option<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    // The names in it are the guest's own.
    (!backtrace.frames().is_empty()).then(|| sanitize::lines(&format!("wasm backtrace:\n{backtrace}")))
}

/// Returns the failure of an instance that exited and said that all is well, where it had to return.
pub(crate) fn exited() -> Failure {
    let summary = "called exit instead of returning".to_owned();
    Failure { summary, backtrace: None, exit_code: Some(0) }
}

/// Returns the failure of a `run` that returned an error, which WASI gives no text.
pub(crate) fn returned_error() -> Failure {
    Failure { summary: "its `run` returned an error".to_owned(), backtrace: None, exit_code: Some(1) }
}
