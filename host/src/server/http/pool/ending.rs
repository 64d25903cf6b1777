//! How a pool ends: what it takes no more, and what those in it hear of that. Invariant: none of it is taken back.

use std::sync::atomic::Ordering;

use super::{Pool, State};
use crate::server::http::call::{Job, Work};

impl Pool {
    /// Takes no more requests; those that wait are still served.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        self.intake_over.store(true, Ordering::SeqCst);
        self.wake_all(&state);
    }

    /// Gives the requests that wait back, for whoever has taken over. Connections are still served.
    pub fn give_back(&self) {
        let requests = self.remove(|job| matches!(job.work, Work::Request(..)));
        requests.into_iter().for_each(Job::give_back);
    }

    /// Tells async instances that their hooks are due, whatever is in flight. They take no more requests, and no
    /// others are started.
    pub fn call_hooks_now(&self) {
        let mut state = self.lock();
        state.stopped = true;
        self.hooks_due.store(true, Ordering::SeqCst);
        self.wake_all(&state);
    }

    pub(super) fn wake_all(&self, state: &State) {
        state.slots.iter().filter_map(|slot| slot.instance.as_ref()).for_each(|instance| instance.wake());
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.intake_over.load(Ordering::SeqCst) || self.hooks_are_due()
    }

    /// Returns whether no request can come any more.
    pub fn intake_is_over(&self) -> bool {
        self.intake_over.load(Ordering::SeqCst)
    }

    /// Returns whether requests are refused.
    pub fn takes_none(&self) -> bool {
        self.lock().stopped
    }

    /// Returns whether a request waits.
    pub fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Returns whether no request can come any more, and none waits.
    pub fn is_drained(&self) -> bool {
        self.intake_over.load(Ordering::SeqCst) && self.waiting.load(Ordering::SeqCst) == 0
    }

    /// Returns whether hooks are called next to requests.
    pub fn hooks_are_due(&self) -> bool {
        self.hooks_due.load(Ordering::SeqCst)
    }
}
