//! Shares of a pool's places: what one connection may hold at a time, and how many calls one client may leave behind.
//!
//! Invariant: the last places are for connections that hold less than their share. A client whose left-behind calls have half of the
//! places gets no other until some have ended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of so many places one is for others. A smaller pool has none to spare.
const RESERVE: usize = 8;

/// The connection and the client of a request. The default has no share: health checks, connections of kind `tcp`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holder {
    /// The places of its connection in this pool, if that can have several.
    pub(crate) places: Option<Arc<Places>>,
    /// The network of its client. Behind a proxy it is not known.
    pub(crate) client: Option<IpAddr>,
}

impl Holder {
    /// Counts a place that a request has taken.
    pub(super) fn take(&self) {
        if let Some(places) = &self.places {
            places.held.fetch_add(1, SeqCst);
        }
    }

    /// Counts a place out whose call has ended.
    pub(super) fn leave(&self, is_orphan: bool) {
        if let Some(places) = &self.places {
            places.held.fetch_sub(1, SeqCst);
            places.orphans.fetch_sub(usize::from(is_orphan), SeqCst);
        }
    }
}

/// The places of one connection in one pool.
#[derive(Debug, Default)]
pub(crate) struct Places {
    held: AtomicUsize,
    orphans: AtomicUsize,
}

impl Places {
    /// Returns the calls that go on although their client has left.
    pub(crate) fn orphans(&self) -> usize {
        self.orphans.load(SeqCst)
    }
}

/// The shares of one pool.
#[derive(Debug)]
pub(super) struct Shares {
    places: usize,
    orphans: AtomicUsize,
    by_client: Mutex<HashMap<IpAddr, usize>>,
}

impl Shares {
    pub(super) fn new(places: usize) -> Self {
        Self { places, orphans: AtomicUsize::new(0), by_client: Mutex::default() }
    }

    fn by_client(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of calls that go on although their clients have left.
    pub(super) fn orphans(&self) -> usize {
        self.orphans.load(SeqCst)
    }

    /// Counts its call as an orphan: its client has left.
    pub(super) fn abandon(&self, holder: &Holder) {
        self.orphans.fetch_add(1, SeqCst);
        if let Some(places) = &holder.places {
            places.orphans.fetch_add(1, SeqCst);
        }
        if let Some(client) = holder.client {
            *self.by_client().entry(client).or_default() += 1;
        }
    }

    /// Counts an orphan out whose call has ended.
    pub(super) fn forget(&self, holder: &Holder) {
        self.orphans.fetch_sub(1, SeqCst);
        if let Some(client) = holder.client {
            let mut all = self.by_client();
            if let Some(count) = all.get_mut(&client) {
                *count -= 1;
                if *count == 0 {
                    all.remove(&client);
                }
            }
        }
    }

    /// Returns whether a request comes before those of connections that hold their share.
    pub(super) fn holds_less(&self, holder: &Holder) -> bool {
        let share = self.places - self.places.div_ceil(RESERVE);
        let holds_less = holder.places.as_ref().is_none_or(|own| own.held.load(SeqCst) < share);
        holds_less && !self.has_left_too_many(holder)
    }

    /// Returns whether a request may have a free place, if no other waits.
    pub(super) fn may_take(&self, holder: &Holder) -> bool {
        self.holds_less(holder) || (self.places < RESERVE && !self.has_left_too_many(holder))
    }

    fn has_left_too_many(&self, holder: &Holder) -> bool {
        let most = self.places.div_ceil(2);
        // Without so many there is nothing to look up.
        self.places > 1
            && self.orphans() >= most
            && holder
                .client
                .is_some_and(|client| self.by_client().get(&client).is_some_and(|count| *count >= most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(client: u8) -> Holder {
        Holder { places: Some(Arc::default()), client: Some([10, 0, 0, client].into()) }
    }

    #[test]
    fn the_last_places_are_for_others() {
        for (places, most) in [(1, 1), (4, 4), (8, 7), (128, 112)] {
            let shares = Shares::new(places);
            let (one, other) = (holder(1), holder(2));
            let taken = (0..places).take_while(|_| shares.may_take(&one)).map(|_| one.take()).count();
            assert_eq!(taken, most, "of {places}");
            assert!(shares.may_take(&other) && shares.holds_less(&Holder::default()));
            assert!(places < 4 || shares.holds_less(&other), "it comes first");
            one.leave(false);
            assert!(shares.may_take(&one));
        }
    }

    #[test]
    fn one_that_leaves_calls_behind_gets_no_more_than_half_of_the_places() {
        let shares = Shares::new(8);
        let connection = |client| Holder { places: None, client: Some([10, 0, 0, client].into()) };
        for _ in 0..4 {
            let one = connection(1);
            assert!(shares.may_take(&one));
            one.take();
            shares.abandon(&one);
        }
        assert!(!shares.may_take(&connection(1)) && shares.may_take(&connection(2)));
        assert!(shares.may_take(&Holder::default()), "its client is not known");
        assert_eq!(shares.orphans(), 4);
        shares.forget(&connection(1));
        assert!(shares.may_take(&connection(1)));
        (0..3).for_each(|_| shares.forget(&connection(1)));
        assert!(shares.by_client().is_empty() && shares.orphans() == 0);
    }
}
