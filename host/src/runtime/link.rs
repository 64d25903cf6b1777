//! What an instance and its supervisor tell each other. The supervisor asks, abandons or cuts off; the
//! instance tells how far it got. Invariant: an order is never taken back, and giving one never blocks.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::RunClock;
use crate::teardown::Outcome;

/// Longest status line of a component, in characters.
const STATUS_CHARS: usize = 200;

/// Why a component must stop, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeCause {
    /// The process got this signal.
    Signal(String),
    /// This component failed.
    Failure(String),
    /// This component ended normally.
    Finished(String),
    /// A new version takes over.
    Reload,
    /// This one asked for it: `operator`, or a component.
    Request(String),
}

/// What a component is told when it must stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Why.
    pub cause: NoticeCause,
    /// How long it has, from the moment of the notice.
    pub grace: Duration,
}

/// What went wrong in a component.
#[derive(Clone, Debug)]
pub struct Failure {
    /// One line: what happened.
    pub summary: String,
    /// The guest's backtrace, when there is one.
    pub backtrace: Option<String>,
    /// The code it left with, when it sent one.
    pub exit_code: Option<u8>,
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

/// How a hook ended.
#[derive(Clone, Debug)]
pub enum HookResult {
    /// It returned, without an error.
    Ok,
    /// It returned an error, with its text when it has one.
    Error(Option<String>),
    /// It trapped or exited.
    Trapped(Failure),
}

/// How far an instance got.
#[derive(Debug)]
pub enum InstanceEvent {
    /// Its `run` has been entered.
    Entered,
    /// It says that it is ready.
    Ready,
    /// Its `run` returned without an error.
    Returned,
    /// It failed; its end follows.
    Failed(Failure),
    /// Its hook has been called.
    HookStarted,
    /// Its hook has ended.
    HookEnded(HookResult),
    /// Nothing of it is left.
    Ended(Outcome),
    /// It asks for this much more time; the answer goes into the channel.
    Extend(Duration, oneshot::Sender<Duration>),
    /// It does not live up to its `health`; the text says how.
    Unhealthy(String),
    /// It asks for a stop of the app.
    StopRequested,
    /// The thread it ran on died, which is a bug of the host.
    HostBug,
    /// Of a component with several instances: what happened to the one with this number.
    InPool(u32, Box<InstanceEvent>),
    /// Of such an instance: nothing of it is left.
    Down {
        /// Why it took no more requests.
        why: &'static str,
        /// How many requests it took.
        requests: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// All requests are answered, and no more can come.
    Drained,
}

/// Returns a guest's text as one line that can do nothing to a terminal or a table, cut to its longest.
pub fn printable(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One instance's end of the conversation; the supervisor holds the same.
pub struct Link {
    clock: Arc<RunClock>,
    notice: watch::Sender<Option<Notice>>,
    cut: watch::Sender<bool>,
    abandoned: AtomicBool,
    entered: AtomicBool,
    deadline_nanos: AtomicU64,
    ready: AtomicBool,
    stop_requested: AtomicBool,
    status: Mutex<String>,
    winds_down: watch::Sender<bool>,
    /// How often it may start instances again, and after which pause the last time.
    restarts: watch::Sender<(u64, Duration)>,
    /// When the guest last said that it is alive, on the app's clock.
    alive_nanos: AtomicU64,
    /// Bytes of linear memory of all its instances.
    memory: AtomicU64,
    /// The component's own link, where this is the one of one of its instances.
    parent: Option<Arc<Link>>,
    tell: Box<dyn Fn(InstanceEvent) + Send + Sync>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("notice", &*self.notice.borrow()).finish_non_exhaustive()
    }
}

impl Link {
    /// Returns a link whose instance tells what happens through `tell`, which must not block.
    pub fn new(clock: Arc<RunClock>, tell: Box<dyn Fn(InstanceEvent) + Send + Sync>) -> Arc<Self> {
        Self::with_parent(None, clock, tell)
    }

    /// Returns the link of one instance of a component that has several. It is asked and cut off on its own; the
    /// component's deadline and status are its, too.
    pub fn child(parent: &Arc<Self>, tell: Box<dyn Fn(InstanceEvent) + Send + Sync>) -> Arc<Self> {
        Self::with_parent(Some(parent.clone()), parent.clock.clone(), tell)
    }

    fn with_parent(
        parent: Option<Arc<Self>>,
        clock: Arc<RunClock>,
        tell: Box<dyn Fn(InstanceEvent) + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self {
            parent,
            winds_down: watch::Sender::new(false),
            restarts: watch::Sender::new((0, Duration::ZERO)),
            alive_nanos: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            clock,
            notice: watch::Sender::new(None),
            cut: watch::Sender::new(false),
            abandoned: AtomicBool::new(false),
            entered: AtomicBool::new(false),
            deadline_nanos: AtomicU64::new(u64::MAX),
            ready: AtomicBool::new(false),
            stop_requested: AtomicBool::new(false),
            status: Mutex::new(String::new()),
            tell,
        })
    }

    /// Asks the instance to stop. Only the first notice counts.
    pub fn ask(&self, notice: Notice, deadline: Duration) {
        self.set_deadline(deadline);
        self.notice.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(notice);
            first
        });
    }

    /// Sets the time of the cut-off, on the app's clock.
    pub fn set_deadline(&self, deadline: Duration) {
        let nanos = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        self.deadline_nanos.store(nanos, Ordering::Release);
    }

    /// Ends the instance by force: parked code here, running code at the next epoch.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Ends the instance unless its `run` has been entered.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        // Wakes whoever waits for the cut-off, which then sees that it is no cut-off but an abandonment.
        self.cut.send_modify(|_| {});
    }

    /// Returns whether the code of the instance must not run on.
    pub fn must_trap(&self) -> bool {
        *self.cut.borrow() || self.is_abandoned()
    }

    /// Returns whether the instance was cut off.
    pub fn is_cut(&self) -> bool {
        *self.cut.borrow()
    }

    /// Returns whether `run` has been entered.
    pub fn has_entered(&self) -> bool {
        self.entered.load(Ordering::Acquire)
    }

    /// Returns whether the instance was given up before its `run` was entered.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire) && !self.has_entered()
    }

    /// Returns once the instance must be dropped.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn must_drop(&self) {
        let mut cut = self.cut.subscribe();
        while !self.must_trap() {
            let _open = cut.changed().await;
        }
    }

    /// Returns the notice as soon as there is one.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn asked(&self) -> Notice {
        let mut changes = self.notice.subscribe();
        loop {
            if let Some(notice) = self.notice() {
                return notice;
            }
            // The sender is a part of `self`: the channel cannot close while this waits.
            let _open = changes.changed().await;
        }
    }

    /// Returns whether there is a notice.
    pub fn is_asked(&self) -> bool {
        self.notice.borrow().is_some()
    }

    /// Returns the notice, if there is one.
    pub fn notice(&self) -> Option<Notice> {
        self.notice.borrow().clone()
    }

    /// Returns the time left until the cut-off, if the instance has been asked.
    pub fn remaining(&self) -> Option<Duration> {
        self.notice.borrow().as_ref()?;
        Some(self.deadline().saturating_sub(self.clock.now()))
    }

    fn deadline(&self) -> Duration {
        let own = Duration::from_nanos(self.deadline_nanos.load(Ordering::Acquire));
        self.parent.as_ref().map_or(own, |parent| own.min(parent.deadline()))
    }

    /// Says that the app is about to stop: it is not ready any more, and still serves.
    pub fn wind_down(&self) {
        self.winds_down.send_replace(true);
    }

    /// Returns once that was said.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn winding_down(&self) {
        // The sender is a part of `self`: the channel cannot close while this waits.
        let mut changes = self.winds_down.subscribe();
        let _open = changes.wait_for(|winds| *winds).await;
    }

    /// Says that instances may be started again after this pause: the answer to one that failed, where a failure
    /// means a restart.
    pub fn restart_after(&self, pause: Duration) {
        self.restarts.send_modify(|(count, last)| {
            *count += 1;
            *last = pause;
        });
    }

    /// Returns how often that was said, and with which pause the last time, once it is more often than `seen`.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn may_restart(&self, seen: u64) -> (u64, Duration) {
        let mut changes = self.restarts.subscribe();
        loop {
            let (count, pause) = *changes.borrow_and_update();
            if count > seen {
                return (count, pause);
            }
            // The sender is a part of `self`: the channel cannot close while this waits.
            let _open = changes.changed().await;
        }
    }

    /// Notes that the guest says it is alive.
    pub fn set_alive(&self) {
        let nanos = u64::try_from(self.clock.now().as_nanos()).unwrap_or(u64::MAX);
        self.alive_nanos.store(nanos, Ordering::Release);
    }

    /// Returns when the guest last said so, on the app's clock; zero: never.
    pub fn alive(&self) -> Duration {
        Duration::from_nanos(self.alive_nanos.load(Ordering::Acquire))
    }

    /// Notes that an instance uses so many bytes of linear memory, where it used so many before.
    pub(super) fn memory_changed(&self, before: usize, now: usize) {
        // Wraps around in between, where that shrinks; the sum is right.
        let change = (now as u64).wrapping_sub(before as u64);
        self.memory.fetch_add(change, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.memory_changed(before, now);
        }
    }

    /// Returns the bytes of linear memory in use.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Returns the line that the component set for status output.
    pub fn status(&self) -> String {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets that line, made safe for a terminal and cut to its longest.
    pub fn set_status(&self, line: &str) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = printable(line, STATUS_CHARS);
        if let Some(parent) = &self.parent {
            parent.set_status(line);
        }
    }

    /// Notes that `run` is about to be entered. Returns whether it may be: not when it was given up.
    pub fn enter(&self) -> bool {
        if self.must_trap() {
            return false;
        }
        self.entered.store(true, Ordering::Release);
        self.tell(InstanceEvent::Entered);
        true
    }

    /// Notes that the component says it is ready. Only the first time counts.
    pub fn set_ready(&self) {
        if !self.ready.swap(true, Ordering::AcqRel) {
            self.tell(InstanceEvent::Ready);
        }
    }

    /// Passes on that the component asks for a stop of the app. Only the first time counts.
    pub fn request_stop(&self) {
        if !self.stop_requested.swap(true, Ordering::AcqRel) {
            self.tell(InstanceEvent::StopRequested);
        }
    }

    /// Asks for more time and returns what was granted.
    pub async fn extend(&self, by: Duration) -> Duration {
        let (answer, granted) = oneshot::channel();
        self.tell(InstanceEvent::Extend(by, answer));
        granted.await.unwrap_or(Duration::ZERO)
    }

    /// Tells the supervisor what happened.
    pub fn tell(&self, event: InstanceEvent) {
        (self.tell)(event);
    }
}
