//! From a wasmtime error to the failure of the guest, in words.

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::runtime::{Failure, LimitReached, is_shortage};
use crate::text::sanitize;

/// The answer to a request for which no instance could be made.
#[derive(Debug, thiserror::Error)]
#[error("its instance could not be started")]
pub(crate) struct CouldNotStart;

/// Returns the failure of guest code that ended other than by returning. Its exit code is 0 where the guest said that all is well.
pub(crate) fn guest_failure(error: &wasmtime::Error) -> Failure {
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        let exit_code = u8::try_from(*code).ok();
        let summary = match exit_code {
            Some(0) => "called exit instead of returning".to_owned(),
            code => format!("exited with status {}", code.unwrap_or(1)),
        };
        return Failure { summary, exit_code, ..Failure::default() };
    }
    if is_shortage(error) {
        return Failure::shortage(format!("could not go on: {}", sanitize::one_line(&format!("{error:#}"))));
    }
    let trap = || Failure { summary: summary(error), backtrace: backtrace(error), ..Failure::default() };
    match error.downcast_ref::<LimitReached>() {
        // Its backtrace shows who came last, not who took the rest.
        Some(limit) if limit.is_the_error => Failure { summary: limit.to_string(), ..Failure::default() },
        Some(limit) => Failure { summary: format!("{}; it had {limit}", summary(error)), ..trap() },
        None => trap(),
    }
}

/// Returns whether the backtrace begins in this interface's function. Toolchains name the outermost function after
/// the export, as in `[async-lift]wasi:cli/run@0.3.0#run`.
pub(crate) fn is_in(error: &wasmtime::Error, interface: &str) -> bool {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let outermost = backtrace.and_then(|backtrace| backtrace.frames().last()?.func_name());
    outermost.is_some_and(|name| name.contains(interface))
}

/// Returns the failure before `run` was entered: a trap of the instantiation, or something that the host could not give.
pub(crate) fn could_not_start(error: &wasmtime::Error) -> Failure {
    let is_guest =
        error.downcast_ref::<WasmBacktrace>().is_some() || error.downcast_ref::<I32Exit>().is_some();
    let failure = match guest_failure(error) {
        failure if is_guest && failure.exit_code != Some(0) => failure,
        _ => {
            let (summary, is_shortage) = (format!("{error:#}"), is_shortage(error));
            Failure { summary, is_shortage, ..Failure::default() }
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

/// Returns the failure of a `run` that returned an error, which WASI gives no text.
pub(crate) fn returned_error() -> Failure {
    let summary = "its `run` returned an error".to_owned();
    Failure { summary, exit_code: Some(1), ..Failure::default() }
}
