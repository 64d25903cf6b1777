//! Threads that libraries start for this host. tokio and wasmtime-wasi panic when the system gives none; here that is an error.
//!
//! Invariant: a panic for another reason stays a panic, and the panic hook tells it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::Poll;

/// The beginnings of the panics' texts: of tokio's blocking pool, and of `std::thread::spawn`.
const TEXTS: [&str; 2] = ["OS can't spawn worker thread", "failed to spawn thread"];

thread_local! {
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

/// The system gave a library no thread.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the system gives no more threads: raise the limit of threads (`pids` of the container, `ulimit -u`)"
)]
pub(crate) struct NoThread;

/// Does work in which a library may start a thread.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, NoThread> {
    let outer = CATCHES.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHES.set(outer);
    result.map_err(|panic| if is_text(text_of(&*panic)) { NoThread } else { resume_unwind(panic) })
}

/// Drives a future whose turns may start a thread. It must be dropped after an error.
///
/// # Cancel safety
/// That of the future.
pub(crate) async fn catch_in<T>(future: impl Future<Output = T>) -> Result<T, NoThread> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch(|| future.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(no_thread) => Poll::Ready(Err(no_thread)),
    })
    .await
}

/// Returns whether this panic becomes an error: the hook leaves it to the code that gets the error.
pub(crate) fn is_caught(text: Option<&str>) -> bool {
    CATCHES.get() && is_text(text)
}

fn is_text(text: Option<&str>) -> bool {
    text.is_some_and(|text| TEXTS.iter().any(|known| text.starts_with(known)))
}

fn text_of(panic: &(dyn Any + Send)) -> Option<&str> {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied())
}

/// Makes sure that calls which block find a thread in tokio's pool on this thread. With one, tokio lets calls wait when the system
/// gives no second one.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn keep_one_for_blocking() -> Result<(), NoThread> {
    thread_local! {
        static IS_THERE: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_THERE.get() {
        catch(|| drop(tokio::task::spawn_blocking(|| ())))?;
        IS_THERE.set(true);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lack_of_a_thread_becomes_an_error() {
        let lack = |text: &'static str| catch(|| std::panic::panic_any(format!("{text}: of the system")));
        for text in TEXTS {
            assert!(lack(text).is_err());
        }
        assert!(!CATCHES.get() && catch(|| is_caught(Some(TEXTS[0]))).unwrap());
        assert!(catch_unwind(|| lack("something else")).is_err());
    }
}
