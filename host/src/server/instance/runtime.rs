//! The executor of one thread that runs instances. Threads share none, so that a guest that spins starves no sibling: on a
//! shared one a sibling was up to 0.6 s late.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Most threads for an instance's blocking file operations. They are its own: one guest cannot take all.
const BLOCKING_THREADS: usize = 8;
/// Time that they stay without work. For ever: while there is one, tokio bears it that the system gives no second one.
const BLOCKING_STAYS: Duration = Duration::MAX;
/// Longest time for those threads to end. After it they count as leaked. On a busy machine an idle one takes its time to wake.
const LEAK_AFTER: Duration = Duration::from_millis(150);
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

/// The time for which a thread has not paused: its guest computes, or makes calls that do not wait. It costs two stores for
/// each pause, and nothing in between.
#[derive(Debug, Default)]
pub(crate) struct BusyTime {
    /// Nanoseconds from `EPOCH` to the end of the last pause; 0 while it pauses.
    since: AtomicU64,
}

/// The zero of all such times.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl BusyTime {
    fn pauses(&self) {
        self.since.store(0, Relaxed);
    }

    fn goes_on(&self) {
        let now = u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.since.store(now.max(1), Relaxed);
    }

    pub(crate) fn get(&self) -> Duration {
        match self.since.load(Relaxed) {
            0 => Duration::ZERO,
            since => EPOCH.elapsed().saturating_sub(Duration::from_nanos(since)),
        }
    }
}

/// The executor of one thread, and its blocking threads.
pub(crate) struct InstanceRuntime {
    runtime: tokio::runtime::Runtime,
    blocking: Arc<AtomicUsize>,
}

impl InstanceRuntime {
    /// Returns an executor that notes its pauses in `busy`.
    ///
    /// # Errors
    /// When the system gives no descriptors for it.
    pub(crate) fn new(busy: &Arc<BusyTime>) -> std::io::Result<Self> {
        busy.goes_on();
        let (parks, unparks) = (busy.clone(), busy.clone());
        let blocking = Arc::new(AtomicUsize::new(0));
        let (started, stopped) = (blocking.clone(), blocking.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("curfew-blocking")
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_keep_alive(BLOCKING_STAYS)
            .on_thread_park(move || parks.pauses())
            .on_thread_unpark(move || unparks.goes_on())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a machine under load takes between two lines of code, as a rule.
    const LONG: Duration = Duration::from_millis(300);

    async fn yields_until(end: Instant) {
        while Instant::now() < end {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_thread_is_busy_until_it_pauses_and_a_yield_is_no_pause() {
        let busy = Arc::new(BusyTime::default());
        let seen = busy.clone();
        let runtime = InstanceRuntime::new(&busy).unwrap();
        runtime.run(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            yields_until(Instant::now() + LONG).await;
            assert!(seen.get() >= LONG, "{:?}", seen.get());
            let began = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(seen.get() <= began.elapsed());
        });
    }

    #[test]
    fn a_thread_that_waits_is_not_busy() {
        let busy = Arc::new(BusyTime::default());
        let seen = busy.clone();
        let (told, waits) = std::sync::mpsc::channel();
        let (wake, woken) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            InstanceRuntime::new(&busy).unwrap().run(async move {
                told.send(()).unwrap();
                let _ = woken.await;
            });
        });
        waits.recv().unwrap();
        // It cannot tell that it waits: the looks go on until it does.
        while seen.get() > Duration::ZERO {
            std::thread::yield_now();
        }
        drop(wake);
        thread.join().unwrap();
    }
}
