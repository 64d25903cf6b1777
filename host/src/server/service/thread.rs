//! One OS thread with a runtime of its own for each instance, so that a guest that spins starves nobody else:
//! on a shared runtime a sibling was up to 0.6 s late.
//!
//! Invariant: whatever happens on the thread, the supervisor is told of its end, once. What ends the thread is
//! the end of the instance, or the order to cut it off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::run_loop::{ServiceSpec, live};
use crate::fail_point;
use crate::plan::ComponentPlan;
use crate::runtime::{Failure, InstanceEvent, Link, Loaded, Runtime, Stdio};
use crate::teardown::Outcome;

/// Threads for an instance's blocking file operations. They are its own: one guest cannot take all.
const BLOCKING_THREADS: usize = 8;
/// How long those threads may take to end before they count as leaked.
const LEAK_AFTER: Duration = Duration::from_millis(50);
/// Stack of an instance's thread. Guests run on stacks of their own.
pub const STACK_BYTES: usize = 2 << 20;

/// A started instance.
#[derive(Debug)]
pub struct Spawned {
    /// The component.
    pub loaded: Arc<Loaded>,
    /// What it is granted.
    pub plan: Arc<ComponentPlan>,
    /// The conversation with the supervisor.
    pub link: Arc<Link>,
}

/// Starts an instance on a thread of its own. `finish` runs when nothing of the guest is left, before the end
/// is told: it is where the output's last partial line is written.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn(
    runtime: Runtime,
    spawned: Spawned,
    stdio: Stdio,
    finish: Box<dyn FnOnce() + Send>,
) -> std::io::Result<()> {
    let name: String = spawned.plan.name.chars().take(15).collect();
    let Spawned { loaded, plan, link } = spawned;
    let spec = ServiceSpec { runtime, loaded, plan, link };
    std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || {
        let mut end = ThreadEnd { link: spec.link.clone(), outcome: None };
        end.outcome = Some(run(&spec, stdio));
        finish();
    })?;
    Ok(())
}

/// Tells of the thread's end, also when it panics.
struct ThreadEnd {
    link: Arc<Link>,
    outcome: Option<Outcome>,
}

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        match self.outcome {
            Some(outcome) => self.link.tell(InstanceEvent::Ended(outcome)),
            None => {
                self.link.tell(InstanceEvent::HostBug);
                self.link.tell(InstanceEvent::Ended(Outcome::Failed));
            }
        }
    }
}

/// The runtime of one thread that runs instances.
pub struct InstanceRuntime {
    runtime: tokio::runtime::Runtime,
    blocking: Arc<AtomicUsize>,
}

impl InstanceRuntime {
    /// Makes one for the thread that calls.
    ///
    /// # Errors
    /// When the system gives no descriptors for it.
    pub fn new() -> std::io::Result<Self> {
        let blocking = Arc::new(AtomicUsize::new(0));
        let (started, stopped) = (blocking.clone(), blocking.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(BLOCKING_THREADS)
            .on_thread_start(move || {
                started.fetch_add(1, Ordering::AcqRel);
            })
            .on_thread_stop(move || {
                stopped.fetch_sub(1, Ordering::AcqRel);
            })
            .build()?;
        Ok(Self { runtime, blocking })
    }

    /// Runs a future to its end.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Ends it, and returns whether a blocking call was left behind that cannot be ended.
    pub fn shut_down(self) -> bool {
        self.runtime.shutdown_timeout(LEAK_AFTER);
        self.blocking.load(Ordering::Acquire) > 0
    }
}

fn run(spec: &ServiceSpec, stdio: Stdio) -> Outcome {
    let link = &spec.link;
    let runtime = match InstanceRuntime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let summary = format!("could not be started: {error}");
            link.tell(InstanceEvent::Failed(Failure { summary, backtrace: None, exit_code: None }));
            return Outcome::Failed;
        }
    };
    fail_point::reach("instance");
    let outcome = runtime.block_on(async {
        tokio::select! {
            biased;
            // A guest makes thousands of calls in one poll; tokio's budget of 128 would make its ready sockets
            // look idle, and a guest that polls them would spin.
            outcome = tokio::task::unconstrained(live(spec, stdio)) => outcome,
            () = link.orders.must_drop() => dropped(link),
        }
    });
    match (outcome, runtime.shut_down()) {
        (Outcome::CutOff, true) => Outcome::Leaked,
        (outcome, _) => outcome,
    }
}

fn dropped(link: &Link) -> Outcome {
    if link.orders.is_abandoned() { Outcome::NotStarted } else { Outcome::CutOff }
}
