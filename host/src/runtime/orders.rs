//! Orders of the supervisor to one instance: wind down, stop, end by force.
//!
//! Invariant: an order is never taken back, giving one never blocks, and an instance is either entered or abandoned.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::clock::RunClock;

/// Why a component must stop, as its notice says.
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
    /// `operator`, or this component, asked for it.
    Request(String),
}

/// The request to stop, as a component gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Why.
    pub cause: NoticeCause,
    /// Time until the cut-off, counted from the notice.
    pub grace: Duration,
}

/// The orders to one instance, or to a component with several. Later orders add to earlier ones.
///
/// # Cancel safety
/// All futures here can be dropped and called again.
#[derive(Debug)]
pub struct Orders {
    clock: Arc<RunClock>,
    given: watch::Sender<Given>,
    component: Option<Arc<Orders>>,
}

#[derive(Debug)]
struct Given {
    stop: Stop,
    entry: Entry,
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

/// Whether `run` has been entered. Decided once.
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
    /// Returns the orders to an instance, none of them given yet. The deadline of its `component` holds for it, too.
    pub(super) fn new(clock: Arc<RunClock>, component: Option<Arc<Self>>) -> Arc<Self> {
        let given =
            Given { stop: Stop::NotPlanned, entry: Entry::Open, is_cut: false, deadline: Duration::MAX };
        Arc::new(Self { clock, given: watch::Sender::new(given), component })
    }

    /// Announces a stop of the app: the instance is not ready any more, and still serves.
    pub fn wind_down(&self) {
        self.given.send_if_modified(|given| {
            let first = matches!(given.stop, Stop::NotPlanned);
            if first {
                given.stop = Stop::WindDown;
            }
            first
        });
    }

    /// Asks the instance to stop. Only the first notice counts; a later `deadline` replaces an earlier one.
    pub fn ask(&self, notice: Notice, deadline: Duration) {
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
    pub fn set_deadline(&self, deadline: Duration) {
        self.given.send_if_modified(|given| {
            given.deadline = deadline;
            false
        });
    }

    /// Ends the instance by force: parked code at once, running code at the next epoch.
    pub fn cut(&self) {
        self.given.send_modify(|given| given.is_cut = true);
    }

    /// Ends the instance unless its `run` has been entered.
    pub fn abandon(&self) {
        self.given.send_if_modified(|given| {
            let open = given.entry == Entry::Open;
            if open {
                given.entry = Entry::Abandoned;
            }
            open
        });
    }

    /// Notes that `run` is about to be entered. Returns whether it may be: not after a cut-off or an abandonment.
    pub(super) fn enter(&self) -> bool {
        self.given.send_if_modified(|given| {
            let may_enter = !given.must_end();
            if may_enter {
                given.entry = Entry::Entered;
            }
            may_enter
        })
    }

    /// Returns whether `run` has been entered.
    pub fn has_entered(&self) -> bool {
        self.given.borrow().entry == Entry::Entered
    }

    /// Returns whether the instance was given up before its `run` was entered.
    pub fn is_abandoned(&self) -> bool {
        self.given.borrow().entry == Entry::Abandoned
    }

    /// Returns whether the instance was cut off.
    pub fn is_cut(&self) -> bool {
        self.given.borrow().is_cut
    }

    /// Returns whether the code of the instance must not run on.
    pub fn must_trap(&self) -> bool {
        self.given.borrow().must_end()
    }

    /// Returns whether there is a notice.
    pub fn is_asked(&self) -> bool {
        self.given.borrow().notice().is_some()
    }

    /// Returns the notice, if there is one.
    pub fn notice(&self) -> Option<Notice> {
        self.given.borrow().notice().cloned()
    }

    /// Returns the time left until the cut-off, once the instance has been asked to stop.
    pub fn remaining(&self) -> Option<Duration> {
        self.is_asked().then(|| self.deadline().saturating_sub(self.clock.now()))
    }

    fn deadline(&self) -> Duration {
        let own = self.given.borrow().deadline;
        self.component.as_ref().map_or(own, |component| own.min(component.deadline()))
    }

    /// Returns once the instance must be dropped.
    pub async fn must_drop(&self) {
        self.wait_for(|given| given.must_end().then_some(())).await;
    }

    /// Returns the notice as soon as there is one.
    pub async fn asked(&self) -> Notice {
        self.wait_for(|given| given.notice().cloned()).await
    }

    /// Returns once the app winds down and the instance is not asked to stop yet.
    pub async fn winding_down(&self) {
        self.wait_for(|given| matches!(given.stop, Stop::WindDown).then_some(())).await;
    }

    async fn wait_for<T>(&self, found: impl Fn(&Given) -> Option<T>) -> T {
        let mut changes = self.given.subscribe();
        loop {
            if let Some(found) = found(&changes.borrow_and_update()) {
                return found;
            }
            // The sender is a part of `self`: the channel cannot close while this waits.
            let _open = changes.changed().await;
        }
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
        assert!(abandoned.is_abandoned() && abandoned.must_trap() && !abandoned.is_cut());
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
