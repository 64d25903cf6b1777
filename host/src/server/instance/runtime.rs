//! The executor of one thread that runs instances. Threads share none, so that a guest that spins starves no sibling: on a
//! shared one a sibling was up to 0.6 s late.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Most threads for an instance's blocking file operations. They are its own: one guest cannot take all.
const BLOCKING_THREADS: usize = 8;
/// Time that they stay without work. For ever: while there is one, tokio bears it that the system gives no second one.
const BLOCKING_STAYS: Duration = Duration::MAX;
/// Longest time for those threads to end. After it they count as leaked.
const LEAK_AFTER: Duration = Duration::from_millis(50);
/// Stack of an instance's thread. Guests run on stacks of their own.
const STACK_BYTES: usize = 2 << 20;

/// Starts a thread for instances of the component of this name. `ended` gets the result of its work; `None`: it panicked.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn spawn<T>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
    ended: impl FnOnce(Option<T>) + Send + 'static,
) -> std::io::Result<()> {
    let thread = || match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => ended(Some(result)),
        Err(panic) => {
            ended(None);
            resume_unwind(panic);
        }
    };
    let name = name.chars().take(15).collect();
    std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(thread).map(drop)
}

/// The executor of one thread, and its blocking threads.
pub(crate) struct InstanceRuntime {
    runtime: tokio::runtime::Runtime,
    blocking: Arc<AtomicUsize>,
}

impl InstanceRuntime {
    /// # Errors
    /// When the system gives no descriptors for it.
    pub(crate) fn new() -> std::io::Result<Self> {
        let blocking = Arc::new(AtomicUsize::new(0));
        let (started, stopped) = (blocking.clone(), blocking.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("curfew-blocking")
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_keep_alive(BLOCKING_STAYS)
            .on_thread_start(move || {
                started.fetch_add(1, Ordering::AcqRel);
            })
            .on_thread_stop(move || {
                stopped.fetch_sub(1, Ordering::AcqRel);
            })
            .build()?;
        Ok(Self { runtime, blocking })
    }

    /// Runs a future to its end. Returns also whether it left a blocking call behind that cannot be ended.
    pub(crate) fn run<T>(self, future: impl Future<Output = T>) -> (T, bool) {
        let result = self.runtime.block_on(future);
        self.runtime.shutdown_timeout(LEAK_AFTER);
        (result, self.blocking.load(Ordering::Acquire) > 0)
    }
}
