//! The connection between one instance and its supervisor: orders go down, events and vitals go up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::clock::RunClock;
use super::instance_event::InstanceEvent;
use super::orders::Orders;
use crate::text::sanitize::short_line;

const STATUS_CHARS: usize = 200;

type Tell = Box<dyn Fn(InstanceEvent) + Send + Sync>;

/// One instance's end of the connection; the supervisor holds the same.
pub struct Link {
    /// Orders of the supervisor to the instance.
    pub orders: Arc<Orders>,
    /// Values that the instance updates at any time.
    pub vitals: Arc<Vitals>,
    /// Answers of the supervisor to failed instances of a pool.
    pub restarts: RestartPermits,
    clock: Arc<RunClock>,
    is_ready: AtomicBool,
    has_requested_stop: AtomicBool,
    tell: Tell,
}

opaque_debug!(Link);

impl Link {
    /// Returns a link whose instance tells its events through `tell`, which must not block.
    pub fn new(clock: Arc<RunClock>, tell: Tell) -> Arc<Self> {
        Self::below(None, clock, tell)
    }

    /// Returns the link of one instance of a component that has several. The instance has orders of its own; the
    /// component's deadline holds for it, too, and its status and memory count as the component's.
    pub fn child(parent: &Self, tell: Tell) -> Arc<Self> {
        Self::below(Some(parent), parent.clock.clone(), tell)
    }

    fn below(parent: Option<&Self>, clock: Arc<RunClock>, tell: Tell) -> Arc<Self> {
        let component = parent.map(|parent| parent.vitals.clone());
        Arc::new(Self {
            orders: Orders::new(clock.clone(), parent.map(|parent| parent.orders.clone())),
            vitals: Arc::new(Vitals { component, ..Vitals::default() }),
            restarts: RestartPermits::default(),
            clock,
            is_ready: AtomicBool::new(false),
            has_requested_stop: AtomicBool::new(false),
            tell,
        })
    }

    /// Enters `run`, and reports it; false after a cut-off or an abandonment.
    pub fn enter(&self) -> bool {
        let may_enter = self.orders.enter();
        if may_enter {
            self.tell(InstanceEvent::Entered);
        }
        may_enter
    }

    /// Reports that the component says it is ready. Only the first time counts.
    pub fn set_ready(&self) {
        if !self.is_ready.swap(true, Ordering::AcqRel) {
            self.tell(InstanceEvent::Ready);
        }
    }

    pub(super) fn set_alive(&self) {
        let nanos = u64::try_from(self.clock.now().as_nanos()).unwrap_or(u64::MAX);
        self.vitals.alive_nanos.store(nanos, Ordering::Release);
    }

    /// Reports that the component asks for a stop of the app. Only the first time counts.
    pub fn request_stop(&self) {
        if !self.has_requested_stop.swap(true, Ordering::AcqRel) {
            self.tell(InstanceEvent::StopRequested);
        }
    }

    /// Asks for more time and returns what was granted.
    pub(super) async fn extend(&self, by: Duration) -> Duration {
        let (answer, granted) = oneshot::channel();
        self.tell(InstanceEvent::Extend(by, answer));
        granted.await.unwrap_or(Duration::ZERO)
    }

    /// Reports an event to the supervisor.
    pub fn tell(&self, event: InstanceEvent) {
        (self.tell)(event);
    }
}

/// Values of one instance, or of a component with several, that it updates at any time.
#[derive(Debug, Default)]
pub struct Vitals {
    /// Time of the last `alive` on the app's clock; zero: never.
    alive_nanos: AtomicU64,
    memory: AtomicU64,
    status: Mutex<String>,
    component: Option<Arc<Vitals>>,
}

impl Vitals {
    /// Returns when the guest last said that it is alive, on the app's clock; zero: never.
    pub fn alive(&self) -> Duration {
        Duration::from_nanos(self.alive_nanos.load(Ordering::Acquire))
    }

    /// Returns the bytes of linear memory in use.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Notes that an instance uses `now` bytes of linear memory instead of `before`.
    pub(super) fn memory_changed(&self, before: usize, now: usize) {
        // The difference wraps around when memory shrinks; the sum is right.
        let change = (now as u64).wrapping_sub(before as u64);
        self.memory.fetch_add(change, Ordering::Relaxed);
        if let Some(component) = &self.component {
            component.memory_changed(before, now);
        }
    }

    /// Returns the line that the component set for status output.
    pub fn status(&self) -> String {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets that line, made safe for a terminal and cut to its longest.
    pub(super) fn set_status(&self, line: &str) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = short_line(line, STATUS_CHARS);
        if let Some(component) = &self.component {
            component.set_status(line);
        }
    }
}

/// Permits to start instances again after one has failed: their number, and the pause before the last one.
#[derive(Debug, Default)]
pub struct RestartPermits(watch::Sender<(u64, Duration)>);

impl RestartPermits {
    /// Permits starts after this pause.
    pub fn restart_after(&self, pause: Duration) {
        self.0.send_modify(|(count, last)| {
            *count += 1;
            *last = pause;
        });
    }

    /// Returns the number of permits and the pause of the last one, once there are more than `seen`.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn may_restart(&self, seen: u64) -> (u64, Duration) {
        let mut changes = self.0.subscribe();
        loop {
            let (count, pause) = *changes.borrow_and_update();
            if count > seen {
                return (count, pause);
            }
            // The sender is a part of `self`: the channel cannot close while this waits.
            let _open = changes.changed().await;
        }
    }
}
