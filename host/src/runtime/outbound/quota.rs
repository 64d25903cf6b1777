//! The outbound requests of a component: how many it may have at a time, and how many connections are open for them.
//!
//! Invariant: all instances and generations of a component share one count. A request that is one too many waits, a bounded number of
//! them at a time, and those that wait are served in order. No connection is kept for later while more are open than requests are allowed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::channel::oneshot;

/// Requests that may wait, for each one that may be under way. A request that waits costs its guest handles of the host, and a guest
/// with too many of these traps.
const WAITING: usize = 2;

/// The counts of all components of an app, by name.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Quotas(Mutex<BTreeMap<String, Weak<Quota>>>);

impl Quotas {
    /// Returns the count of a component, which its generations share.
    pub(in crate::runtime) fn of(&self, component: &str) -> Arc<Quota> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quota) = all.get(component).and_then(Weak::upgrade) {
            return quota;
        }
        let quota = Arc::<Quota>::default();
        all.retain(|_, quota| quota.strong_count() > 0);
        all.insert(component.to_owned(), Arc::downgrade(&quota));
        quota
    }
}

/// The count of one component.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Quota {
    state: Mutex<State>,
    /// Connections that are open, used or kept.
    connections: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// It may have a place while less than that are held.
    most: usize,
    place: oneshot::Sender<Place>,
}

impl Quota {
    /// Returns a place when less than `most` are held, and no earlier request waits; `None` at once if too many wait.
    ///
    /// # Cancel safety
    /// A place that comes too late is given back.
    pub(super) async fn place(self: &Arc<Self>, most: usize) -> Option<Place> {
        let placed = {
            let mut state = self.lock();
            if state.waiting.is_empty() && state.held < most {
                state.held += 1;
                return Some(Place { quota: self.clone(), most });
            }
            state.waiting.retain(|waiting| !waiting.place.is_canceled());
            if state.waiting.len() >= most.saturating_mul(WAITING) {
                return None;
            }
            let (place, placed) = oneshot::channel();
            state.waiting.push_back(Waiting { most, place });
            placed
        };
        match placed.await {
            Ok(place) => Some(place),
            // The sender stays in the queue as long as this request waits.
            Err(_) => std::future::pending().await,
        }
    }

    fn give_back(self: &Arc<Self>) {
        self.lock().held -= 1;
        while let Some(Waiting { most, place }) = self.next() {
            // Without the lock: one that was cancelled just now gives its place back.
            let _cancelled = place.send(Place { quota: self.clone(), most });
        }
    }

    /// Takes a place for the first that waits, if it may have one now.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.lock();
        state.waiting.retain(|waiting| !waiting.place.is_canceled());
        let held = state.held;
        let next = state.waiting.pop_front_if(|first| held < first.most)?;
        state.held += 1;
        Some(next)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one request.
#[derive(Debug)]
pub(super) struct Place {
    quota: Arc<Quota>,
    most: usize,
}

impl Place {
    /// Counts a connection that is made for the request, until it is closed.
    pub(super) fn open(&self) -> OpenConnection {
        self.quota.connections.fetch_add(1, SeqCst);
        OpenConnection(self.quota.clone())
    }

    /// Returns whether its connection may be kept for another request.
    pub(super) fn may_keep(&self) -> bool {
        self.quota.connections.load(SeqCst) <= self.most
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.quota.give_back();
    }
}

/// One connection, while it is open.
#[derive(Debug)]
pub(super) struct OpenConnection(Arc<Quota>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn generations_share_a_count_and_are_served_in_order() {
        let quotas = Quotas::default();
        let (old, new) = (quotas.of("web"), quotas.of("web"));
        let first = old.place(2).now_or_never().flatten().unwrap();
        let second = new.place(2).now_or_never().flatten().unwrap();
        let mut third = Box::pin(old.place(2));
        let mut fourth = Box::pin(new.place(1));
        let mut fifth = Box::pin(new.place(2));
        assert!((&mut third).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_none());
        assert!((&mut fifth).now_or_never().is_none());
        drop(first);
        assert!((&mut fifth).now_or_never().is_none(), "it came last");
        let third = third.now_or_never().flatten().unwrap();
        assert!((&mut fourth).now_or_never().is_none());
        drop((second, third));
        drop(fourth.now_or_never().unwrap());
        drop(fifth.now_or_never().unwrap());
        assert_eq!(old.lock().held, 0);
        assert!(quotas.of("other").place(1).now_or_never().is_some());
    }

    #[test]
    fn a_bounded_number_of_requests_waits() {
        let quota = Quotas::default().of("web");
        let _held = quota.place(1).now_or_never().flatten().unwrap();
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(quota.place(1))).collect();
        assert!(waiting.iter_mut().all(|place| place.now_or_never().is_none()));
        assert!(quota.place(1).now_or_never().is_some_and(|refused| refused.is_none()));
        drop(waiting.pop());
        assert!(quota.place(1).now_or_never().is_none(), "one of them has left");
    }

    #[test]
    fn who_waits_no_more_takes_no_place() {
        let quota = Arc::<Quota>::default();
        let first = quota.place(1).now_or_never().unwrap();
        let (mut second, mut third) = (Box::pin(quota.place(1)), Box::pin(quota.place(1)));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(second);
        drop(first);
        // It has its place, and goes before it knows.
        drop(third);
        assert_eq!(quota.lock().held, 0);
        assert!(quota.place(1).now_or_never().is_some());
    }
}
