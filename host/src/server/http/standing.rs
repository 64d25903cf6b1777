//! How far a component is, as those that share its addresses have to know; and what follows from that for an address.
//!
//! Invariant: it only goes on: started, ready, asked, over.

use std::sync::atomic::{AtomicBool, Ordering};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Standing {
    started: AtomicBool,
    ready: AtomicBool,
    asked: AtomicBool,
    over: AtomicBool,
}

impl Standing {
    /// Notes that it starts.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::SeqCst);
    }

    /// Notes that it takes requests, or never will: nobody has to wait for it any more.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::SeqCst);
    }

    /// Notes that it was asked to stop.
    pub fn set_asked(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Notes that it has no more use for connections.
    pub fn set_over(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Returns whether it has been started.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Returns whether it has no more use for connections. Who has not been started has none.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst) || !self.is_started()
    }
}

/// Returns whether connections can be accepted: all serve, or never will.
pub fn all_ready<'a>(mut members: impl Iterator<Item = &'a Standing>) -> bool {
    members.all(|member| member.ready.load(Ordering::SeqCst))
}

/// Returns whether an address drains: somebody was asked to stop, and nobody serves on.
pub fn all_asked<'a>(members: impl Iterator<Item = &'a Standing> + Clone) -> bool {
    let serves = |member: &Standing| member.is_started() && !member.is_asked();
    members.clone().any(Standing::is_asked) && !members.clone().any(serves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_opens_when_all_are_ready_and_drains_when_all_were_asked() {
        let [a, b] = [Standing::default(), Standing::default()];
        let both = || [&a, &b].into_iter();
        assert!(!all_ready(both()) && !all_asked(both()), "nobody has been started");
        a.set_started();
        a.set_ready();
        assert!(!all_ready(both()) && all_ready([&a].into_iter()));
        b.set_started();
        b.set_ready();
        assert!(all_ready(both()) && !all_asked(both()));
        b.set_asked();
        assert!(!all_asked(both()) && all_asked([&b].into_iter()), "one of them serves on");
        b.set_over();
        assert!(b.is_over() && !a.is_over());
        a.set_asked();
        assert!(all_asked(both()));
    }

    #[test]
    fn nobody_waits_for_one_that_was_never_started() {
        let [a, idle] = [Standing::default(), Standing::default()];
        a.set_started();
        a.set_asked();
        assert!(all_asked([&a, &idle].into_iter()) && idle.is_over());
    }
}
