//! The connection between one instance and its supervisor: orders go down, events and vitals go up.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::activity::Activity;
use super::listeners::Listeners;
use super::orders::{Orders, RunClock, nanos, wait_for};
use crate::teardown::Outcome;
use crate::text::sanitize::short_line;

const STATUS_CHARS: usize = 200;

#[derive(Clone, Debug, Default)]
pub(crate) struct Failure {
    /// The error, in one line.
    pub(crate) summary: String,
    pub(crate) backtrace: Option<String>,
    /// The code that the guest left with.
    pub(crate) exit_code: Option<u8>,
    /// The machine is short of something: it is not the component's fault.
    pub(crate) is_shortage: bool,
    /// It is that of a fresh instance before its request.
    pub(crate) is_start: bool,
}

impl Failure {
    /// Returns the failure that the machine is short of something.
    pub(crate) fn shortage(summary: String) -> Self {
        Self { summary, is_shortage: true, ..Self::default() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)?;
        match &self.backtrace {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum HookResult {
    Ok,
    Error(Option<String>),
    /// It trapped or exited.
    Trapped(Failure),
}

/// Progress of an instance.
#[derive(Debug)]
pub(crate) enum InstanceEvent {
    Entered,
    Ready,
    /// Its `run` returned without an error.
    Returned,
    /// It failed; its end follows.
    Failed(Failure),
    /// It failed, and others take its place. `counts`: it is a failure of its component.
    Lost {
        failure: Failure,
        counts: bool,
    },
    /// It could not be started beside others, which serve on.
    ExtraFailed(Failure),
    HookStarted,
    HookEnded(HookResult),
    /// Nothing of it is left.
    Ended(Outcome),
    /// It asks for this much more time; the answer goes into the channel.
    Extend(Duration, oneshot::Sender<Duration>),
    /// It does not live up to its `health`; the text says how.
    Unhealthy(String),
    StopRequested,
    /// The thread it ran on died, which is a bug of the host.
    HostBug,
    /// An event of the instance with this number, of a component with several.
    InPool(u32, Box<InstanceEvent>),
    /// Nothing of one instance of a pool is left. `why` it took no more requests.
    Down {
        why: &'static str,
        requests: u64,
        outcome: Outcome,
    },
    /// All requests are answered, and no more can come.
    Drained,
}

type Tell = Box<dyn Fn(InstanceEvent) + Send + Sync>;

/// The connection, which the instance and the supervisor share.
pub struct Link {
    pub(crate) orders: Arc<Orders>,
    pub(crate) vitals: Arc<Vitals>,
    /// Answers of the supervisor to failed instances of a pool.
    pub(crate) restarts: RestartPermits,
    pub(crate) listeners: Listeners,
    clock: Arc<RunClock>,
    activity: Activity,
    is_ready: AtomicBool,
    has_requested_stop: AtomicBool,
    tell: Tell,
}

opaque_debug!(Link);

impl Link {
    /// Returns a link whose instance tells its events through `tell`, which must not block.
    pub(crate) fn new(clock: Arc<RunClock>, tell: Tell) -> Arc<Self> {
        Self::below(None, clock, tell)
    }

    /// Returns the link of one instance of a component that has several. The instance has orders of its own; the
    /// component's deadline holds for it, too, and its status and memory count as the component's.
    pub(crate) fn child(parent: &Self, tell: Tell) -> Arc<Self> {
        Self::below(Some(parent), parent.clock.clone(), tell)
    }

    fn below(parent: Option<&Self>, clock: Arc<RunClock>, tell: Tell) -> Arc<Self> {
        let component = parent.map(|parent| parent.vitals.clone());
        Arc::new(Self {
            orders: Orders::new(clock.clone(), parent.map(|parent| parent.orders.clone())),
            vitals: Arc::new(Vitals { component, ..Vitals::default() }),
            restarts: RestartPermits::default(),
            listeners: Listeners::default(),
            clock,
            activity: Activity::default(),
            is_ready: AtomicBool::new(false),
            has_requested_stop: AtomicBool::new(false),
            tell,
        })
    }

    /// Enters `run`, and reports it; false after a cut-off or an abandonment.
    pub(crate) fn enter(&self) -> bool {
        let may_enter = self.orders.enter();
        if may_enter {
            self.tell(InstanceEvent::Entered);
        }
        may_enter
    }

    pub(crate) fn set_ready(&self) {
        self.tell_once(&self.is_ready, InstanceEvent::Ready);
    }

    pub(super) fn set_alive(&self) {
        self.vitals.alive_nanos.store(nanos(self.clock.now()), Ordering::Release);
    }

    pub(crate) fn request_stop(&self) {
        self.tell_once(&self.has_requested_stop, InstanceEvent::StopRequested);
    }

    fn tell_once(&self, told: &AtomicBool, event: InstanceEvent) {
        if !told.swap(true, Ordering::AcqRel) {
            self.tell(event);
        }
    }

    /// Polls the code of an instance that has its thread to itself.
    pub(crate) fn turn<T>(&self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.activity.begin(self.clock.now());
        let result = poll();
        self.activity.end();
        result
    }

    /// Notes a call of the host. Returns whether the code has to give its turn up at the next epoch.
    pub(super) fn note_call(&self) -> bool {
        self.activity.called(|| self.clock.now())
    }

    /// Returns whether the code has to give its turn up, at an epoch.
    pub(super) fn must_yield(&self) -> bool {
        self.activity.must_yield()
    }

    /// Returns the time that is granted.
    pub(super) async fn extend(&self, by: Duration) -> Duration {
        let (answer, granted) = oneshot::channel();
        self.tell(InstanceEvent::Extend(by, answer));
        granted.await.unwrap_or(Duration::ZERO)
    }

    pub(crate) fn tell(&self, event: InstanceEvent) {
        (self.tell)(event);
    }
}

/// Values of one instance, or of a component with several, that it updates at any time.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    alive_nanos: AtomicU64,
    memory: AtomicU64,
    status: Mutex<String>,
    component: Option<Arc<Vitals>>,
}

impl Vitals {
    /// Returns the time of the last `alive` on the app's clock; zero: never.
    pub(crate) fn alive(&self) -> Duration {
        Duration::from_nanos(self.alive_nanos.load(Ordering::Acquire))
    }

    /// Returns the bytes of linear memory in use.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    pub(super) fn memory_changed(&self, before: usize, now: usize) {
        // The difference wraps around when memory shrinks; the sum does not.
        let change = (now as u64).wrapping_sub(before as u64);
        self.memory.fetch_add(change, Ordering::Relaxed);
        if let Some(component) = &self.component {
            component.memory_changed(before, now);
        }
    }

    pub(crate) fn status(&self) -> String {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the line for status output, made safe for a terminal and cut to its longest.
    pub(super) fn set_status(&self, line: &str) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = short_line(line, STATUS_CHARS);
        if let Some(component) = &self.component {
            component.set_status(line);
        }
    }
}

/// Permits to start instances again after one has failed: their number, and the pause before the last one.
#[derive(Debug, Default)]
pub(crate) struct RestartPermits(watch::Sender<(u64, Duration)>);

impl RestartPermits {
    pub(crate) fn restart_after(&self, pause: Duration) {
        self.0.send_modify(|(count, last)| {
            *count += 1;
            *last = pause;
        });
    }

    /// Waits for more than `seen` permits. Cancel safe.
    pub(crate) async fn may_restart(&self, seen: u64) -> (u64, Duration) {
        wait_for(&self.0, |permits| (permits.0 > seen).then_some(*permits)).await
    }
}
