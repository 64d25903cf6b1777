//! Orders of the supervisor to one instance: wind down, stop, end by force; and the clock of their deadlines.
//!
//! Invariant: an order is never taken back, giving one never blocks, and an instance is either entered or abandoned.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The clock of all deadlines: the time since the start of the app. It stands still while the process is stopped (SIGSTOP to
/// SIGCONT), so that no component loses grace that it could not use.
#[derive(Debug)]
pub struct RunClock {
    start: Instant,
    stopped_nanos: AtomicU64,
}

impl RunClock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), stopped_nanos: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) -> Duration {
        let stopped = Duration::from_nanos(self.stopped_nanos.load(Ordering::Acquire));
        self.start.elapsed().saturating_sub(stopped)
    }

    /// Takes `gap` out of the time that has passed.
    pub(crate) fn take_out(&self, gap: Duration) {
        self.stopped_nanos.fetch_add(nanos(gap), Ordering::AcqRel);
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The cause of a stop: the name of the signal, of the component, or `operator`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoticeCause {
    Signal(String),
    Failure(String),
    Finished(String),
    Reload,
    Request(String),
}

/// The request to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) cause: NoticeCause,
    /// Time from the notice to the cut-off.
    pub(crate) grace: Duration,
}

/// The orders to one instance, or to a component with several. Later orders add to earlier ones.
///
/// # Cancel safety
/// All futures here can be dropped and called again.
#[derive(Debug)]
pub(crate) struct Orders {
    clock: Arc<RunClock>,
    given: watch::Sender<Given>,
    component: Option<Arc<Orders>>,
}

#[derive(Debug)]
struct Given {
    stop: Stop,
    entry: Entry,
    is_out_of_service: bool,
    is_cut: bool,
    deadline: Duration,
}

/// Progress of a stop. It only rises.
#[derive(Debug)]
enum Stop {
    NotPlanned,
    WindDown,
    Asked(Notice),
}

/// The fate of the entry into `run`. Decided once.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Open,
    Entered,
    Abandoned,
}

impl Given {
    fn must_end(&self) -> bool {
        self.is_cut || self.entry == Entry::Abandoned
    }

    fn notice(&self) -> Option<&Notice> {
        match &self.stop {
            Stop::Asked(notice) => Some(notice),
            Stop::NotPlanned | Stop::WindDown => None,
        }
    }
}

impl Orders {
    /// Returns the orders to an instance. The deadline of its `component` holds for it, too.
    pub(super) fn new(clock: Arc<RunClock>, component: Option<Arc<Self>>) -> Arc<Self> {
        let given = Given {
            stop: Stop::NotPlanned,
            entry: Entry::Open,
            is_out_of_service: false,
            is_cut: false,
            deadline: Duration::MAX,
        };
        Arc::new(Self { clock, given: watch::Sender::new(given), component })
    }

    /// Announces a stop of the app: the instance is not ready any more, and still serves.
    pub(crate) fn wind_down(&self) {
        self.change_if(|given| matches!(given.stop, Stop::NotPlanned), |given| given.stop = Stop::WindDown);
    }

    /// Has a component with several instances refuse its clients from now on, and end its instances.
    pub(crate) fn put_out_of_service(&self) {
        self.given.send_modify(|given| given.is_out_of_service = true);
    }

    /// Asks the instance to stop. Only the first notice counts; a later `deadline` replaces an earlier one.
    pub(crate) fn ask(&self, notice: Notice, deadline: Duration) {
        self.given.send_if_modified(|given| {
            given.deadline = deadline;
            let first = given.notice().is_none();
            if first {
                given.stop = Stop::Asked(notice);
            }
            first
        });
    }

    /// Sets the time of the cut-off, on the app's clock.
    pub(crate) fn set_deadline(&self, deadline: Duration) {
        self.given.send_if_modified(|given| {
            given.deadline = deadline;
            false
        });
    }

    /// Ends the instance by force: parked code at once, running code at the next epoch.
    pub(crate) fn cut(&self) {
        self.given.send_modify(|given| given.is_cut = true);
    }

    /// Ends the instance unless its `run` has been entered.
    pub(crate) fn abandon(&self) {
        self.change_if(|given| given.entry == Entry::Open, |given| given.entry = Entry::Abandoned);
    }

    /// Notes the entry into `run`. Returns false if it is too late: after a cut-off or an abandonment.
    pub(super) fn enter(&self) -> bool {
        self.change_if(|given| !given.must_end(), |given| given.entry = Entry::Entered)
    }

    /// Makes a change and wakes the waiting futures, if `may` allows it. Returns whether it did.
    fn change_if(&self, may: impl FnOnce(&Given) -> bool, change: impl FnOnce(&mut Given)) -> bool {
        self.given.send_if_modified(|given| {
            let may_change = may(given);
            if may_change {
                change(given);
            }
            may_change
        })
    }

    pub(crate) fn has_entered(&self) -> bool {
        self.given.borrow().entry == Entry::Entered
    }

    /// Returns whether the instance has been given up before its `run` was entered.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.given.borrow().entry == Entry::Abandoned
    }

    /// Returns whether the code of the instance must not run on.
    pub(crate) fn must_trap(&self) -> bool {
        self.given.borrow().must_end()
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.given.borrow().notice().is_some()
    }

    pub(crate) fn notice(&self) -> Option<Notice> {
        self.given.borrow().notice().cloned()
    }

    /// Returns the time left until the cut-off, once the instance has been asked to stop.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.is_asked().then(|| self.deadline().saturating_sub(self.clock.now()))
    }

    fn deadline(&self) -> Duration {
        let own = self.given.borrow().deadline;
        self.component.as_ref().map_or(own, |component| own.min(component.deadline()))
    }

    pub(crate) async fn must_drop(&self) {
        wait_for(&self.given, |given| given.must_end().then_some(())).await;
    }

    pub(crate) async fn out_of_service(&self) {
        wait_for(&self.given, |given| given.is_out_of_service.then_some(())).await;
    }

    /// Waits for the notice.
    pub(crate) async fn asked(&self) -> Notice {
        wait_for(&self.given, |given| given.notice().cloned()).await
    }

    /// Waits until the app winds down. Never returns once the instance is asked to stop.
    pub(crate) async fn winding_down(&self) {
        wait_for(&self.given, |given| matches!(given.stop, Stop::WindDown).then_some(())).await;
    }
}

/// Waits until something is found in a watched value. What is there is returned at once, even without budget of tokio.
pub(super) async fn wait_for<T, F>(watched: &watch::Sender<T>, found: impl Fn(&T) -> Option<F>) -> F {
    let mut changes = watched.subscribe();
    loop {
        if let Some(found) = found(&changes.borrow_and_update()) {
            return found;
        }
        // The sender outlives this wait: the channel cannot close.
        let _open = changes.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn orders() -> Arc<Orders> {
        Orders::new(Arc::new(RunClock::start()), None)
    }

    fn notice(text: &str) -> Notice {
        Notice { cause: NoticeCause::Request(text.to_owned()), grace: Duration::ZERO }
    }

    #[test]
    fn an_instance_is_entered_or_abandoned_and_never_both() {
        let entered = orders();
        assert!(entered.enter());
        entered.abandon();
        assert!(entered.has_entered() && !entered.is_abandoned() && !entered.must_trap());
        let abandoned = orders();
        abandoned.abandon();
        assert!(!abandoned.enter());
        assert!(abandoned.is_abandoned() && abandoned.must_trap() && !abandoned.given.borrow().is_cut);
        assert_eq!(abandoned.must_drop().now_or_never(), Some(()));
    }

    #[test]
    fn no_order_is_taken_back() {
        let orders = orders();
        assert_eq!(orders.winding_down().now_or_never(), None);
        orders.wind_down();
        assert_eq!(orders.winding_down().now_or_never(), Some(()));
        orders.ask(notice("first"), Duration::MAX);
        orders.ask(notice("second"), Duration::MAX);
        orders.wind_down();
        assert_eq!(orders.asked().now_or_never(), Some(notice("first")));
        orders.cut();
        assert!(orders.must_trap() && !orders.enter() && orders.is_asked());
    }

    #[test]
    fn the_deadline_of_the_component_holds_for_its_instances() {
        let component = orders();
        let instance = Orders::new(component.clock.clone(), Some(component.clone()));
        assert_eq!(instance.remaining(), None);
        instance.ask(notice("retired"), Duration::MAX);
        assert!(instance.remaining() > Some(Duration::from_hours(1)));
        component.set_deadline(Duration::ZERO);
        assert_eq!((instance.remaining(), component.remaining()), (Some(Duration::ZERO), None));
    }
}
